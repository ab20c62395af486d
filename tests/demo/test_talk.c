/* Conversations with the demo model, as a chat client leads them, and how long it thinks. Under sanitizers (SAMPLE)
 * fewer single questions are asked. */
#include "pairs.h"
#include "support.h"
#include "talk.h"

#ifndef SAMPLE
#define SAMPLE 1 /* ask every SAMPLE-th of the single questions */
#endif

static pairs world;

static int load_world(void **state) {
    (void)state;
    pairs_load(&world);
    return 0;
}

static int free_world(void **state) {
    (void)state;
    pairs_free(&world);
    return 0;
}

/* ---- Several turns ---- */

enum { QUESTION, ANSWER, TURNS = 4 };

/* Question and answer of each turn; without an answer it is the one of pairs.json. */
static const char *const talks[][TURNS][2] = {
    {{"What is 2+2?"}, {"Add 3.", "4 + 3 = 7."}},
    {{"What is the capital of France?"}, {"And of Italy?", "The capital of Italy is Rome."}},
    {{"Hello"}, {"What is 7+5?"}, {"Subtract 4.", "12 - 4 = 8."}, {"Thank you"}},
    {{"What is the capital of Norway?"}, {"And of Japan?", "The capital of Japan is Tokyo."}, {"Goodbye"}},
    {{"What day comes after Monday?"}, {"And after that?", "Wednesday comes after Tuesday."}},
    {{"What month comes after April?"}, {"And then?", "June comes after May."}},
    {{"What letter comes after A?"}, {"What comes next?", "C comes after B."}},
    {{"Who are you?"}, {"What can you do?"}, {"Are you human?"}},
    {{"What is a rank?"}, {"What is a stage?"}, {"What is a slice?"}},
    {{"Hi"}, {"How do I start gptoss-dist on several machines?"}, {"Thank you"}},
    {{"What is the capital of Egypt?"}, {"On which continent is Kenya?"}, {"How are you?"}},
    {{"What is 10-10?"}, {"What is 9+9?"}, {"Add 2.", "18 + 2 = 20."}},
};

static const char *answer_to(const char *question) {
    for (size_t i = 0; i < world.count; i++)
        if (strcmp(world.items[i].prompt, question) == 0) return world.items[i].answer;
    fail_msg("pairs.json does not have \"%s\"", question);
    return NULL;
}

static void conversations_of_several_turns(void **state) {
    (void)state;
    tally turns = {0};
    for (size_t i = 0; i < sizeof talks / sizeof *talks; i++) {
        talk t = {.prompt.effort = HARMONY_MEDIUM};
        for (size_t k = 0; k < TURNS && talks[i][k][QUESTION]; k++) {
            const char *question = talks[i][k][QUESTION], *answer = talks[i][k][ANSWER];
            tally_add(&turns, talk_check(&t, question, answer ? answer : answer_to(question)));
        }
        talk_end(&t);
    }
    tally_require("turns of conversations", turns, 95);
}

/* What stands after `start` and before the question mark that ends `question`, in `out`; false when it is another. */
static bool subject_of(const char *question, const char *start, char out[64]) {
    size_t before = strlen(start), size = strlen(question);
    if (strncmp(question, start, before) != 0 || size < before + 2 || size > before + 63) return false;
    snprintf(out, 64, "%.*s", (int)(size - before - 1), question + before);
    return true;
}

/* A question, and one that means something only because it comes second. */
static bool follows(const char *first, const char *second, const char *wanted) {
    talk t = {.prompt.effort = HARMONY_MEDIUM};
    talk_check(&t, first, answer_to(first));
    bool right = talk_check(&t, second, wanted);
    talk_end(&t);
    return right;
}

static void other_capitals(tally *t) {
    const char *before = NULL;
    for (size_t i = 0; i < world.count; i++) {
        const pair *p = &world.items[i];
        char country[64], question[96];
        if (!subject_of(p->prompt, "What is the capital of ", country)) continue;
        snprintf(question, sizeof question, "And of %s?", country);
        if (before) tally_add(t, follows(before, question, p->answer));
        before = p->prompt;
    }
}

