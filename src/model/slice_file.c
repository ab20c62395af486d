#include "model/slice_file.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "gguf/source.h"
#include "model/tensors.h"

enum { PIECE = 4 << 20 };

/* ---- which tensors ---- */

/* A tensor of the slice: all of a tensor of the source, or some of its experts. */
typedef struct chosen {
    const gguf_tensor *tensor;
    gguf_range range;
    uint64_t dims[4];
} chosen;

static gptoss_status choose(const gguf_file *source, const tensor_spec *spec, int64_t layer, const extent *what,
                            const extent *held, chosen *out, gptoss_error *err) {
    const gguf_tensor *tensor = tensors_find(source, spec, layer);
    if (!tensor) return tensors_check(source, spec, layer, err);
    chosen c = {tensor, {tensor->part, tensor->offset, tensor->bytes}, {0}};
    memcpy(c.dims, tensor->dims, sizeof c.dims);
    if (spec->expert_dim) {
        uint64_t one = tensor->bytes / (held->expert_end - held->expert_begin);
        c.dims[spec->expert_dim] = what->expert_end - what->expert_begin;
        c.range.offset += one * (what->expert_begin - held->expert_begin);
        c.range.bytes = one * c.dims[spec->expert_dim];
    }
    *out = c;
    return GPTOSS_OK;
}

static int by_place(const void *a, const void *b) {
    const gguf_range *x = &((const chosen *)a)->range, *y = &((const chosen *)b)->range;
    if (x->part != y->part) return x->part < y->part ? -1 : 1;
    return (x->offset > y->offset) - (x->offset < y->offset);
}

/* In the order of the source, so that a disk is read from front to back. list[] has room for all. */
static gptoss_status choose_all(const gguf_file *source, const hparams *hp, const extent *what, const extent *held,
                                chosen *list, size_t *count, gptoss_error *err) {
    tensor_spec specs[LAYER_TENSORS], outer[OUTER_TENSORS];
    tensors_of_layer(hp, held->expert_end - held->expert_begin, specs);
    tensors_outside(hp, outer);
    size_t n = 0;
    for (uint32_t layer = what->layer_begin; layer < what->layer_end; layer++)
        for (int i = 0; i < LAYER_TENSORS; i++) TRY(choose(source, &specs[i], layer, what, held, &list[n++], err));
    const bool wanted[OUTER_TENSORS] = {
        [EMBEDDING] = what->embedding, [OUTPUT_NORM] = what->output, [OUTPUT] = what->output};
    for (int i = 0; i < OUTER_TENSORS; i++)
        if (wanted[i]) TRY(choose(source, &outer[i], OUTSIDE_LAYERS, what, held, &list[n++], err));
    qsort(list, n, sizeof *list, by_place);
    *count = n;
    return GPTOSS_OK;
}

static gptoss_status check_held(const gguf_file *source, const hparams *hp, const extent *what, const extent *held,
                                gptoss_error *err) {
    if (what->layer_begin >= what->layer_end || what->layer_end > hp->n_layers)
        return error_set(err, GPTOSS_MISUSE, "layers %u to %u are asked for; the model has layers 0 to %u",
                         what->layer_begin, what->layer_end - 1, hp->n_layers - 1);
    if (what->expert_begin >= what->expert_end || what->expert_end > hp->n_experts)
        return error_set(err, GPTOSS_MISUSE, "experts %u to %u are asked for; the model has experts 0 to %u",
                         what->expert_begin, what->expert_end - 1, hp->n_experts - 1);
    if (what->layer_begin >= held->layer_begin && what->layer_end <= held->layer_end &&
        what->expert_begin >= held->expert_begin && what->expert_end <= held->expert_end &&
        what->embedding <= held->embedding && what->output <= held->output)
        return GPTOSS_OK;
    char wants[160], has[160];
    extent_describe(what, hp, wants, sizeof wants);
    extent_describe(held, hp, has, sizeof has);
    return error_set(err, GPTOSS_MISUSE, "%s is a slice with %s; it cannot give %s", gguf_part_path(source, 0), has,
                     wants);
}

/* ---- metadata ---- */

static bool begins_with(gguf_text key, const char *prefix) {
    return key.size >= strlen(prefix) && memcmp(key.bytes, prefix, strlen(prefix)) == 0;
}

static gptoss_status copy_metadata(const gguf_file *source, bool tokenizer, gguf_writer *w, gptoss_error *err) {
    for (size_t i = 0; i < gguf_value_count(source); i++) {
        const gguf_value *value = gguf_value_at(source, i);
        if (begins_with(value->key, SLICE_KEYS) || (!tokenizer && begins_with(value->key, "tokenizer."))) continue;
        TRY(gguf_write_copy(w, value, err));
    }
    return GPTOSS_OK;
}

static gptoss_status write_flag(gguf_writer *w, const char *key, bool value, gptoss_error *err) {
    return gguf_write_number(w, key, GGUF_BOOL, &(uint8_t){value}, err);
}

