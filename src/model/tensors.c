#include "model/tensors.h"

#include <stdio.h>
#include <string.h>

#include "kernels/dequant.h"

void tensors_of_layer(const hparams *hp, uint32_t held, tensor_spec specs[LAYER_TENSORS]) {
    uint64_t model = hp->d_model, heads = (uint64_t)hp->n_heads * hp->head_dim;
    uint64_t kv = (uint64_t)hp->n_kv_heads * hp->head_dim, experts = hp->n_experts, ff = hp->d_ff;
    const tensor_spec all[LAYER_TENSORS] = {
        [ATTN_NORM] = {"attn_norm.weight", NULL, true, {model, 1, 1}, 0},
        [ATTN_Q] = {"attn_q.weight", NULL, false, {model, heads, 1}, 0},
        [ATTN_Q_BIAS] = {"attn_q.bias", NULL, true, {heads, 1, 1}, 0},
        [ATTN_K] = {"attn_k.weight", NULL, false, {model, kv, 1}, 0},
        [ATTN_K_BIAS] = {"attn_k.bias", NULL, true, {kv, 1, 1}, 0},
        [ATTN_V] = {"attn_v.weight", NULL, false, {model, kv, 1}, 0},
        [ATTN_V_BIAS] = {"attn_v.bias", NULL, true, {kv, 1, 1}, 0},
        [ATTN_SINKS] = {"attn_sinks.weight", "attn_sinks", true, {hp->n_heads, 1, 1}, 0},
        [ATTN_OUTPUT] = {"attn_output.weight", "attn_out.weight", false, {heads, model, 1}, 0},
        [ATTN_OUTPUT_BIAS] = {"attn_output.bias", "attn_out.bias", true, {model, 1, 1}, 0},
        [FFN_NORM] = {"post_attention_norm.weight", "ffn_norm.weight", true, {model, 1, 1}, 0},
        [ROUTER] = {"ffn_gate_inp.weight", NULL, false, {model, experts, 1}, 0},
        [ROUTER_BIAS] = {"ffn_gate_inp.bias", NULL, true, {experts, 1, 1}, 0},
        [GATE] = {"ffn_gate_exps.weight", NULL, false, {model, ff, held}, 2},
        [GATE_BIAS] = {"ffn_gate_exps.bias", NULL, true, {ff, held, 1}, 1},
        [UP] = {"ffn_up_exps.weight", NULL, false, {model, ff, held}, 2},
        [UP_BIAS] = {"ffn_up_exps.bias", NULL, true, {ff, held, 1}, 1},
        [DOWN] = {"ffn_down_exps.weight", NULL, false, {ff, model, held}, 2},
        [DOWN_BIAS] = {"ffn_down_exps.bias", NULL, true, {model, held, 1}, 1},
    };
    memcpy(specs, all, sizeof all);
}

void tensors_outside(const hparams *hp, tensor_spec specs[OUTER_TENSORS]) {
    const tensor_spec all[OUTER_TENSORS] = {
        [EMBEDDING] = {"token_embd.weight", NULL, false, {hp->d_model, hp->n_vocab, 1}, 0},
        [OUTPUT_NORM] = {"output_norm.weight", NULL, true, {hp->d_model, 1, 1}, 0},
        [OUTPUT] = {"output.weight", NULL, false, {hp->d_model, hp->n_vocab, 1}, 0},
    };
    memcpy(specs, all, sizeof all);
}

const gguf_tensor *tensors_find(const gguf_file *file, const tensor_spec *spec, int64_t layer) {
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

gptoss_status tensors_check(const gguf_file *file, const tensor_spec *spec, int64_t layer, gptoss_error *err) {
    const gguf_tensor *tensor = tensors_find(file, spec, layer);
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
