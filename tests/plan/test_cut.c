/* Cutting layers into stages and dealing these to shards, against every possible way to do so. */
#include "plan/cut.h"
#include "random.h"
#include "support.h"

enum { MOST_LAYERS = 9, MOST_STAGES = 5, MOST_SHARDS = 3, MOST_RANKS = 15 };

/* A problem small enough to try all of. Times are whole nanoseconds: a node of `slowness` k takes k a byte. Every
 * expert is used. */
typedef struct problem {
    plan_model model;
    plan_layer layers[MOST_LAYERS];
    plan_node nodes[MOST_RANKS];
    uint64_t slowness[MOST_RANKS], reserve[MOST_RANKS], output[MOST_RANKS];
    cut_problem cut;
} problem;

typedef struct outcome {
    bool exists;
    uint64_t slowest, sum, prompt; /* prompt: of the slowest without the output */
    uint32_t bound[MOST_STAGES + 1];
} outcome;

static void set_slowness(problem *p, uint32_t node, uint64_t slowness) {
    p->slowness[node] = slowness;
    p->nodes[node].read_rate = 1e9 / (double)slowness;
}

static void make_equal(problem *p, uint32_t n_layers, uint32_t stages, uint32_t shards) {
    *p = (problem){
        .model = {.n_layers = n_layers,
                  .layers = p->layers,
                  .n_kv_heads = shards,
                  .kv_head_step = 1,
                  .n_experts = shards,
                  .n_experts_used = shards,
                  .n_vocab = 32,
                  .row_step = 1},
        .cut = {.nodes = p->nodes, .stages = stages, .shards = shards, .reserve = p->reserve, .output = p->output}};
    p->cut.model = &p->model;
    for (uint32_t i = 0; i < stages * shards; i++) {
        p->nodes[i] = plan_node_default();
        set_slowness(p, i, 1);
    }
}

/* ---- one dealing of one stage ---- */

typedef struct deal {
    uint32_t heads[MOST_SHARDS + 1], experts[MOST_SHARDS + 1]; /* bounds */
} deal;

static bool inside(uint32_t begin, uint32_t end, plan_range has) { return has.begin <= begin && end <= has.end; }

/* UINT64_MAX: not allowed. */
static uint64_t time_of(const problem *p, uint32_t stage, uint32_t begin, uint32_t end, const deal *d,
                        bool with_memory) {
    uint64_t attention = 0, experts = 0, left = 0;
    const plan_model *m = &p->model;
    for (uint32_t t = 0; t < p->cut.shards; t++) {
        uint32_t r = stage * p->cut.shards + t, step = m->kv_head_step;
        const plan_node *node = &p->nodes[r];
        uint32_t h = d->heads[t + 1] - d->heads[t], e = d->experts[t + 1] - d->experts[t];
        uint64_t bytes = m->own + p->reserve[r], mine = 0, of_experts = 0;
        for (uint32_t j = begin; j < end; j++) {
            const plan_layer *l = &m->layers[j];
            uint64_t heads = l->heads * step / m->n_kv_heads * h, kv = l->kv * step / m->n_kv_heads * h;
            bytes += l->common + heads + kv + e * l->expert;
            mine += (l->common + heads) * p->slowness[r] + (uint64_t)(node->layer_seconds * 1e9 + 0.5);
            of_experts += e * l->expert * p->slowness[r];
        }
        if (!inside(begin, end, node->layers)) return UINT64_MAX;
        if (!inside(d->heads[t] * step, d->heads[t + 1] * step, node->kv_heads)) return UINT64_MAX;
        if (e > 0 && !inside(d->experts[t], d->experts[t + 1], node->experts)) return UINT64_MAX;
        if (with_memory && bytes > node->memory) return UINT64_MAX;
        if (with_memory) left = node->memory - bytes > UINT64_MAX - left ? UINT64_MAX : left + node->memory - bytes;
        if (mine > attention) attention = mine;
        if (of_experts > experts) experts = of_experts;
    }
    if (with_memory && stage == 0 && left < p->cut.first) return UINT64_MAX;
    return attention + experts;
}

