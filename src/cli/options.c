#include "cli/options.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/spelling.h"

#define WANTS_COUNT "--%s wants a whole number, not \"%s\""

static gptoss_status refuse_unknown(const option *options, size_t count, const char *name, size_t length,
                                    gptoss_error *err) {
    const char *nearest = NULL;
    size_t best = (length < 7 ? (length + 2) / 3 : 3) + 1; /* of a name most must be right, or its beginning */
    for (size_t i = 0; i < count; i++) {
        bool begins = length >= 3 && strncmp(options[i].name, name, length) == 0;
        size_t distance = begins ? 1 : spelling_distance(name, length, options[i].name, strlen(options[i].name));
        if (distance < best) {
            best = distance;
            nearest = options[i].name;
        }
    }
    int shown = length > 60 ? 60 : (int)length;
    if (nearest) return error_set(err, GPTOSS_MISUSE, "unknown flag --%.*s; did you mean --%s?", shown, name, nearest);
    return error_set(err, GPTOSS_MISUSE, "unknown flag --%.*s; --help lists the flags", shown, name);
}

/* Reads a whole number with its suffix; *end is what follows it. */
static gptoss_status read_count(const option *o, const char *text, const char **end, uint64_t *out, gptoss_error *err) {
    char *after = NULL;
    errno = 0;
    unsigned long long n = strtoull(text, &after, 10);
    uint64_t scale = 1;
    if (!isdigit((unsigned char)text[0])) return error_set(err, GPTOSS_MISUSE, WANTS_COUNT, o->name, text);
    switch (*after) {
    case 'k':
    case 'K': scale = UINT64_C(1) << 10; break;
    case 'm':
    case 'M': scale = UINT64_C(1) << 20; break;
    case 'g':
    case 'G': scale = UINT64_C(1) << 30; break;
    default: break;
    }
    if (scale > 1) after++;
    uint64_t value = 0;
    if (errno == ERANGE || !mem_mul_u64(n, scale, &value) || (double)value < o->min || (double)value > o->max)
        return error_set(err, GPTOSS_MISUSE, "--%s %.*s is out of range: from %.0f to %.0f", o->name,
                         (int)(after - text), text, o->min, o->max);
    *end = after;
    *out = value;
    return GPTOSS_OK;
}

static gptoss_status set_count(const option *o, const char *text, gptoss_error *err) {
    const char *end = text;
    uint64_t value = 0;
    TRY(read_count(o, text, &end, &value, err));
    if (*end) return error_set(err, GPTOSS_MISUSE, WANTS_COUNT, o->name, text);
    *(uint64_t *)o->target = value;
    return GPTOSS_OK;
}

static gptoss_status set_counts(const option *o, const char *text, gptoss_error *err) {
    option_counts list = {.count = 0};
    for (const char *at = text;; at++) {
        if (list.count == OPTION_COUNTS_MAX)
            return error_set(err, GPTOSS_MISUSE, "--%s takes at most %d numbers", o->name, OPTION_COUNTS_MAX);
        TRY(read_count(o, at, &at, &list.items[list.count], err));
        list.count++;
        if (*at == '\0') break;
        if (*at != ',')
            return error_set(err, GPTOSS_MISUSE, "--%s wants whole numbers with commas between them, not \"%s\"",
                             o->name, text);
    }
    *(option_counts *)o->target = list;
    return GPTOSS_OK;
}

static gptoss_status set_number(const option *o, const char *text, gptoss_error *err) {
    char *end = NULL;
    double value = strtod(text, &end);
    if (end == text || *end || isnan(value))
        return error_set(err, GPTOSS_MISUSE, "--%s wants a number, not \"%s\"", o->name, text);
    if (value < o->min || value > o->max)
        return error_set(err, GPTOSS_MISUSE, "--%s %s is out of range: from %g to %g", o->name, text, o->min, o->max);
    *(double *)o->target = value;
    return GPTOSS_OK;
}

/* What "$UNSET" leaves in quotes would fail much later, as a file without a name. */
static gptoss_status set_path(const option *o, const char *text, gptoss_error *err) {
    if (!text[0]) return error_set(err, GPTOSS_MISUSE, "--%s wants a name (%s), not an empty text", o->name, o->value);
    *(const char **)o->target = text;
    return GPTOSS_OK;
}

static gptoss_status append(option_texts *list, const char *text, gptoss_error *err) {
    TRY(mem_resize(&list->items, list->count + 1, sizeof *list->items, "command line", err));
    list->items[list->count++] = text;
    return GPTOSS_OK;
}

