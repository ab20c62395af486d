#include "model/slice_file.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

enum { PIECE = 4 << 20 };

/* ---- which tensors ---- */

/* A source, what it holds, and what of that the slice is to hold. */
typedef struct cut {
    const gguf_file *source;
    const hparams *hp;
    extent held, what;
} cut;

/* A tensor of the source, and where the slice's part of it is. */
typedef struct chosen {
    const gguf_tensor *tensor;
    tensor_place place;
} chosen;

/* Adds a tensor to list[*count], if the slice needs it. */
static gptoss_status choose(const cut *c, const tensor_spec *spec, int64_t layer, chosen *list, size_t *count,
                            gptoss_error *err) {
    if (!tensors_needed(spec, &c->what)) return GPTOSS_OK;
    const gguf_tensor *tensor = tensors_find(c->source, spec, layer);
    if (!tensor) return tensors_check(c->source, c->hp, spec, layer, &c->held, err);
    TRY(tensors_check_cut(c->source, c->hp, spec, layer, &c->held, &c->what, err));
    list[(*count)++] = (chosen){tensor, tensors_place(tensor, c->hp, spec, &c->held, &c->what)};
    return GPTOSS_OK;
}

static int by_place(const void *a, const void *b) {
    const tensor_place *x = &((const chosen *)a)->place, *y = &((const chosen *)b)->place;
    if (x->part != y->part) return x->part < y->part ? -1 : 1;
    return (x->offset > y->offset) - (x->offset < y->offset);
}

/* In the order of the source, so that a disk is read from front to back. list[] has room for all. */
static gptoss_status choose_all(const cut *c, chosen *list, size_t *count, gptoss_error *err) {
    tensor_spec specs[LAYER_TENSORS], outer[OUTER_TENSORS];
    tensors_of_layer(c->hp, specs);
    tensors_outside(c->hp, outer);
    *count = 0;
    for (uint32_t layer = c->what.layer_begin; layer < c->what.layer_end; layer++)
        for (int i = 0; i < LAYER_TENSORS; i++) TRY(choose(c, &specs[i], layer, list, count, err));
    for (int i = 0; i < OUTER_TENSORS; i++) TRY(choose(c, &outer[i], OUTSIDE_LAYERS, list, count, err));
    qsort(list, *count, sizeof *list, by_place);
    return GPTOSS_OK;
}

