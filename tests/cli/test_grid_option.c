/* --stages and --shards: one follows from the other, and what does not come to the ranks started is refused. */
#include "cli/grid_option.h"
#include "support.h"

static void expect_grid(uint64_t stages, uint64_t shards, int ranks, uint64_t want_stages, uint64_t want_shards) {
    grid_option o = {.stages = stages, .shards = shards};
    assert_ok(grid_option_settle(&o, ranks, err));
    assert_int_equal(o.stages, want_stages);
    assert_int_equal(o.shards, want_shards);
}

static void one_follows_from_the_other(void **state) {
    (void)state;
    expect_grid(0, 0, 6, 0, 0); /* stages of one shard, or the plan's choice */
    expect_grid(2, 0, 6, 2, 3);
    expect_grid(0, 2, 6, 3, 2);
    expect_grid(3, 2, 6, 3, 2);
    expect_grid(6, 0, 6, 6, 1);
    expect_grid(0, 6, 6, 1, 6);
    expect_grid(1, 0, 1, 1, 1);
}

static void expect_refusal(uint64_t stages, uint64_t shards, int ranks, const char *text) {
    grid_option o = {.stages = stages, .shards = shards};
    gptoss_error why = {0};
    assert_int_equal(grid_option_settle(&o, ranks, &why), GPTOSS_MISUSE);
    assert_string_equal(why.text, text);
}

static void what_does_not_fit_is_refused_with_what_would(void **state) {
    (void)state;
    expect_refusal(
        2, 3, 4,
        "--stages 2 and --shards 3 make 6 ranks, but 4 were started; 1 x 4, 2 x 2 or 4 x 1 (stages x shards) "
        "would fit");
    expect_refusal(0, 3, 4,
                   "--shards 3 does not divide the 4 ranks started; 1 x 4, 2 x 2 or 4 x 1 (stages x shards) "
                   "would fit");
    expect_refusal(5, 0, 4,
                   "--stages 5 does not divide the 4 ranks started; 1 x 4, 2 x 2 or 4 x 1 (stages x shards) "
                   "would fit");
    expect_refusal(2, 0, 1, "--stages 2 does not divide the 1 rank started; 1 x 1 (stages x shards) would fit");
    expect_refusal(1, 2, 1,
                   "--stages 1 and --shards 2 make 2 ranks, but 1 was started; 1 x 1 (stages x shards) would "
                   "fit");
    grid_option o = {.stages = 7};
    gptoss_error why = {0};
    assert_int_equal(grid_option_settle(&o, 720720, &why), GPTOSS_OK);
    o = (grid_option){.stages = 17};
    assert_int_equal(grid_option_settle(&o, 720720 * 2, &why), GPTOSS_MISUSE); /* very many would fit */
}

static void goals_and_experts_go_together(void **state) {
    (void)state;
    gptoss_error why = {0};
    grid_option o = {.goal_name = "latency"};
    assert_ok(grid_option_settle(&o, 6, err));
    assert_int_equal(o.goal, PLAN_FOR_LATENCY);
    assert_true(o.stages == 0 && o.shards == 0);
    o.goal_name = "fun";
    assert_int_equal(grid_option_settle(&o, 6, &why), GPTOSS_MISUSE);
    assert_string_equal(why.text, "--for is latency or throughput, not \"fun\"");
    o = (grid_option){.goal_name = "throughput", .expert_placement = "x.json"};
    assert_int_equal(grid_option_settle(&o, 6, &why), GPTOSS_MISUSE);
    assert_non_null(strstr(why.text, "--shards T"));
    o.shards = 2;
    assert_ok(grid_option_settle(&o, 6, err));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_follows_from_the_other),
        cmocka_unit_test(goals_and_experts_go_together),
        cmocka_unit_test(what_does_not_fit_is_refused_with_what_would),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
