#include "plan/advice.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/plural.h"

static const uint64_t PRECISION = 1 << 20;

typedef struct attempt {
    const plan_model *model;
    plan_node *nodes; /* may be changed */
    uint32_t n;
    plan_wish wish;
} attempt;

static bool fits(const attempt *a) {
    placement p;
    if (placement_find(a->model, a->nodes, a->n, &a->wish, &p, NULL) != GPTOSS_OK) return false;
    placement_free(&p);
    return true;
}

/* With `more` bytes added to `nodes`, those from `first` on. */
static bool fits_with(const attempt *a, const plan_node *nodes, uint32_t first, uint64_t more) {
    memcpy(a->nodes, nodes, a->n * sizeof *nodes);
    for (uint32_t i = first; i < a->n; i++)
        a->nodes[i].memory = nodes[i].memory > UINT64_MAX - more ? UINT64_MAX : nodes[i].memory + more;
    return fits(a);
}

/* The least such amount up to `most`, to a megabyte; 0: not even that is enough. */
static uint64_t least_more(const attempt *a, const plan_node *nodes, uint32_t first, uint64_t most) {
    if (!fits_with(a, nodes, first, most)) return 0;
    uint64_t low = 0, high = most;
    while (high - low > PRECISION) {
        uint64_t middle = low + (high - low) / 2;
        if (fits_with(a, nodes, first, middle))
            high = middle;
        else
            low = middle;
    }
    return high;
}

static uint32_t most_layers(const attempt *a) {
    plan_model fewer = *a->model;
    attempt with_fewer = *a;
    with_fewer.model = &fewer;
    while (--fewer.n_layers >= 1)
        if (fits(&with_fewer)) return fewer.n_layers;
    return 0;
}

static uint32_t other_shards(const attempt *a) {
    attempt other = *a;
    if (!a->wish.shards && !a->wish.stages) return 0; /* all were tried */
    other.wish.stages = other.wish.shards = 0;
    placement p;
    if (placement_find(a->model, a->nodes, a->n, &other.wish, &p, NULL) != GPTOSS_OK) return 0;
    uint32_t shards = p.shards;
    placement_free(&p);
    return shards;
}

static uint64_t bytes_needed(const plan_model *m, uint32_t n, uint32_t shards) {
    uint64_t need = m->own * n + placement_weights(m);
    for (uint32_t j = 0; j < m->n_layers; j++) need += m->layers[j].kv + (shards - 1) * m->layers[j].common;
    return need;
}

static uint64_t bytes_there(const plan_node *nodes, uint32_t n) {
    uint64_t have = 0;
    for (uint32_t i = 0; i < n; i++) have = nodes[i].memory > UINT64_MAX - have ? UINT64_MAX : have + nodes[i].memory;
    return have;
}

gptoss_status advise(const plan_model *m, const plan_node *nodes, uint32_t n, const plan_wish *wish, advice *out,
                     gptoss_error *err) {
    uint32_t shards = wish->shards ? wish->shards : wish->stages ? n / wish->stages : 1;
    uint32_t more_nodes = wish->shards || wish->stages ? shards : 1;
    plan_node *extended, *scratch = NULL;
    TRY(mem_array(n + more_nodes, sizeof *extended, "plan", &extended, err));
    gptoss_status status = mem_array(n + more_nodes, sizeof *scratch, "plan", &scratch, err);
    if (status == GPTOSS_OK) {
        uint64_t need = bytes_needed(m, n, shards), have = bytes_there(nodes, n);
        attempt same = {m, scratch, n, *wish}, larger = {m, scratch, n + more_nodes, *wish};
        same.wish.goal = larger.wish.goal = PLAN_FOR_ANYTHING;
        larger.wish.stages = 0;
        if (more_nodes > 1) larger.wish.shards = shards;
        memcpy(extended, nodes, n * sizeof *nodes);
        for (uint32_t i = n; i < n + more_nodes; i++) {
            extended[i] = plan_node_default();
            extended[i].memory = 0;
        }
        *out = (advice){.missing = need > have ? need - have : 0, .more_nodes = more_nodes};
        out->each_more = least_more(&same, nodes, 0, need);
        out->another_node = least_more(&larger, extended, n, need);
        memcpy(scratch, nodes, n * sizeof *nodes);
        out->layers = most_layers(&same);
        out->shards = other_shards(&same);
    }
    free(scratch);
    free(extended);
    return status;
}

gptoss_status advice_describe(const advice *a, uint32_t ranks, buffer *out, gptoss_error *err) {
    const double gib = 1 << 30;
    if (a->missing)
        TRY(buffer_printf(out, err, "%.2f GiB are missing in all", (double)a->missing / gib));
    else
        TRY(buffer_printf(out, err, "there is memory enough in all, but layers cannot be cut to it"));
    if (a->each_more)
        TRY(buffer_printf(out, err, ". It would fit with %.2f GiB more%s", (double)a->each_more / gib,
                          ranks > 1 ? " on each rank" : ""));
    if (a->shards) TRY(buffer_printf(out, err, "; or on these ranks as they are (--shards %u)", a->shards));
    if (a->another_node && a->more_nodes == 1)
        TRY(buffer_printf(out, err, "; or with another node that has %.2f GiB for it", (double)a->another_node / gib));
    else if (a->another_node)
        TRY(buffer_printf(out, err, "; or with another stage of %u nodes that have %.2f GiB each for it", a->more_nodes,
                          (double)a->another_node / gib));
    if (a->layers)
        TRY(buffer_printf(out, err, "; or its first %u layer%s alone (--layers %u)", a->layers, plural(a->layers),
                          a->layers));
    return GPTOSS_OK;
}
