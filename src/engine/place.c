#include "engine/place.h"

#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "base/mem.h"
#include "engine/expert_placement.h"
#include "engine/planning.h"
#include "engine/survey.h"
#include "plan/advice.h"
#include "plan/machine.h"
#include "plan/model_needs.h"

/* What a rank tells rank 0 of itself. */
typedef struct rank_offer {
    node_facts facts;
    extent held; /* by its file; without one it can have all */
} rank_offer;
_Static_assert(sizeof(rank_offer) % sizeof(uint64_t) == 0, "offers are gathered as plain numbers");
enum { OFFER_WORDS = sizeof(rank_offer) / sizeof(uint64_t) };

/* What goes for ranks of one machine, which have equal shares of it: nothing need be measured. */
static node_facts share_of_machine(const cluster *c) {
    node_facts facts = node_facts_default();
    facts.memory = machine_memory("") / (uint64_t)c->local_size;
    facts.read_rate = plan_node_default().read_rate;
    return facts;
}

/* Collective. */
static gptoss_status make_offer(const engine *e, rank_offer *out, gptoss_error *err) {
    const cluster *c = &e->cluster;
    *out = (rank_offer){.held = e->extent};
    if (e->config.choose) {
        node_facts *all = NULL;
        TRY(cluster_agree(c, mem_array((size_t)c->size, sizeof *all, "plan", &all, err), err));
        gptoss_status status = survey_ranks(c, e->team, e->config.cache_dir, false, all, err);
        out->facts = all[c->rank];
        free(all);
        return status;
    }
    if (c->local_size == c->size)
        out->facts = share_of_machine(c);
    else
        survey_rank(c, e->team, e->config.cache_dir, false, &out->facts);
    return GPTOSS_OK;
}

/* Where stages are not split all ranks need all heads and experts; a file that lacks some is told of when it is opened.
 * Where nothing is to be chosen, what a layer takes beside reading is left out. */
static plan_node node_of(const rank_offer *o, bool choose, bool split) {
    plan_node node = node_for_plan(&o->facts), plain = plan_node_default();
    const extent *x = &o->held;
    plain.memory = node.memory;
    plain.read_rate = node.read_rate;
    if (!choose) node = plain;
    node.layers = (plan_range){x->layer_begin, x->layer_end};
    if (split) node.kv_heads = (plan_range){x->kv_head_begin, x->kv_head_end};
    if (split) node.experts = (plan_range){x->expert_begin, x->expert_end};
    node.embedding_rows = (plan_range){x->embedding_begin, x->embedding_end};
    node.output_rows = (plan_range){x->output_begin, x->output_end};
    return node;
}

/* Where nothing is asked for, stages are not split: then an answer has the same bits on any number of ranks. */
static planning planning_of(const engine *e) {
    const engine_config *c = &e->config;
    bool open = c->choose || c->shards || c->stages;
    return (planning){.ranks = (uint32_t)e->cluster.size,
                      .stages = c->stages,
                      .shards = open ? c->shards : 1,
                      .goal = c->goal,
                      .sequences = c->sequences,
                      .positions = c->planned_kv,
                      .chunk = c->chunk,
                      .kv_type = c->kv_type};
}

static plan_wish wish_of(const engine *e) {
    const planning p = planning_of(e);
    return planning_wish(&p, &e->hp);
}

static gptoss_status read_needs(const engine *e, plan_model *out, gptoss_error *err) {
    const planning p = planning_of(e);
    const kv_room room = planning_room(&p, &e->hp);
    return model_needs(&e->sizes, &e->hp, e->n_layers, e->config.expert_0_only, &room, out, err);
}

/* The best cut. Where memory is too small for any, the one with which no rank lacks more than it must: weights are
 * mapped and need not all be in memory at once. */
static gptoss_status find_cut(engine *e, const plan_model *model, plan_node *nodes, placement *out, gptoss_error *err) {
    uint32_t size = (uint32_t)e->cluster.size;
    const plan_wish wish = wish_of(e);
    gptoss_status status = placement_find(model, nodes, size, &wish, out, err);
    if (status != GPTOSS_NO_MEMORY) return status;
    advice help;
    TRY(advise(model, nodes, size, &wish, &help, err));
    e->missing_memory = help.each_more;
    for (uint32_t i = 0; i < size; i++) nodes[i].memory += help.each_more;
    return placement_find(model, nodes, size, &wish, out, err);
}

/* The experts that the file gives each rank. */
static gptoss_status list_experts(const engine *e, const placement *p, plan_node *nodes, gptoss_error *err) {
    uint32_t size = p->stages * p->shards;
    plan_range *experts;
    if (e->config.expert_0_only)
        return error_set(err, GPTOSS_MISUSE,
                         "--expert-placement cannot be combined with --moe-fallback, which uses expert 0 alone");
    TRY(mem_array(size, sizeof *experts, "plan", &experts, err));
    gptoss_status status =
        expert_placement_read(e->config.expert_placement, p->stages, p->shards, e->hp.n_experts, experts, err);
    for (uint32_t i = 0; status == GPTOSS_OK && i < size; i++) nodes[i].experts = experts[i];
    free(experts);
    return status;
}

