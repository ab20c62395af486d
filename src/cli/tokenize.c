/* gptoss-dist tokenize: text to token ids and back. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "cli/commands.h"
#include "cli/json_line.h"
#include "cli/options.h"
#include "cli/streams.h"
#include "text/tokenizer.h"

enum { INPUT_LIMIT = 256 << 20 };

typedef struct arguments {
    const char *gguf;
    bool decode, jsonl, help;
} arguments;

static void print_help(const option *options, size_t count) {
    puts("gptoss-dist tokenize --gguf FILE [FLAGS]: turn the text on standard input into a JSON array of token ids.\n");
    options_print_help(options, count);
    puts("\nText never becomes a special token, whatever it spells; what is not UTF-8 counts as U+FFFD.\n"
         "--decode writes bytes as they are; with --jsonl, where they must be UTF-8, others become U+FFFD.");
}

static gptoss_status parse(int argc, char **argv, arguments *a, gptoss_error *err) {
    const option options[] = {
        {"gguf", OPTION_PATH, &a->gguf, 0, 0, "FILE", "the model; or set GPT_OSS_GGUF_PATH"},
        {"jsonl", OPTION_SWITCH, &a->jsonl, 0, 0, NULL, "each input line is a JSON string, each output line an array"},
        {"decode", OPTION_SWITCH, &a->decode, 0, 0, NULL, "the other way: arrays of ids to text"},
        {"help", OPTION_SWITCH, &a->help, 0, 0, NULL, "this text"},
    };
    const size_t count = sizeof options / sizeof options[0];
    TRY(options_parse(options, count, argc, argv, NULL, err));
    if (a->help)
        print_help(options, count);
    else if (!a->gguf || !a->gguf[0]) /* an empty variable is as good as none */
        return error_set(err, GPTOSS_MISUSE, "no model is given: use --gguf FILE or set GPT_OSS_GGUF_PATH");
    return GPTOSS_OK;
}

static gptoss_status open_tokenizer(const char *path, tokenizer **out, gptoss_error *err) {
    gguf_file *file;
    TRY(gguf_open(path, &file, err));
    gptoss_status status = tokenizer_open(file, out, err);
    gguf_close(file);
    return status;
}

/* What one line, or all of the input, goes through; kept from line to line for its memory. */
typedef struct work {
    const tokenizer *tokenizer;
    tokens ids;
    buffer text, printed;
} work;

static void work_free(work *w) {
    tokens_free(&w->ids);
    buffer_free(&w->text);
    buffer_free(&w->printed);
}

static gptoss_status print(const buffer *b, gptoss_error *err) {
    if (b->size == 0 || fwrite(b->data, 1, b->size, stdout) == b->size) return GPTOSS_OK;
    return streams_failed(stdout, errno, err);
}

/* Text to an array of ids on one line. */
static gptoss_status encode(work *w, const char *text, size_t size, gptoss_error *err) {
    w->ids.count = 0;
    buffer_clear(&w->printed);
    TRY(tokenizer_encode(w->tokenizer, text, size, &w->ids, err));
    TRY(json_line_write_ids(w->ids.ids, w->ids.count, &w->printed, err));
    TRY(buffer_append(&w->printed, "\n", 1, err));
    return print(&w->printed, err);
}

static gptoss_status encode_line(work *w, const char *line, size_t size, size_t *where, gptoss_error *err) {
    buffer_clear(&w->text);
    TRY(json_line_read_string(line, size, &w->text, where, err));
    return encode(w, w->text.data, w->text.size, err);
}

/* An array of ids to w->text. */
static gptoss_status decode(work *w, const char *array, size_t size, size_t *where, gptoss_error *err) {
    w->ids.count = 0;
    buffer_clear(&w->text);
    TRY(json_line_read_ids(array, size, &w->ids, where, err));
    return tokenizer_decode(w->tokenizer, w->ids.ids, w->ids.count, &w->text, err);
}

static gptoss_status decode_line(work *w, const char *line, size_t size, size_t *where, gptoss_error *err) {
    buffer_clear(&w->printed);
    TRY(decode(w, line, size, where, err));
    TRY(json_line_write_string(w->text.data, w->text.size, &w->printed, err));
    TRY(buffer_append(&w->printed, "\n", 1, err));
    return print(&w->printed, err);
}

static gptoss_status convert_lines(work *w, bool decoding, const buffer *input, gptoss_error *err) {
    size_t number = 1;
    for (size_t at = 0; at < input->size; number++) {
        const char *line = input->data + at, *newline = memchr(line, '\n', input->size - at);
        size_t size = newline ? (size_t)(newline - line) : input->size - at, where;
        gptoss_status status =
            decoding ? decode_line(w, line, size, &where, err) : encode_line(w, line, size, &where, err);
        if (status == GPTOSS_BAD_INPUT) return error_prefix(err, status, "line %zu of the input", number);
        if (status != GPTOSS_OK) return status;
        at += size + 1;
    }
    return GPTOSS_OK;
}

static gptoss_status decode_all(work *w, const buffer *input, gptoss_error *err) {
    size_t where = 0, number = 1;
    gptoss_status status = decode(w, input->data, input->size, &where, err);
    for (size_t i = 0; i < where; i++) number += input->data[i] == '\n';
    if (status == GPTOSS_BAD_INPUT) return error_prefix(err, status, "line %zu of the input", number);
    return status == GPTOSS_OK ? print(&w->text, err) : status;
}

static gptoss_status convert(const arguments *a, const tokenizer *t, gptoss_error *err) {
    work w = {.tokenizer = t};
    buffer input = {0};
    gptoss_status status = buffer_read_file(&input, "-", INPUT_LIMIT, err);
    if (status == GPTOSS_OK && a->jsonl)
        status = convert_lines(&w, a->decode, &input, err);
    else if (status == GPTOSS_OK && a->decode)
        status = decode_all(&w, &input, err);
    else if (status == GPTOSS_OK)
        status = encode(&w, input.data, input.size, err);
    buffer_free(&input);
    work_free(&w);
    return status;
}

int tokenize_command(int argc, char **argv) {
    arguments a = {.gguf = getenv("GPT_OSS_GGUF_PATH")};
    tokenizer *t = NULL;
    gptoss_error err = {0};
    gptoss_status status = parse(argc, argv, &a, &err);
    if (status == GPTOSS_OK && a.help) return 0;
    if (status == GPTOSS_OK) status = open_tokenizer(a.gguf, &t, &err);
    if (status == GPTOSS_OK) status = convert(&a, t, &err);
    tokenizer_close(t);
    return status == GPTOSS_OK ? 0 : command_fail(&err);
}
