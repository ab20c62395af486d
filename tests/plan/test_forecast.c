/* Predicted speeds, and what is advised when memory is short. */
#include <math.h>

#include "plan/forecast.h"
#include "support.h"

enum { LAYERS = 10, MIB = 1 << 20 };

static plan_layer layers[LAYERS];

static plan_model model(void) {
    for (int i = 0; i < LAYERS; i++) layers[i] = (plan_layer){90 * MIB, 20 * MIB, 10 * MIB};
    return (plan_model){
        .n_layers = LAYERS, .layers = layers, .embedding = 30 * MIB, .output = 50 * MIB, .own = 5 * MIB};
}

static void assert_near(double got, double want) { assert_true(fabs(got - want) <= 1e-9 * fabs(want)); }

static void speeds_follow_from_stages_and_links(void **state) {
    (void)state;
    plan_rank ranks[] = {{.layer_end = 5, .nanoseconds = 20000000},
                         {.layer_begin = 5, .layer_end = 10, .nanoseconds = 30000000}};
    const placement p = {2, 1, ranks};
    const plan_link links[] = {{1e-3, 1e6}, {2e-3, 1e6}};
    forecast f = forecast_of(&p, links, &(plan_traffic){1000, 5000, 1});
    assert_near(f.network_seconds, 1e-3 + 1e-3 + 2e-3 + 5e-3);
    assert_near(f.token_seconds, 0.050 + f.network_seconds);
    assert_near(f.one_stream, 1 / f.token_seconds);
    assert_near(f.all_streams, f.one_stream);
    f = forecast_of(&p, links, &(plan_traffic){1000, 5000, 100});
    assert_near(f.all_streams, 1 / 0.030); /* the slowest stage */
    f = forecast_of(&p, links, &(plan_traffic){1000, 500000, 100});
    assert_near(f.all_streams, 1 / 0.502); /* the slowest link */
    const placement alone = {1, 1, ranks};
    f = forecast_of(&alone, links, &(plan_traffic){1000, 5000, 1});
    assert_true(f.network_seconds == 0);
    assert_near(f.one_stream, 50);
}

/* The output goes to the fast machine, wherever it stands. */
static void the_best_last_node_is_found(void **state) {
    (void)state;
    plan_model m = model();
    m.output = 200 * MIB;
    const plan_link links[4] = {{1e-6, 1e9}, {1e-6, 1e9}, {1e-6, 1e9}, {1e-6, 1e9}};
    const plan_traffic traffic = {1000, 1000, 1};
    for (uint32_t fast = 0; fast < 4; fast++)
        for (plan_goal goal = PLAN_FOR_THROUGHPUT; goal <= PLAN_FOR_LATENCY; goal++) {
            plan_node nodes[4];
            for (uint32_t i = 0; i < 4; i++) {
                nodes[i] = plan_node_default();
                nodes[i].read_rate = i == fast ? 20e9 : 5e9;
            }
            uint32_t last;
            forecast speed, now;
            placement p;
            assert_ok(forecast_best_last(&m, nodes, links, 4, goal, &traffic, &last, &speed, err));
            assert_int_equal(last, fast);
            assert_ok(placement_find(&m, nodes, 4, &(plan_wish){.goal = goal}, &p, err));
            now = forecast_of(&p, links, &traffic);
            assert_true(fast == 3 ? speed.one_stream == now.one_stream : speed.one_stream > now.one_stream);
            placement_free(&p);
            nodes[fast].read_rate = 5e9; /* all alike: no order is better */
            assert_ok(forecast_best_last(&m, nodes, links, 4, goal, &traffic, &last, &speed, err));
            assert_int_equal(last, 3);
        }
}

static bool works(const plan_model *m, const plan_node *nodes, uint32_t n) {
    placement p;
    if (placement_find(m, nodes, n, &(plan_wish){.goal = PLAN_FOR_LATENCY}, &p, NULL) != GPTOSS_OK) return false;
    placement_free(&p);
    return true;
}

/* Each piece of advice is just enough. */
static void what_is_advised_works(void **state) {
    (void)state;
    const plan_model m = model();
    plan_node nodes[4];
    for (int i = 0; i < 4; i++) {
        nodes[i] = plan_node_default();
        nodes[i].memory = (300 + 60 * (uint64_t)i) * MIB;
    }
    advice a;
    assert_false(works(&m, nodes, 2));
    assert_ok(advise(&m, nodes, 2, &a, err));
    assert_int_equal(a.missing, (1080 + 10 - 660) * (uint64_t)MIB);
    plan_node more[3];
    for (int less = 0; less < 2; less++) {
        for (int i = 0; i < 2; i++) {
            more[i] = nodes[i];
            more[i].memory += a.each_more - (less ? 2 * MIB : 0);
        }
        assert_true(works(&m, more, 2) == !less);
        memcpy(more, nodes, 2 * sizeof *nodes);
        more[2] = plan_node_default();
        more[2].memory = a.another_node - (less ? 2 * MIB : 0);
        assert_true(works(&m, more, 3) == !less);
    }
    plan_model fewer = m;
    fewer.n_layers = a.layers;
    assert_true(a.layers > 0 && works(&fewer, nodes, 2));
    fewer.n_layers++;
    assert_false(works(&fewer, nodes, 2));
}

static void impossible_help_is_not_offered(void **state) {
    (void)state;
    plan_model m = model();
    plan_node node = plan_node_default();
    advice a;
    node.memory = 1 * MIB; /* not even the buffers */
    assert_ok(advise(&m, &node, 1, &a, err));
    assert_int_equal(a.another_node, 0);
    assert_int_equal(a.layers, 0);
    assert_true(a.each_more > 0);
    m.n_layers = 1; /* another node would get no layer */
    node.memory = 100 * MIB;
    assert_ok(advise(&m, &node, 1, &a, err));
    assert_int_equal(a.another_node, 0);
    node.embedding = false; /* nor does memory help where a file is missing */
    assert_ok(advise(&m, &node, 1, &a, err));
    assert_int_equal(a.each_more, 0);
}

static void enough_in_all_but_not_in_the_right_places(void **state) {
    (void)state;
    const plan_model m = model();
    plan_node nodes[2] = {plan_node_default(), plan_node_default()};
    nodes[0].memory = 5000 * (uint64_t)MIB;
    nodes[1].memory = 60 * MIB; /* less than a layer and the output */
    advice a;
    assert_false(works(&m, nodes, 2));
    assert_ok(advise(&m, nodes, 2, &a, err));
    assert_int_equal(a.missing, 0);
    assert_true(a.each_more > 90 * MIB && a.each_more < 100 * MIB);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(speeds_follow_from_stages_and_links),
        cmocka_unit_test(the_best_last_node_is_found),
        cmocka_unit_test(what_is_advised_works),
        cmocka_unit_test(impossible_help_is_not_offered),
        cmocka_unit_test(enough_in_all_but_not_in_the_right_places),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
