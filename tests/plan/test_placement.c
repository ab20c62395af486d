/* Placements as a whole: everything is somewhere, once, and fits; the best grid is taken. */
#include "plan/forecast.h"
#include "plan/placement.h"
#include "random.h"
#include "support.h"

enum { MOST_LAYERS = 6, MOST_NODES = 12 };

typedef struct problem {
    plan_model model;
    plan_layer layers[MOST_LAYERS];
    plan_node nodes[MOST_NODES];
    plan_wish wish;
    uint32_t n;
} problem;

static void make_equal(problem *p, uint32_t n_layers, uint32_t n) {
    *p = (problem){.model = {.n_layers = n_layers,
                             .layers = p->layers,
                             .n_kv_heads = 4,
                             .kv_head_step = 1,
                             .n_experts = 8,
                             .n_experts_used = 2,
                             .n_vocab = 50,
                             .row_step = 4,
                             .embedding_row = 1000,
                             .output_row = 1000},
                   .wish = {.goal = PLAN_FOR_LATENCY, .traffic = {.streams = 1}},
                   .n = n};
    for (uint32_t j = 0; j < n_layers; j++) p->layers[j] = (plan_layer){1000, 40000, 10000, 8000};
    for (uint32_t i = 0; i < n; i++) {
        p->nodes[i] = plan_node_default();
        p->nodes[i].read_rate = 1e9;
    }
}

static uint32_t size_of(plan_range r) { return r.end - r.begin; }

/* From 0 to `end` over ranks [first, first + count), each inside what its node has. */
static void assert_shared_out(const problem *p, const placement *got, uint32_t first, uint32_t count, uint32_t end,
                              uint32_t step, size_t of_rank, size_t of_node) {
    uint32_t at = 0;
    for (uint32_t r = first; r < first + count; r++) {
        plan_range range = *(const plan_range *)((const char *)&got->rank[r] + of_rank);
        plan_range has = *(const plan_range *)((const char *)&p->nodes[r] + of_node);
        assert_int_equal(range.begin, at);
        assert_true(size_of(range) % step == 0 || range.end == end);
        assert_true(size_of(range) == 0 || (range.begin >= has.begin && range.end <= has.end));
        at = range.end;
    }
    assert_int_equal(at, end);
}

static void check_ranks(const problem *p, const placement *got) {
    const plan_model *m = &p->model;
    uint32_t shards = got->shards, n = got->stages * shards, layer = 0;
    assert_int_equal(n, p->n);
    assert_shared_out(p, got, 0, n, m->n_vocab, m->row_step, offsetof(plan_rank, output_rows),
                      offsetof(plan_node, output_rows));
    assert_shared_out(p, got, 0, shards, m->n_vocab, shards > 1 ? m->row_step : m->n_vocab,
                      offsetof(plan_rank, embedding_rows), offsetof(plan_node, embedding_rows));
    for (uint32_t r = 0; r < n; r++) {
        const plan_rank *rank = &got->rank[r];
        uint64_t weights =
            size_of(rank->embedding_rows) * m->embedding_row + size_of(rank->output_rows) * m->output_row;
        uint64_t kv = 0;
        if (r % shards == 0) {
            assert_shared_out(p, got, r, shards, m->n_kv_heads, m->kv_head_step, offsetof(plan_rank, kv_heads),
                              offsetof(plan_node, kv_heads));
            assert_shared_out(p, got, r, shards, m->n_experts, 1, offsetof(plan_rank, experts),
                              offsetof(plan_node, experts));
            assert_int_equal(rank->layer_begin, layer);
            layer = rank->layer_end;
        }
        assert_int_equal(rank->layer_end, layer);
        assert_true(rank->layer_end > rank->layer_begin && size_of(rank->kv_heads) > 0);
        assert_true(rank->layer_begin >= p->nodes[r].layers.begin && rank->layer_end <= p->nodes[r].layers.end);
        if (r >= shards) assert_int_equal(size_of(rank->embedding_rows), 0);
        for (uint32_t j = rank->layer_begin; j < rank->layer_end; j++) {
            uint32_t heads = size_of(rank->kv_heads);
            weights += m->layers[j].common + m->layers[j].heads / m->n_kv_heads * heads +
                       size_of(rank->experts) * m->layers[j].expert;
            kv += m->layers[j].kv / m->n_kv_heads * heads;
        }
        assert_int_equal(rank->weights, weights);
        assert_int_equal(rank->kv, kv);
        assert_true(weights + kv + m->own <= p->nodes[r].memory);
    }
    assert_int_equal(layer, m->n_layers);
}