gptoss_status option_set(const option *o, const char *text, gptoss_error *err) {
    switch (o->kind) {
    case OPTION_SWITCH: *(bool *)o->target = true; return GPTOSS_OK;
    case OPTION_TEXT: *(const char **)o->target = text; return GPTOSS_OK;
    case OPTION_PATH: return set_path(o, text, err);
    case OPTION_COUNT: return set_count(o, text, err);
    case OPTION_COUNTS: return set_counts(o, text, err);
    case OPTION_NUMBER: return set_number(o, text, err);
    case OPTION_LIST: return append(o->target, text, err);
    }
    return error_set(err, GPTOSS_INTERNAL, "--%s has no kind", o->name);
}

static const option *find(const option *options, size_t count, const char *name, size_t length) {
    for (size_t i = 0; i < count; i++)
        if (strlen(options[i].name) == length && memcmp(options[i].name, name, length) == 0) return &options[i];
    return NULL;
}

/* Handles argv[*at], a flag, and moves *at past what belongs to it. */
static gptoss_status parse_flag(const option *options, size_t count, int argc, char **argv, int *at, bool *given,
                                gptoss_error *err) {
    const char *name = argv[*at] + 2;
    const char *equals = strchr(name, '=');
    size_t length = equals ? (size_t)(equals - name) : strlen(name);
    const option *o = find(options, count, name, length);
    if (!o) return refuse_unknown(options, count, name, length, err);

    size_t index = (size_t)(o - options);
    if (given[index] && o->kind != OPTION_LIST) return error_set(err, GPTOSS_MISUSE, "--%s is given twice", o->name);
    given[index] = true;

    const char *value = equals ? equals + 1 : NULL;
    if (o->kind == OPTION_SWITCH && value)
        return error_set(err, GPTOSS_MISUSE, "--%s is a switch and takes no value", o->name);
    if (o->kind != OPTION_SWITCH && !value) {
        /* A value may begin with "-" (a negative number, "-" for standard input) but not look like another flag. */
        if (*at + 1 >= argc || strncmp(argv[*at + 1], "--", 2) == 0)
            return error_set(err, GPTOSS_MISUSE, "--%s wants a value: --%s %s (--%s=... for one with dashes in front)",
                             o->name, o->name, o->value ? o->value : "VALUE", o->name);
        value = argv[++*at];
    }
    ++*at;
    return option_set(o, value, err);
}

gptoss_status options_find(const option *options, size_t count, const char *name, size_t length, const option **out,
                           gptoss_error *err) {
    *out = find(options, count, name, length);
    return *out ? GPTOSS_OK : refuse_unknown(options, count, name, length, err);
}

gptoss_status options_parse(const option *options, size_t count, int argc, char **argv, option_texts *positional,
                            gptoss_error *err) {
    bool *given = NULL;
    TRY(mem_array(count, sizeof *given, "command line", &given, err));
    gptoss_status status = options_parse_given(options, count, argc, argv, positional, given, err);
    free(given);
    return status;
}

gptoss_status options_parse_given(const option *options, size_t count, int argc, char **argv, option_texts *positional,
                                  bool *given, gptoss_error *err) {
    gptoss_status status = GPTOSS_OK;
    bool flags = true;
    int at = 1;
    while (status == GPTOSS_OK && at < argc) {
        const char *text = argv[at];
        if (flags && strcmp(text, "-h") == 0) text = argv[at] = "--help";
        if (flags && strcmp(text, "--") == 0) {
            flags = false;
            at++;
        } else if (flags && strncmp(text, "--", 2) == 0) {
            status = parse_flag(options, count, argc, argv, &at, given, err);
        } else if (flags && text[0] == '-' && text[1]) {
            status = error_set(err, GPTOSS_MISUSE, "unknown flag %.60s; flags begin with two dashes", text);
        } else if (positional) {
            status = append(positional, text, err);
            at++;
        } else {
            status = error_set(err, GPTOSS_MISUSE, "\"%.60s\" belongs to no flag", text);
        }
    }
    return status;
}

void options_print_help(const option *options, size_t count) {
    for (size_t i = 0; i < count; i++) {
        char head[64];
        bool takes_value = options[i].kind != OPTION_SWITCH;
        snprintf(head, sizeof head, "--%s%s%s", options[i].name, takes_value ? " " : "",
                 takes_value ? (options[i].value ? options[i].value : "VALUE") : "");
        printf("  %-26s %s\n", head, options[i].help);
    }
}
