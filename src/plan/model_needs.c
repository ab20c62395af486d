#include "plan/model_needs.h"

#include <stdlib.h>

#include "base/mem.h"

/* The program, MPI's buffers, the tokenizer, activations of a wave: 3 to 40 MB were seen. */
static const uint64_t OWN_BYTES = 64 << 20;

gptoss_status model_needs(const model_sizes *sizes, const hparams *hp, uint32_t n_layers, bool expert_0_only,
                          const kv_room *room, plan_model *out, gptoss_error *err) {
    plan_model m = {.n_layers = n_layers,
                    .embedding = sizes->embedding,
                    .output = sizes->output,
                    .n_kv_heads = hp->n_kv_heads,
                    .n_experts = expert_0_only ? 1 : hp->n_experts,
                    .n_vocab = hp->n_vocab,
                    .own = OWN_BYTES};
    TRY(mem_array(n_layers, sizeof *m.layers, "plan", &m.layers, err));
    for (uint32_t i = 0; i < n_layers; i++)
        m.layers[i] = (plan_layer){.held = model_sizes_layer(sizes, i, expert_0_only),
                                   .read = model_sizes_layer_read(sizes, i, expert_0_only),
                                   .kv = kv_cache_bytes(hp, i, i + 1, room)};
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
    const plan_wish wish = {stages, shards, PLAN_FOR_THROUGHPUT};
    TRY(model_needs(sizes, hp, n_layers, expert_0_only, &(kv_room){.sequences = 1, .positions = 1, .chunk = 1}, &m,
                    err));
    gptoss_status status = mem_array(n, sizeof *nodes, "plan", &nodes, err);
    for (uint32_t i = 0; status == GPTOSS_OK && i < n; i++) nodes[i] = plan_node_default();
    if (status == GPTOSS_OK) status = placement_find(&m, nodes, n, &wish, out, err);
    free(nodes);
    model_needs_free(&m);
    return status;
}
