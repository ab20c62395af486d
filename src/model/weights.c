#include "model/weights.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "kernels/dequant.h"

/* The tensors of a layer, in the order of layer_tensors() below. */
enum {
    ATTN_NORM,
    ATTN_Q,
    ATTN_Q_BIAS,
    ATTN_K,
    ATTN_K_BIAS,
    ATTN_V,
    ATTN_V_BIAS,
    ATTN_SINKS,
    ATTN_OUTPUT,
    ATTN_OUTPUT_BIAS,
    FFN_NORM,
    ROUTER,
    ROUTER_BIAS,
    GATE,
    GATE_BIAS,
    UP,
    UP_BIAS,
    DOWN,
    DOWN_BIAS,
    LAYER_TENSORS
};

typedef struct tensor_spec {
    const char *suffix;   /* after "blk.N.", or the whole name */
    const char *old_name; /* what early files called it, or NULL */
    bool is_vector;       /* used as it is, so it must be F32; otherwise any type that has a kernel */
    uint64_t dims[3];     /* as in the file: row length first; 1 where unused */
} tensor_spec;

static void layer_tensors(const hparams *hp, tensor_spec specs[LAYER_TENSORS]) {
    uint64_t model = hp->d_model, heads = (uint64_t)hp->n_heads * hp->head_dim;
    uint64_t kv = (uint64_t)hp->n_kv_heads * hp->head_dim, experts = hp->n_experts, ff = hp->d_ff;
    const tensor_spec all[LAYER_TENSORS] = {
        [ATTN_NORM] = {"attn_norm.weight", NULL, true, {model, 1, 1}},
        [ATTN_Q] = {"attn_q.weight", NULL, false, {model, heads, 1}},
        [ATTN_Q_BIAS] = {"attn_q.bias", NULL, true, {heads, 1, 1}},
        [ATTN_K] = {"attn_k.weight", NULL, false, {model, kv, 1}},
        [ATTN_K_BIAS] = {"attn_k.bias", NULL, true, {kv, 1, 1}},
        [ATTN_V] = {"attn_v.weight", NULL, false, {model, kv, 1}},
        [ATTN_V_BIAS] = {"attn_v.bias", NULL, true, {kv, 1, 1}},
        [ATTN_SINKS] = {"attn_sinks.weight", "attn_sinks", true, {hp->n_heads, 1, 1}},
        [ATTN_OUTPUT] = {"attn_output.weight", "attn_out.weight", false, {heads, model, 1}},
        [ATTN_OUTPUT_BIAS] = {"attn_output.bias", "attn_out.bias", true, {model, 1, 1}},
        [FFN_NORM] = {"post_attention_norm.weight", "ffn_norm.weight", true, {model, 1, 1}},
        [ROUTER] = {"ffn_gate_inp.weight", NULL, false, {model, experts, 1}},
        [ROUTER_BIAS] = {"ffn_gate_inp.bias", NULL, true, {experts, 1, 1}},
        [GATE] = {"ffn_gate_exps.weight", NULL, false, {model, ff, experts}},
        [GATE_BIAS] = {"ffn_gate_exps.bias", NULL, true, {ff, experts, 1}},
        [UP] = {"ffn_up_exps.weight", NULL, false, {model, ff, experts}},
        [UP_BIAS] = {"ffn_up_exps.bias", NULL, true, {ff, experts, 1}},
        [DOWN] = {"ffn_down_exps.weight", NULL, false, {ff, model, experts}},
        [DOWN_BIAS] = {"ffn_down_exps.bias", NULL, true, {model, experts, 1}},
    };
    memcpy(specs, all, sizeof all);
}

static tensor_spec embedding_spec(const hparams *hp) {
    return (tensor_spec){"token_embd.weight", NULL, false, {hp->d_model, hp->n_vocab, 1}};
}
static tensor_spec output_norm_spec(const hparams *hp) {
    return (tensor_spec){"output_norm.weight", NULL, true, {hp->d_model, 1, 1}};
}
static tensor_spec output_spec(const hparams *hp) {
    return (tensor_spec){"output.weight", NULL, false, {hp->d_model, hp->n_vocab, 1}};
}

