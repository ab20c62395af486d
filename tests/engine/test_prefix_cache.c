/* Beginnings that are known: a prompt is read from where it parts from what was read before, to the bit as if it were
 * read whole; and the points to resume from are where later prompts will part. */
#include "engine/prefix_cache.h"

#include "engine/asker.h"
#include "kernels/isa.h"
#include "random.h"
#include "support.h"

/* ---- turns of a chat ---- */

enum { FIRST = 45, ANSWER = 12, SECOND = 7, TALK = FIRST + ANSWER + SECOND };

static uint32_t talk[TALK], other[FIRST + 20], third[FIRST + 9];
static asker want_first, want_second, want_other, want_third;

/* A chat's second turn, the same question again, and questions that begin like others. */
static void ask_in_turns(void) {
    asker first = asker_ask(talk, FIRST, ANSWER);
    asker_expect_same(&first, &want_first);
    assert_int_equal(first.result.cached_tokens, 0);
    asker second = asker_ask(talk, FIRST + ANSWER + SECOND, 9);
    asker_expect_same(&second, &want_second);
    assert_int_equal(second.result.cached_tokens, FIRST + ANSWER - 1); /* an answer's last token was never run */
    for (int again = 0; again < 3; again++) {
        asker same = asker_ask(talk, FIRST, ANSWER);
        asker_expect_same(&same, &want_first);
        assert_int_equal(same.result.cached_tokens, FIRST - 1); /* one must be run for its logits */
    }
    asker branch = asker_ask(other, FIRST + 20, 9); /* as the first up to token 30, where nobody thought of stopping */
    asker_expect_same(&branch, &want_other);
    assert_int_equal(branch.result.cached_tokens, 0);
    asker knows = asker_ask(third, FIRST + 9, 9); /* the same 30, where by now two have parted */
    asker_expect_same(&knows, &want_third);
    assert_int_equal(knows.result.cached_tokens, 30);
    asker not_cached = asker_of(talk, FIRST, ANSWER);
    not_cached.request.not_cached = true;
    asker_submit(&not_cached);
    asker_wait(&not_cached);
    asker_expect_same(&not_cached, &want_first);
    assert_int_equal(not_cached.result.cached_tokens, 0);
    scheduler_stats stats;
    scheduler_read_stats(asker_scheduler, &stats);
    assert_int_equal(stats.cache_hits, 5);
    assert_int_equal(stats.cache_misses, 2);
    assert_int_equal(stats.cached_tokens, FIRST + ANSWER - 1 + 3 * (FIRST - 1) + 30);
}

static void write_talk(void) {
    uint64_t seed = 21;
    for (uint32_t i = 0; i < FIRST + ANSWER + SECOND; i++)
        talk[i] = (uint32_t)random_below(&seed, asker_model.hp.n_vocab);
    want_first = asker_alone(talk, FIRST, ANSWER);
    for (uint32_t i = 0; i < ANSWER; i++) talk[FIRST + i] = want_first.choices[i].token;
    for (uint32_t i = 0; i < FIRST + 20; i++)
        other[i] = i < 30 ? talk[i] : (talk[i % FIRST] + 1) % asker_model.hp.n_vocab;
    for (uint32_t i = 0; i < FIRST + 9; i++)
        third[i] = i < 30 ? talk[i] : (talk[i % FIRST] + 2) % asker_model.hp.n_vocab;
    want_second = asker_alone(talk, FIRST + ANSWER + SECOND, 9);
    want_other = asker_alone(other, FIRST + 20, 9);
    want_third = asker_alone(third, FIRST + 9, 9);
}

static void turns_read_what_is_new(void) {
    write_talk();
    asker_run_with_questions(20, ask_in_turns);
}

static void the_prefix_cache_changes_no_bit(void **state) {
    (void)state;
    asker_with_model("q8_0-mxfp4", 0, 90, SEQUENCES, turns_read_what_is_new);
    asker_with_model("f32", 9, 0, 1, turns_read_what_is_new);
}