/* Whether anything fits the nodes, if rows were as fine as bytes: by trying all. `left`: of all ranks so far. */
typedef struct fitting {
    const problem *p;
    uint32_t stages, shards;
} fitting;

static bool fits_from(const fitting *f, uint32_t rank, uint32_t begin, uint32_t end, uint32_t head, uint32_t expert,
                      uint64_t left);

static bool next_stage(const fitting *f, uint32_t rank, uint32_t end, uint64_t left) {
    const plan_model *m = &f->p->model;
    uint64_t rows = m->n_vocab;
    if (rank == f->shards && left < rows * m->embedding_row) return false;
    if (rank == f->stages * f->shards) return end == m->n_layers && left >= rows * (m->embedding_row + m->output_row);
    for (uint32_t to = end + 1; to <= m->n_layers; to++)
        if (fits_from(f, rank, end, to, 0, 0, left)) return true;
    return false;
}

static bool fits_from(const fitting *f, uint32_t rank, uint32_t begin, uint32_t end, uint32_t head, uint32_t expert,
                      uint64_t left) {
    const plan_model *m = &f->p->model;
    if (rank % f->shards == 0 && head == m->n_kv_heads) return expert == m->n_experts && next_stage(f, rank, end, left);
    for (uint32_t h = 1; head + h <= m->n_kv_heads; h++)
        for (uint32_t e = 1; expert + e <= m->n_experts; e++) {
            uint64_t bytes = m->own;
            for (uint32_t j = begin; j < end; j++)
                bytes += m->layers[j].common + (m->layers[j].heads + m->layers[j].kv) / m->n_kv_heads * h +
                         e * m->layers[j].expert;
            if (bytes > f->p->nodes[rank].memory) break;
            bool last = (rank + 1) % f->shards == 0;
            if (last && (head + h != m->n_kv_heads || expert + e != m->n_experts)) continue;
            if (fits_from(f, rank + 1, begin, end, head + h, expert + e, left + f->p->nodes[rank].memory - bytes))
                return true;
        }
    return false;
}

static bool fits_at_all(const problem *p, uint32_t shards) {
    const fitting f = {p, p->n / shards, shards};
    return next_stage(&f, 0, 0, 0);
}

/* With little memory a placement is found wherever there is one, but for rows' steps that do not fill a rank. */
static void whatever_fits_is_found(void **state) {
    (void)state;
    uint64_t seed = 5;
    int found = 0, refused = 0;
    for (int round = 0; round < 3000; round++) {
        problem p;
        uint32_t shards = 1 + (uint32_t)random_below(&seed, 3), stages = 1 + (uint32_t)random_below(&seed, 3);
        make_equal(&p, stages + (uint32_t)random_below(&seed, 2), stages * shards);
        p.model.n_experts = 3 + (uint32_t)random_below(&seed, 2);
        p.model.n_kv_heads = 3;
        p.model.row_step = 1;
        p.model.own = random_below(&seed, 3000);
        for (uint32_t j = 0; j < p.model.n_layers; j++)
            p.layers[j] = (plan_layer){random_below(&seed, 1000), 3 * random_below(&seed, 10000),
                                       random_below(&seed, 9000), 3 * random_below(&seed, 3000)};
        p.model.embedding_row = random_below(&seed, 1000);
        p.model.output_row = random_below(&seed, 1000);
        uint64_t need = placement_weights(&p.model);
        for (uint32_t i = 0; i < p.n; i++) {
            p.nodes[i].memory = random_below(&seed, 3 * need / p.n + 1);
            p.nodes[i].read_rate = 1e9 / (double)(1 + random_below(&seed, 4));
        }
        p.wish = (plan_wish){stages, shards, round % 3, {0, 0, 1}};
        placement got;
        gptoss_status status = placement_find(&p.model, p.nodes, p.n, &p.wish, &got, NULL);
        if (status == GPTOSS_OK) {
            found++;
            check_ranks(&p, &got);
            placement_free(&got);
            continue;
        }
        refused++;
        assert_int_equal(status, GPTOSS_NO_MEMORY);
        for (uint32_t i = 0; i < p.n; i++) { /* what steps may cost */
            uint64_t less = p.n > 1 ? p.model.output_row + p.model.embedding_row : 0;
            p.nodes[i].memory = p.nodes[i].memory > less ? p.nodes[i].memory - less : 0;
        }
        assert_false(fits_at_all(&p, shards));
    }
    assert_true(found > 300 && refused > 300);
}

