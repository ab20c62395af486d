#include "plan/forecast.h"

#include <math.h>
#include <stdlib.h>

#include "base/mem.h"
#include "plan/draw.h"

static const double LEAST_SHARE = 0.2; /* of what a token takes alone, however many share its reads */

typedef struct scene {
    const plan_model *m;
    const placement *p;
    const plan_node *nodes;
    const plan_traffic *traffic;
    double tokens; /* in a wave */
} scene;

/* ---- links ---- */

static double crossing(plan_link link, double bytes) { return link.latency + bytes / link.bandwidth; }

static plan_link slower(plan_link a, plan_link b) {
    return (plan_link){fmax(a.latency, b.latency), fmin(a.bandwidth, b.bandwidth)};
}

static plan_link link_between(const scene *s, uint32_t from, uint32_t to) {
    uint32_t n = s->p->stages * s->p->shards;
    plan_link link = s->nodes[from].link;
    for (uint32_t i = (from + 1) % n; i != to; i = (i + 1) % n) link = slower(link, s->nodes[i].link);
    return link;
}

static double hop(const scene *s, uint32_t from, uint32_t to, double bytes) {
    return crossing(link_between(s, from, to), bytes) + s->nodes[to].wake_seconds;
}

/* Of a wave, from each shard of a stage to the same of the next. */
static double stage_hop(const scene *s, uint32_t stage) {
    double slowest = 0;
    for (uint32_t t = 0; t < s->p->shards; t++) {
        uint32_t from = stage * s->p->shards + t;
        slowest = fmax(slowest, hop(s, from, from + s->p->shards, s->tokens * (double)s->traffic->hop_bytes));
    }
    return slowest;
}

static double sum_seconds(const scene *s, uint32_t stage) {
    uint32_t shards = s->p->shards, first = stage * shards;
    if (shards == 1) return 0;
    plan_link link = link_between(s, first, first + shards - 1);
    double bytes = s->tokens * (double)s->traffic->hop_bytes, others = shards - 1;
    return fmin(crossing(link, others * bytes), link.latency + crossing(link, 2 * others / shards * bytes));
}

/* ---- stages ---- */

/* Without sums. */
static gptoss_status reading_seconds(const scene *s, uint32_t stage, uint32_t *experts, double *each, double *out,
                                     gptoss_error *err) {
    const plan_model *m = s->m;
    uint32_t shards = s->p->shards;
    const plan_rank *ranks = s->p->rank + stage * shards;
    const plan_node *nodes = s->nodes + stage * shards;
    double common = 0, heads = 0, expert = 0, slowest = 0, work;
    for (uint32_t j = ranks->layer_begin; j < ranks->layer_end; j++) {
        common += (double)m->layers[j].common;
        heads += (double)m->layers[j].heads;
        expert += (double)m->layers[j].expert;
    }
    for (uint32_t t = 0; t < shards; t++) {
        double share = (double)(ranks[t].kv_heads.end - ranks[t].kv_heads.begin) / m->n_kv_heads;
        double beside = nodes[t].layer_seconds * (ranks->layer_end - ranks->layer_begin);
        slowest = fmax(slowest, (common + heads * share) / nodes[t].read_rate + beside);
        experts[t] = ranks[t].experts.end - ranks[t].experts.begin;
        each[t] = expert / nodes[t].read_rate;
    }
    TRY(draw_expected_work(experts, each, shards, m->n_experts_used, s->tokens, &work, err));
    *out = slowest + work;
    return GPTOSS_OK;
}

static gptoss_status stage_seconds(const scene *s, uint32_t stage, double *sums, double *out, gptoss_error *err) {
    const plan_rank *r = &s->p->rank[stage * s->p->shards];
    uint32_t *experts = NULL;
    double *each = NULL;
    gptoss_status status = mem_array(s->p->shards, sizeof *experts, "plan", &experts, err);
    if (status == GPTOSS_OK) status = mem_array(s->p->shards, sizeof *each, "plan", &each, err);
    if (status == GPTOSS_OK) status = reading_seconds(s, stage, experts, each, out, err);
    free(experts);
    free(each);
    *sums = 2 * (r->layer_end - r->layer_begin) * sum_seconds(s, stage);
    return status;
}

/* ---- the output ---- */

typedef struct output_cost {
    double network, computing;
} output_cost;

static double rows_seconds(const scene *s, uint32_t rank) {
    const plan_range *rows = &s->p->rank[rank].output_rows;
    return (double)(rows->end - rows->begin) * (double)s->m->output_row / s->nodes[rank].read_rate;
}

static output_cost output_of(const scene *s) {
    uint32_t n = s->p->stages * s->p->shards, source = n - s->p->shards;
    double out_latency = 0, out_bytes = 0, back_latency = 0, back_bytes = 0, slowest = 0;
    for (uint32_t r = 0; r < n; r++) {
        const plan_range *rows = &s->p->rank[r].output_rows;
        if (rows->end == rows->begin) continue;
        slowest = fmax(slowest, rows_seconds(s, r));
        if (r != source) {
            out_latency = fmax(out_latency, hop(s, source, r, 0));
            out_bytes += (double)s->traffic->hop_bytes / link_between(s, source, r).bandwidth;
        }
        if (r != 0) {
            back_latency = fmax(back_latency, hop(s, r, 0, 0));
            back_bytes += (double)s->traffic->result_bytes / link_between(s, r, 0).bandwidth;
        }
    }
    return (output_cost){out_latency + back_latency + s->tokens * (out_bytes + back_bytes), slowest};
}

/* ---- together ---- */

typedef struct wave_times {
    double total, network;
    double slowest; /* stage, with its share of the output, or link: it takes one wave at a time */
} wave_times;

static gptoss_status time_wave(const scene *s, wave_times *out, gptoss_error *err) {
    uint32_t stages = s->p->stages, shards = s->p->shards;
    output_cost output = output_of(s);
    double computing = output.computing, network = output.network, slowest = 0;
    if (shards > 1) network += hop(s, 0, shards - 1, 0) + sum_seconds(s, 0);
    for (uint32_t stage = 0; stage < stages; stage++) {
        double layers, sums, rows = 0, away = stage + 1 < stages ? stage_hop(s, stage) : 0;
        TRY(stage_seconds(s, stage, &sums, &layers, err));
        for (uint32_t t = 0; t < shards; t++) rows = fmax(rows, rows_seconds(s, stage * shards + t));
        computing += layers;
        network += sums + away;
        slowest = fmax(slowest, fmax(layers + sums + rows, away));
    }
    *out = (wave_times){computing + network, network, fmax(slowest, stages > 1 ? output.network : 0)};
    return GPTOSS_OK;
}

gptoss_status forecast_of(const plan_model *m, const placement *p, const plan_node *nodes, const plan_traffic *traffic,
                          forecast *out, gptoss_error *err) {
    scene s = {m, p, nodes, traffic, 1};
    wave_times one, full;
    double streams = traffic->streams > 1 ? traffic->streams : 1, waves = fmin(streams, p->stages);
    TRY(time_wave(&s, &one, err));
    s.tokens = streams / waves;
    TRY(time_wave(&s, &full, err));
    double least = LEAST_SHARE * s.tokens;
    double round = fmax(fmax(full.total, least * one.total), waves * fmax(full.slowest, least * one.slowest));
    *out = (forecast){.token_seconds = one.total,
                      .network_seconds = one.network,
                      .one_stream = one.total > 0 ? 1 / one.total : 0,
                      .all_streams = round > 0 ? streams / round : 0};
    return GPTOSS_OK;
}