static gptoss_status check_held(const cut *c, gptoss_error *err) {
    const extent *w = &c->what;
    const struct {
        const char *what;
        uint32_t begin, end, all;
        bool may_be_empty;
    } ranges[] = {{"layers", w->layer_begin, w->layer_end, c->hp->n_layers, false},
                  {"KV heads", w->kv_head_begin, w->kv_head_end, c->hp->n_kv_heads, false},
                  {"experts", w->expert_begin, w->expert_end, c->hp->n_experts, true},
                  {"embedding rows", w->embedding_begin, w->embedding_end, c->hp->n_vocab, true},
                  {"output rows", w->output_begin, w->output_end, c->hp->n_vocab, true}};
    for (size_t i = 0; i < sizeof ranges / sizeof *ranges; i++) {
        if (ranges[i].begin == ranges[i].end && !ranges[i].may_be_empty)
            return error_set(err, GPTOSS_MISUSE, "a slice without %s is asked for", ranges[i].what);
        if (ranges[i].begin > ranges[i].end || ranges[i].end > ranges[i].all)
            return error_set(err, GPTOSS_MISUSE, "%s %u to %u are asked for; the model has %s 0 to %u", ranges[i].what,
                             ranges[i].begin, ranges[i].end - 1, ranges[i].what, ranges[i].all - 1);
    }
    if (extent_includes(&c->held, w)) return GPTOSS_OK;
    char wants[EXTENT_TEXT], has[EXTENT_TEXT];
    extent_describe(w, c->hp, wants);
    extent_describe(&c->held, c->hp, has);
    return error_set(err, GPTOSS_MISUSE, "%s is a slice with %s; it cannot give %s", gguf_part_path(c->source, 0), has,
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

static gptoss_status write_range(gguf_writer *w, const char *key, uint32_t begin, uint32_t end, gptoss_error *err) {
    const uint32_t range[2] = {begin, end};
    return gguf_write_numbers(w, key, GGUF_U32, range, 2, err);
}

static gptoss_status add_keys(const cut *c, const model_sizes *sizes, gguf_writer *w, gptoss_error *err) {
    const extent *e = &c->what;
    const uint64_t outer[2] = {sizes->embedding, sizes->output};
    TRY(gguf_write_u32(w, SLICE_KEYS "version", SLICE_VERSION, err));
    TRY(write_range(w, SLICE_KEYS "layers", e->layer_begin, e->layer_end, err));
    TRY(write_range(w, SLICE_KEYS "kv_heads", e->kv_head_begin, e->kv_head_end, err));
    TRY(write_range(w, SLICE_KEYS "experts", e->expert_begin, e->expert_end, err));
    TRY(write_range(w, SLICE_KEYS "embedding_rows", e->embedding_begin, e->embedding_end, err));
    TRY(write_range(w, SLICE_KEYS "output_rows", e->output_begin, e->output_end, err));
    TRY(gguf_write_u32(w, SLICE_KEYS "vocabulary", c->hp->n_vocab, err));
    TRY(gguf_write_u32(w, SLICE_KEYS "kv_head_step", sizes->kv_head_step, err));
    TRY(gguf_write_number(w, SLICE_KEYS "source", GGUF_U64, &c->held.source, err));
    TRY(gguf_write_numbers(w, SLICE_KEYS "layer_bytes", GGUF_U64, sizes->layers, sizes->n_layers, err));
    TRY(gguf_write_numbers(w, SLICE_KEYS "expert_bytes", GGUF_U64, sizes->experts, sizes->n_layers, err));
    return gguf_write_numbers(w, SLICE_KEYS "outer_bytes", GGUF_U64, outer, 2, err);
}

/* ---- the plan ---- */

static gptoss_status declare(const chosen *list, size_t count, slice_file *f, gptoss_error *err) {
    TRY(mem_array(count, sizeof *f->places, "slice", &f->places, err));
    for (; f->count < count; f->count++) {
        const gguf_tensor *tensor = list[f->count].tensor;
        const tensor_place *place = &list[f->count].place;
        TRY(gguf_write_tensor(f->writer, tensor->name, tensor->n_dims, place->dims, tensor->type, err));
        if (gguf_write_tensor_bytes(f->writer, f->count) != place->runs * place->bytes)
            return error_set(err, GPTOSS_INTERNAL, "tensor %s: its part is no whole number of rows", tensor->name);
        f->places[f->count] = *place;
    }
    return GPTOSS_OK;
}

static gptoss_status fill(cut *c, slice_file *f, gptoss_error *err) {
    chosen *list;
    model_sizes sizes;
    size_t count = 0;
    TRY(extent_read(c->source, c->hp, &c->held, err));
    TRY(check_held(c, err));
    TRY(gguf_write_new(&f->writer, err));
    TRY(copy_metadata(c->source, extent_has_tokenizer(&c->what), f->writer, err));
    TRY(model_sizes_read(c->source, c->hp, &sizes, err));
    gptoss_status status = add_keys(c, &sizes, f->writer, err);
    model_sizes_free(&sizes);
    if (status != GPTOSS_OK) return status;
    size_t most = (size_t)(c->what.layer_end - c->what.layer_begin) * LAYER_TENSORS + OUTER_TENSORS;
    TRY(mem_array(most, sizeof *list, "slice", &list, err));
    status = choose_all(c, list, &count, err);
    if (status == GPTOSS_OK) status = declare(list, count, f, err);
    free(list);
    return status;
}

gptoss_status slice_file_plan(const gguf_file *source, const hparams *hp, const extent *what, slice_file *out,
                              gptoss_error *err) {
    cut c = {.source = source, .hp = hp, .what = *what};
    slice_file f = {0};
    gptoss_status status = fill(&c, &f, err);
    if (status != GPTOSS_OK) {
        slice_file_free(&f);
        return status;
    }
    *out = f;
    return GPTOSS_OK;
}

void slice_file_free(slice_file *f) {
    gguf_write_free(f->writer);
    free(f->places);
    *f = (slice_file){0};
}

/* ---- reading and writing ---- */

gptoss_status slice_file_read(const slice_file *f, const gguf_source *from, size_t tensor, uint64_t at, void *bytes,
                              size_t size, gptoss_error *err) {
    const tensor_place *p = &f->places[tensor];
    uint8_t *to = bytes;
    for (size_t some; size > 0; to += some, at += some, size -= some) {
        uint64_t run = at / p->bytes, past = at % p->bytes;
        some = p->bytes - past < size ? (size_t)(p->bytes - past) : size;
        TRY(gguf_source_read(from, p->part, p->offset + run * p->stride + past, to, some, err));
    }
    return GPTOSS_OK;
}

static gptoss_status copy_tensors(const slice_file *f, const gguf_source *from, uint8_t *piece,
                                  slice_file_report *report, void *context, gptoss_error *err) {
    uint64_t done = 0, all = gguf_write_total_bytes(f->writer);
    for (size_t i = 0; i < f->count; i++) {
        uint64_t bytes = gguf_write_tensor_bytes(f->writer, i);
        for (uint64_t at = 0; at < bytes; at += PIECE) {
            size_t some = bytes - at < PIECE ? (size_t)(bytes - at) : PIECE;
            TRY(slice_file_read(f, from, i, at, piece, some, err));
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