/* What slices written for a placement hold is enough for it, and it is found again. */
static void slices_make_the_same_placement(void **state) {
    (void)state;
    uint64_t seed = 6;
    for (int round = 0; round < 500; round++) {
        problem p;
        uint32_t shards = 1 + (uint32_t)random_below(&seed, 3), stages = 1 + (uint32_t)random_below(&seed, 3);
        make_equal(&p, stages + (uint32_t)random_below(&seed, 3), stages * shards);
        p.wish = (plan_wish){stages, shards, round % 2 ? PLAN_FOR_THROUGHPUT : PLAN_FOR_LATENCY, {0, 0, 1}};
        placement first, again;
        assert_ok(placement_find(&p.model, p.nodes, p.n, &p.wish, &first, err));
        for (uint32_t r = 0; r < p.n; r++) {
            p.nodes[r].read_rate = 1e9 / (double)(1 + random_below(&seed, 4));
            p.nodes[r].layers = (plan_range){first.rank[r].layer_begin, first.rank[r].layer_end};
            p.nodes[r].kv_heads = first.rank[r].kv_heads;
            p.nodes[r].experts = first.rank[r].experts;
            p.nodes[r].embedding_rows = first.rank[r].embedding_rows;
            p.nodes[r].output_rows = first.rank[r].output_rows;
        }
        assert_ok(placement_find(&p.model, p.nodes, p.n, &p.wish, &again, err));
        check_ranks(&p, &again);
        for (uint32_t r = 0; r < p.n; r++) again.rank[r].nanoseconds = first.rank[r].nanoseconds;
        assert_memory_equal(again.rank, first.rank, p.n * sizeof *first.rank);
        placement_free(&first);
        placement_free(&again);
    }
}

/* The 20b model's numbers: 24 layers of 81 MB a token and an output matrix of 616 MB, worth seven and a half layers. */
static void a_real_model_on_four(void **state) {
    (void)state;
    plan_layer layers[24];
    plan_node nodes[4];
    for (int j = 0; j < 24; j++) layers[j] = (plan_layer){400000, 27600000, 13200000, 6000000};
    for (int i = 0; i < 4; i++) {
        nodes[i] = plan_node_default();
        nodes[i].memory = UINT64_C(16) << 30;
        nodes[i].read_rate = 20e9;
    }
    const plan_model m = {24, layers, 8, 1, 32, 4, 201088, 16, 3060, 3060, 64 << 20};
    plan_wish wish = {4, 1, PLAN_FOR_THROUGHPUT, {11520, 804352, 1}};
    const uint32_t equal[] = {6, 12, 18, 24}, uneven[] = {7, 14, 17, 24};
    placement p;
    assert_ok(placement_find(&m, nodes, 4, &wish, &p, err));
    for (int i = 0; i < 4; i++) {
        assert_int_equal(p.rank[i].layer_end, equal[i]);
        assert_int_equal(size_of(p.rank[i].output_rows), 201088 / 4);
    }
    placement_free(&p);
    /* One machine has an eighth of the memory and half the speed: it gets what it can bear. */
    nodes[2].memory = UINT64_C(2) << 30;
    nodes[2].read_rate = 10e9;
    assert_ok(placement_find(&m, nodes, 4, &wish, &p, err));
    for (int i = 0; i < 4; i++) assert_int_equal(p.rank[i].layer_end, uneven[i]);
    placement_free(&p);
    /* Beside another one it gets a third of the experts and a quarter of the heads. */
    wish.stages = wish.shards = 2;
    assert_ok(placement_find(&m, nodes, 4, &wish, &p, err));
    assert_int_equal(p.rank[2].experts.end, 11);
    assert_int_equal(p.rank[2].kv_heads.end, 2);
    assert_int_equal(p.rank[1].experts.begin, 16);
    placement_free(&p);
}

