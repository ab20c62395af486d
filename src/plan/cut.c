/* A stage's time is that of its layers, dealt to its shards, and of its ranks' rows of the output. Three figures tell
 * how good a cut is: the time of its slowest stage, of all stages together, and of the layers of its slowest stage,
 * which alone count while a prompt is read. For given limits on the first and the last, dynamic programming over
 * (stage, layers dealt so far) finds the least of the second; the limits are found by bisection. */
#include "plan/cut.h"

#include <stdlib.h>

#include "base/mem.h"
#include "plan/deal.h"

static const uint64_t NEVER = UINT64_MAX;

/* Of layers [0, j), for each j. */
typedef struct sums {
    uint64_t *common, *head, *expert;                             /* [ranks][layers + 1] nanoseconds: see deal_shard */
    uint64_t *common_bytes, *head_bytes, *expert_bytes, *head_kv; /* [layers + 1]; head_kv: in head_bytes, too */
} sums;

typedef struct search {
    const cut_problem *p;
    uint32_t layers, head_steps;
    uint64_t limit, layers_limit; /* of a stage's time: with the output, without */
    bool any_memory;              /* limits of memory are ignored */
    sums sum;
    uint64_t *time;    /* with several shards: [stages][layers + 1][layers + 1] of layers [i, j), 0: not known yet */
    uint64_t *least;   /* [stages][layers + 1]: of stages [0, i] with layers [0, j), NEVER: impossible */
    uint32_t *begin;   /* [stages][layers + 1]: where stage i begins then */
    deal_shard *shard; /* [shards] */
    deal_part *part;   /* [shards] */
} search;

static void search_close(search *s) {
    void *const owned[] = {s->sum.common,     s->sum.head,
                           s->sum.expert,     s->sum.common_bytes,
                           s->sum.head_bytes, s->sum.expert_bytes,
                           s->sum.head_kv,    s->time,
                           s->least,          s->begin,
                           s->shard,          s->part};
    for (size_t i = 0; i < sizeof owned / sizeof *owned; i++) free(owned[i]);
}

static size_t at(const search *s, uint32_t row, uint32_t layer) { return (size_t)row * (s->layers + 1) + layer; }

uint64_t cut_nanoseconds(double bytes, double rate) {
    double t = bytes / rate * 1e9;
    return t < 1e12 ? (uint64_t)(t + 0.5) : (uint64_t)1e12;
}

/* Rounded layer by layer, so that equal nodes come to equal sums. */
static void add_up(search *s) {
    const plan_model *m = s->p->model;
    sums *sum = &s->sum;
    double share = (double)m->n_experts_used / m->n_experts;
    for (uint32_t j = 0; j < s->layers; j++) {
        const plan_layer *l = &m->layers[j];
        sum->common_bytes[j + 1] = sum->common_bytes[j] + l->common;
        uint64_t kv = (l->kv + s->head_steps - 1) / s->head_steps;
        sum->head_bytes[j + 1] = sum->head_bytes[j] + l->heads / s->head_steps + kv;
        sum->head_kv[j + 1] = sum->head_kv[j] + kv;
        sum->expert_bytes[j + 1] = sum->expert_bytes[j] + l->expert;
        for (uint32_t r = 0; r < s->p->stages * s->p->shards; r++) {
            const plan_node *n = &s->p->nodes[r];
            size_t before = at(s, r, j), here = before + 1;
            double heads = (double)l->heads / s->head_steps, expert = (double)l->expert * share;
            sum->common[here] = sum->common[before] + cut_nanoseconds((double)l->common, n->read_rate) +
                                cut_nanoseconds(n->layer_seconds, 1);
            sum->head[here] = sum->head[before] + cut_nanoseconds(heads, n->read_rate);
            sum->expert[here] = sum->expert[before] + cut_nanoseconds(expert, n->read_rate);
        }
    }
}