/* layer < 0: a tensor outside the layers. */
static const gguf_tensor *find_tensor(const gguf_file *file, const tensor_spec *spec, int64_t layer) {
    const char *names[] = {spec->suffix, spec->old_name};
    for (int i = 0; i < 2 && names[i]; i++) {
        char full[96];
        if (layer < 0)
            snprintf(full, sizeof full, "%s", names[i]);
        else
            snprintf(full, sizeof full, "blk.%lld.%s", (long long)layer, names[i]);
        const gguf_tensor *tensor = gguf_find_tensor(file, full);
        if (tensor) return tensor;
    }
    return NULL;
}

static gptoss_status check_tensor(const gguf_file *file, const tensor_spec *spec, int64_t layer, gptoss_error *err) {
    const gguf_tensor *tensor = find_tensor(file, spec, layer);
    const char *path = gguf_part_path(file, tensor ? tensor->part : 0);
    if (!tensor) {
        if (layer < 0) return error_set(err, GPTOSS_BAD_INPUT, "%s: tensor %s is missing", path, spec->suffix);
        return error_set(err, GPTOSS_BAD_INPUT, "%s: tensor blk.%lld.%s is missing", path, (long long)layer,
                         spec->suffix);
    }
    const uint64_t *have = tensor->dims, *want = spec->dims;
    if (have[0] != want[0] || have[1] != want[1] || have[2] != want[2] || have[3] != 1)
        return error_set(err, GPTOSS_BAD_INPUT,
                         "%s: tensor %s has the shape %llu x %llu x %llu x %llu; the metadata says %llu x %llu x %llu",
                         path, tensor->name, (unsigned long long)have[0], (unsigned long long)have[1],
                         (unsigned long long)have[2], (unsigned long long)have[3], (unsigned long long)want[0],
                         (unsigned long long)want[1], (unsigned long long)want[2]);
    const type_traits *traits = gguf_type_traits(tensor->type);
    const char *type_name = traits ? traits->name : "unknown";
    if (spec->is_vector && tensor->type != TYPE_F32)
        return error_set(err, GPTOSS_BAD_INPUT, "%s: tensor %s is of type %s; it must be F32", path, tensor->name,
                         type_name);
    if (!dequant_for(tensor->type))
        return error_set(err, GPTOSS_BAD_INPUT, "%s: tensor %s is of type %s (%u), which cannot be computed with", path,
                         tensor->name, type_name, tensor->type);
    return GPTOSS_OK;
}

gptoss_status weights_check(const gguf_file *file, const hparams *hp, uint32_t n_layers, gptoss_error *err) {
    const tensor_spec outer[] = {embedding_spec(hp), output_norm_spec(hp), output_spec(hp)};
    for (int i = 0; i < 3; i++) TRY(check_tensor(file, &outer[i], -1, err));
    tensor_spec specs[LAYER_TENSORS];
    layer_tensors(hp, specs);
    for (uint32_t layer = 0; layer < n_layers; layer++)
        for (int i = 0; i < LAYER_TENSORS; i++) TRY(check_tensor(file, &specs[i], layer, err));
    if (find_tensor(file, &specs[ATTN_NORM], hp->n_layers))
        return error_set(err, GPTOSS_BAD_INPUT, "%s: the metadata says %u layers, but there are tensors of layer %u",
                         gguf_part_path(file, 0), hp->n_layers, hp->n_layers);
    return GPTOSS_OK;
}

/* Weights and biases that hold one part per expert, expert 0 first. */
static bool is_bank(int tensor) { return tensor >= GATE && tensor <= DOWN_BIAS; }

static gguf_range range_of(const gguf_tensor *tensor, uint64_t experts, bool expert_0_only) {
    uint64_t bytes = expert_0_only ? tensor->bytes / experts : tensor->bytes;
    return (gguf_range){tensor->part, tensor->offset, bytes};
}

static const uint8_t *data_of(const weights *w, const gguf_tensor *tensor, uint64_t bytes) {
    return gguf_map_at(w->map, tensor->part, tensor->offset, bytes);
}

