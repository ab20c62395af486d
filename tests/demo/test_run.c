/* The demo model as a newcomer meets it: through `gptoss-dist run`, alone and on several ranks. */
#include "pairs.h"
#include "process.h"
#include "support.h"

static void expect_answer(int ranks, const pair *p) {
    const char *const arguments[] = {"run", "--gguf", DEMO_MODEL, "--temperature", "0", "--prompt", p->prompt, NULL};
    process_result r = process_run(ranks, arguments, NULL);
    if (r.exit_status != 0) fail_msg("exit status %d, stderr: %s", r.exit_status, r.err.data);
    if (r.out.size != strlen(p->answer) + 1 || memcmp(r.out.data, p->answer, r.out.size - 1) != 0)
        fail_msg("%s -> %.*s", p->prompt, (int)r.out.size, r.out.data);
    process_free(&r);
}

static void one_process_answers_the_named_questions(void **state) {
    (void)state;
    pairs all;
    pairs_load(&all);
    for (size_t i = 0; i < all.count; i++)
        if (all.items[i].named) expect_answer(0, &all.items[i]);
    pairs_free(&all);
}

static void three_ranks_answer_alike(void **state) {
    (void)state;
    expect_answer(3, &(pair){"Hello", "Hello! How can I assist you today?", true});
    expect_answer(3, &(pair){"What is 2+2?", "2 + 2 = 4.", true});
}

/* Nobody sees the reasoning, unless they ask for it. */
static void an_answer_that_ends_before_it_begins_is_explained(void **state) {
    (void)state;
    const char *silence = "nothing is answered yet: reasoning took all of the";
    process_result cut = process_expect(
        2, (const char *const[]){"run", "--gguf", DEMO_MODEL, "--prompt", "What is 2+2?", "--max-tokens", "8", NULL}, 0,
        "", silence);
    assert_int_equal(cut.out.size, 0);
    process_free(&cut);
    process_result whole =
        process_run(0, (const char *const[]){"run", "--gguf", DEMO_MODEL, "--prompt", "What is 2+2?", NULL}, NULL);
    assert_null(strstr(whole.err.data, silence));
    process_free(&whole);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_process_answers_the_named_questions),
        cmocka_unit_test(an_answer_that_ends_before_it_begins_is_explained),
        cmocka_unit_test(three_ranks_answer_alike),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