static gptoss_status search_open(const cut_problem *p, search *s, gptoss_error *err) {
    size_t row = p->model->n_layers + 1, ranks = (size_t)p->stages * p->shards;
    *s = (search){.p = p, .layers = p->model->n_layers, .head_steps = p->model->n_kv_heads / p->model->kv_head_step};
    struct {
        uint64_t **target;
        size_t count;
    } const arrays[] = {
        {&s->sum.common, ranks * row},
        {&s->sum.head, ranks * row},
        {&s->sum.expert, ranks * row},
        {&s->sum.common_bytes, row},
        {&s->sum.head_bytes, row},
        {&s->sum.expert_bytes, row},
        {&s->sum.head_kv, row},
        {&s->least, p->stages * row},
        {&s->time, p->shards > 1 ? p->stages * row * row : 1},
    };
    for (size_t i = 0; i < sizeof arrays / sizeof *arrays; i++)
        TRY(mem_array(arrays[i].count, sizeof(uint64_t), "plan", arrays[i].target, err));
    TRY(mem_array(p->stages * row, sizeof *s->begin, "plan", &s->begin, err));
    TRY(mem_array(p->shards, sizeof *s->shard, "plan", &s->shard, err));
    TRY(mem_array(p->shards, sizeof *s->part, "plan", &s->part, err));
    add_up(s);
    return GPTOSS_OK;
}

static uint64_t part_of(const uint64_t *sum, size_t begin, size_t end) { return sum[end] - sum[begin]; }

/* What the shards of a stage have to share; false when some has no room even for what all need. */
static bool describe(search *s, uint32_t stage, uint32_t begin, uint32_t end, deal_problem *out) {
    const cut_problem *p = s->p;
    const sums *sum = &s->sum;
    const plan_model *m = p->model;
    uint64_t common = m->own + part_of(sum->common_bytes, begin, end), room = 0;
    *out = (deal_problem){.shards = p->shards,
                          .heads = s->head_steps,
                          .experts = m->n_experts,
                          .head_bytes = s->any_memory ? 0 : part_of(sum->head_bytes, begin, end),
                          .expert_bytes = s->any_memory ? 0 : part_of(sum->expert_bytes, begin, end),
                          .shard = s->shard};
    for (uint32_t t = 0; t < p->shards; t++) {
        uint32_t r = stage * p->shards + t;
        const plan_node *n = &p->nodes[r];
        uint64_t need = common + p->reserve[r];
        if (n->memory < need && !s->any_memory) return false;
        s->shard[t] = (deal_shard){
            .common = part_of(sum->common, at(s, r, begin), at(s, r, end)),
            .head = part_of(sum->head, at(s, r, begin), at(s, r, end)),
            .expert = part_of(sum->expert, at(s, r, begin), at(s, r, end)),
            .room = s->any_memory ? 0 : n->memory - need,
            .heads = {(n->kv_heads.begin + m->kv_head_step - 1) / m->kv_head_step, n->kv_heads.end / m->kv_head_step},
            .experts = n->experts};
        room = room > UINT64_MAX - s->shard[t].room ? UINT64_MAX : room + s->shard[t].room;
    }
    uint64_t need = out->heads * out->head_bytes + out->experts * out->expert_bytes;
    return s->any_memory || stage > 0 || (need <= room && p->first <= room - need);
}

static uint64_t find_layers_time(search *s, uint32_t stage, uint32_t begin, uint32_t end) {
    deal_problem problem;
    return describe(s, stage, begin, end, &problem) ? deal_time(&problem, NEVER - 1) : NEVER;
}

/* Of a stage with layers [begin, end); NEVER: they do not fit. */
static uint64_t layers_time(search *s, uint32_t stage, uint32_t begin, uint32_t end) {
    if (s->p->shards == 1) return find_layers_time(s, stage, begin, end);
    uint64_t *known = &s->time[((size_t)stage * (s->layers + 1) + begin) * (s->layers + 1) + end];
    if (*known == 0) *known = find_layers_time(s, stage, begin, end);
    return *known;
}

static uint64_t output_time(const search *s, uint32_t stage) {
    uint64_t most = 0;
    for (uint32_t t = 0; t < s->p->shards; t++) {
        uint64_t time = s->p->output[stage * s->p->shards + t];
        if (time > most) most = time;
    }
    return most;
}

/* The layers that all shards of a stage can have. */
static plan_range available(const search *s, uint32_t stage) {
    plan_range range = {0, s->layers};
    for (uint32_t t = 0; t < s->p->shards; t++) {
        const plan_range *has = &s->p->nodes[stage * s->p->shards + t].layers;
        if (has->begin > range.begin) range.begin = has->begin;
        if (has->end < range.end) range.end = has->end;
    }
    return range;
}

