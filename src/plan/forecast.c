#include "plan/forecast.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

static double crossing(const plan_link *link, uint64_t bytes) {
    return link->latency + (double)bytes / link->bandwidth;
}

forecast forecast_of(const placement *p, const plan_link *links, const plan_traffic *traffic) {
    double network = 0, computing = 0, slowest = 0;
    for (uint32_t i = 0; i < p->stages; i++) {
        double stage = (double)p->rank[i].nanoseconds / 1e9;
        double hop =
            p->stages > 1 ? crossing(&links[i], i + 1 < p->stages ? traffic->hop_bytes : traffic->result_bytes) : 0;
        network += hop;
        computing += stage;
        if (stage > slowest) slowest = stage;
        if (hop > slowest) slowest = hop; /* a link carries one wave at a time */
    }
    forecast f = {.token_seconds = computing + network, .network_seconds = network};
    f.one_stream = f.token_seconds > 0 ? 1 / f.token_seconds : 0;
    f.all_streams = traffic->streams * f.one_stream;
    if (slowest > 0 && f.all_streams > 1 / slowest) f.all_streams = 1 / slowest;
    return f;
}

/* False when the nodes cannot run the model in this order. */
static bool try_order(const plan_model *m, const plan_node *nodes, const plan_link *links, uint32_t n, plan_goal goal,
                      const plan_traffic *traffic, forecast *out) {
    placement p;
    if (placement_find(m, nodes, n, &(plan_wish){.goal = goal}, &p, NULL) != GPTOSS_OK) return false;
    *out = forecast_of(&p, links, traffic);
    placement_free(&p);
    return true;
}

static double speed_for(plan_goal goal, const forecast *f) {
    return goal == PLAN_FOR_LATENCY ? f->one_stream : f->all_streams;
}

gptoss_status forecast_best_last(const plan_model *m, const plan_node *nodes, const plan_link *links, uint32_t n,
                                 plan_goal goal, const plan_traffic *traffic, uint32_t *last, forecast *speed,
                                 gptoss_error *err) {
    plan_node *order;
    forecast best = {0}, f;
    uint32_t best_last = n - 1;
    TRY(mem_array(n, sizeof *order, "plan", &order, err));
    if (try_order(m, nodes, links, n, goal, traffic, &f)) best = f;
    double enough = 1.05 * speed_for(goal, &best);
    for (uint32_t i = 0; i + 1 < n; i++) {
        memcpy(order, nodes, i * sizeof *order);
        memcpy(order + i, nodes + i + 1, (n - 1 - i) * sizeof *order);
        order[n - 1] = nodes[i];
        if (!try_order(m, order, links, n, goal, traffic, &f) || speed_for(goal, &f) <= enough) continue;
        enough = speed_for(goal, &f);
        best = f;
        best_last = i;
    }
    free(order);
    *last = best_last;
    *speed = best;
    return GPTOSS_OK;
}

/* ---- advice ---- */

static bool fits(const plan_model *m, const plan_node *nodes, uint32_t n) {
    placement p;
    if (placement_find(m, nodes, n, &(plan_wish){.goal = PLAN_FOR_ANYTHING}, &p, NULL) != GPTOSS_OK) return false;
    placement_free(&p);
    return true;
}

/* The nodes with `more` bytes added to each, or to the last one only. */
static bool fits_with(const plan_model *m, const plan_node *nodes, plan_node *scratch, uint32_t n, bool last_only,
                      uint64_t more) {
    memcpy(scratch, nodes, n * sizeof *nodes);
    for (uint32_t i = last_only ? n - 1 : 0; i < n; i++)
        scratch[i].memory = scratch[i].memory > UINT64_MAX - more ? UINT64_MAX : scratch[i].memory + more;
    return fits(m, scratch, n);
}

/* The least such amount up to `most`, to a megabyte; 0: not even that is enough. */
static uint64_t least_more(const plan_model *m, const plan_node *nodes, plan_node *scratch, uint32_t n, bool last_only,
                           uint64_t most) {
    if (!fits_with(m, nodes, scratch, n, last_only, most)) return 0;
    uint64_t low = 0, high = most;
    while (high - low > 1 << 20) {
        uint64_t middle = low + (high - low) / 2;
        if (fits_with(m, nodes, scratch, n, last_only, middle))
            high = middle;
        else
            low = middle;
    }
    return high;
}

static uint32_t most_layers(const plan_model *m, const plan_node *nodes, uint32_t n) {
    plan_model fewer = *m;
    while (--fewer.n_layers >= n)
        if (fits(&fewer, nodes, n)) return fewer.n_layers;
    return 0;
}

gptoss_status advise(const plan_model *m, const plan_node *nodes, uint32_t n, advice *out, gptoss_error *err) {
    plan_node *more, *scratch = NULL;
    TRY(mem_array(n + 1, sizeof *more, "plan", &more, err));
    gptoss_status status = mem_array(n + 1, sizeof *scratch, "plan", &scratch, err);
    if (status == GPTOSS_OK) {
        uint64_t need = m->own * (n - 1) + placement_need(m, 0, 1, 0, m->n_layers), have = 0;
        for (uint32_t i = 0; i < n; i++)
            have = nodes[i].memory > UINT64_MAX - have ? UINT64_MAX : have + nodes[i].memory;
        memcpy(more, nodes, n * sizeof *nodes);
        more[n] = plan_node_default();
        more[n].memory = 0;
        *out = (advice){.missing = need > have ? need - have : 0,
                        .each_more = least_more(m, nodes, scratch, n, false, need),
                        .another_node = n < m->n_layers ? least_more(m, more, scratch, n + 1, true, need) : 0,
                        .layers = most_layers(m, nodes, n)};
    }
    free(scratch);
    free(more);
    return status;
}
