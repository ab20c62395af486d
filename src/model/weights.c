#include "model/weights.h"

#include <stdlib.h>

#include "base/mem.h"
#include "model/tensors.h"

gptoss_status weights_check(const gguf_file *file, const hparams *hp, uint32_t n_layers, gptoss_error *err) {
    tensor_spec specs[LAYER_TENSORS], outer[OUTER_TENSORS];
    extent held;
    TRY(extent_read(file, hp, &held, err));
    tensors_outside(hp, outer);
    for (int i = 0; i < OUTER_TENSORS; i++)
        if (tensors_needed(&outer[i], &held)) TRY(tensors_check(file, hp, &outer[i], OUTSIDE_LAYERS, &held, err));
    tensors_of_layer(hp, specs);
    for (uint32_t layer = held.layer_begin; layer < held.layer_end && layer < n_layers; layer++)
        for (int i = 0; i < LAYER_TENSORS; i++)
            if (tensors_needed(&specs[i], &held)) TRY(tensors_check(file, hp, &specs[i], layer, &held, err));
    if (tensors_find(file, &specs[ATTN_NORM], hp->n_layers))
        return error_set(err, GPTOSS_BAD_INPUT, "%s: the metadata says %u layers, but there are tensors of layer %u",
                         gguf_part_path(file, 0), hp->n_layers, hp->n_layers);
    return GPTOSS_OK;
}

/* ---- binding ---- */

/* A file that is being mapped, and what of it. */
typedef struct binding {
    const gguf_file *file;
    const hparams *hp;
    extent held, needed;
    tensor_spec specs[LAYER_TENSORS], outer[OUTER_TENSORS];
    gguf_map *map;
} binding;

static tensor_place place_of(const binding *b, const tensor_spec *spec, int64_t layer) {
    return tensors_place(tensors_find(b->file, spec, layer), b->hp, spec, &b->held, &b->needed);
}

static uint64_t reach_of(const tensor_place *p) { return (p->runs - 1) * p->stride + p->bytes; }

static const uint8_t *bind(const binding *b, const tensor_place *p) {
    return gguf_map_at(b->map, p->part, p->offset, reach_of(p));
}

/* The first of them where there are several, as of experts. */
static matrix bind_matrix(const binding *b, const tensor_spec *spec, int64_t layer) {
    if (!tensors_needed(spec, &b->needed)) return (matrix){0};
    tensor_place p = place_of(b, spec, layer);
    uint64_t rows = p.dims[1] * p.dims[2];
    return (matrix){.type = tensors_find(b->file, spec, layer)->type,
                    .rows = (uint32_t)p.dims[1],
                    .cols = (uint32_t)p.dims[0],
                    .row_bytes = p.runs > 1 ? p.stride : p.bytes / rows,
                    .data = bind(b, &p)};
}

static const float *bind_vector(const binding *b, const tensor_spec *spec, int64_t layer) {
    if (!tensors_needed(spec, &b->needed)) return NULL;
    tensor_place p = place_of(b, spec, layer);
    return (const float *)(const void *)bind(b, &p);
}

static expert_bank bind_bank(const binding *b, int tensor, uint32_t layer) {
    expert_bank bank = {.first = bind_matrix(b, &b->specs[tensor], layer),
                        .bias = bind_vector(b, &b->specs[tensor + 1], layer),
                        .first_expert = b->needed.expert_begin};
    bank.expert_bytes = bank.first.row_bytes * bank.first.rows;
    return bank;
}

matrix expert_matrix(const expert_bank *bank, uint32_t expert) {
    matrix m = bank->first;
    m.data += (expert - bank->first_expert) * bank->expert_bytes;
    return m;
}

const float *expert_bias(const expert_bank *bank, uint32_t expert) {
    return bank->bias + (size_t)(expert - bank->first_expert) * bank->first.rows;
}

static layer_weights bind_layer(const binding *b, uint32_t layer) {
    const tensor_spec *specs = b->specs;
    return (layer_weights){
        .attn_norm = bind_vector(b, &specs[ATTN_NORM], layer),
        .q = bind_matrix(b, &specs[ATTN_Q], layer),
        .k = bind_matrix(b, &specs[ATTN_K], layer),
        .v = bind_matrix(b, &specs[ATTN_V], layer),
        .o = bind_matrix(b, &specs[ATTN_OUTPUT], layer),
        .q_bias = bind_vector(b, &specs[ATTN_Q_BIAS], layer),
        .k_bias = bind_vector(b, &specs[ATTN_K_BIAS], layer),
        .v_bias = bind_vector(b, &specs[ATTN_V_BIAS], layer),
        .o_bias = bind_vector(b, &specs[ATTN_OUTPUT_BIAS], layer),
        .sinks = bind_vector(b, &specs[ATTN_SINKS], layer),
        .ffn_norm = bind_vector(b, &specs[FFN_NORM], layer),
        .router = bind_matrix(b, &specs[ROUTER], layer),
        .router_bias = bind_vector(b, &specs[ROUTER_BIAS], layer),
        .gate = bind_bank(b, GATE, layer),
        .up = bind_bank(b, UP, layer),
        .down = bind_bank(b, DOWN, layer),
    };
}

/* ---- opening ---- */

static size_t add_range(const binding *b, const tensor_spec *spec, int64_t layer, gguf_range *ranges, size_t count) {
    if (!tensors_needed(spec, &b->needed)) return count;
    tensor_place p = place_of(b, spec, layer);
    ranges[count] = (gguf_range){p.part, p.offset, reach_of(&p)};
    return count + 1;
}

