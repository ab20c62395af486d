#include "cli/config_file.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/utf8.h"
#include "cli/agreed_options.h"

/* ---- the file, from rank 0 to all ---- */

/* Room for the longest file on every rank before any of them relies on the others having it. */
static gptoss_status read_on_rank_0(const cluster *c, config_file *file, gptoss_error *err) {
    buffer *text = &file->text;
    if (c->rank == 0 && file->path) return buffer_read_file(text, file->path, CONFIG_FILE_BYTES, err);
    if (c->rank == 0) return GPTOSS_OK;
    text->capacity = CONFIG_FILE_BYTES + 1;
    return mem_array(text->capacity, 1, "the configuration", &text->data, err);
}

static gptoss_status share(const cluster *c, config_file *file, gptoss_error *err) {
    TRY(cluster_agree(c, read_on_rank_0(c, file, err), err));
    uint64_t size = file->text.size;
    cluster_broadcast(c, &size, sizeof size);
    if (size > 0) cluster_broadcast(c, file->text.data, size);
    file->text.size = size;
    if (file->text.data) file->text.data[size] = '\0';
    return GPTOSS_OK;
}

/* ---- its lines ---- */

typedef struct reading {
    const option *options;
    size_t count;
    const bool *given; /* on the command line */
    config_file *file;
    uint32_t line;
} reading;

static bool is_space(char c) { return c == ' ' || c == '\t'; }

/* Cuts spaces off both ends. */
static char *trim(char *text) {
    while (is_space(*text)) text++;
    size_t size = strlen(text);
    while (size > 0 && is_space(text[size - 1])) size--;
    text[size] = '\0';
    return text;
}

static void cut_comment(char *text) {
    for (char *at = text; *at; at++)
        if (*at == '#' && (at == text || is_space(at[-1]))) {
            *at = '\0';
            return;
        }
}

/* Whether the bytes of a line may be looked at as text, and shown in errors. */
static gptoss_status check_bytes(const char *bytes, size_t size, gptoss_error *err) {
    if (size > CONFIG_LINE_BYTES)
        return error_set(err, GPTOSS_BAD_INPUT, "the line has more than the %d bytes allowed here", CONFIG_LINE_BYTES);
    for (size_t i = 0; i < size; i++)
        if ((unsigned char)bytes[i] < ' ' ? bytes[i] != '\t' : bytes[i] == 127)
            return error_set(err, GPTOSS_BAD_INPUT, "the line has a control character, of code %d, as its byte %zu",
                             bytes[i], i + 1);
    if (utf8_valid(bytes, size)) return GPTOSS_OK;
    return error_set(err, GPTOSS_BAD_INPUT, "the line is not UTF-8");
}

static gptoss_status set_switch(const option *o, const char *value, gptoss_error *err) {
    bool on = !value || strcmp(value, "true") == 0;
    if (!on && strcmp(value, "false") != 0)
        return error_set(err, GPTOSS_MISUSE, "--%s is a switch: true, false or no value, not \"%.60s\"", o->name,
                         value);
    *(bool *)o->target = on;
    return GPTOSS_OK;
}

/* A value that the command line goes before must be a good one all the same. */
static gptoss_status check_only(const option *o, const char *value, gptoss_error *err) {
    union {
        bool on;
        const char *text;
        uint64_t count;
        option_counts counts;
        double number;
    } ignored;
    option copy = *o;
    copy.target = &ignored;
    if (o->kind == OPTION_SWITCH) return set_switch(&copy, value, err);
    return o->kind == OPTION_LIST ? GPTOSS_OK : option_set(&copy, value, err);
}

static gptoss_status note_setting(const reading *r, const option *o, gptoss_error *err) {
    config_file *f = r->file;
    for (size_t i = 0; i < f->count; i++)
        if (f->settings[i].name == o->name && o->kind != OPTION_LIST)
            return error_set(err, GPTOSS_MISUSE, "--%s is given twice, first in line %u", o->name, f->settings[i].line);
    TRY(mem_resize(&f->settings, f->count + 1, sizeof *f->settings, "the configuration", err));
    f->settings[f->count++] = (struct config_setting){o->name, r->line, !r->given[o - r->options]};
    return GPTOSS_OK;
}

