/* The file that says which shard has which experts: what it means, and that whatever is wrong is told with its place.
 */
#include "engine/expert_placement.h"
#include "support.h"

enum { EXPERTS = 32 };

static gptoss_status parse(const char *text, uint32_t stages, uint32_t shards, plan_range *out, gptoss_error *err) {
    return expert_placement_parse(text, strlen(text), stages, shards, EXPERTS, out, err);
}

static void lists_name_shards_or_ranks(void **state) {
    (void)state;
    const plan_range want[][4] = {{{0, 20}, {20, 32}, {0, 20}, {20, 32}}, {{0, 1}, {1, 32}, {0, 31}, {31, 32}}};
    plan_range got[4];
    assert_ok(parse("{\"shards\": [\"0-19\", \"20-31\"]}", 2, 2, got, err));
    assert_memory_equal(got, want[0], sizeof got);
    assert_ok(parse("{\"ranks\": [\"0\", \"1-31\", \"0-30\", \"31\"]}", 2, 2, got, err));
    assert_memory_equal(got, want[1], sizeof got);
    assert_ok(parse("{\"shards\": [\"0-31\"]}", 1, 1, got, err));
    assert_true(got[0].begin == 0 && got[0].end == EXPERTS);
}

static void what_is_wrong_is_told_with_its_place(void **state) {
    (void)state;
    static const struct {
        const char *text, *told;
    } wrong[] = {
        {"", "no JSON"},
        {"{\"shards\":\n[\"0-19\",\n\"20-31\"", "line 3"},
        {"[\"0-19\", \"20-31\"]", "no object with one list"},
        {"{}", "no object with one list"},
        {"{\"experts\": [\"0-19\", \"20-31\"]}", "no object with one list"},
        {"{\"shards\": [\"0-19\", \"20-31\"], \"ranks\": []}", "no object with one list"},
        {"{\"shards\": \"0-31\"}", "\"shards\" is no list"},
        {"{\"shards\": [\"0-31\"]}", "\"shards\" has 1 ranges; the grid has 2 shards a stage"},
        {"{\"shards\": [\"0-9\", \"10-19\", \"20-31\"]}", "has 3 ranges"},
        {"{\"ranks\": [\"0-19\", \"20-31\"]}", "\"ranks\" has 2 ranges; the grid has 4 ranks"},
        {"{\"shards\": [\"0-19\", 20]}", "shards[1] is no text"},
        {"{\"shards\": [\"0-19\", [20, 31]]}", "shards[1] is no text"},
        {"{\"shards\": [\"0-19\", \"\"]}", "shards[1]: \"\" is no range of experts from 0 to 31"},
        {"{\"shards\": [\"0-19\", \"20-\"]}", "shards[1]: \"20-\""},
        {"{\"shards\": [\"0-19\", \"20-31x\"]}", "shards[1]: \"20-31x\""},
        {"{\"shards\": [\"-1-19\", \"20-31\"]}", "shards[0]: \"-1-19\""},
        {"{\"shards\": [\"19-0\", \"20-31\"]}", "shards[0]: \"19-0\""},
        {"{\"shards\": [\"0-19\", \"20-32\"]}", "shards[1]: \"20-32\""},
        {"{\"shards\": [\"0-19\", \"20-4294967327\"]}", "shards[1]"},
        {"{\"shards\": [\"0-19\", \"20-99999999999999999999999\"]}", "shards[1]"},
        {"{\"shards\": [\"1-19\", \"20-31\"]}", "shards[0] begins with expert 1, but expert 0 is the next one"},
        {"{\"shards\": [\"0-19\", \"19-31\"]}", "shards[1] begins with expert 19, but expert 20 is the next one"},
        {"{\"shards\": [\"0-19\", \"21-31\"]}", "shards[1] begins with expert 21"},
        {"{\"shards\": [\"0-19\", \"20-30\"]}", "shards[1] ends with expert 30, but 31 is the last one"},
        {"{\"shards\": [\"0-31\", \"0-31\"]}", "shards[1] begins with expert 0"},
        {"{\"ranks\": [\"0-19\", \"20-31\", \"0-19\", \"21-31\"]}", "ranks[3] begins with expert 21"},
        {"{\"ranks\": [\"0-19\", \"20-31\", \"1-19\", \"20-31\"]}", "ranks[2] begins with expert 1"},
        {"{\"ranks\": [\"0-19\", \"20-30\", \"0-19\", \"20-31\"]}", "ranks[1] ends with expert 30"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        plan_range got[8];
        gptoss_error why = {0};
        assert_int_equal(parse(wrong[i].text, 2, 2, got, &why), GPTOSS_BAD_INPUT);
        if (!strstr(why.text, wrong[i].told)) fail_msg("%s: %s", wrong[i].text, why.text);
    }
}

static void files_are_named_in_errors(void **state) {
    (void)state;
    plan_range got[2];
    gptoss_error why = {0};
    assert_int_equal(expert_placement_read("/nonexistent/experts.json", 1, 2, EXPERTS, got, &why), GPTOSS_BAD_INPUT);
    assert_non_null(strstr(why.text, "/nonexistent/experts.json"));
    assert_int_equal(expert_placement_read(TEST_DATA "/golden/f32.json", 1, 2, EXPERTS, got, &why), GPTOSS_BAD_INPUT);
    assert_non_null(strstr(why.text, "f32.json: this is no object"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lists_name_shards_or_ranks),
        cmocka_unit_test(what_is_wrong_is_told_with_its_place),
        cmocka_unit_test(files_are_named_in_errors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