/* Every byte range of the slice; ranges[] has room for all. */
static size_t collect_ranges(const binding *b, gguf_range *ranges) {
    size_t count = 0;
    for (uint32_t layer = b->needed.layer_begin; layer < b->needed.layer_end; layer++)
        for (int i = 0; i < LAYER_TENSORS; i++) count = add_range(b, &b->specs[i], layer, ranges, count);
    for (int i = 0; i < OUTER_TENSORS; i++) count = add_range(b, &b->outer[i], OUTSIDE_LAYERS, ranges, count);
    return count;
}

static gptoss_status check_held(const binding *b, gptoss_error *err) {
    const extent *n = &b->needed, *h = &b->held;
    const struct {
        const char *what;
        uint32_t begin, end, held_begin, held_end;
    } parts[] = {
        {"layers", n->layer_begin, n->layer_end, h->layer_begin, h->layer_end},
        {"experts", n->expert_begin, n->expert_end, h->expert_begin, h->expert_end},
        {"KV heads", n->kv_head_begin, n->kv_head_end, h->kv_head_begin, h->kv_head_end},
        {"embedding rows", n->embedding_begin, n->embedding_end, h->embedding_begin, h->embedding_end},
        {"output rows", n->output_begin, n->output_end, h->output_begin, h->output_end},
    };
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        bool has = parts[i].held_begin <= parts[i].begin && parts[i].end <= parts[i].held_end &&
                   parts[i].begin <= parts[i].end;
        if (has || parts[i].begin == parts[i].end) continue;
        char holds[EXTENT_TEXT];
        extent_describe(h, b->hp, holds);
        return error_set(err, GPTOSS_BAD_INPUT, "%s lacks %s: %u to %u are needed, it holds %s",
                         gguf_part_path(b->file, 0), parts[i].what, parts[i].begin, parts[i].end - 1, holds);
    }
    if (n->kv_head_begin >= n->kv_head_end) return error_set(err, GPTOSS_INTERNAL, "a slice has no KV heads");
    for (uint32_t layer = n->layer_begin; layer < n->layer_end; layer++)
        TRY(tensors_check_cut(b->file, b->hp, &b->specs[ATTN_OUTPUT], layer, h, n, err));
    return GPTOSS_OK;
}

/* Maps the slice and binds all names; *w is zeroed and released by the caller when this fails. */
static gptoss_status open_slice(binding *b, slice what, weights *w, gptoss_error *err) {
    size_t n_layers = what.layer_end - what.layer_begin;
    gguf_range *ranges;
    w->slice = what;
    TRY(mem_array(n_layers, sizeof *w->layers, "weights of the slice", &w->layers, err));
    TRY(mem_array(n_layers * LAYER_TENSORS + OUTER_TENSORS, sizeof *ranges, "byte ranges of the slice", &ranges, err));
    gptoss_status status = gguf_map_open(b->file, ranges, collect_ranges(b, ranges), &w->map, err);
    free(ranges);
    if (status != GPTOSS_OK) return status;
    b->map = w->map;
    for (uint32_t layer = what.layer_begin; layer < what.layer_end; layer++)
        w->layers[layer - what.layer_begin] = bind_layer(b, layer);
    w->embedding = bind_matrix(b, &b->outer[EMBEDDING], OUTSIDE_LAYERS);
    w->output_norm = bind_vector(b, &b->outer[OUTPUT_NORM], OUTSIDE_LAYERS);
    w->output = bind_matrix(b, &b->outer[OUTPUT], OUTSIDE_LAYERS);
    return GPTOSS_OK;
}

gptoss_status weights_open(const gguf_file *file, const hparams *hp, slice what, weights **out, gptoss_error *err) {
    binding b = {.file = file, .hp = hp, .needed = extent_of_slice(&what)};
    weights *w;
    tensors_of_layer(hp, b.specs);
    tensors_outside(hp, b.outer);
    TRY(extent_read(file, hp, &b.held, err));
    TRY(check_held(&b, err));
    TRY(mem_array(1, sizeof *w, "weights of the slice", &w, err));
    gptoss_status status = open_slice(&b, what, w, err);
    if (status != GPTOSS_OK) {
        weights_close(w);
        return status;
    }
    *out = w;
    return GPTOSS_OK;
}

void weights_close(weights *w) {
    if (!w) return;
    gguf_map_close(w->map);
    free(w->layers);
    free(w);
}

/* ---- a fingerprint ---- */

static void sample_matrix(digest_state *d, const matrix *m) {
    enum { ROWS = 8 };
    for (uint64_t i = 0; i < ROWS && m->data; i++) {
        uint64_t bytes;
        if (gguf_row_bytes(m->type, m->cols, &bytes, NULL) != GPTOSS_OK) return;
        digest_add(d, m->data + i * m->rows / ROWS * m->row_bytes, bytes);
    }
}

gptoss_status weights_sample(const weights *w, const hparams *hp, digest *out, gptoss_error *err) {
    digest_state *d;
    TRY(digest_begin(&d, err));
    for (uint32_t i = 0; i < w->slice.layer_end - w->slice.layer_begin; i++) {
        const layer_weights *l = &w->layers[i];
        const matrix *all[] = {&l->q, &l->k, &l->v, &l->o, &l->router, &l->gate.first, &l->up.first, &l->down.first};
        digest_add(d, l->attn_norm, hp->d_model * sizeof *l->attn_norm);
        digest_add(d, l->ffn_norm, hp->d_model * sizeof *l->ffn_norm);
        for (size_t n = 0; n < sizeof all / sizeof *all; n++) sample_matrix(d, all[n]);
    }
    sample_matrix(d, &w->embedding);
    *out = digest_so_far(d);
    digest_end(d);
    return GPTOSS_OK;
}