static void one_stream_prefers_the_fast_machine(void **state) {
    (void)state;
    problem p;
    make_equal(&p, 6, 3);
    p.wish.shards = 1;
    p.nodes[1].read_rate = p.nodes[2].read_rate = 2e8;
    placement got;
    assert_ok(placement_find(&p.model, p.nodes, 3, &p.wish, &got, err));
    assert_int_equal(got.rank[0].layer_end, 4);
    assert_true(size_of(got.rank[0].output_rows) > 2 * size_of(got.rank[1].output_rows));
    placement_free(&got);
}

/* Among all grids of that many ranks the one with the best forecast. */
static void the_fastest_grid_is_taken(void **state) {
    (void)state;
    uint64_t seed = 7;
    uint32_t taken[MOST_NODES + 1] = {0};
    for (int round = 0; round < 400; round++) {
        problem p;
        make_equal(&p, MOST_LAYERS, 1 + (uint32_t)random_below(&seed, MOST_NODES));
        p.wish.goal = round % 2 ? PLAN_FOR_THROUGHPUT : PLAN_FOR_LATENCY;
        p.wish.traffic = (plan_traffic){200, 200, 1 + (uint32_t)random_below(&seed, 16)};
        double latency = 1e-6 * (double)random_below(&seed, 30);
        for (uint32_t i = 0; i < p.n; i++) p.nodes[i].link = (plan_link){latency, 1e9};
        double best = 0;
        uint32_t best_shards = 0;
        placement got;
        for (uint32_t shards = 1; shards <= 4; shards++) {
            plan_wish wish = p.wish;
            forecast f;
            wish.shards = shards;
            if (p.n % shards || placement_find(&p.model, p.nodes, p.n, &wish, &got, NULL) != GPTOSS_OK) continue;
            assert_int_equal(got.shards, shards);
            assert_ok(forecast_of(&p.model, &got, p.nodes, &wish.traffic, &f, err));
            double speed = wish.goal == PLAN_FOR_LATENCY ? f.one_stream : f.all_streams;
            if (speed >= 1.02 * best) {
                best = speed;
                best_shards = shards;
            }
            placement_free(&got);
        }
        gptoss_status status = placement_find(&p.model, p.nodes, p.n, &p.wish, &got, NULL);
        assert_int_equal(status, best_shards ? GPTOSS_OK : GPTOSS_MISUSE);
        if (!best_shards) continue;
        assert_int_equal(got.shards, best_shards);
        check_ranks(&p, &got);
        taken[best_shards]++;
        placement_free(&got);
    }
    assert_true(taken[1] > 20 && taken[2] > 20 && taken[4] > 20);
}

static void impossible_grids_are_misuse(void **state) {
    (void)state;
    static const struct {
        uint32_t n, stages, shards;
        const char *hint;
    } cases[] = {
        {0, 0, 0, "form no grid"},          {7, 0, 0, "at most 3 stages (layers) x 4 shards"},
        {4, 4, 0, "at most 3 ranks"},       {4, 0, 1, "at most 3 ranks"},
        {5, 0, 2, "2 shards a stage"},      {5, 2, 0, "2 stages"},
        {6, 3, 3, "are 9 ranks"},           {10, 2, 5, "at most 4 shards"},
        {UINT32_MAX, 0, 0, "form no grid"}, {6, UINT32_MAX, UINT32_MAX, "at most 4 shards"},
    };
    problem p;
    placement got;
    make_equal(&p, 3, 12);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        gptoss_error err = {0};
        const plan_wish wish = {cases[i].stages, cases[i].shards, PLAN_FOR_LATENCY, {0, 0, 1}};
        assert_int_equal(placement_find(&p.model, p.nodes, cases[i].n, &wish, &got, &err), GPTOSS_MISUSE);
        if (!strstr(err.text, cases[i].hint)) fail_msg("no \"%s\" in \"%s\"", cases[i].hint, err.text);
    }
    gptoss_error err = {0};
    p.model.n_layers = 1 << 20;
    assert_int_equal(placement_find(&p.model, p.nodes, 3, &p.wish, &got, &err), GPTOSS_MISUSE);
    p.model.n_layers = 3;
    p.model.kv_head_step = 2; /* four heads that go in twos */
    p.wish.shards = 3;
    assert_int_equal(placement_find(&p.model, p.nodes, 3, &p.wish, &got, &err), GPTOSS_MISUSE);
    assert_non_null(strstr(err.text, "share blocks of attn_output"));
    p.model.n_kv_heads = 1 << 20; /* no real model's */
    p.model.kv_head_step = 1;
    assert_int_equal(placement_find(&p.model, p.nodes, 3, &p.wish, &got, &err), GPTOSS_MISUSE);
    p.wish.shards = 1;
    assert_int_equal(placement_find(&p.model, p.nodes, 3, &p.wish, &got, &err), GPTOSS_OK);
    placement_free(&got);
}

