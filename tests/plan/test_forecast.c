/* Predicted speeds, put together by hand from the formulas of forecast.h. */
#include <math.h>

#include "plan/draw.h"
#include "plan/forecast.h"
#include "support.h"

enum { LAYERS = 10, MOST_RANKS = 6, ROWS = 100 };

typedef struct scene {
    plan_layer layers[LAYERS];
    plan_model model;
    plan_node nodes[MOST_RANKS];
    plan_rank ranks[MOST_RANKS];
    placement p;
} scene;

/* Layers of 1 ms for what is common, 8 ms for the heads and 1 ms an expert; an output of 10 ms. */
static void make(scene *s, uint32_t stages, uint32_t shards) {
    uint32_t n = stages * shards;
    *s = (scene){.model = {.n_layers = LAYERS,
                           .layers = s->layers,
                           .n_kv_heads = 8,
                           .kv_head_step = 1,
                           .n_experts = 24,
                           .n_experts_used = 4,
                           .n_vocab = ROWS,
                           .row_step = 1,
                           .output_row = 100000}};
    for (int j = 0; j < LAYERS; j++) s->layers[j] = (plan_layer){1000000, 8000000, 1000000, 0};
    for (uint32_t r = 0; r < n; r++) {
        uint32_t stage = r / shards, t = r % shards;
        s->nodes[r] = plan_node_default();
        s->nodes[r].read_rate = 1e9;
        s->nodes[r].link = (plan_link){0, 1e30};
        s->ranks[r] = (plan_rank){.layer_begin = LAYERS * stage / stages,
                                  .layer_end = LAYERS * (stage + 1) / stages,
                                  .kv_heads = {8 * t / shards, 8 * (t + 1) / shards},
                                  .experts = {24 * t / shards, 24 * (t + 1) / shards},
                                  .output_rows = {ROWS * r / n, ROWS * (r + 1) / n}};
    }
    s->p = (placement){stages, shards, s->ranks};
}

static forecast predict(const scene *s, plan_traffic traffic) {
    forecast f;
    assert_ok(forecast_of(&s->model, &s->p, s->nodes, &traffic, &f, err));
    return f;
}

static void assert_near(double got, double want) {
    if (!(fabs(got - want) <= 1e-9 * fabs(want))) fail_msg("%.12g instead of %.12g", got, want);
}

static void one_rank_reads_everything(void **state) {
    (void)state;
    scene s;
    make(&s, 1, 1);
    forecast f = predict(&s, (plan_traffic){1000, 0, 1});
    assert_true(f.network_seconds == 0);
    assert_near(f.token_seconds, 10 * 0.013 + 0.010);
    assert_near(f.one_stream, 1 / f.token_seconds);
    assert_near(f.all_streams, f.one_stream);
    s.nodes[0].layer_seconds = 0.002;
    assert_near(predict(&s, (plan_traffic){1000, 0, 1}).token_seconds, 10 * 0.015 + 0.010);
    assert_near(predict(&s, (plan_traffic){1000, 2000000, 1}).token_seconds, 10 * 0.015 + 0.010); /* they stay here */
}

static void stages_pay_for_hops(void **state) {
    (void)state;
    scene s;
    make(&s, 2, 1);
    s.nodes[0].link = (plan_link){1e-3, 1e6};
    s.nodes[1].link = (plan_link){2e-3, 1e7};
    s.nodes[1].wake_seconds = 5e-4;
    /* There, then out to rank 0 with the wanted row, and back to it with the other one's results. */
    forecast f = predict(&s, (plan_traffic){1000, 8000, 1});
    double there = 1e-3 + 1000 / 1e6 + 5e-4, out = 2e-3 + 1000 / 1e7, back = 2e-3 + 8000 / 1e7;
    assert_near(f.network_seconds, there + out + back);
    assert_near(f.token_seconds, 10 * 0.013 + 0.005 + f.network_seconds);
    /* All output at the last rank: only results travel. */
    s.ranks[0].output_rows = (plan_range){0, 0};
    s.ranks[1].output_rows = (plan_range){0, ROWS};
    f = predict(&s, (plan_traffic){1000, 8000, 1});
    assert_near(f.network_seconds, there + 2e-3 + 8000 / 1e7);
    assert_near(f.token_seconds, 10 * 0.013 + 0.010 + f.network_seconds);
}