/* Finds where `stage` best begins when it ends before layer `end` and all stages keep to the limits. */
static void extend(search *s, uint32_t stage, uint32_t end) {
    plan_range has = available(s, stage);
    uint64_t *best = &s->least[at(s, stage, end)];
    *best = NEVER;
    if (end > has.end) return;
    for (uint32_t begin = end; begin-- > has.begin;) {
        uint64_t layers = layers_time(s, stage, begin, end);
        if (layers == NEVER || layers > s->layers_limit || layers > s->limit) break; /* longer stages are no better */
        uint64_t time = layers + output_time(s, stage);
        if (time > s->limit) break;
        uint64_t before = stage > 0 ? s->least[at(s, stage - 1, begin)] : begin == 0 ? 0 : NEVER;
        if (before == NEVER || before + time >= *best) continue;
        *best = before + time;
        s->begin[at(s, stage, end)] = begin;
    }
}

/* The least time of all stages together within the limits; NEVER: there is no such cut. */
static uint64_t least_sum(search *s) {
    for (uint32_t stage = 0; stage < s->p->stages; stage++)
        for (uint32_t end = 0; end <= s->layers; end++) extend(s, stage, end);
    return s->least[at(s, s->p->stages - 1, s->layers)];
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

static void take_stage(search *s, uint32_t stage, uint32_t begin, uint32_t end, plan_rank *rank) {
    const sums *sum = &s->sum;
    uint32_t step = s->p->model->kv_head_step;
    deal_problem problem;
    if (s->p->shards == 1)
        s->part[0] = (deal_part){{0, s->head_steps}, {0, s->p->model->n_experts}};
    else if (describe(s, stage, begin, end, &problem))
        deal_take(&problem, s->part);
    for (uint32_t t = 0; t < s->p->shards; t++) {
        uint32_t r = stage * s->p->shards + t;
        const deal_part *part = &s->part[t];
        uint32_t heads = part->heads.end - part->heads.begin, experts = part->experts.end - part->experts.begin;
        uint64_t kv = heads * part_of(sum->head_kv, begin, end);
        rank[r] = (plan_rank){.layer_begin = begin,
                              .layer_end = end,
                              .kv_heads = {part->heads.begin * step, part->heads.end * step},
                              .experts = part->experts,
                              .kv = kv};
        rank[r].weights = part_of(sum->common_bytes, begin, end) + heads * part_of(sum->head_bytes, begin, end) - kv +
                          experts * part_of(sum->expert_bytes, begin, end);
        size_t from = at(s, r, begin), to = at(s, r, end);
        rank[r].nanoseconds = part_of(sum->common, from, to) + heads * part_of(sum->head, from, to) +
                              experts * part_of(sum->expert, from, to);
    }
}

static void take(search *s, plan_rank *rank) {
    uint32_t end = s->layers;
    for (uint32_t stage = s->p->stages; stage-- > 0;) {
        uint32_t begin = s->begin[at(s, stage, end)];
        take_stage(s, stage, begin, end, rank);
        end = begin;
    }
}

static cut_result solve(search *s, plan_rank *rank) {
    plan_goal goal = s->p->goal;
    s->limit = s->layers_limit = NEVER - 1;
    uint64_t least = least_sum(s);
    if (least == NEVER) {
        s->any_memory = true;
        if (s->p->shards > 1) /* times known so far are those with memory */
            for (size_t i = 0; i < s->p->stages * at(s, s->layers + 1, 0); i++) s->time[i] = 0;
        return least_sum(s) == NEVER ? CUT_NO_FILES : CUT_NO_MEMORY;
    }
    if (goal != PLAN_FOR_ANYTHING) {
        uint64_t sum = tighten(s, &s->limit, goal == PLAN_FOR_LATENCY ? least : NEVER - 1, least);
        tighten(s, &s->layers_limit, sum, sum);
    }
    take(s, rank);
    return CUT_FOUND;
}

cut_result cut_find(const cut_problem *p, plan_rank *rank, gptoss_error *err) {
    search s;
    cut_result result = search_open(p, &s, err) == GPTOSS_OK ? solve(&s, rank) : CUT_FAILED;
    search_close(&s);
    return result;
}