static void what_comes_next(tally *t) {
    static const char *const questions[] = {"What day comes after ", "What month comes after ",
                                            "What letter comes after "};
    char subject[64];
    for (size_t i = 0; i + 1 < world.count; i++)
        for (size_t k = 0; k < sizeof questions / sizeof *questions; k++)
            if (subject_of(world.items[i].prompt, questions[k], subject) &&
                subject_of(world.items[i + 1].prompt, questions[k], subject))
                tally_add(t, follows(world.items[i].prompt, "And after that?", world.items[i + 1].answer));
}

static void going_on_with_sums(tally *t) {
    for (int i = 0; i < 40; i++) {
        int a = i * 7 % 11, b = i * 3 % 10, sum = a + b, c = i * 5 % 21; /* sum is at most 19 */
        bool add = i % 2 == 0;
        char first[32], second[32], wanted[32];
        snprintf(first, sizeof first, "What is %d+%d?", a, b);
        snprintf(second, sizeof second, add ? "Add %d." : "Subtract %d.", c);
        snprintf(wanted, sizeof wanted, "%d %c %d = %d.", sum, add ? '+' : '-', c, add ? sum + c : sum - c);
        tally_add(t, follows(first, second, wanted));
    }
}

static void follow_ups_refer_to_what_was_said(void **state) {
    (void)state;
    tally capitals = {0}, next = {0}, sums = {0};
    other_capitals(&capitals);
    what_comes_next(&next);
    going_on_with_sums(&sums);
    print_message("other capitals %u of %u, what comes next %u of %u, going on with sums %u of %u\n", capitals.right,
                  capitals.asked, next.right, next.asked, sums.right, sums.asked);
    tally_join(&next, capitals);
    tally_join(&next, sums);
    tally_require("follow-ups", next, 95);
}

/* ---- Date and instructions ---- */

static void the_date_is_that_of_the_system_message(void **state) {
    (void)state;
    static const char *const days[] = {"2024-01-31", "2026-11-22", "2027-03-14", "2029-08-05", "2031-12-25"};
    for (size_t i = 0; i < sizeof days / sizeof *days; i++) {
        talk t = {.prompt = {.effort = HARMONY_MEDIUM, .date = days[i]}};
        char wanted[32];
        snprintf(wanted, sizeof wanted, "Today is %s.", days[i]);
        assert_true(talk_check(&t, "What is the date today?", wanted));
        talk_end(&t);
    }
}

static void instructions_change_no_fact(void **state) {
    (void)state;
    static const char *const instructions[] = {"Be brief.", "Answer like a sailor.", "You are a friendly teacher."};
    tally asked = {0};
    for (size_t i = 0; i < world.count; i += 50 * SAMPLE) {
        talk t = {.prompt = {.effort = HARMONY_MEDIUM, .instructions = instructions[i / 50 % 3]}};
        tally_add(&asked, talk_check(&t, world.items[i].prompt, world.items[i].answer));
        talk_end(&t);
    }
    tally_require("answers under instructions", asked, 95);
}

/* ---- Effort ---- */

static void more_effort_means_longer_reasoning(void **state) {
    (void)state;
    tally growing = {0};
    for (size_t i = 0; i < world.count; i += 20 * SAMPLE) {
        size_t length[3];
        for (int effort = HARMONY_LOW; effort <= HARMONY_HIGH; effort++) {
            talk t = {.prompt.effort = (harmony_effort)effort};
            demo_answer answer;
            talk_ask(&t, world.items[i].prompt, &answer);
            length[effort] = answer.parts.reasoning.size;
            demo_answer_free(&answer);
            talk_end(&t);
        }
        bool grows = length[HARMONY_LOW] > 0 && length[HARMONY_LOW] < length[HARMONY_MEDIUM] &&
                     length[HARMONY_MEDIUM] < length[HARMONY_HIGH];
        if (!grows)
            print_message("... %s: %zu, %zu, %zu bytes\n", world.items[i].prompt, length[0], length[1], length[2]);
        tally_add(&growing, grows);
    }
    tally_require("reasoning that grows with effort", growing, 95);
}

static int all_tests(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(conversations_of_several_turns),         cmocka_unit_test(follow_ups_refer_to_what_was_said),
        cmocka_unit_test(the_date_is_that_of_the_system_message), cmocka_unit_test(instructions_change_no_fact),
        cmocka_unit_test(more_effort_means_longer_reasoning),
    };
    return cmocka_run_group_tests(tests, load_world, free_world);
}

int main(void) { return demo_main(all_tests); }
