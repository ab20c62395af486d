#include "plan/model_needs.h"

#include <stdlib.h>

#include "base/mem.h"
#include "model/weights.h"

/* The program, MPI's buffers, the tokenizer, activations of a wave: 3 to 40 MB were seen. */
static const uint64_t OWN_BYTES = 64 << 20;

/* Norms, router, biases and sinks of a layer, nearly always F32. */
static uint64_t common_bytes(const hparams *hp) {
    uint64_t model = hp->d_model, heads = (uint64_t)hp->n_heads * hp->head_dim;
    uint64_t kv = (uint64_t)hp->n_kv_heads * hp->head_dim, experts = hp->n_experts;
    return (3 * model + heads + 2 * kv + hp->n_heads + experts * (model + 1)) * sizeof(float);
}

gptoss_status model_needs(const model_sizes *sizes, const hparams *hp, uint32_t n_layers, bool expert_0_only,
                          const kv_room *room, plan_model *out, gptoss_error *err) {
    uint64_t norm = hp->d_model * sizeof(float); /* every rank has the output's */
    plan_model m = {.n_layers = n_layers,
                    .n_kv_heads = hp->n_kv_heads,
                    .kv_head_step = sizes->kv_head_step,
                    .n_experts = expert_0_only ? 1 : hp->n_experts,
                    .n_experts_used = expert_0_only ? 1 : hp->n_experts_used,
                    .n_vocab = hp->n_vocab,
                    .row_step = MATMUL_GRAIN,
                    .embedding_row = sizes->embedding / hp->n_vocab,
                    .output_row = (sizes->output > norm ? sizes->output - norm : 0) / hp->n_vocab,
                    .own = OWN_BYTES + norm};
    TRY(mem_array(n_layers, sizeof *m.layers, "plan", &m.layers, err));
    for (uint32_t i = 0; i < n_layers; i++) {
        uint64_t beside_experts = sizes->layers[i], common = common_bytes(hp);
        if (common > beside_experts) common = beside_experts;
        m.layers[i] = (plan_layer){.common = common,
                                   .heads = beside_experts - common,
                                   .expert = sizes->experts[i],
                                   .kv = kv_cache_bytes(hp, i, i + 1, room)};
    }
    *out = m;
    return GPTOSS_OK;
}

void model_needs_free(plan_model *m) {
    free(m->layers);
    *m = (plan_model){0};
}

gptoss_status placement_among_equals(const model_sizes *sizes, const hparams *hp, uint32_t n_layers, bool expert_0_only,
                                     uint32_t stages, uint32_t shards, placement *out, gptoss_error *err) {
    plan_model m;
    plan_node *nodes = NULL;
    uint32_t n = stages * shards;
    const plan_wish wish = {stages, shards, PLAN_FOR_THROUGHPUT, {0, 0, 1}};
    TRY(model_needs(sizes, hp, n_layers, expert_0_only, &(kv_room){.sequences = 1, .positions = 1, .chunk = 1}, &m,
                    err));
    gptoss_status status = mem_array(n, sizeof *nodes, "plan", &nodes, err);
    for (uint32_t i = 0; status == GPTOSS_OK && i < n; i++) nodes[i] = plan_node_default();
    if (status == GPTOSS_OK) status = placement_find(&m, nodes, n, &wish, out, err);
    free(nodes);
    model_needs_free(&m);
    return status;
}
