/* The part of inspect_report.h that people read. */
#include <inttypes.h>
#include <string.h>

#include "base/plural.h"
#include "base/utf8.h"
#include "cli/inspect_report.h"
#include "gguf/quote.h"
#include "model/extent.h"

enum { WIDEST_NAME = 64, FEW_ELEMENTS = 5, SHORT_ELEMENT = 16, SHORT_TEXT = 80 };

/* Columns that a text takes on a terminal, roughly: one a character. */
static int columns(const char *text) {
    int n = 0;
    uint32_t code;
    for (size_t at = 0, size = strlen(text); at < size; n++) at += utf8_decode(text + at, size - at, &code);
    return n;
}

static int wider(int width, const char *text) {
    int n = columns(text);
    return n > width ? n : width;
}

/* printf's %-*s counts bytes. */
static void print_padded(FILE *out, const char *text, int width) {
    int missing = width - columns(text);
    fprintf(out, "%s%*s", text, missing > 0 ? missing : 0, "");
}

static const char *size_text(uint64_t bytes, char *text, size_t capacity) {
    static const char *const units[] = {"bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    double v = (double)bytes;
    size_t unit = 0;
    for (; v >= 1024; unit++) v /= 1024;
    snprintf(text, capacity, unit ? "%.2f %s" : "%.0f %s", v, units[unit]);
    return text;
}

static void print_size(FILE *out, uint64_t bytes) {
    char size[32];
    fprintf(out, "%" PRIu64 " byte%s", bytes, plural(bytes));
    if (bytes >= 1024) fprintf(out, " (%s)", size_text(bytes, size, sizeof size));
}

static void print_file(FILE *out, const gguf_file *file) {
    uint32_t parts = gguf_part_count(file);
    for (uint32_t i = 0; i < parts; i++) {
        fprintf(out, "%s: ", gguf_part_path(file, i));
        print_size(out, gguf_part_size(file, i));
        fputc('\n', out);
    }
    fprintf(out, "GGUF version %u, ", gguf_version(file));
    if (parts > 1) {
        fprintf(out, "%u parts of ", parts);
        print_size(out, inspect_total_bytes(file));
        fputs(" in all, ", out);
    }
    fprintf(out, "alignment %" PRIu64 ", fingerprint %016" PRIx64 "\n", gguf_alignment(file), gguf_fingerprint(file));
}

/* Of a slice of a model, what it holds. */
static void print_slice(FILE *out, const gguf_file *file) {
    hparams hp;
    extent e;
    char holds[EXTENT_TEXT];
    if (hparams_read(file, &hp, NULL) != GPTOSS_OK || extent_read(file, &hp, &e, NULL) != GPTOSS_OK || !e.is_slice)
        return;
    extent_describe(&e, &hp, holds);
    fprintf(out, "a slice with %s, of the file with fingerprint %016" PRIx64 "\n", holds, e.source);
}

static const char *key_text(const gguf_value *v, char *text, size_t capacity) {
    return quote_text(v->key.bytes, v->key.size, text, capacity);
}

static const char *kind_text(const gguf_value *v, char *text, size_t capacity) {
    if (v->kind == GGUF_ARRAY)
        snprintf(text, capacity, "%s[%" PRIu64 "]", inspect_kind_name(v->element), v->count);
    else
        snprintf(text, capacity, "%s", inspect_kind_name(v->kind));
    return text;
}

static void print_metadata(FILE *out, const gguf_file *file, bool full) {
    size_t count = gguf_value_count(file);
    char key[WIDEST_NAME], kind[40];
    int key_width = 0, kind_width = 0;
    for (size_t i = 0; i < count; i++) {
        const gguf_value *v = gguf_value_at(file, i);
        key_width = wider(key_width, key_text(v, key, sizeof key));
        kind_width = wider(kind_width, kind_text(v, kind, sizeof kind));
    }
    fprintf(out, "\nmetadata: %zu key%s\n", count, count == 1 ? "" : "s");
    for (size_t i = 0; i < count && !ferror(out); i++) {
        const gguf_value *v = gguf_value_at(file, i);
        inspect_style style = {out, false, FEW_ELEMENTS, v->kind == GGUF_ARRAY ? SHORT_ELEMENT : SHORT_TEXT};
        if (full) style.most = UINT64_MAX, style.longest = SIZE_MAX;
        fputs("  ", out);
        print_padded(out, key_text(v, key, sizeof key), key_width + 2);
        print_padded(out, kind_text(v, kind, sizeof kind), kind_width + 2);
        inspect_print_value(&style, v);
        fputc('\n', out);
    }
}

static const char *type_text(gguf_type type, char *text, size_t capacity) {
    const type_traits *traits = gguf_type_traits(type);
    if (traits) return traits->name;
    snprintf(text, capacity, "type %u", type);
    return text;
}

static const char *dims_text(const gguf_tensor *t, char *text, size_t capacity) {
    size_t used = 0;
    for (uint32_t i = 0; i < t->n_dims; i++)
        used += (size_t)snprintf(text + used, capacity - used, "%s%" PRIu64, i ? " x " : "", t->dims[i]);
    return text;
}

static const char *bytes_text(bool is_known, uint64_t bytes, char *text, size_t capacity) {
    snprintf(text, capacity, "%" PRIu64, bytes);
    return is_known ? text : "?";
}

static void print_tensors(FILE *out, const gguf_file *file) {
    size_t count = gguf_tensor_count(file);
    char name[WIDEST_NAME], type[24], dims[96], bytes[24];
    int name_width = 4, type_width = 4, dims_width = 4;
    for (size_t i = 0; i < count; i++) {
        const gguf_tensor *t = gguf_tensor_at(file, i);
        name_width = wider(name_width, quote_text(t->name, strlen(t->name), name, sizeof name));
        type_width = wider(type_width, type_text(t->type, type, sizeof type));
        dims_width = wider(dims_width, dims_text(t, dims, sizeof dims));
    }
    fprintf(out, "\ntensors: %zu\n", count);
    if (count == 0) return;
    bool is_split = gguf_part_count(file) > 1;
    fprintf(out, "  %-*s  %-*s  %-*s  %s%12s  %12s\n", name_width, "name", type_width, "type", dims_width, "dims",
            is_split ? " part  " : "", "offset", "bytes");
    for (size_t i = 0; i < count && !ferror(out); i++) {
        const gguf_tensor *t = gguf_tensor_at(file, i);
        fputs("  ", out);
        print_padded(out, quote_text(t->name, strlen(t->name), name, sizeof name), name_width);
        fprintf(out, "  %-*s  %-*s  ", type_width, type_text(t->type, type, sizeof type), dims_width,
                dims_text(t, dims, sizeof dims));
        if (is_split) fprintf(out, "%5u  ", t->part + 1);
        fprintf(out, "%12" PRIu64 "  %12s\n", t->offset,
                bytes_text(gguf_type_traits(t->type), t->bytes, bytes, sizeof bytes));
    }
}

static void print_totals(FILE *out, const gguf_file *file) {
    inspect_total totals[INSPECT_MOST_TYPES], sum;
    size_t count = inspect_count(file, totals, &sum);
    if (count == 0) return;
    char type[24], bytes[24], size[32];
    fprintf(out, "\n  %-8s  %7s  %14s  %14s  %6s\n", "type", "tensors", "weights", "bytes", "share");
    for (size_t i = 0; i < count; i++) {
        const inspect_total *t = &totals[i];
        fprintf(out, "  %-8s  %7" PRIu64 "  %14" PRIu64 "  %14s",
                t->is_known ? type_text(t->type, type, sizeof type) : "other", t->tensors, t->weights,
                bytes_text(t->is_known, t->bytes, bytes, sizeof bytes));
        if (t->is_known) fprintf(out, "  %5.1f%%", 100 * (double)t->bytes / (double)sum.bytes);
        fputc('\n', out);
    }
    fprintf(out, "  %-8s  %7" PRIu64 "  %14" PRIu64 "  %14" PRIu64 "  (%s, %.2f bits per weight)\n", "all", sum.tensors,
            sum.weights, sum.bytes, size_text(sum.bytes, size, sizeof size), inspect_bits_per_weight(totals, count));
}

void inspect_print_text(FILE *out, const gguf_file *file, const inspect_options *options) {
    print_file(out, file);
    print_slice(out, file);
    if (options->metadata) print_metadata(out, file, options->full);
    if (!options->tensors) return;
    print_tensors(out, file);
    print_totals(out, file);
}