static gptoss_status add_keys(const hparams *hp, const extent *what, uint64_t origin, const model_sizes *sizes,
                              gguf_writer *w, gptoss_error *err) {
    const uint32_t layers[2] = {what->layer_begin, what->layer_end},
                   experts[2] = {what->expert_begin, what->expert_end};
    const uint64_t outer[2] = {sizes->embedding, sizes->output};
    TRY(gguf_write_u32(w, SLICE_KEYS "version", SLICE_VERSION, err));
    TRY(gguf_write_numbers(w, SLICE_KEYS "layers", GGUF_U32, layers, 2, err));
    TRY(gguf_write_numbers(w, SLICE_KEYS "experts", GGUF_U32, experts, 2, err));
    TRY(write_flag(w, SLICE_KEYS "embedding", what->embedding, err));
    TRY(write_flag(w, SLICE_KEYS "output", what->output, err));
    TRY(gguf_write_u32(w, SLICE_KEYS "vocabulary", hp->n_vocab, err));
    TRY(gguf_write_number(w, SLICE_KEYS "source", GGUF_U64, &origin, err));
    TRY(gguf_write_numbers(w, SLICE_KEYS "layer_bytes", GGUF_U64, sizes->layers, sizes->n_layers, err));
    TRY(gguf_write_numbers(w, SLICE_KEYS "expert_bytes", GGUF_U64, sizes->experts, sizes->n_layers, err));
    return gguf_write_numbers(w, SLICE_KEYS "outer_bytes", GGUF_U64, outer, 2, err);
}

/* ---- the plan ---- */

static gptoss_status declare(const chosen *list, size_t count, slice_file *f, gptoss_error *err) {
    TRY(mem_array(count, sizeof *f->ranges, "slice", &f->ranges, err));
    for (; f->count < count; f->count++) {
        const chosen *c = &list[f->count];
        TRY(gguf_write_tensor(f->writer, c->tensor->name, c->tensor->n_dims, c->dims, c->tensor->type, err));
        if (gguf_write_tensor_bytes(f->writer, f->count) != c->range.bytes)
            return error_set(err, GPTOSS_INTERNAL, "tensor %s: its part is no whole number of rows", c->tensor->name);
        f->ranges[f->count] = c->range;
    }
    return GPTOSS_OK;
}

static gptoss_status fill(const gguf_file *source, const hparams *hp, const extent *what, slice_file *f,
                          gptoss_error *err) {
    extent held;
    chosen *list;
    model_sizes sizes;
    size_t count = 0;
    TRY(extent_read(source, hp, &held, err));
    TRY(check_held(source, hp, what, &held, err));
    TRY(gguf_write_new(&f->writer, err));
    TRY(copy_metadata(source, what->embedding, f->writer, err));
    TRY(model_sizes_read(source, hp, &sizes, err));
    gptoss_status status = add_keys(hp, what, held.source, &sizes, f->writer, err);
    model_sizes_free(&sizes);
    if (status != GPTOSS_OK) return status;
    size_t most = (size_t)(what->layer_end - what->layer_begin) * LAYER_TENSORS + OUTER_TENSORS;
    TRY(mem_array(most, sizeof *list, "slice", &list, err));
    status = choose_all(source, hp, what, &held, list, &count, err);
    if (status == GPTOSS_OK) status = declare(list, count, f, err);
    free(list);
    return status;
}

gptoss_status slice_file_plan(const gguf_file *source, const hparams *hp, const extent *what, slice_file *out,
                              gptoss_error *err) {
    slice_file f = {0};
    gptoss_status status = fill(source, hp, what, &f, err);
    if (status != GPTOSS_OK) {
        slice_file_free(&f);
        return status;
    }
    *out = f;
    return GPTOSS_OK;
}

void slice_file_free(slice_file *f) {
    gguf_write_free(f->writer);
    free(f->ranges);
    *f = (slice_file){0};
}

/* ---- writing ---- */

static gptoss_status copy_tensors(const slice_file *f, const gguf_source *from, uint8_t *piece,
                                  slice_file_report *report, void *context, gptoss_error *err) {
    uint64_t done = 0, all = gguf_write_total_bytes(f->writer);
    for (size_t i = 0; i < f->count; i++) {
        const gguf_range *range = &f->ranges[i];
        for (uint64_t at = 0; at < range->bytes; at += PIECE) {
            size_t some = range->bytes - at < PIECE ? (size_t)(range->bytes - at) : PIECE;
            TRY(gguf_source_read(from, range->part, range->offset + at, piece, some, err));
            TRY(gguf_write_data(f->writer, i, at, piece, some, err));
            done += some;
            if (report && !report(context, done, all))
                return error_set(err, GPTOSS_CANCELLED, "interrupted; nothing was written");
        }
    }
    return GPTOSS_OK;
}

gptoss_status slice_file_write(const slice_file *f, const gguf_file *source, const char *path, bool replace,
                               slice_file_report *report, void *context, gptoss_error *err) {
    gguf_source *from;
    uint8_t *piece;
    TRY(gguf_write_open(f->writer, path, (gguf_write_options){.replace = replace}, err));
    TRY(gguf_source_open(source, &from, err));
    gptoss_status status = mem_array(PIECE, 1, "copying", &piece, err);
    if (status == GPTOSS_OK) {
        status = copy_tensors(f, from, piece, report, context, err);
        free(piece);
    }
    gguf_source_close(from);
    return status == GPTOSS_OK ? gguf_write_close(f->writer, err) : status;
}
