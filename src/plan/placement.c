/* A stage's time is the sum of its layers' times on its node, and for the last one that of the output. Three figures
 * tell how good a cut is: the time of its slowest stage, of all stages together, and of the layers of its slowest
 * stage, which alone count while a prompt is read. For given limits on the first and the last, dynamic programming over
 * (node, layers dealt so far) finds the least of the second; the limits are found by bisection. */
#include "plan/placement.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

static const uint64_t NEVER = UINT64_MAX, MOST_STEPS = UINT64_C(1) << 28;

plan_node plan_node_default(void) {
    return (plan_node){
        .memory = UINT64_MAX, .read_rate = 10e9, .layer_end = UINT32_MAX, .embedding = true, .output = true};
}

bool plan_goal_by_name(const char *name, plan_goal *out) {
    bool latency = strcmp(name, "latency") == 0;
    if (!latency && strcmp(name, "throughput") != 0) return false;
    *out = latency ? PLAN_FOR_LATENCY : PLAN_FOR_THROUGHPUT;
    return true;
}

typedef struct search {
    const plan_model *model;
    const plan_node *nodes;
    uint32_t n;
    uint64_t limit, layers_limit; /* of a stage's time: with the output, without */
    bool any_memory;              /* limits of memory are ignored */
    uint64_t *time;               /* [n][layers + 1]: nanoseconds that node i takes for layers [0, j) */
    uint64_t *output;             /* [n]: and for the output */
    uint64_t *bytes;              /* [layers + 1]: weights and KV of layers [0, j) */
    uint64_t *least;              /* [n][layers + 1]: of nodes [0, i] with layers [0, j), NEVER: impossible */
    uint32_t *begin;              /* [n][layers + 1]: where node i begins then */
} search;

static void search_close(search *s) {
    free(s->time);
    free(s->output);
    free(s->bytes);
    free(s->least);
    free(s->begin);
}

static size_t at(const search *s, uint32_t node, uint32_t layer) {
    return (size_t)node * (s->model->n_layers + 1) + layer;
}

/* Rounded layer by layer, so that equal nodes come to equal sums. */
static uint64_t nanoseconds(uint64_t bytes, double rate) {
    double t = (double)bytes / rate * 1e9;
    return t < 1e15 ? (uint64_t)(t + 0.5) : (uint64_t)1e15;
}

static gptoss_status search_open(const plan_model *m, const plan_node *nodes, uint32_t n, search *s,
                                 gptoss_error *err) {
    size_t row = m->n_layers + 1, cells = row * n;
    *s = (search){.model = m, .nodes = nodes, .n = n};
    TRY(mem_array(cells, sizeof *s->time, "plan", &s->time, err));
    TRY(mem_array(n, sizeof *s->output, "plan", &s->output, err));
    TRY(mem_array(row, sizeof *s->bytes, "plan", &s->bytes, err));
    TRY(mem_array(cells, sizeof *s->least, "plan", &s->least, err));
    TRY(mem_array(cells, sizeof *s->begin, "plan", &s->begin, err));
    for (uint32_t j = 0; j < m->n_layers; j++) s->bytes[j + 1] = s->bytes[j] + m->layers[j].held + m->layers[j].kv;
    for (uint32_t i = 0; i < n; i++) {
        s->output[i] = nanoseconds(m->output, nodes[i].read_rate);
        for (uint32_t j = 0; j < m->n_layers; j++)
            s->time[at(s, i, j + 1)] = s->time[at(s, i, j)] + nanoseconds(m->layers[j].read, nodes[i].read_rate);
    }
    return GPTOSS_OK;
}

static uint64_t ends_bytes(const plan_model *m, uint32_t node, uint32_t n) {
    return m->own + (node == 0 ? m->embedding : 0) + (node == n - 1 ? m->output : 0);
}

uint64_t placement_need(const plan_model *m, uint32_t index, uint32_t n, uint32_t begin, uint32_t end) {
    uint64_t bytes = ends_bytes(m, index, n);
    for (uint32_t j = begin; j < end; j++) bytes += m->layers[j].held + m->layers[j].kv;
    return bytes;
}

static uint64_t layers_time(const search *s, uint32_t node, uint32_t begin, uint32_t end) {
    return s->time[at(s, node, end)] - s->time[at(s, node, begin)];
}

static uint64_t output_time(const search *s, uint32_t node) { return node == s->n - 1 ? s->output[node] : 0; }

static bool has_room(const search *s, uint32_t node, uint32_t begin, uint32_t end) {
    if (s->any_memory) return true;
    return s->bytes[end] - s->bytes[begin] + ends_bytes(s->model, node, s->n) <= s->nodes[node].memory;
}

/* Finds where `node` best begins when it ends before layer `end` and all stages keep to the limits. */
static void extend(search *s, uint32_t node, uint32_t end) {
    const plan_node *place = &s->nodes[node];
    uint64_t *best = &s->least[at(s, node, end)];
    *best = NEVER;
    if (end > place->layer_end || (node == 0 && !place->embedding) || (node == s->n - 1 && !place->output)) return;
    for (uint32_t begin = end; begin-- > place->layer_begin;) {
        uint64_t layers = layers_time(s, node, begin, end), time = layers + output_time(s, node);
        bool within = time <= s->limit && layers <= s->layers_limit && has_room(s, node, begin, end);
        if (!within) break; /* longer stages are no better */
        uint64_t before = node > 0 ? s->least[at(s, node - 1, begin)] : begin == 0 ? 0 : NEVER;
        if (before == NEVER || before + time >= *best) continue;
        *best = before + time;
        s->begin[at(s, node, end)] = begin;
    }
}