/* One resume point at a time: whatever is remembered drives out what was. */
static void ask_again_and_again(void) {
    for (int i = 0; i < 12; i++) {
        asker a = asker_ask(talk, FIRST, ANSWER), b = asker_ask(other, FIRST + 20, 9);
        asker_expect_same(&a, &want_first);
        asker_expect_same(&b, &want_other);
    }
    scheduler_stats stats;
    scheduler_read_stats(asker_scheduler, &stats);
    assert_int_equal(stats.resume_points, 1);
    assert_true(stats.cache_evictions > 20);
}

static void forget_all_but_one(void) {
    write_talk();
    asker_run_with_questions(1, ask_again_and_again);
}

static void old_points_are_forgotten(void **state) {
    (void)state;
    asker_with_model("q8_0-mxfp4", 0, 30, SEQUENCES, forget_all_but_one);
}

/* ---- where prompts part ---- */

static void fill(uint32_t *ids, uint32_t count, uint64_t *seed) {
    for (uint32_t i = 0; i < count; i++) ids[i] = (uint32_t)random_below(seed, asker_model.hp.n_vocab);
}

/* The prompt with borders, which are borrowed. */
static asker ask_with_borders(const uint32_t *prompt, uint32_t n_prompt, const uint32_t *borders, uint32_t n_borders) {
    asker a = asker_of(prompt, n_prompt, 4);
    a.request.borders = borders;
    a.request.n_borders = n_borders;
    asker_submit(&a);
    asker_wait(&a);
    return a;
}

enum { INSTRUCTIONS = 41, QUESTION = 18, QUESTIONS = 5 };

static uint32_t questions[QUESTIONS][INSTRUCTIONS + QUESTION];
static asker want_questions[QUESTIONS];

static void ask_questions(void) {
    const uint32_t border = INSTRUCTIONS;
    for (int i = 0; i < QUESTIONS; i++) {
        asker a = ask_with_borders(questions[i], INSTRUCTIONS + QUESTION, &border, 1);
        asker_expect_same(&a, &want_questions[i]);
        assert_int_equal(a.result.cached_tokens, i ? INSTRUCTIONS : 0); /* from the second on */
    }
}

static void write_questions(void) {
    uint64_t seed = 22;
    for (int i = 0; i < QUESTIONS; i++) {
        fill(questions[i], INSTRUCTIONS + QUESTION, &seed);
        memcpy(questions[i], questions[0], INSTRUCTIONS * sizeof **questions);
        want_questions[i] = asker_alone(questions[i], INSTRUCTIONS + QUESTION, 4);
    }
}

static void share_instructions(void) {
    write_questions();
    asker_run_with_questions(20, ask_questions);
}

static void the_second_question_behind_instructions_is_quick(void **state) {
    (void)state;
    asker_with_model("q8_0-mxfp4", 0, 90, SEQUENCES, share_instructions);
    asker_with_model("f32", 0, 0, 1, share_instructions);
}

/* A conversation that goes on and on drives out its own past, not the instructions that others begin with, too. */
static void go_on_and_ask_anew(void) {
    enum { TURN = 6, TURNS = 11 };
    static uint32_t long_talk[INSTRUCTIONS + TURN * TURNS];
    uint64_t seed = 23;
    const uint32_t border = INSTRUCTIONS;
    fill(long_talk, INSTRUCTIONS + TURN * TURNS, &seed);
    memcpy(long_talk, questions[0], INSTRUCTIONS * sizeof *long_talk);
    for (uint32_t turn = 1; turn <= TURNS; turn++) {
        uint32_t count = INSTRUCTIONS + TURN * turn;
        asker a = ask_with_borders(long_talk, count, &border, 1);
        assert_int_equal(a.result.cached_tokens, turn > 1 ? count - TURN - 1 : 0);
    }
    asker other_talk = ask_with_borders(questions[1], INSTRUCTIONS + QUESTION, &border, 1);
    asker_expect_same(&other_talk, &want_questions[1]);
    assert_int_equal(other_talk.result.cached_tokens, INSTRUCTIONS);
}