static uint64_t best_deal(const problem *p, uint32_t stage, uint32_t begin, uint32_t end, deal *d, uint32_t done,
                          bool with_memory) {
    uint32_t shards = p->cut.shards, heads = p->model.n_kv_heads / p->model.kv_head_step, experts = p->model.n_experts;
    uint64_t best = UINT64_MAX;
    if (done == shards || done >= MOST_SHARDS) {
        if (d->heads[shards] != heads || d->experts[shards] != experts) return UINT64_MAX;
        return time_of(p, stage, begin, end, d, with_memory);
    }
    for (uint32_t h = d->heads[done] + 1; h <= heads; h++) {
        uint32_t least = experts > 1 || done == 0;
        for (uint32_t e = d->experts[done] + least; e <= experts; e++) {
            d->heads[done + 1] = h;
            d->experts[done + 1] = e;
            uint64_t time = best_deal(p, stage, begin, end, d, done + 1, with_memory);
            if (time < best) best = time;
        }
    }
    return best;
}

/* ---- all cuts ---- */

static outcome measure(const problem *p, const uint32_t *bound, bool with_memory) {
    outcome o = {.exists = true};
    for (uint32_t i = 0; i < p->cut.stages; i++) {
        deal d = {0};
        uint64_t time = best_deal(p, i, bound[i], bound[i + 1], &d, 0, with_memory), output = 0;
        if (time == UINT64_MAX) return (outcome){0};
        for (uint32_t t = 0; t < p->cut.shards; t++)
            if (p->output[i * p->cut.shards + t] > output) output = p->output[i * p->cut.shards + t];
        if (time > o.prompt) o.prompt = time;
        o.sum += time + output;
        if (time + output > o.slowest) o.slowest = time + output;
    }
    memcpy(o.bound, bound, (p->cut.stages + 1) * sizeof *bound);
    return o;
}

/* Among equals the cut whose last bounds are largest. */
static bool is_better(const problem *p, const outcome *a, const outcome *b) {
    bool latency = p->cut.goal == PLAN_FOR_LATENCY;
    if (!b->exists) return a->exists;
    if (!a->exists) return false;
    uint64_t a1 = latency ? a->sum : a->slowest, a2 = latency ? a->slowest : a->sum;
    uint64_t b1 = latency ? b->sum : b->slowest, b2 = latency ? b->slowest : b->sum;
    if (a1 != b1) return a1 < b1;
    if (a2 != b2) return a2 < b2;
    if (a->prompt != b->prompt) return a->prompt < b->prompt;
    for (uint32_t i = p->cut.stages; i-- > 0;)
        if (a->bound[i] != b->bound[i]) return a->bound[i] > b->bound[i];
    return false;
}

static void try_cuts(const problem *p, bool with_memory, uint32_t *bound, uint32_t done, outcome *best) {
    if (done < p->cut.stages) {
        for (uint32_t next = bound[done - 1] + 1; next + (p->cut.stages - done) <= p->model.n_layers; next++) {
            bound[done] = next;
            try_cuts(p, with_memory, bound, done + 1, best);
        }
        return;
    }
    bound[p->cut.stages] = p->model.n_layers;
    outcome o = measure(p, bound, with_memory);
    if (is_better(p, &o, best)) *best = o;
}

