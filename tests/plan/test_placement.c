/* Dealing layers to nodes, against every possible cut. */
#include "plan/placement.h"
#include "random.h"
#include "support.h"

enum { MOST_LAYERS = 9, MOST_NODES = 5 };

/* A problem small enough to try all of. Times are whole nanoseconds: a node of `slowness` k takes k a byte. */
typedef struct problem {
    plan_model model;
    plan_layer layers[MOST_LAYERS];
    plan_node nodes[MOST_NODES];
    uint64_t slowness[MOST_NODES];
    uint32_t n;
} problem;

typedef struct outcome {
    bool exists;
    uint64_t slowest, sum, prompt; /* prompt: of the slowest without the output */
    uint32_t cut[MOST_NODES + 1];
} outcome;

static void set_slowness(problem *p, uint32_t node, uint64_t slowness) {
    p->slowness[node] = slowness;
    p->nodes[node].read_rate = 1e9 / (double)slowness;
}

static bool allowed(const problem *p, const uint32_t *cut, bool with_memory) {
    for (uint32_t i = 0; i < p->n; i++) {
        const plan_node *node = &p->nodes[i];
        if (cut[i] < node->layer_begin || cut[i + 1] > node->layer_end) return false;
        if ((i == 0 && !node->embedding) || (i == p->n - 1 && !node->output)) return false;
        if (with_memory && placement_need(&p->model, i, p->n, cut[i], cut[i + 1]) > node->memory) return false;
    }
    return true;
}

static outcome measure(const problem *p, const uint32_t *cut) {
    outcome o = {.exists = true};
    for (uint32_t i = 0; i < p->n; i++) {
        uint64_t time = 0;
        for (uint32_t j = cut[i]; j < cut[i + 1]; j++) time += p->layers[j].read * p->slowness[i];
        if (time > o.prompt) o.prompt = time;
        if (i == p->n - 1) time += p->model.output * p->slowness[i];
        o.sum += time;
        if (time > o.slowest) o.slowest = time;
    }
    memcpy(o.cut, cut, (p->n + 1) * sizeof *cut);
    return o;
}

/* Among equals the cut whose last bounds are largest. */
static bool is_better(const problem *p, plan_goal goal, const outcome *a, const outcome *b) {
    if (!b->exists) return true;
    uint64_t a1 = goal == PLAN_FOR_LATENCY ? a->sum : a->slowest, a2 = goal == PLAN_FOR_LATENCY ? a->slowest : a->sum;
    uint64_t b1 = goal == PLAN_FOR_LATENCY ? b->sum : b->slowest, b2 = goal == PLAN_FOR_LATENCY ? b->slowest : b->sum;
    if (a1 != b1) return a1 < b1;
    if (a2 != b2) return a2 < b2;
    if (a->prompt != b->prompt) return a->prompt < b->prompt;
    for (uint32_t i = p->n; i-- > 0;)
        if (a->cut[i] != b->cut[i]) return a->cut[i] > b->cut[i];
    return false;
}

static void try_cuts(const problem *p, plan_goal goal, bool with_memory, uint32_t *cut, uint32_t done, outcome *best) {
    if (done < p->n) {
        for (uint32_t bound = cut[done - 1] + 1; bound + (p->n - done) <= p->model.n_layers; bound++) {
            cut[done] = bound;
            try_cuts(p, goal, with_memory, cut, done + 1, best);
        }
        return;
    }
    cut[p->n] = p->model.n_layers;
    outcome o = measure(p, cut);
    if (allowed(p, cut, with_memory) && is_better(p, goal, &o, best)) *best = o;
}

