#include "model/weights.h"

#include <stdlib.h>

#include "base/mem.h"
#include "model/tensors.h"

gptoss_status weights_check(const gguf_file *file, const hparams *hp, uint32_t n_layers, gptoss_error *err) {
    tensor_spec specs[LAYER_TENSORS], outer[OUTER_TENSORS];
    extent held;
    TRY(extent_read(file, hp, &held, err));
    tensors_outside(hp, outer);
    if (held.embedding) TRY(tensors_check(file, &outer[EMBEDDING], OUTSIDE_LAYERS, err));
    if (held.output) TRY(tensors_check(file, &outer[OUTPUT_NORM], OUTSIDE_LAYERS, err));
    if (held.output) TRY(tensors_check(file, &outer[OUTPUT], OUTSIDE_LAYERS, err));
    tensors_of_layer(hp, held.expert_end - held.expert_begin, specs);
    for (uint32_t layer = held.layer_begin; layer < held.layer_end && layer < n_layers; layer++)
        for (int i = 0; i < LAYER_TENSORS; i++) TRY(tensors_check(file, &specs[i], layer, err));
    if (tensors_find(file, &specs[ATTN_NORM], hp->n_layers))
        return error_set(err, GPTOSS_BAD_INPUT, "%s: the metadata says %u layers, but there are tensors of layer %u",
                         gguf_part_path(file, 0), hp->n_layers, hp->n_layers);
    return GPTOSS_OK;
}

static bool has_embedding(const slice *s) { return s->embedding_end > s->embedding_begin; }
static bool has_output(const slice *s) { return s->output_end > s->output_begin; }

static gguf_range range_of(const gguf_tensor *tensor, uint64_t experts, bool expert_0_only) {
    uint64_t bytes = expert_0_only ? tensor->bytes / experts : tensor->bytes;
    return (gguf_range){tensor->part, tensor->offset, bytes};
}

static const uint8_t *data_of(const weights *w, const gguf_tensor *tensor, uint64_t bytes) {
    return gguf_map_at(w->map, tensor->part, tensor->offset, bytes);
}

static matrix bind_matrix(const weights *w, const gguf_file *file, const tensor_spec *spec, int64_t layer) {
    const gguf_tensor *tensor = tensors_find(file, spec, layer);
    matrix m = {.type = tensor->type, .rows = (uint32_t)tensor->dims[1], .cols = (uint32_t)tensor->dims[0]};
    m.row_bytes = tensor->bytes / (tensor->dims[1] * tensor->dims[2]);
    m.data = data_of(w, tensor, m.row_bytes * m.rows);
    return m;
}

/* dims[0] floats; the first row of an expert bank's biases. */
static const float *bind_vector(const weights *w, const gguf_file *file, const tensor_spec *spec, int64_t layer) {
    const gguf_tensor *tensor = tensors_find(file, spec, layer);
    return (const float *)(const void *)data_of(w, tensor, tensor->dims[0] * sizeof(float));
}

static expert_bank bind_bank(const weights *w, const gguf_file *file, const tensor_spec specs[], int tensor,
                             uint32_t layer) {
    expert_bank bank = {.expert_0 = bind_matrix(w, file, &specs[tensor], layer),
                        .bias = bind_vector(w, file, &specs[tensor + 1], layer)};
    bank.expert_bytes = bank.expert_0.row_bytes * bank.expert_0.rows;
    return bank;
}

matrix expert_matrix(const expert_bank *bank, uint32_t expert) {
    matrix m = bank->expert_0;
    m.data += expert * bank->expert_bytes;
    return m;
}

static void bind_layer(weights *w, const gguf_file *file, const tensor_spec specs[], uint32_t layer) {
    w->layers[layer - w->slice.layer_begin] = (layer_weights){
        .attn_norm = bind_vector(w, file, &specs[ATTN_NORM], layer),
        .q = bind_matrix(w, file, &specs[ATTN_Q], layer),
        .k = bind_matrix(w, file, &specs[ATTN_K], layer),
        .v = bind_matrix(w, file, &specs[ATTN_V], layer),
        .o = bind_matrix(w, file, &specs[ATTN_OUTPUT], layer),
        .q_bias = bind_vector(w, file, &specs[ATTN_Q_BIAS], layer),
        .k_bias = bind_vector(w, file, &specs[ATTN_K_BIAS], layer),
        .v_bias = bind_vector(w, file, &specs[ATTN_V_BIAS], layer),
        .o_bias = bind_vector(w, file, &specs[ATTN_OUTPUT_BIAS], layer),
        .sinks = bind_vector(w, file, &specs[ATTN_SINKS], layer),
        .ffn_norm = bind_vector(w, file, &specs[FFN_NORM], layer),
        .router = bind_matrix(w, file, &specs[ROUTER], layer),
        .router_bias = bind_vector(w, file, &specs[ROUTER_BIAS], layer),
        .gate = bind_bank(w, file, specs, GATE, layer),
        .up = bind_bank(w, file, specs, UP, layer),
        .down = bind_bank(w, file, specs, DOWN, layer),
    };
}