static void check_ranks(const problem *p, const plan_rank *rank, const outcome *best) {
    uint32_t shards = p->cut.shards;
    uint64_t sum = 0;
    for (uint32_t i = 0; i < p->cut.stages; i++) {
        deal d = {0};
        uint64_t output = 0;
        for (uint32_t t = 0; t < shards; t++) {
            const plan_rank *r = &rank[i * shards + t];
            assert_int_equal(r->layer_begin, best->bound[i]);
            assert_int_equal(r->layer_end, best->bound[i + 1]);
            assert_int_equal(r->kv_heads.begin, d.heads[t] * p->model.kv_head_step);
            assert_int_equal(r->experts.begin, d.experts[t]);
            d.heads[t + 1] = r->kv_heads.end / p->model.kv_head_step;
            d.experts[t + 1] = r->experts.end;
            if (p->output[i * shards + t] > output) output = p->output[i * shards + t];
        }
        assert_int_equal(d.heads[shards] * p->model.kv_head_step, p->model.n_kv_heads);
        assert_int_equal(d.experts[shards], p->model.n_experts);
        uint64_t time = time_of(p, i, best->bound[i], best->bound[i + 1], &d, true);
        assert_true(time != UINT64_MAX);
        sum += time + output;
    }
    assert_int_equal(sum, best->sum);
}

static void check(problem *p) {
    uint32_t bound[MOST_STAGES + 1] = {0};
    outcome best = {0}, without_memory = {0};
    plan_rank rank[MOST_RANKS];
    p->model.layers = p->layers;
    try_cuts(p, true, bound, 1, &best);
    cut_result result = cut_find(&p->cut, rank, NULL);
    if (best.exists) {
        assert_int_equal(result, CUT_FOUND);
        check_ranks(p, rank, &best);
        return;
    }
    try_cuts(p, false, bound, 1, &without_memory);
    assert_int_equal(result, without_memory.exists ? CUT_NO_MEMORY : CUT_NO_FILES);
}

/* ---- the problems ---- */

static plan_range some_range(uint64_t *seed, uint32_t end) {
    uint32_t begin = (uint32_t)random_below(seed, 3);
    return (plan_range){begin < end ? begin : 0, end - (uint32_t)random_below(seed, 3) % end};
}

/* From all equal to all different. */
static void randomize(problem *p, uint64_t *seed, int round) {
    uint64_t range = UINT64_C(1) << random_below(seed, 30), total = 0;
    uint32_t heads = p->model.n_kv_heads, experts = p->model.n_experts;
    for (uint32_t j = 0; j < p->model.n_layers; j++) {
        p->layers[j] = (plan_layer){.common = random_below(seed, range / 16 + 1),
                                    .heads = random_below(seed, range + 1) * heads,
                                    .expert = random_below(seed, range + 1),
                                    .kv = random_below(seed, range + 1) * heads};
        total += p->layers[j].common + p->layers[j].heads + experts * p->layers[j].expert + p->layers[j].kv;
    }
    for (uint32_t i = 0; i < p->cut.stages * p->cut.shards; i++) {
        plan_node *node = &p->nodes[i];
        if (round % 3) set_slowness(p, i, 1 + random_below(seed, 5));
        if (round % 4 == 0) p->output[i] = random_below(seed, 4 * range);
        if (round % 5 < 2) {
            node->memory = random_below(seed, 2 * total / p->cut.shards + 1);
            p->reserve[i] = random_below(seed, range);
        }
        if (round % 6 == 0) node->layer_seconds = 1e-9 * (double)random_below(seed, range);
        if (round % 7 == 0) node->layers = some_range(seed, p->model.n_layers);
        if (round % 11 == 0) node->kv_heads = some_range(seed, heads);
        if (round % 13 == 0) node->experts = some_range(seed, experts);
    }
    if (round % 10 == 0) p->cut.first = random_below(seed, range);
    p->cut.goal = round % 2 ? PLAN_FOR_THROUGHPUT : PLAN_FOR_LATENCY;
}

static void no_cut_is_better(void **state) {
    (void)state;
    uint64_t seed = 1;
    for (int round = 0; round < 4000; round++) {
        problem p;
        uint32_t n_layers = 1 + (uint32_t)random_below(&seed, MOST_LAYERS),
                 n = 1 + (uint32_t)random_below(&seed, n_layers < MOST_STAGES ? n_layers : MOST_STAGES);
        make_equal(&p, n_layers, n, 1);
        p.model.n_experts = p.model.n_experts_used = 1 + (uint32_t)random_below(&seed, 3);
        randomize(&p, &seed, round);
        check(&p);
    }
}

