/* gptoss-dist synth: a gpt-oss file with random weights. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/clock.h"
#include "cli/commands.h"
#include "cli/options.h"
#include "cli/terminal.h"
#include "gguf/synth.h"

enum { VOCAB_FILE_LIMIT = 64 << 20, MOST_THREADS = 8 };

typedef struct arguments {
    const char *out, *shape, *type_attn, *type_experts, *vocab;
    uint64_t layers, seed, split_bytes;
    bool force, help;
} arguments;

static void print_help(const option *options, size_t count) {
    printf(
        "gptoss-dist synth OUT.gguf [FLAGS]: write a gpt-oss model with random weights, in the real shapes and types,\n"
        "to test with or to size machines by before a large download.\n\n");
    options_print_help(options, count);
    printf("\nTypes: F32 F16 BF16 Q8_0 MXFP4 Q4_0 Q4_1 Q5_0 Q5_1 Q2_K Q3_K Q4_K Q5_K Q6_K IQ4_NL IQ4_XS. Where rows "
           "are no\n"
           "whole blocks of a type, its usual replacement is taken (2880 is no multiple of 256: Q4_K gives Q5_0).\n"
           "Sizes with the usual types: nano 0.8 MB, tiny 27 MB, 20b 12.1 GB, 120b 63.4 GB.\n");
}

static gptoss_status parse(int argc, char **argv, arguments *a, gptoss_error *err) {
    const option options[] = {
        {"shape", OPTION_TEXT, &a->shape, 0, 0, "NAME", "nano, tiny, 20b or 120b (tiny)"},
        {"layers", OPTION_COUNT, &a->layers, 1, 4096, "N", "this many layers instead of the shape's own"},
        {"type-attn", OPTION_TEXT, &a->type_attn, 0, 0, "TYPE", "of attention, embedding and output (Q8_0)"},
        {"type-experts", OPTION_TEXT, &a->type_experts, 0, 0, "TYPE", "of the experts (MXFP4)"},
        {"seed", OPTION_COUNT, &a->seed, 0, 0x1p53, "N", "equal seeds give equal files (0)"},
        {"vocab", OPTION_PATH, &a->vocab, 0, 0, "FILE", "vocabulary from a .tiktoken file instead of a made-up one"},
        {"split-size", OPTION_COUNT, &a->split_bytes, 1, 0x1p60, "BYTES",
         "begin a new part rather than grow past this; 4G for 4 GiB"},
        {"force", OPTION_SWITCH, &a->force, 0, 0, NULL, "replace an existing file"},
        {"help", OPTION_SWITCH, &a->help, 0, 0, NULL, "this text"},
    };
    const size_t count = sizeof options / sizeof options[0];
    option_texts rest = {0};
    gptoss_status status = options_parse(options, count, argc, argv, &rest, err);
    if (status == GPTOSS_OK && a->help)
        print_help(options, count);
    else if (status == GPTOSS_OK && rest.count != 1)
        status =
            error_set(err, GPTOSS_MISUSE, "synth wants the name of one file to write: synth OUT.gguf --shape tiny");
    else if (status == GPTOSS_OK)
        a->out = rest.items[0];
    free(rest.items);
    return status;
}

static gptoss_status find_type(const char *flag, const char *name, gguf_type *out, gptoss_error *err) {
    if (gguf_type_by_name(name, out)) return GPTOSS_OK;
    return error_set(err, GPTOSS_MISUSE, "--%s: there is no type \"%.40s\"; synth --help lists them", flag, name);
}

static gptoss_status choose(const arguments *a, synth_options *o, gptoss_error *err) {
    const synth_shape *shape = synth_find_shape(a->shape);
    if (!shape)
        return error_set(err, GPTOSS_MISUSE, "--shape: there is no \"%.40s\"; nano, tiny, 20b and 120b are known",
                         a->shape);
    o->shape = *shape;
    if (a->layers) o->shape.layers = (uint32_t)a->layers;
    TRY(find_type("type-attn", a->type_attn, &o->type_attn, err));
    TRY(find_type("type-experts", a->type_experts, &o->type_experts, err));
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    o->threads = cores < 1 ? 1 : cores > MOST_THREADS ? MOST_THREADS : (int)cores;
    o->seed = a->seed;
    o->split_bytes = a->split_bytes;
    o->replace = a->force;
    return GPTOSS_OK;
}

static gptoss_status read_vocab(const char *path, vocab *out, gptoss_error *err) {
    buffer text = {0};
    gptoss_status status = buffer_read_file(&text, path, VOCAB_FILE_LIMIT, err);
    if (status == GPTOSS_OK) {
        status = vocab_from_tiktoken(text.data, text.size, out, err);
        if (status != GPTOSS_OK) error_prefix(err, status, "%s", path);
    }
    buffer_free(&text);
    return status;
}

static void show_progress(void *context, uint64_t done, uint64_t total) {
    progress *bar = context;
    if (bar->total == 0) progress_begin(bar, "writing", total);
    progress_update(bar, done);
}

static gptoss_status synthesize(const arguments *a, gptoss_error *err) {
    double start = clock_seconds();
    progress bar = {0};
    synth_options o = {.progress = show_progress, .progress_context = &bar};
    TRY(choose(a, &o, err));
    vocab v = {0};
    if (a->vocab) {
        TRY(read_vocab(a->vocab, &v, err));
        o.vocabulary = &v;
    }
    synth_report report;
    gptoss_status status = synth_write(a->out, &o, &report, err);
    vocab_free(&v);
    progress_end(&bar);
    if (status != GPTOSS_OK) return status;
    double seconds = clock_seconds() - start;
    printf("%s: %zu tensors, %.3f GB", a->out, report.tensors, (double)report.bytes / 1e9);
    if (report.parts > 1) printf(" in %u parts", report.parts);
    printf(", written in %.1f s\n", seconds);
    return GPTOSS_OK;
}

int synth_command(int argc, char **argv) {
    arguments a = {.shape = "tiny", .type_attn = "Q8_0", .type_experts = "MXFP4"};
    gptoss_error error = {0};
    gptoss_status status = parse(argc, argv, &a, &error);
    if (status == GPTOSS_OK && !a.help) status = synthesize(&a, &error);
    return status == GPTOSS_OK ? 0 : command_fail(&error);
}
