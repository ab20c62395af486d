/* The part of inspect_report.h that programs read. */
#include <inttypes.h>
#include <string.h>

#include "cli/inspect_report.h"
#include "model/extent.h"

enum { FEW_ELEMENTS = 8 };

static void print_text(const inspect_style *style, const char *text) {
    inspect_print_string(style, (gguf_text){text, strlen(text)});
}

/* `, "name": v`, and without the comma for the first member of an object. */
static void print_number(const inspect_style *style, const char *name, uint64_t v, bool is_first) {
    fprintf(style->out, "%s\"%s\": ", is_first ? "" : ", ", name);
    inspect_print_u64(style, v);
}

static void print_file(const inspect_style *style, const gguf_file *file) {
    FILE *out = style->out;
    print_number(style, "version", gguf_version(file), true);
    print_number(style, "alignment", gguf_alignment(file), false);
    fprintf(out, ", \"fingerprint\": \"%016" PRIx64 "\"", gguf_fingerprint(file));
    print_number(style, "bytes", inspect_total_bytes(file), false);
    fputs(",\n \"parts\": [", out);
    for (uint32_t i = 0; i < gguf_part_count(file); i++) {
        fputs(i ? ",\n  {\"path\": " : "\n  {\"path\": ", out);
        print_text(style, gguf_part_path(file, i));
        print_number(style, "bytes", gguf_part_size(file, i), false);
        fputc('}', out);
    }
    fputc(']', out);
}

/* `"slice": null`, or of a slice what it holds. */
static void print_slice(const inspect_style *style, const gguf_file *file) {
    FILE *out = style->out;
    hparams hp;
    extent e;
    if (hparams_read(file, &hp, NULL) != GPTOSS_OK || extent_read(file, &hp, &e, NULL) != GPTOSS_OK || !e.is_slice) {
        fputs(",\n \"slice\": null", out);
        return;
    }
    fprintf(out,
            ",\n \"slice\": {\"layers\": [%u, %u], \"experts\": [%u, %u], \"kv_heads\": [%u, %u], "
            "\"embedding_rows\": [%u, %u], \"output_rows\": [%u, %u], \"source\": \"%016" PRIx64 "\"}",
            e.layer_begin, e.layer_end, e.expert_begin, e.expert_end, e.kv_head_begin, e.kv_head_end, e.embedding_begin,
            e.embedding_end, e.output_begin, e.output_end, e.source);
}

static void print_metadata(const inspect_style *style, const gguf_file *file) {
    FILE *out = style->out;
    fputs(",\n \"metadata\": {", out);
    for (size_t i = 0; i < gguf_value_count(file) && !ferror(out); i++) {
        const gguf_value *v = gguf_value_at(file, i);
        fputs(i ? ",\n  " : "\n  ", out);
        inspect_print_string(style, v->key);
        fprintf(out, ": {\"kind\": \"%s\"", inspect_kind_name(v->kind));
        if (v->kind == GGUF_ARRAY) {
            fprintf(out, ", \"element\": \"%s\"", inspect_kind_name(v->element));
            print_number(style, "count", v->count, false);
            fprintf(out, ", \"complete\": %s", v->count <= style->most ? "true" : "false");
        }
        fputs(", \"value\": ", out);
        inspect_print_value(style, v);
        fputc('}', out);
    }
    fputc('}', out);
}

/* `"type": "Q8_0", "type_number": 8`; the name of an unlisted type is null. */
static void print_type(const inspect_style *style, gguf_type type) {
    const type_traits *traits = gguf_type_traits(type);
    fputs("\"type\": ", style->out);
    if (traits)
        print_text(style, traits->name);
    else
        fputs("null", style->out);
    print_number(style, "type_number", type, false);
}

static void print_tensors(const inspect_style *style, const gguf_file *file) {
    FILE *out = style->out;
    fputs(",\n \"tensors\": [", out);
    for (size_t i = 0; i < gguf_tensor_count(file) && !ferror(out); i++) {
        const gguf_tensor *t = gguf_tensor_at(file, i);
        fputs(i ? ",\n  {\"name\": " : "\n  {\"name\": ", out);
        print_text(style, t->name);
        fputs(", ", out);
        print_type(style, t->type);
        fputs(", \"dims\": [", out);
        for (uint32_t k = 0; k < t->n_dims; k++) {
            if (k) fputs(", ", out);
            inspect_print_u64(style, t->dims[k]);
        }
        fputc(']', out);
        print_number(style, "part", t->part + 1, false);
        print_number(style, "offset", t->offset, false);
        if (gguf_type_traits(t->type))
            print_number(style, "bytes", t->bytes, false);
        else
            fputs(", \"bytes\": null", out);
        fputc('}', out);
    }
    fputc(']', out);
}

static void print_totals(const inspect_style *style, const gguf_file *file) {
    FILE *out = style->out;
    inspect_total totals[INSPECT_MOST_TYPES], sum;
    size_t count = inspect_count(file, totals, &sum);
    fputs(",\n \"types\": [", out);
    for (size_t i = 0; i < count; i++) {
        const inspect_total *t = &totals[i];
        fputs(i ? ",\n  {" : "\n  {", out);
        if (t->is_known)
            print_type(style, t->type);
        else
            fputs("\"type\": null, \"type_number\": null", out);
        print_number(style, "tensors", t->tensors, false);
        print_number(style, "weights", t->weights, false);
        if (t->is_known)
            print_number(style, "bytes", t->bytes, false);
        else
            fputs(", \"bytes\": null", out);
        fputc('}', out);
    }
    fputs("],\n \"total\": {", out);
    print_number(style, "tensors", sum.tensors, true);
    print_number(style, "weights", sum.weights, false);
    print_number(style, "bytes", sum.bytes, false);
    fprintf(out, ", \"bits_per_weight\": %.6g}", inspect_bits_per_weight(totals, count));
}

void inspect_print_json(FILE *out, const gguf_file *file, const inspect_options *options) {
    const inspect_style style = {out, true, options->full ? UINT64_MAX : FEW_ELEMENTS, SIZE_MAX};
    fputc('{', out);
    print_file(&style, file);
    print_slice(&style, file);
    if (options->metadata) print_metadata(&style, file);
    if (options->tensors) {
        print_tensors(&style, file);
        print_totals(&style, file);
    }
    fputs("}\n", out);
}