static void check(problem *p, plan_goal goal) {
    uint32_t cut[MOST_NODES + 1] = {0};
    outcome best = {0}, without_memory = {0};
    p->model.layers = p->layers;
    try_cuts(p, goal, true, cut, 1, &best);
    try_cuts(p, goal, false, cut, 1, &without_memory);
    placement got;
    gptoss_error err = {0};
    gptoss_status status = placement_find(&p->model, p->nodes, p->n, &(plan_wish){.goal = goal}, &got, &err);
    if (!best.exists) {
        assert_int_equal(status, without_memory.exists ? GPTOSS_NO_MEMORY : GPTOSS_BAD_INPUT);
        assert_true(err.text[0]);
        return;
    }
    if (status != GPTOSS_OK) fail_msg("%s", err.text);
    assert_int_equal(got.stages, p->n);
    assert_int_equal(got.shards, 1);
    assert_int_equal(got.rank[0].embedding_rows.end, p->model.n_vocab);
    assert_int_equal(got.rank[p->n - 1].output_rows.end, p->model.n_vocab);
    uint64_t sum = 0, slowest = 0;
    for (uint32_t i = 0; i < p->n; i++) {
        const plan_rank *s = &got.rank[i];
        assert_int_equal(s->layer_begin, best.cut[i]);
        assert_int_equal(s->layer_end, best.cut[i + 1]);
        assert_int_equal(s->weights + s->kv + p->model.own,
                         placement_need(&p->model, i, p->n, s->layer_begin, s->layer_end));
        sum += s->nanoseconds;
        if (s->nanoseconds > slowest) slowest = s->nanoseconds;
    }
    assert_int_equal(sum, best.sum);
    assert_int_equal(slowest, best.slowest);
    placement_free(&got);
}

static void make_equal(problem *p, uint32_t n_layers, uint32_t n) {
    *p = (problem){.model = {.n_layers = n_layers, .layers = p->layers, .n_vocab = 32}, .n = n};
    for (uint32_t i = 0; i < n; i++) {
        p->nodes[i] = (plan_node){UINT64_MAX, 1, 0, n_layers, true, true};
        set_slowness(p, i, 1);
    }
}

static void no_cut_is_better(void **state) {
    (void)state;
    uint64_t seed = 1;
    for (int round = 0; round < 6000; round++) {
        problem p;
        uint32_t n_layers = 1 + (uint32_t)random_below(&seed, MOST_LAYERS),
                 n = 1 + (uint32_t)random_below(&seed, n_layers < MOST_NODES ? n_layers : MOST_NODES);
        make_equal(&p, n_layers, n);
        uint64_t range = UINT64_C(1) << random_below(&seed, 30), total = 0; /* from all equal to all different */
        for (uint32_t j = 0; j < n_layers; j++) {
            p.layers[j] = (plan_layer){random_below(&seed, range + 1), random_below(&seed, range + 1),
                                       random_below(&seed, range + 1)};
            total += p.layers[j].held + p.layers[j].kv;
        }
        if (round % 4) p.model.output = random_below(&seed, 4 * range);
        p.model.embedding = random_below(&seed, range);
        for (uint32_t i = 0; i < n; i++) {
            if (round % 3) set_slowness(&p, i, 1 + random_below(&seed, 5));
            if (round % 5 == 0) p.nodes[i].memory = random_below(&seed, total + 1);
            if (round % 7 == 0) p.nodes[i].layer_begin = (uint32_t)random_below(&seed, n_layers);
            if (round % 7 == 0) p.nodes[i].layer_end = n_layers - (uint32_t)random_below(&seed, 3);
            if (round % 50 == 0) p.nodes[i].embedding = p.nodes[i].output = random_below(&seed, 2);
        }
        check(&p, round % 2 ? PLAN_FOR_THROUGHPUT : PLAN_FOR_LATENCY);
    }
}

static void equal_layers_and_a_heavy_output(void **state) {
    (void)state;
    problem p;
    for (uint32_t n = 1; n <= MOST_NODES; n++)
        for (uint64_t output = 0; output <= 1200; output += 40) {
            make_equal(&p, MOST_LAYERS, n);
            for (uint32_t j = 0; j < MOST_LAYERS; j++) p.layers[j] = (plan_layer){80, 80, 1};
            p.model.output = output;
            check(&p, PLAN_FOR_THROUGHPUT);
            check(&p, PLAN_FOR_LATENCY);
        }
}