static void shards_pay_for_sums_and_chance(void **state) {
    (void)state;
    scene s;
    make(&s, 1, 3);
    for (int r = 0; r < 3; r++) s.nodes[r].link = (plan_link){1e-4, 1e8};
    const uint32_t experts[] = {8, 8, 8};
    const double each[] = {0.001, 0.001, 0.001};
    double chosen;
    assert_ok(draw_expected_most(experts, each, 3, 4, &chosen, err));
    assert_true(chosen > 0.001 * 4 / 3 && chosen < 0.004);
    /* Sums of all to all, of parts; a message and a sum before, the output job behind. */
    const struct {
        uint64_t bytes;
        double sum;
    } cases[] = {{1000, 1e-4 + 2 * 1e-5}, {100000, 2e-4 + 4.0 / 3 * 1e-3}};
    for (int i = 0; i < 2; i++) {
        forecast f = predict(&s, (plan_traffic){cases[i].bytes, 0, 1});
        double start = 1e-4 + cases[i].sum, job = 1e-4 + 2 * (double)cases[i].bytes / 1e8 + 1e-4;
        assert_near(f.network_seconds, 20 * cases[i].sum + start + job);
        assert_near(f.token_seconds - f.network_seconds, 10 * (0.001 + 0.003 + chosen) + 0.0034);
    }
    s.nodes[1].read_rate = 5e8; /* all wait for the slowest */
    assert_true(predict(&s, (plan_traffic){0, 0, 1}).token_seconds > 10 * (0.008 + chosen));
}

/* Links that nobody measured are as slow as the slowest on the way. */
static void far_links_are_slow(void **state) {
    (void)state;
    scene s;
    make(&s, 2, 2);
    s.nodes[1].link = (plan_link){1, 1e30}; /* from the first machine, of two ranks, to the second */
    s.nodes[3].link = (plan_link){1, 1e30};
    forecast f = predict(&s, (plan_traffic){0, 0, 1});
    assert_near(f.network_seconds, 1 + 1 + 1); /* between stages, with the output job, and with results */
    s.nodes[0].link = (plan_link){1, 1e30};    /* shards on two machines */
    assert_near(predict(&s, (plan_traffic){0, 0, 1}).network_seconds, 3 + 2 + 10);
}

static void many_sequences_share_what_is_read(void **state) {
    (void)state;
    scene s;
    make(&s, 1, 1);
    double distinct = 24 * (1 - pow(20 / 24.0, 8));
    assert_near(predict(&s, (plan_traffic){0, 0, 8}).all_streams, 8 / (10 * (0.009 + 0.001 * distinct) + 0.010));
    /* With more, computing ends it. */
    assert_near(predict(&s, (plan_traffic){0, 0, 1000}).all_streams, 5 / 0.140);
    /* Two stages with a wave each: 4 of the 8 in it. */
    make(&s, 2, 1);
    distinct = 24 * (1 - pow(20 / 24.0, 4));
    assert_near(predict(&s, (plan_traffic){0, 0, 8}).all_streams, 8 / (2 * (5 * (0.009 + 0.001 * distinct) + 0.005)));
    s.nodes[0].link.latency = 0.5; /* a link takes one wave at a time, and each waits for its own answer */
    assert_near(predict(&s, (plan_traffic){0, 0, 2}).all_streams, 2 / (2 * 0.5));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_rank_reads_everything),         cmocka_unit_test(stages_pay_for_hops),
        cmocka_unit_test(shards_pay_for_sums_and_chance),    cmocka_unit_test(far_links_are_slow),
        cmocka_unit_test(many_sequences_share_what_is_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