static void keep_instructions(void) {
    write_questions();
    asker_run_with_questions(4, go_on_and_ask_anew);
}

static void instructions_outlive_conversations(void **state) {
    (void)state;
    asker_with_model("q8_0-mxfp4", 0, 0, SEQUENCES, keep_instructions);
}

/* What the model wrote is sent back up to where a message of it ended, and then differs. */
static void leave_the_end_out(void) {
    uint32_t start = want_first.choices[5].token, kept = FIRST;
    while (talk[kept] != start) kept++;
    asker first = asker_of(talk, FIRST, ANSWER);
    first.request.message_start = start;
    asker_submit(&first);
    asker_wait(&first);
    asker_expect_same(&first, &want_first);
    memcpy(other, talk, kept * sizeof *talk);
    for (uint32_t i = kept; i < FIRST + 20; i++) other[i] = (talk[i % TALK] + 1) % asker_model.hp.n_vocab;
    asker follow_up = asker_ask(other, FIRST + 20, 9);
    assert_int_equal(follow_up.result.cached_tokens, kept);
    want_second = follow_up;
}

static void part_within_answers(void) {
    write_talk();
    asker_run_with_questions(20, leave_the_end_out);
    want_other = asker_alone(other, FIRST + 20, 9);
    asker_expect_same(&want_second, &want_other);
}

static void answers_can_be_left_between_messages(void **state) {
    (void)state;
    asker_with_model("q8_0-mxfp4", 0, 0, SEQUENCES, part_within_answers);
}

/* ---- long prompts ---- */

enum { LONG = 2600 };

static uint32_t document[LONG], changed[2][LONG];
static asker want_changed[2];
static const uint32_t changed_at[] = {2300, 1100};

static void give_up_in_the_middle(void *context, uint32_t done) {
    const asker *a = context;
    if (done > 1200) scheduler_cancel(asker_scheduler, a->id);
}

static void give_up_at_once(void *context, uint32_t done) {
    (void)done;
    scheduler_cancel(asker_scheduler, ((const asker *)context)->id);
}

static void read_documents(void) {
    asker gone = asker_of(document, LONG, 4);
    gone.request.on_progress = give_up_in_the_middle;
    asker_submit(&gone);
    asker_wait(&gone);
    assert_int_equal(gone.result.end, SCHEDULER_CANCELLED);
    asker again = asker_ask(document, LONG, 4);
    assert_int_equal(again.result.cached_tokens, 1024);
    for (int i = 0; i < 2; i++) {
        asker a = asker_ask(changed[i], LONG, 4);
        asker_expect_same(&a, &want_changed[i]);
        assert_int_equal(a.result.cached_tokens, changed_at[i] / 1024 * 1024);
    }
}

static void part_within_documents(void) {
    uint64_t seed = 24;
    fill(document, LONG, &seed);
    for (int i = 0; i < 2; i++) {
        memcpy(changed[i], document, sizeof document);
        fill(changed[i] + changed_at[i], LONG - changed_at[i], &seed);
        changed[i][changed_at[i]] = (document[changed_at[i]] + 1) % asker_model.hp.n_vocab;
        want_changed[i] = asker_alone(changed[i], LONG, 4);
    }
    asker_run_with_questions(30, read_documents);
}

static void long_prompts_are_read_from_somewhere_within(void **state) {
    (void)state;
    asker_with_positions("bf16", LONG + 4, 0, 0, SEQUENCES, part_within_documents);
}

/* ---- at the same time ---- */