/* The 20b model's numbers: 24 layers of 81 MB a token and an output matrix of 616 MB, worth seven and a half layers. */
static void a_real_model_in_four(void **state) {
    (void)state;
    plan_layer layers[24];
    plan_node nodes[4];
    for (int j = 0; j < 24; j++) layers[j] = (plan_layer){450000000, 81000000, 1000000};
    for (int i = 0; i < 4; i++) nodes[i] = (plan_node){UINT64_C(16) << 30, 20e9, 0, 24, true, true};
    const plan_model m = {
        .n_layers = 24, .layers = layers, .embedding = 616000000, .output = 616000000, .own = 64 << 20};
    const uint32_t equal[] = {8, 16, 23, 24}, uneven[] = {9, 18, 22, 24};
    placement p;
    assert_ok(placement_find(&m, nodes, 4, &(plan_wish){.goal = PLAN_FOR_THROUGHPUT}, &p, err));
    for (int i = 0; i < 4; i++) assert_int_equal(p.rank[i].layer_end, equal[i]);
    placement_free(&p);
    /* One machine has a quarter of the memory and half the speed: it gets what it can bear. */
    nodes[2].memory = UINT64_C(2) << 30;
    nodes[2].read_rate = 10e9;
    assert_ok(placement_find(&m, nodes, 4, &(plan_wish){.goal = PLAN_FOR_THROUGHPUT}, &p, err));
    for (int i = 0; i < 4; i++) assert_int_equal(p.rank[i].layer_end, uneven[i]);
    placement_free(&p);
}

static void one_stream_prefers_the_fast_machine(void **state) {
    (void)state;
    problem p;
    make_equal(&p, 8, 3);
    for (uint32_t j = 0; j < 8; j++) p.layers[j] = (plan_layer){10, 10, 0};
    set_slowness(&p, 1, 5);
    set_slowness(&p, 2, 5);
    placement got;
    assert_ok(placement_find(&p.model, p.nodes, 3, &(plan_wish){.goal = PLAN_FOR_LATENCY}, &got, err));
    assert_int_equal(got.rank[0].layer_end, 6);
    placement_free(&got);
}

static void too_many_or_no_nodes_are_misuse(void **state) {
    (void)state;
    problem p;
    placement got;
    make_equal(&p, 3, 3);
    const uint32_t counts[] = {0, 4, 8, UINT32_MAX};
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        gptoss_error err = {0};
        assert_int_equal(
            placement_find(&p.model, p.nodes, counts[i], &(plan_wish){.goal = PLAN_FOR_LATENCY}, &got, &err),
            GPTOSS_MISUSE);
        assert_non_null(strstr(err.text, "at most 3"));
    }
    gptoss_error err = {0};
    p.model.n_layers = 1 << 20;
    assert_int_equal(placement_find(&p.model, p.nodes, 3, &(plan_wish){.goal = PLAN_FOR_LATENCY}, &got, &err),
                     GPTOSS_MISUSE);
}

/* The text names the rank and the layers. */
static void slices_that_leave_a_gap_are_told(void **state) {
    (void)state;
    problem p;
    placement got;
    const struct {
        uint32_t node, begin, end;
        bool embedding, output;
        const char *hint;
    } cases[] = {
        {0, 1, 6, true, true, "rank 0 needs layer 0"},     {0, 0, 6, false, true, "neither embedding nor tokenizer"},
        {2, 3, 5, true, true, "ends with layer 4"},        {2, 3, 6, true, false, "without output"},
        {1, 0, 1, true, true, "do not follow each other"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        gptoss_error err = {0};
        make_equal(&p, 6, 3);
        p.nodes[cases[i].node].layer_begin = cases[i].begin;
        p.nodes[cases[i].node].layer_end = cases[i].end;
        p.nodes[cases[i].node].embedding = cases[i].embedding;
        p.nodes[cases[i].node].output = cases[i].output;
        assert_int_equal(placement_find(&p.model, p.nodes, 3, &(plan_wish){.goal = PLAN_FOR_LATENCY}, &got, &err),
                         GPTOSS_BAD_INPUT);
        if (!strstr(err.text, cases[i].hint)) fail_msg("no \"%s\" in \"%s\"", cases[i].hint, err.text);
    }
    gptoss_error err = {0};
    make_equal(&p, 6, 3);
    p.nodes[0].layer_end = 2;
    p.nodes[1].layer_begin = 4;
    assert_int_equal(placement_find(&p.model, p.nodes, 3, &(plan_wish){.goal = PLAN_FOR_LATENCY}, &got, &err),
                     GPTOSS_BAD_INPUT);
    assert_non_null(strstr(err.text, "layers 2 to 3 are missing"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_cut_is_better),
        cmocka_unit_test(equal_layers_and_a_heavy_output),
        cmocka_unit_test(a_real_model_in_four),
        cmocka_unit_test(one_stream_prefers_the_fast_machine),
        cmocka_unit_test(too_many_or_no_nodes_are_misuse),
        cmocka_unit_test(slices_that_leave_a_gap_are_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
