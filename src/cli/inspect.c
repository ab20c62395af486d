/* gptoss-dist inspect: what a GGUF file says of itself. */
#include <stdlib.h>

#include "base/mem.h"
#include "cli/commands.h"
#include "cli/inspect_report.h"
#include "cli/options.h"
#include "cli/streams.h"

typedef struct arguments {
    const char *path;
    bool json, metadata, tensors, full, help;
} arguments;

/* ---- counting ---- */

static int by_bytes(const void *a, const void *b) {
    const inspect_total *x = a, *y = b;
    if (x->bytes != y->bytes) return x->bytes > y->bytes ? -1 : 1;
    return (x->type > y->type) - (x->type < y->type);
}

/* Weights of many tensors of unlisted types, whose sizes nobody checks, may add up to too much. */
static void add(inspect_total *total, uint64_t weights, uint64_t bytes) {
    total->tensors++;
    if (!mem_add_u64(total->weights, weights, &total->weights)) total->weights = UINT64_MAX;
    total->bytes += bytes;
}

size_t inspect_count(const gguf_file *file, inspect_total totals[INSPECT_MOST_TYPES], inspect_total *sum) {
    const size_t other = INSPECT_MOST_TYPES - 1;
    for (size_t i = 0; i <= other; i++) totals[i] = (inspect_total){.type = (gguf_type)i, .is_known = i < other};
    *sum = (inspect_total){0};
    for (size_t i = 0; i < gguf_tensor_count(file); i++) {
        const gguf_tensor *t = gguf_tensor_at(file, i);
        uint64_t weights = t->dims[0] * t->dims[1] * t->dims[2] * t->dims[3];
        add(&totals[gguf_type_traits(t->type) && t->type < other ? t->type : other], weights, t->bytes);
        add(sum, weights, t->bytes);
    }
    size_t kept = 0;
    for (size_t i = 0; i <= other; i++)
        if (totals[i].tensors > 0) totals[kept++] = totals[i];
    qsort(totals, kept, sizeof totals[0], by_bytes);
    return kept;
}

double inspect_bits_per_weight(const inspect_total *totals, size_t count) {
    double bits = 0, weights = 0;
    for (size_t i = 0; i < count; i++) {
        if (!totals[i].is_known) continue;
        bits += 8 * (double)totals[i].bytes;
        weights += (double)totals[i].weights;
    }
    return weights > 0 ? bits / weights : 0;
}

uint64_t inspect_total_bytes(const gguf_file *file) {
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < gguf_part_count(file); i++) bytes += gguf_part_size(file, i);
    return bytes;
}

/* ---- the command ---- */

static void print_help(const option *options, size_t count) {
    printf("gptoss-dist inspect FILE [FLAGS]: print the metadata and the tensors of a GGUF file.\n"
           "Of a split file, name any one part.\n\n");
    options_print_help(options, count);
}

static gptoss_status parse(int argc, char **argv, arguments *a, gptoss_error *err) {
    const option options[] = {
        {"json", OPTION_SWITCH, &a->json, 0, 0, NULL, "print one JSON object"},
        {"metadata", OPTION_SWITCH, &a->metadata, 0, 0, NULL, "only the metadata"},
        {"tensors", OPTION_SWITCH, &a->tensors, 0, 0, NULL, "only the tensors"},
        {"full", OPTION_SWITCH, &a->full, 0, 0, NULL, "long arrays and texts whole, not their beginning"},
        {"help", OPTION_SWITCH, &a->help, 0, 0, NULL, "this text"},
    };
    const size_t count = sizeof options / sizeof options[0];
    option_texts rest = {0};
    gptoss_status status = options_parse(options, count, argc, argv, &rest, err);
    if (status == GPTOSS_OK && a->help)
        print_help(options, count);
    else if (status == GPTOSS_OK && rest.count != 1)
        status = error_set(err, GPTOSS_MISUSE, "inspect wants the name of one GGUF file: inspect FILE [--json]");
    else if (status == GPTOSS_OK)
        a->path = rest.items[0];
    free(rest.items);
    return status;
}

static gptoss_status inspect(const arguments *a, gptoss_error *err) {
    gguf_file *file;
    TRY(gguf_open(a->path, &file, err));
    inspect_options options = {a->metadata || !a->tensors, a->tensors || !a->metadata, a->full};
    if (a->json)
        inspect_print_json(stdout, file, &options);
    else
        inspect_print_text(stdout, file, &options);
    gguf_close(file);
    return streams_finish(err);
}

int inspect_command(int argc, char **argv) {
    arguments a = {0};
    gptoss_error error = {0};
    gptoss_status status = parse(argc, argv, &a, &error);
    if (status == GPTOSS_OK && !a.help) status = inspect(&a, &error);
    return status == GPTOSS_OK ? 0 : command_fail(&error);
}