/* The first reads the instructions; the others wait for it, and one with a prompt of its own for nobody. */
static void come_together(void) {
    asker all[QUESTIONS], stranger, again[3];
    scheduler_stats stats;
    const uint32_t border = INSTRUCTIONS;
    write_questions();
    write_talk();
    asker_open_scheduler(20);
    for (int i = 0; i < QUESTIONS; i++) {
        all[i] = asker_of(questions[i], INSTRUCTIONS + QUESTION, 4);
        all[i].request.borders = &border;
        all[i].request.n_borders = 1;
        asker_submit(&all[i]);
    }
    stranger = asker_of(talk, FIRST, ANSWER);
    asker_submit(&stranger);
    for (int i = 0; i < 3; i++) { /* choices of one answer */
        again[i] = asker_of(talk, FIRST + ANSWER + SECOND, 9);
        asker_submit(&again[i]);
    }
    scheduler_finish(asker_scheduler);
    assert_ok(scheduler_run(asker_scheduler, err));
    scheduler_read_stats(asker_scheduler, &stats);
    scheduler_close(asker_scheduler);
    for (int i = 0; i < QUESTIONS; i++) {
        asker_expect_same(&all[i], &want_questions[i]);
        assert_int_equal(all[i].n_choices, 4);
        assert_int_equal(all[i].result.cached_tokens, i ? INSTRUCTIONS : 0);
        assert_int_equal(all[i].progress, INSTRUCTIONS + QUESTION);
    }
    asker_expect_same(&stranger, &want_first);
    assert_int_equal(stranger.result.cached_tokens, 0);
    for (int i = 0; i < 3; i++) asker_expect_same(&again[i], &want_second);
    for (int i = 1; i < 3; i++) assert_int_equal(again[i].result.cached_tokens, FIRST + ANSWER + SECOND - 1);
    uint64_t cached = again[0].result.cached_tokens;
    assert_int_equal(stats.cached_tokens, cached + (QUESTIONS - 1) * INSTRUCTIONS + 2 * (FIRST + ANSWER + SECOND - 1));
}

static void what_comes_together_is_read_once(void **state) {
    (void)state;
    asker_with_model("q8_0-mxfp4", 0, 0, SEQUENCES, come_together);
    asker_with_model("bf16", 0, 0, 1, come_together);
}

/* The one that all wait for goes away in the middle. */
static void lose_the_first(void) {
    asker all[QUESTIONS];
    const uint32_t border = INSTRUCTIONS;
    write_questions();
    asker_open_scheduler(20);
    for (int i = 0; i < QUESTIONS; i++) {
        all[i] = asker_of(questions[i], INSTRUCTIONS + QUESTION, 4);
        all[i].request.borders = &border;
        all[i].request.n_borders = 1;
        if (i == 0) all[i].request.on_progress = give_up_at_once;
        asker_submit(&all[i]);
    }
    asker_run_and_close();
    assert_int_equal(all[0].result.end, SCHEDULER_CANCELLED);
    for (int i = 1; i < QUESTIONS; i++) {
        asker_expect_same(&all[i], &want_questions[i]);
        assert_int_equal(all[i].n_choices, 4);
    }
}

static void nobody_waits_for_one_that_is_gone(void **state) {
    (void)state;
    asker_with_model("q8_0-mxfp4", 0, 0, SEQUENCES, lose_the_first);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_prefix_cache_changes_no_bit),
        cmocka_unit_test(old_points_are_forgotten),
        cmocka_unit_test(the_second_question_behind_instructions_is_quick),
        cmocka_unit_test(instructions_outlive_conversations),
        cmocka_unit_test(answers_can_be_left_between_messages),
        cmocka_unit_test(long_prompts_are_read_from_somewhere_within),
        cmocka_unit_test(what_comes_together_is_read_once),
        cmocka_unit_test(nobody_waits_for_one_that_is_gone),
    };
    gptoss_error err;
    isa_use(isa_best());
    if (cluster_open(getenv("OMPI_COMM_WORLD_SIZE") != NULL, &asker_world, &err) != GPTOSS_OK) return 1;
    int failures = cmocka_run_group_tests(tests, NULL, NULL);
    cluster_close(&asker_world);
    return failures;
}