/* Every byte range of the slice; ranges[] has room for all. */
static size_t collect_ranges(const gguf_file *file, slice what, uint32_t held, const tensor_spec specs[],
                             const tensor_spec outer[], gguf_range *ranges) {
    size_t count = 0;
    for (uint32_t layer = what.layer_begin; layer < what.layer_end; layer++)
        for (int i = 0; i < LAYER_TENSORS; i++)
            ranges[count++] =
                range_of(tensors_find(file, &specs[i], layer), held, specs[i].expert_dim && what.expert_0_only);
    const bool wanted[OUTER_TENSORS] = {
        [EMBEDDING] = has_embedding(&what), [OUTPUT_NORM] = has_output(&what), [OUTPUT] = has_output(&what)};
    for (int i = 0; i < OUTER_TENSORS; i++)
        if (wanted[i]) ranges[count++] = range_of(tensors_find(file, &outer[i], OUTSIDE_LAYERS), 1, false);
    return count;
}

static gptoss_status check_held(const gguf_file *file, const hparams *hp, slice what, const extent *held,
                                gptoss_error *err) {
    uint32_t experts = what.expert_0_only ? 1 : hp->n_experts;
    char has[160];
    extent_describe(held, hp, has, sizeof has);
    const char *path = gguf_part_path(file, 0);
    if (held->layer_begin > what.layer_begin || held->layer_end < what.layer_end)
        return error_set(err, GPTOSS_BAD_INPUT, "%s lacks layers: %u to %u are needed, it holds %s", path,
                         what.layer_begin, what.layer_end - 1, has);
    if (held->expert_begin > 0 || held->expert_end < experts)
        return error_set(err, GPTOSS_BAD_INPUT, "%s lacks experts: 0 to %u are needed, it holds %s", path, experts - 1,
                         has);
    if (has_embedding(&what) && !held->embedding)
        return error_set(err, GPTOSS_BAD_INPUT, "%s lacks the embedding, which the first rank needs; it holds %s", path,
                         has);
    if (has_output(&what) && !held->output)
        return error_set(err, GPTOSS_BAD_INPUT, "%s lacks the output, which the last rank needs; it holds %s", path,
                         has);
    return GPTOSS_OK;
}

/* Maps the slice and binds all names; *w is zeroed and released by the caller when this fails. */
static gptoss_status open_slice(const gguf_file *file, const hparams *hp, slice what, const extent *held, weights *w,
                                gptoss_error *err) {
    size_t n_layers = what.layer_end - what.layer_begin;
    uint32_t held_experts = held->expert_end - held->expert_begin;
    tensor_spec specs[LAYER_TENSORS], outer[OUTER_TENSORS];
    tensors_of_layer(hp, held_experts, specs);
    tensors_outside(hp, outer);
    gguf_range *ranges;
    w->slice = what;
    TRY(mem_array(n_layers, sizeof *w->layers, "weights of the slice", &w->layers, err));
    TRY(mem_array(n_layers * LAYER_TENSORS + OUTER_TENSORS, sizeof *ranges, "byte ranges of the slice", &ranges, err));
    size_t count = collect_ranges(file, what, held_experts, specs, outer, ranges);
    gptoss_status status = gguf_map_open(file, ranges, count, &w->map, err);
    free(ranges);
    if (status != GPTOSS_OK) return status;
    for (uint32_t layer = what.layer_begin; layer < what.layer_end; layer++) bind_layer(w, file, specs, layer);
    if (has_embedding(&what)) w->embedding = bind_matrix(w, file, &outer[EMBEDDING], OUTSIDE_LAYERS);
    if (has_output(&what)) {
        w->output_norm = bind_vector(w, file, &outer[OUTPUT_NORM], OUTSIDE_LAYERS);
        w->output = bind_matrix(w, file, &outer[OUTPUT], OUTSIDE_LAYERS);
    }
    return GPTOSS_OK;
}

gptoss_status weights_open(const gguf_file *file, const hparams *hp, slice what, weights **out, gptoss_error *err) {
    extent held;
    weights *w;
    TRY(extent_read(file, hp, &held, err));
    TRY(check_held(file, hp, what, &held, err));
    TRY(mem_array(1, sizeof *w, "weights of the slice", &w, err));
    gptoss_status status = open_slice(file, hp, what, &held, w, err);
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