/* value: NULL when there is no "=". */
static gptoss_status apply(const reading *r, const char *name, const char *value, gptoss_error *err) {
    const option *o;
    TRY(options_find(r->options, r->count, name, strlen(name), &o, err));
    if (strcmp(name, "config") == 0 || strcmp(name, "help") == 0)
        return error_set(err, GPTOSS_MISUSE, "--%s belongs on the command line", name);
    TRY(note_setting(r, o, err));
    if (o->kind != OPTION_SWITCH && (!value || !*value))
        return error_set(err, GPTOSS_MISUSE, "--%s wants a value: %s = %s", o->name, o->name,
                         o->value ? o->value : "VALUE");
    if (r->given[o - r->options]) return check_only(o, value, err);
    return o->kind == OPTION_SWITCH ? set_switch(o, value, err) : option_set(o, value, err);
}

/* bytes[size], which are followed by one more, become texts. */
static gptoss_status read_line(const reading *r, char *bytes, size_t size, gptoss_error *err) {
    if (size > 0 && bytes[size - 1] == '\r') size--;
    TRY(check_bytes(bytes, size, err));
    bytes[size] = '\0';
    cut_comment(bytes);
    char *equals = strchr(bytes, '=');
    if (equals) *equals = '\0';
    char *name = trim(bytes), *value = equals ? trim(equals + 1) : NULL;
    if (!*name && !equals) return GPTOSS_OK;
    if (!*name) return error_set(err, GPTOSS_MISUSE, "the line has no name in front of \"=\"");
    return apply(r, name, value, err);
}

static gptoss_status read_lines(reading *r, gptoss_error *err) {
    if (r->file->text.size == 0) return GPTOSS_OK;
    char *at = r->file->text.data, *end = at + r->file->text.size;
    if (r->file->text.size >= 3 && memcmp(at, "\xEF\xBB\xBF", 3) == 0) at += 3; /* editors' mark of UTF-8 */
    while (at < end) {
        char *newline = memchr(at, '\n', (size_t)(end - at));
        char *next = newline ? newline + 1 : end;
        r->line++;
        gptoss_status status = read_line(r, at, (size_t)((newline ? newline : end) - at), err);
        if (status != GPTOSS_OK) {
            const char *path = r->file->path ? r->file->path : "--config";
            return error_prefix(err, status, "%s:%u", path, r->line);
        }
        at = next;
    }
    return GPTOSS_OK;
}

/* ---- both together ---- */

static gptoss_status parse(const cluster *c, reading *r, int argc, char **argv, bool *given, gptoss_error *err) {
    gptoss_status status = options_parse_given(r->options, r->count, argc, argv, NULL, given, err);
    TRY(cluster_agree(c, status, err));
    TRY(share(c, r->file, err));
    TRY(cluster_agree(c, read_lines(r, err), err));
    return agreed_options(c, r->options, r->count, &r->file->model, err);
}

gptoss_status config_file_options(const cluster *c, const option *options, size_t count, int argc, char **argv,
                                  config_file *file, gptoss_error *err) {
    bool *given = NULL;
    gptoss_status status = mem_array(count, sizeof *given, "command line", &given, err);
    status = cluster_agree(c, status, err);
    reading r = {.options = options, .count = count, .given = given, .file = file};
    if (status == GPTOSS_OK) status = parse(c, &r, argc, argv, given, err);
    free(given);
    return status;
}

gptoss_status config_file_locate(const config_file *file, gptoss_error *err) {
    for (size_t i = 0; i < file->count; i++) {
        const struct config_setting *s = &file->settings[i];
        size_t size = strlen(s->name);
        if (s->counts && strncmp(err->text, "--", 2) == 0 && strncmp(err->text + 2, s->name, size) == 0 &&
            strchr(" ,:", err->text[2 + size]))
            return error_prefix(err, err->status, "%s:%u", file->path ? file->path : "--config", s->line);
    }
    return err->status;
}

void config_file_free(config_file *file) {
    buffer_free(&file->text);
    buffer_free(&file->model);
    free(file->settings);
    *file = (config_file){0};
}