static void no_dealing_is_better(void **state) {
    (void)state;
    uint64_t seed = 2;
    for (int round = 0; round < 4000; round++) {
        problem p;
        uint32_t shards = 2 + (uint32_t)random_below(&seed, MOST_SHARDS - 1),
                 n_layers = 1 + (uint32_t)random_below(&seed, 4), stages = 1 + (uint32_t)random_below(&seed, n_layers);
        make_equal(&p, n_layers, stages < 3 ? stages : 3, shards);
        p.model.n_kv_heads = shards + (uint32_t)random_below(&seed, 4);
        p.model.n_experts = p.model.n_experts_used = shards + (uint32_t)random_below(&seed, 4);
        if (round % 17 == 0) p.model.n_experts = p.model.n_experts_used = 1;
        randomize(&p, &seed, round);
        if (round % 9 == 0) { /* heads that go in twos */
            p.model.n_kv_heads *= 2;
            p.model.kv_head_step = 2;
            for (uint32_t j = 0; j < n_layers; j++) {
                p.layers[j].heads *= 2;
                p.layers[j].kv *= 2;
            }
        }
        check(&p);
    }
}

static void equal_layers_and_a_heavy_output(void **state) {
    (void)state;
    problem p;
    for (uint32_t n = 1; n <= MOST_STAGES; n++)
        for (uint64_t output = 0; output <= 1200; output += 40)
            for (plan_goal goal = PLAN_FOR_THROUGHPUT; goal <= PLAN_FOR_LATENCY; goal++) {
                make_equal(&p, MOST_LAYERS, n, 1);
                for (uint32_t j = 0; j < MOST_LAYERS; j++) p.layers[j] = (plan_layer){0, 80, 0, 1};
                p.output[n - 1] = output;
                p.cut.goal = goal;
                check(&p);
            }
}

/* Equal shards get shares that differ by one at most, also behind the first. */
static void equal_shards_get_even_parts(void **state) {
    (void)state;
    for (uint32_t shards = 1; shards <= MOST_SHARDS; shards++)
        for (uint32_t experts = shards; experts < 12; experts++) {
            problem p;
            plan_rank rank[MOST_RANKS];
            make_equal(&p, 2, 1, shards);
            p.model.layers = p.layers;
            p.model.n_kv_heads = 8;
            p.model.n_experts = p.model.n_experts_used = experts;
            for (int j = 0; j < 2; j++) p.layers[j] = (plan_layer){5, 800, 70, 80};
            assert_int_equal(cut_find(&p.cut, rank, NULL), CUT_FOUND);
            for (uint32_t t = 0; t < shards; t++) {
                uint32_t e = rank[t].experts.end - rank[t].experts.begin;
                uint32_t h = rank[t].kv_heads.end - rank[t].kv_heads.begin;
                assert_true(e == experts / shards || e == (experts + shards - 1) / shards);
                assert_true(h == 8 / shards || h == (8 + shards - 1) / shards);
            }
        }
}

static void the_fallback_expert_is_that_of_shard_0(void **state) {
    (void)state;
    problem p;
    plan_rank rank[MOST_RANKS];
    make_equal(&p, 2, 2, 2);
    p.model.layers = p.layers;
    p.model.n_experts = p.model.n_experts_used = 1;
    for (int j = 0; j < 2; j++) p.layers[j] = (plan_layer){5, 8, 7, 8};
    assert_int_equal(cut_find(&p.cut, rank, NULL), CUT_FOUND);
    for (uint32_t r = 0; r < 4; r++) assert_int_equal(rank[r].experts.end - rank[r].experts.begin, r % 2 == 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_cut_is_better),
        cmocka_unit_test(no_dealing_is_better),
        cmocka_unit_test(equal_layers_and_a_heavy_output),
        cmocka_unit_test(equal_shards_get_even_parts),
        cmocka_unit_test(the_fallback_expert_is_that_of_shard_0),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
