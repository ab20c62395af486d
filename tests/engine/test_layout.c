/* Who holds what, in words that fit the numbers. */
#include "base/plural.h"
#include "engine/layout.h"
#include "support.h"

static void expect_rank(plan_rank rank, uint32_t shards, const char *wanted) {
    plan_rank ranks[2] = {rank, rank};
    const placement p = {.stages = 1, .shards = shards, .rank = ranks};
    char text[120];
    layout_rank(&p, 0, text, sizeof text);
    assert_string_equal(text, wanted);
}

static void ranges_of_one_are_no_ranges(void **state) {
    (void)state;
    expect_rank((plan_rank){.layer_begin = 0, .layer_end = 1}, 1, "layer 0");
    expect_rank((plan_rank){.layer_begin = 3, .layer_end = 5}, 1, "layers 3 to 4");
    expect_rank((plan_rank){.layer_begin = 2, .layer_end = 3, .kv_heads = {1, 2}, .experts = {0, 8}}, 2,
                "layer 2, KV head 1, experts 0 to 7");
    expect_rank((plan_rank){.layer_begin = 0, .layer_end = 4, .kv_heads = {0, 2}, .experts = {3, 3}}, 2,
                "layers 0 to 3, KV heads 0 to 1, no experts");
}

static void grids_count_what_they_are_made_of(void **state) {
    (void)state;
    char text[80];
    layout_grid(&(placement){.stages = 1, .shards = 2}, text, sizeof text);
    assert_string_equal(text, "1 stage x 2 shards");
    layout_grid(&(placement){.stages = 3, .shards = 1}, text, sizeof text);
    assert_string_equal(text, "3 stages x 1 shard");
    assert_string_equal(plural(0), "s");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ranges_of_one_are_no_ranges),
        cmocka_unit_test(grids_count_what_they_are_made_of),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