/* That the model fits without it is no matter of luck: there is a cut already. */
static gptoss_status refuse_experts(const engine *e, const plan_model *model, const plan_node *nodes,
                                    const plan_wish *wish, gptoss_error *err) {
    advice help;
    buffer text = {0};
    uint32_t size = (uint32_t)e->cluster.size;
    TRY(advise(model, nodes, size, wish, &help, err));
    help.shards = 0; /* for which the file says nothing */
    gptoss_status status = advice_describe(&help, size, &text, err);
    if (status == GPTOSS_OK)
        status = error_set(err, GPTOSS_NO_MEMORY,
                           "with the experts that %s gives each rank the model does not fit: %s; or without "
                           "--expert-placement, with which %s",
                           e->config.expert_placement, text.data,
                           e->missing_memory ? "less is missing" : "it fits as it is");
    buffer_free(&text);
    return status;
}

/* What a file says of experts goes before what was found best. Layers, heads and rows are dealt anew beside them; no
 * rank may lack more memory than it must. */
static gptoss_status place_listed_experts(const engine *e, const plan_model *model, plan_node *nodes, placement *p,
                                          gptoss_error *err) {
    plan_wish wish = wish_of(e);
    TRY(list_experts(e, p, nodes, err));
    wish.stages = p->stages;
    wish.shards = p->shards;
    placement_free(p);
    gptoss_status status = placement_find(model, nodes, (uint32_t)e->cluster.size, &wish, p, err);
    return status == GPTOSS_NO_MEMORY ? refuse_experts(e, model, nodes, &wish, err) : status;
}

/* Rank 0. */
static gptoss_status find_placement(engine *e, const rank_offer *offers, placement *out, gptoss_error *err) {
    uint32_t size = (uint32_t)e->cluster.size;
    plan_node *nodes;
    plan_model model = {0};
    TRY(mem_array(size, sizeof *nodes, "plan", &nodes, err));
    bool split = wish_of(e).shards != 1;
    for (uint32_t i = 0; i < size; i++) nodes[i] = node_of(&offers[i], e->config.choose, split);
    gptoss_status status = read_needs(e, &model, err);
    if (status == GPTOSS_OK) status = find_cut(e, &model, nodes, out, err);
    if (status == GPTOSS_OK && e->config.expert_placement) status = place_listed_experts(e, &model, nodes, out, err);
    model_needs_free(&model);
    free(nodes);
    return status;
}

/* Where expert 0 alone is used, the first shard of each stage has it. */
static void place_expert_0(placement *p) {
    for (uint32_t i = 0; i < p->stages * p->shards; i++) p->rank[i].experts = (plan_range){0, i % p->shards == 0};
}

/* Rank 0 chooses; the others make room for what it will tell. */
static gptoss_status choose(engine *e, const rank_offer *offers, gptoss_error *err) {
    if (e->cluster.rank != 0)
        return mem_array((size_t)e->cluster.size, sizeof *e->placement.rank, "plan", &e->placement.rank, err);
    TRY(find_placement(e, offers, &e->placement, err));
    if (e->config.expert_0_only) place_expert_0(&e->placement);
    return GPTOSS_OK;
}

/* Rank 0's choice goes to all. */
static void tell(engine *e) {
    uint32_t shape[] = {e->placement.stages, e->placement.shards};
    cluster_broadcast(&e->cluster, shape, sizeof shape);
    e->placement.stages = shape[0];
    e->placement.shards = shape[1];
    cluster_broadcast(&e->cluster, e->placement.rank, (size_t)e->cluster.size * sizeof *e->placement.rank);
}

static slice slice_of(const engine *e, int rank) {
    const plan_rank *r = &e->placement.rank[rank];
    return (slice){.layer_begin = r->layer_begin,
                   .layer_end = r->layer_end,
                   .kv_head_begin = r->kv_heads.begin,
                   .kv_head_end = r->kv_heads.end,
                   .expert_begin = r->experts.begin,
                   .expert_end = r->experts.end,
                   .embedding_begin = r->embedding_rows.begin,
                   .embedding_end = r->embedding_rows.end,
                   .output_begin = r->output_rows.begin,
                   .output_end = r->output_rows.end,
                   .last = r->layer_end == e->n_layers,
                   .expert_0_only = e->config.expert_0_only};
}

gptoss_status place_ranks(engine *e, gptoss_error *err) {
    const cluster *c = &e->cluster;
    rank_offer mine, *all = NULL;
    uint64_t words[OFFER_WORDS];
    TRY(make_offer(e, &mine, err));
    gptoss_status status = cluster_agree(c, mem_array((size_t)c->size, sizeof *all, "plan", &all, err), err);
    if (status == GPTOSS_OK) {
        memcpy(words, &mine, sizeof mine);
        cluster_gather(c, words, OFFER_WORDS, (uint64_t *)(void *)all);
        status = cluster_agree(c, choose(e, all, err), err);
    }
    free(all);
    if (status != GPTOSS_OK) return status;
    tell(e);
    e->grid = grid_of(c->rank, e->placement.stages, e->placement.shards);
    e->slice = slice_of(e, c->rank);
    return GPTOSS_OK;
}
