#include "engine/place.h"

#include <stdlib.h>

#include "base/mem.h"
#include "engine/survey.h"
#include "plan/advice.h"
#include "plan/machine.h"
#include "plan/model_needs.h"

/* What a rank tells rank 0 of itself. */
typedef struct rank_offer {
    uint64_t layer_begin, layer_end, embedding, output; /* of its file */
    uint64_t memory;                                    /* that a model may have */
    uint64_t read_rate;                                 /* bytes of weights a second */
} rank_offer;
enum { OFFER_WORDS = sizeof(rank_offer) / sizeof(uint64_t), PLANNED_KV = 4096 };

/* Ranks that share one machine have equal shares of it, and nothing need be measured. */
static rank_offer make_offer(const engine *e) {
    const cluster *c = &e->cluster;
    rank_offer o = {e->extent.layer_begin,
                    e->extent.layer_end,
                    e->extent.embedding_end == e->hp.n_vocab,
                    e->extent.output_end == e->hp.n_vocab,
                    machine_usable(machine_memory("") / (uint64_t)c->local_size),
                    (uint64_t)plan_node_default().read_rate};
    if (c->local_size == c->size) return o;
    node_facts facts;
    survey_rank(c, e->team, e->config.cache_dir, false, &facts);
    o.read_rate = (uint64_t)facts.read_rate;
    return o;
}

static gptoss_status read_needs(const engine *e, plan_model *out, gptoss_error *err) {
    uint32_t planned = e->config.planned_kv ? e->config.planned_kv : PLANNED_KV;
    kv_room room = {.sequences = e->config.sequences ? e->config.sequences : 1,
                    .positions = planned < e->hp.context ? planned : e->hp.context,
                    .chunk = e->config.chunk,
                    .type = e->config.kv_type};
    return model_needs(&e->sizes, &e->hp, e->n_layers, e->config.expert_0_only, &room, out, err);
}

/* The best cut. Where memory is too small for any, the one with which no rank lacks more than it must: weights are
 * mapped and need not all be in memory at once. */
static gptoss_status find_placement(engine *e, const plan_model *model, plan_node *nodes, placement *out,
                                    gptoss_error *err) {
    uint32_t size = (uint32_t)e->cluster.size;
    const plan_wish wish = {.shards = 1, .goal = e->config.goal};
    gptoss_status status = placement_find(model, nodes, size, &wish, out, err);
    if (status != GPTOSS_NO_MEMORY) return status;
    advice help;
    TRY(advise(model, nodes, size, &wish, &help, err));
    e->missing_memory = help.each_more;
    for (uint32_t i = 0; i < size; i++) nodes[i].memory += help.each_more;
    return placement_find(model, nodes, size, &wish, out, err);
}

/* Rank 0: bounds[size + 1]. */
static gptoss_status find_bounds(engine *e, const rank_offer *offers, uint32_t *bounds, gptoss_error *err) {
    uint32_t size = (uint32_t)e->cluster.size;
    plan_node *nodes;
    plan_model model = {0};
    placement found = {0};
    TRY(mem_array(size, sizeof *nodes, "plan", &nodes, err));
    for (uint32_t i = 0; i < size; i++) {
        nodes[i] = plan_node_default();
        nodes[i].memory = offers[i].memory;
        nodes[i].read_rate = (double)offers[i].read_rate;
        nodes[i].layers = (plan_range){(uint32_t)offers[i].layer_begin, (uint32_t)offers[i].layer_end};
        if (!offers[i].embedding) nodes[i].embedding_rows.end = 0;
        if (!offers[i].output || i + 1 < size) nodes[i].output_rows.end = 0; /* the last one computes all logits */
    }
    gptoss_status status = read_needs(e, &model, err);
    if (status == GPTOSS_OK) status = find_placement(e, &model, nodes, &found, err);
    for (uint32_t i = 0; status == GPTOSS_OK && i < size; i++) bounds[i + 1] = found.rank[i].layer_end;
    placement_free(&found);
    model_needs_free(&model);
    free(nodes);
    return status;
}

gptoss_status place_layers(engine *e, gptoss_error *err) {
    uint32_t rank = (uint32_t)e->cluster.rank, size = (uint32_t)e->cluster.size, *bounds = NULL;
    rank_offer mine = make_offer(e), *all = NULL;
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
        e->slice = slice_of_layers(&e->hp, bounds[rank], bounds[rank + 1], e->n_layers, e->config.expert_0_only);
    }
    free(bounds);
    free(all);
    return status;
}