/* The least time of all stages together within the limits; NEVER: there is no such cut. */
static uint64_t least_sum(search *s) {
    uint32_t layers = s->model->n_layers;
    for (uint32_t node = 0; node < s->n; node++)
        for (uint32_t end = 0; end <= layers; end++) extend(s, node, end);
    return s->least[at(s, s->n - 1, layers)];
}

/* Makes *limit, one of the search's, as small as it can be with all stages together taking no longer than `most`.
 * `high` is one that allows that. Returns the least sum then. */
static uint64_t tighten(search *s, uint64_t *limit, uint64_t most, uint64_t high) {
    uint64_t low = 0;
    while (low < high) {
        *limit = low + (high - low) / 2;
        if (least_sum(s) <= most)
            high = *limit;
        else
            low = *limit + 1;
    }
    *limit = high;
    return least_sum(s);
}

static gptoss_status take(const search *s, placement *out, gptoss_error *err) {
    const plan_model *m = s->model;
    placement p = {.stages = s->n, .shards = 1};
    TRY(mem_array(s->n, sizeof *p.rank, "plan", &p.rank, err));
    uint32_t end = m->n_layers;
    for (uint32_t i = s->n; i-- > 0;) {
        uint32_t begin = s->begin[at(s, i, end)];
        plan_rank rank = {.layer_begin = begin,
                          .layer_end = end,
                          .kv_heads = {0, m->n_kv_heads},
                          .experts = {0, m->n_experts},
                          .embedding_rows = {0, i == 0 ? m->n_vocab : 0},
                          .output_rows = {0, i == s->n - 1 ? m->n_vocab : 0},
                          .weights = ends_bytes(m, i, s->n) - m->own,
                          .nanoseconds = layers_time(s, i, begin, end) + output_time(s, i)};
        for (uint32_t j = begin; j < end; j++) {
            rank.weights += m->layers[j].held;
            rank.kv += m->layers[j].kv;
        }
        p.rank[i] = rank;
        end = begin;
    }
    *out = p;
    return GPTOSS_OK;
}

/* Why no cut fits the files that the nodes have. */
static gptoss_status refuse_files(const search *s, gptoss_error *err) {
    const plan_node *nodes = s->nodes;
    uint32_t last = s->n - 1;
    if (!nodes[0].embedding || nodes[0].layer_begin > 0)
        return error_set(err, GPTOSS_BAD_INPUT,
                         "rank 0 needs layer 0, the embedding and the tokenizer; its slice begins with layer %u%s",
                         nodes[0].layer_begin, nodes[0].embedding ? "" : " and has neither embedding nor tokenizer");
    if (!nodes[last].output || nodes[last].layer_end < s->model->n_layers)
        return error_set(err, GPTOSS_BAD_INPUT,
                         "rank %u, the last one, needs layer %u and the output; its slice ends with layer %u%s", last,
                         s->model->n_layers - 1, nodes[last].layer_end - 1,
                         nodes[last].output ? "" : " without output");
    for (uint32_t i = 1; i < s->n; i++)
        if (nodes[i].layer_begin > nodes[i - 1].layer_end)
            return error_set(err, GPTOSS_BAD_INPUT,
                             "layers %u to %u are missing: the slice of rank %u ends before them, that of rank %u "
                             "begins behind them",
                             nodes[i - 1].layer_end, nodes[i].layer_begin - 1, i - 1, i);
    return error_set(
        err, GPTOSS_BAD_INPUT,
        "the slices of the ranks do not follow each other: each rank needs layers behind those of the rank "
        "before it");
}

static gptoss_status solve(search *s, plan_goal goal, placement *out, gptoss_error *err) {
    s->limit = s->layers_limit = NEVER;
    uint64_t least = least_sum(s);
    if (least == NEVER) {
        s->any_memory = true;
        if (least_sum(s) == NEVER) return refuse_files(s, err);
        return error_set(err, GPTOSS_NO_MEMORY, "the model does not fit the memory of these machines");
    }
    if (goal == PLAN_FOR_ANYTHING) return take(s, out, err);
    uint64_t sum = tighten(s, &s->limit, goal == PLAN_FOR_LATENCY ? least : NEVER - 1, least);
    tighten(s, &s->layers_limit, sum, sum);
    return take(s, out, err);
}

gptoss_status placement_find(const plan_model *m, const plan_node *nodes, uint32_t n, const plan_wish *wish,
                             placement *out, gptoss_error *err) {
    if (n < 1 || n > m->n_layers)
        return error_set(err, GPTOSS_MISUSE, "%u ranks cannot share %u layers: start at most %u ranks", n, m->n_layers,
                         m->n_layers);
    if (wish->shards > 1 || (wish->stages && wish->stages != n))
        return error_set(err, GPTOSS_MISUSE, "%u ranks form no grid of %u stages x %u shards", n, wish->stages,
                         wish->shards);
    if ((uint64_t)n * m->n_layers * m->n_layers > MOST_STEPS)
        return error_set(err, GPTOSS_MISUSE, "%u ranks and %u layers are too many to plan for", n, m->n_layers);
    search s;
    gptoss_status status = search_open(m, nodes, n, &s, err);
    if (status == GPTOSS_OK) status = solve(&s, wish->goal, out, err);
    search_close(&s);
    return status;
}

void placement_free(placement *p) {
    free(p->rank);
    *p = (placement){0};
}
