#include "engine/place.h"

#include <stdlib.h>

#include "base/mem.h"
#include "plan/model_needs.h"
#include "plan/placement.h"

/* What a rank tells rank 0 of itself. */
typedef struct rank_offer {
    uint64_t layer_begin, layer_end, embedding, output; /* of its file */
} rank_offer;
enum { OFFER_WORDS = sizeof(rank_offer) / sizeof(uint64_t) };

static gptoss_status needs(const engine *e, plan_model *out, gptoss_error *err) {
    kv_room room = {.sequences = e->config.sequences ? e->config.sequences : 1,
                    .positions = e->hp.window,
                    .chunk = e->config.chunk,
                    .type = e->config.kv_type};
    return model_needs(&e->sizes, &e->hp, e->n_layers, e->config.expert_0_only, &room, out, err);
}

/* Rank 0: bounds[size + 1]. */
static gptoss_status find_bounds(const engine *e, const rank_offer *offers, uint32_t *bounds, gptoss_error *err) {
    uint32_t size = (uint32_t)e->cluster.size;
    plan_node *nodes;
    plan_model model = {0};
    placement found = {0};
    TRY(mem_array(size, sizeof *nodes, "plan", &nodes, err));
    for (uint32_t i = 0; i < size; i++) {
        nodes[i] = plan_node_default();
        nodes[i].layer_begin = (uint32_t)offers[i].layer_begin;
        nodes[i].layer_end = (uint32_t)offers[i].layer_end;
        nodes[i].embedding = offers[i].embedding;
        nodes[i].output = offers[i].output;
    }
    gptoss_status status = needs(e, &model, err);
    if (status == GPTOSS_OK) status = placement_find(&model, nodes, size, PLAN_FOR_THROUGHPUT, &found, err);
    for (uint32_t i = 0; status == GPTOSS_OK && i < size; i++) bounds[i + 1] = found.stage[i].layer_end;
    placement_free(&found);
    model_needs_free(&model);
    free(nodes);
    return status;
}

gptoss_status place_layers(engine *e, gptoss_error *err) {
    uint32_t rank = (uint32_t)e->cluster.rank, size = (uint32_t)e->cluster.size, *bounds = NULL;
    rank_offer mine = {e->extent.layer_begin, e->extent.layer_end, e->extent.embedding, e->extent.output}, *all = NULL;
    gptoss_status status = mem_array(size + 1, sizeof *bounds, "plan", &bounds, err);
    if (status == GPTOSS_OK) status = mem_array(size, sizeof *all, "plan", &all, err);
    status = cluster_agree(&e->cluster, status, err);
    if (status == GPTOSS_OK) {
        cluster_gather(&e->cluster, (uint64_t *)&mine, OFFER_WORDS, (uint64_t *)all);
        if (rank == 0) status = find_bounds(e, all, bounds, err);
        status = cluster_agree(&e->cluster, status, err);
    }
    if (status == GPTOSS_OK) {
        cluster_broadcast(&e->cluster, bounds, (size + 1) * sizeof *bounds);
        e->slice = (slice){.layer_begin = bounds[rank],
                           .layer_end = bounds[rank + 1],
                           .embedding = rank == 0,
                           .output = rank == size - 1,
                           .expert_0_only = e->config.expert_0_only};
    }
    free(bounds);
    free(all);
    return status;
}