/* The text names the rank and what it lacks. */
static void slices_that_leave_a_gap_are_told(void **state) {
    (void)state;
    static const struct {
        uint32_t shards, node;
        size_t what;
        plan_range range;
        const char *hint;
    } cases[] = {
        {1, 0, offsetof(plan_node, layers), {1, 6}, "rank 0 needs layer 0"},
        {1, 0, offsetof(plan_node, embedding_rows), {0, 0}, "row 0 of the embedding"},
        {1, 3, offsetof(plan_node, layers), {3, 5}, "ends with layer 4"},
        {1, 1, offsetof(plan_node, layers), {0, 1}, "do not follow each other"},
        {1, 1, offsetof(plan_node, kv_heads), {0, 2}, "rank 1 has not all KV heads"},
        {1, 2, offsetof(plan_node, kv_heads), {2, 4}, "ask for the stages and shards that it was cut for"},
        {2, 1, offsetof(plan_node, experts), {0, 3}, "do not follow each other"},
        {2, 2, offsetof(plan_node, output_rows), {7, 9}, NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        problem p;
        placement got;
        gptoss_error err = {0};
        make_equal(&p, 6, 4);
        p.wish.shards = cases[i].shards;
        memcpy((char *)&p.nodes[cases[i].node] + cases[i].what, &cases[i].range, sizeof cases[i].range);
        gptoss_status status = placement_find(&p.model, p.nodes, p.n, &p.wish, &got, &err);
        if (!cases[i].hint) {
            assert_int_equal(status, GPTOSS_OK); /* others have them */
            placement_free(&got);
            continue;
        }
        assert_int_equal(status, GPTOSS_BAD_INPUT);
        if (!strstr(err.text, cases[i].hint)) fail_msg("no \"%s\" in \"%s\"", cases[i].hint, err.text);
    }
    problem p;
    placement got;
    gptoss_error err = {0};
    make_equal(&p, 6, 4);
    p.wish.shards = 2;
    p.nodes[2].experts.end = 2;
    p.nodes[3].experts.begin = 4;
    assert_int_equal(placement_find(&p.model, p.nodes, 4, &p.wish, &got, &err), GPTOSS_BAD_INPUT);
    assert_non_null(strstr(err.text, "experts 2 to 3 are missing: the slice of rank 2 ends before them"));
    make_equal(&p, 6, 4);
    p.wish.shards = 1;
    p.nodes[0].layers.end = 2;
    p.nodes[1].layers.begin = 4;
    assert_int_equal(placement_find(&p.model, p.nodes, 4, &p.wish, &got, &err), GPTOSS_BAD_INPUT);
    assert_non_null(strstr(err.text, "layers 2 to 3 are missing: the slice of rank 0 ends before them"));
    make_equal(&p, 6, 4);
    p.wish.shards = 2;
    p.nodes[1].layers.end = 2;
    p.nodes[3].layers.begin = 4;
    assert_int_equal(placement_find(&p.model, p.nodes, 4, &p.wish, &got, &err), GPTOSS_BAD_INPUT);
    assert_non_null(
        strstr(err.text, "layers 2 to 3 are missing: the slice of rank 1 ends before them, that of rank 3"));
    make_equal(&p, 6, 4);
    p.wish.shards = 1;
    for (int i = 0; i < 4; i++) p.nodes[i].output_rows.end = 32;
    assert_int_equal(placement_find(&p.model, p.nodes, 4, &p.wish, &got, &err), GPTOSS_BAD_INPUT);
    assert_non_null(strstr(err.text, "row 32 of the output"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whatever_fits_is_found),
        cmocka_unit_test(slices_make_the_same_placement),
        cmocka_unit_test(a_real_model_on_four),
        cmocka_unit_test(one_stream_prefers_the_fast_machine),
        cmocka_unit_test(the_fastest_grid_is_taken),
        cmocka_unit_test(impossible_grids_are_misuse),
        cmocka_unit_test(slices_that_leave_a_gap_are_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
