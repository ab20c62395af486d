#include "model/tensors.h"

#include <stdio.h>
#include <string.h>

#include "kernels/dequant.h"

void tensors_of_layer(const hparams *hp, tensor_spec specs[LAYER_TENSORS]) {
    uint64_t model = hp->d_model, heads = (uint64_t)hp->n_heads * hp->head_dim;
    uint64_t kv = (uint64_t)hp->n_kv_heads * hp->head_dim, experts = hp->n_experts, ff = hp->d_ff;
    const tensor_spec all[LAYER_TENSORS] = {
        [ATTN_NORM] = {"attn_norm.weight", NULL, true, {model, 1, 1}, SCOPE_LAYER, WHOLE},
        [ATTN_Q] = {"attn_q.weight", NULL, false, {model, heads, 1}, SCOPE_KV_HEADS, 1},
        [ATTN_Q_BIAS] = {"attn_q.bias", NULL, true, {heads, 1, 1}, SCOPE_KV_HEADS, 0},
        [ATTN_K] = {"attn_k.weight", NULL, false, {model, kv, 1}, SCOPE_KV_HEADS, 1},
        [ATTN_K_BIAS] = {"attn_k.bias", NULL, true, {kv, 1, 1}, SCOPE_KV_HEADS, 0},
        [ATTN_V] = {"attn_v.weight", NULL, false, {model, kv, 1}, SCOPE_KV_HEADS, 1},
        [ATTN_V_BIAS] = {"attn_v.bias", NULL, true, {kv, 1, 1}, SCOPE_KV_HEADS, 0},
        [ATTN_SINKS] = {"attn_sinks.weight", "attn_sinks", true, {hp->n_heads, 1, 1}, SCOPE_KV_HEADS, 0},
        [ATTN_OUTPUT] = {"attn_output.weight", "attn_out.weight", false, {heads, model, 1}, SCOPE_KV_HEADS, 0},
        [ATTN_OUTPUT_BIAS] = {"attn_output.bias", "attn_out.bias", true, {model, 1, 1}, SCOPE_LAYER, WHOLE},
        [FFN_NORM] = {"post_attention_norm.weight", "ffn_norm.weight", true, {model, 1, 1}, SCOPE_LAYER, WHOLE},
        [ROUTER] = {"ffn_gate_inp.weight", NULL, false, {model, experts, 1}, SCOPE_LAYER, WHOLE},
        [ROUTER_BIAS] = {"ffn_gate_inp.bias", NULL, true, {experts, 1, 1}, SCOPE_LAYER, WHOLE},
        [GATE] = {"ffn_gate_exps.weight", NULL, false, {model, ff, experts}, SCOPE_EXPERTS, 2},
        [GATE_BIAS] = {"ffn_gate_exps.bias", NULL, true, {ff, experts, 1}, SCOPE_EXPERTS, 1},
        [UP] = {"ffn_up_exps.weight", NULL, false, {model, ff, experts}, SCOPE_EXPERTS, 2},
        [UP_BIAS] = {"ffn_up_exps.bias", NULL, true, {ff, experts, 1}, SCOPE_EXPERTS, 1},
        [DOWN] = {"ffn_down_exps.weight", NULL, false, {ff, model, experts}, SCOPE_EXPERTS, 2},
        [DOWN_BIAS] = {"ffn_down_exps.bias", NULL, true, {model, experts, 1}, SCOPE_EXPERTS, 1},
    };
    memcpy(specs, all, sizeof all);
}

