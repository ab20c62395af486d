/* What is advised when memory is short. */
#include "plan/advice.h"
#include "support.h"

enum { LAYERS = 10, MIB = 1 << 20 };

static plan_layer layers[LAYERS];

static const plan_wish PIPELINE = {.shards = 1, .goal = PLAN_FOR_LATENCY, .traffic = {.streams = 1}};

/* 1080 MiB. */
static plan_model model(void) {
    for (int i = 0; i < LAYERS; i++) layers[i] = (plan_layer){0, 26 * MIB, 32 * MIB, 10 * MIB};
    return (plan_model){.n_layers = LAYERS,
                        .layers = layers,
                        .n_kv_heads = 2,
                        .kv_head_step = 1,
                        .n_experts = 2,
                        .n_experts_used = 1,
                        .n_vocab = 40,
                        .row_step = 1,
                        .embedding_row = MIB * 3 / 4,
                        .output_row = MIB * 5 / 4,
                        .own = 5 * MIB};
}

static bool works(const plan_model *m, const plan_node *nodes, uint32_t n) {
    placement p;
    if (placement_find(m, nodes, n, &PIPELINE, &p, NULL) != GPTOSS_OK) return false;
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
    assert_ok(advise(&m, nodes, 2, &PIPELINE, &a, err));
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
    assert_ok(advise(&m, &node, 1, &PIPELINE, &a, err));
    assert_int_equal(a.another_node, 0);
    assert_int_equal(a.layers, 0);
    assert_true(a.each_more > 0);
    m.n_layers = 1; /* another node would get no layer */
    node.memory = 100 * MIB;
    assert_ok(advise(&m, &node, 1, &PIPELINE, &a, err));
    assert_int_equal(a.another_node, 0);
    node.embedding_rows.end = 0; /* nor does memory help where a file is missing */
    assert_ok(advise(&m, &node, 1, &PIPELINE, &a, err));
    assert_int_equal(a.each_more, 0);
}

static void enough_in_all_but_not_in_the_right_places(void **state) {
    (void)state;
    const plan_model m = model();
    plan_node nodes[2] = {plan_node_default(), plan_node_default()};
    nodes[0].memory = 5000 * (uint64_t)MIB;
    nodes[1].memory = 60 * MIB; /* less than a layer */
    advice a;
    assert_false(works(&m, nodes, 2));
    assert_ok(advise(&m, nodes, 2, &PIPELINE, &a, err));
    assert_int_equal(a.missing, 0);
    assert_true(a.each_more > 44 * MIB && a.each_more < 46 * MIB);
    assert_int_equal(a.shards, 0); /* half of all layers is more yet */
}

/* Three layers on two ranks: one of them would have two. */
static void shards_help_where_layers_are_too_coarse(void **state) {
    (void)state;
    plan_model m = model();
    m.n_layers = 3;
    m.embedding_row = m.output_row = 0;
    plan_node nodes[2] = {plan_node_default(), plan_node_default()};
    nodes[0].memory = nodes[1].memory = 160 * MIB;
    advice a;
    assert_false(works(&m, nodes, 2));
    assert_ok(advise(&m, nodes, 2, &PIPELINE, &a, err));
    assert_int_equal(a.missing, 0);
    assert_int_equal(a.shards, 2);
    plan_wish wish = PIPELINE;
    placement p;
    wish.shards = 2;
    nodes[0].memory = nodes[1].memory = 100 * MIB;
    assert_ok(advise(&m, nodes, 2, &wish, &a, err));
    assert_int_equal(a.shards, 0);
    assert_int_equal(a.more_nodes, 2); /* a stage */
    plan_node more[4] = {nodes[0], nodes[1], plan_node_default(), plan_node_default()};
    for (int less = 0; less < 2; less++) {
        more[2].memory = more[3].memory = a.another_node - (less ? 2 * MIB : 0);
        gptoss_status status = placement_find(&m, more, 4, &wish, &p, NULL);
        assert_int_equal(status, less ? GPTOSS_NO_MEMORY : GPTOSS_OK);
        if (!less) placement_free(&p);
    }
    wish.shards = 0; /* all grids were tried */
    nodes[0].memory = nodes[1].memory = 160 * MIB;
    assert_ok(placement_find(&m, nodes, 2, &wish, &p, err));
    assert_int_equal(p.shards, 2);
    placement_free(&p);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_advised_works),
        cmocka_unit_test(impossible_help_is_not_offered),
        cmocka_unit_test(enough_in_all_but_not_in_the_right_places),
        cmocka_unit_test(shards_help_where_layers_are_too_coarse),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