static matrix bind_matrix(const weights *w, const gguf_file *file, const tensor_spec *spec, int64_t layer) {
    const gguf_tensor *tensor = find_tensor(file, spec, layer);
    matrix m = {.type = tensor->type, .rows = (uint32_t)tensor->dims[1], .cols = (uint32_t)tensor->dims[0]};
    m.row_bytes = tensor->bytes / (tensor->dims[1] * tensor->dims[2]);
    m.data = data_of(w, tensor, m.row_bytes * m.rows);
    return m;
}

/* dims[0] floats; the first row of an expert bank's biases. */
static const float *bind_vector(const weights *w, const gguf_file *file, const tensor_spec *spec, int64_t layer) {
    const gguf_tensor *tensor = find_tensor(file, spec, layer);
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
static size_t collect_ranges(const gguf_file *file, const hparams *hp, slice what, const tensor_spec specs[],
                             gguf_range *ranges) {
    size_t count = 0;
    for (uint32_t layer = what.layer_begin; layer < what.layer_end; layer++)
        for (int i = 0; i < LAYER_TENSORS; i++)
            ranges[count++] =
                range_of(find_tensor(file, &specs[i], layer), hp->n_experts, is_bank(i) && what.expert_0_only);
    const tensor_spec embedding = embedding_spec(hp), norm = output_norm_spec(hp), output = output_spec(hp);
    if (what.embedding) ranges[count++] = range_of(find_tensor(file, &embedding, -1), 1, false);
    if (what.output) {
        ranges[count++] = range_of(find_tensor(file, &norm, -1), 1, false);
        ranges[count++] = range_of(find_tensor(file, &output, -1), 1, false);
    }
    return count;
}

gptoss_status weights_open(const gguf_file *file, const hparams *hp, slice what, weights **out, gptoss_error *err) {
    size_t n_layers = what.layer_end - what.layer_begin;
    tensor_spec specs[LAYER_TENSORS];
    layer_tensors(hp, specs);

    weights *w = NULL;
    gguf_range *ranges = NULL;
    gptoss_status status = mem_array(1, sizeof *w, "weights of the slice", &w, err);
    if (status == GPTOSS_OK) status = mem_array(n_layers, sizeof *w->layers, "weights of the slice", &w->layers, err);
    if (status == GPTOSS_OK)
        status = mem_array(n_layers * LAYER_TENSORS + 3, sizeof *ranges, "byte ranges of the slice", &ranges, err);
    if (status == GPTOSS_OK) {
        w->slice = what;
        size_t count = collect_ranges(file, hp, what, specs, ranges);
        status = gguf_map_open(file, ranges, count, &w->map, err);
    }
    free(ranges);
    if (status != GPTOSS_OK) {
        weights_close(w);
        return status;
    }

    for (uint32_t layer = what.layer_begin; layer < what.layer_end; layer++) bind_layer(w, file, specs, layer);
    const tensor_spec embedding = embedding_spec(hp), norm = output_norm_spec(hp), output = output_spec(hp);
    if (what.embedding) w->embedding = bind_matrix(w, file, &embedding, -1);
    if (what.output) {
        w->output_norm = bind_vector(w, file, &norm, -1);
        w->output = bind_matrix(w, file, &output, -1);
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

uint64_t weights_layer_bytes_per_token(const gguf_file *file, const hparams *hp, uint32_t layer, bool expert_0_only) {
    tensor_spec specs[LAYER_TENSORS];
    layer_tensors(hp, specs);
    uint64_t bytes = 0, experts_read = expert_0_only ? 1 : hp->n_experts_used;
    for (int i = 0; i < LAYER_TENSORS; i++) {
        uint64_t whole = find_tensor(file, &specs[i], layer)->bytes;
        bytes += is_bank(i) ? whole / hp->n_experts * experts_read : whole;
    }
    return bytes;
}

uint64_t weights_output_bytes_per_token(const gguf_file *file) {
    return gguf_find_tensor(file, "output.weight")->bytes;
}