void tensors_outside(const hparams *hp, tensor_spec specs[OUTER_TENSORS]) {
    const tensor_spec all[OUTER_TENSORS] = {
        [EMBEDDING] = {"token_embd.weight", NULL, false, {hp->d_model, hp->n_vocab, 1}, SCOPE_EMBEDDING, 1},
        [OUTPUT_NORM] = {"output_norm.weight", NULL, true, {hp->d_model, 1, 1}, SCOPE_OUTPUT, WHOLE},
        [OUTPUT] = {"output.weight", NULL, false, {hp->d_model, hp->n_vocab, 1}, SCOPE_OUTPUT, 1},
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

/* ---- parts of tensors ---- */

typedef struct range {
    uint64_t begin, end;
} range;

/* The heads, experts or rows of a scope that a part of the model has. */
static range units_of(tensor_scope scope, const extent *e) {
    switch (scope) {
    case SCOPE_KV_HEADS: return (range){e->kv_head_begin, e->kv_head_end};
    case SCOPE_EXPERTS: return (range){e->expert_begin, e->expert_end};
    case SCOPE_EMBEDDING: return (range){e->embedding_begin, e->embedding_end};
    case SCOPE_OUTPUT: return (range){e->output_begin, e->output_end};
    case SCOPE_LAYER: break;
    }
    return (range){0, 1};
}

/* Elements of the split dimension that each of them is. */
static uint64_t unit_size(const hparams *hp, const tensor_spec *spec) {
    const uint32_t units[] = {[SCOPE_LAYER] = 1,
                              [SCOPE_KV_HEADS] = hp->n_kv_heads,
                              [SCOPE_EXPERTS] = hp->n_experts,
                              [SCOPE_EMBEDDING] = hp->n_vocab,
                              [SCOPE_OUTPUT] = hp->n_vocab};
    return spec->dims[spec->split] / units[spec->scope];
}

bool tensors_needed(const tensor_spec *spec, const extent *what) {
    range units = units_of(spec->scope, what);
    return units.end > units.begin;
}

static void shape_of(const hparams *hp, const tensor_spec *spec, const extent *held, uint64_t dims[4]) {
    memcpy(dims, spec->dims, sizeof spec->dims);
    dims[3] = 1;
    if (spec->split == WHOLE) return;
    range units = units_of(spec->scope, held);
    dims[spec->split] = (units.end - units.begin) * unit_size(hp, spec);
}

tensor_place tensors_place(const gguf_tensor *tensor, const hparams *hp, const tensor_spec *spec, const extent *held,
                           const extent *what) {
    tensor_place p = {tensor->part, tensor->offset, tensor->bytes, tensor->bytes, 1, {0}};
    shape_of(hp, spec, what, p.dims);
    if (spec->split == WHOLE) return p;
    range has = units_of(spec->scope, held), wants = units_of(spec->scope, what);
    uint64_t row = tensor->bytes / (tensor->dims[1] * tensor->dims[2]);
    bool within_rows = spec->split == 0;
    uint64_t all = within_rows ? row : tensor->bytes;
    /* Whole blocks, and so whole bytes, belong to what is asked for. */
    uint64_t one_of = has.end - has.begin;
    p.offset += all * (wants.begin - has.begin) / one_of;
    p.bytes = all * (wants.end - wants.begin) / one_of;
    p.stride = within_rows ? row : p.bytes;
    p.runs = within_rows ? tensor->dims[1] * tensor->dims[2] : 1;
    return p;
}

uint32_t tensors_kv_head_step(const gguf_tensor *tensor, const hparams *hp, const tensor_spec *spec) {
    const type_traits *traits = gguf_type_traits(tensor->type);
    if (spec->scope != SCOPE_KV_HEADS || spec->split != 0 || !traits) return 1;
    uint64_t columns = unit_size(hp, spec);
    uint32_t step = 1;
    while (columns * step % traits->block_elements) step++;
    return step;
}

/* ---- checking ---- */

gptoss_status tensors_check(const gguf_file *file, const hparams *hp, const tensor_spec *spec, int64_t layer,
                            const extent *held, gptoss_error *err) {
    const gguf_tensor *tensor = tensors_find(file, spec, layer);
    const char *path = gguf_part_path(file, tensor ? tensor->part : 0);
    if (!tensor) {
        if (layer < 0) return error_set(err, GPTOSS_BAD_INPUT, "%s: tensor %s is missing", path, spec->suffix);
        return error_set(err, GPTOSS_BAD_INPUT, "%s: tensor blk.%lld.%s is missing", path, (long long)layer,
                         spec->suffix);
    }
    uint64_t want[4];
    const uint64_t *have = tensor->dims;
    shape_of(hp, spec, held, want);
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

gptoss_status tensors_check_cut(const gguf_file *file, const hparams *hp, const tensor_spec *spec, int64_t layer,
                                const extent *held, const extent *what, gptoss_error *err) {
    const gguf_tensor *tensor = tensors_find(file, spec, layer);
    uint32_t step = tensors_kv_head_step(tensor, hp, spec);
    uint32_t begin = what->kv_head_begin - held->kv_head_begin, end = what->kv_head_end - held->kv_head_begin;
    if (begin % step == 0 && (end % step == 0 || what->kv_head_end == held->kv_head_end)) return GPTOSS_OK;
    return error_set(
        err, GPTOSS_MISUSE,
        "%s: tensor %s is of type %s, whose blocks have columns of %u KV heads each; KV heads %u to %u cannot "
        "be cut out of it; use fewer shards",
        gguf_part_path(file, tensor->part), tensor->name, gguf_type_traits(tensor->type)->name, step,
        what->kv_head_begin, what->kv_head_end - 1);
}
