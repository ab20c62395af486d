/* What the shipped demo model answers, and its logits, held to what its training wrote down.
 *
 * Every pair of configs/demo/pairs.json is asked, under sanitizers (SAMPLE) the named ones and some others. */
#include <cjson/cJSON.h>

#include "demo.h"
#include "pairs.h"
#include "support.h"

#ifndef SAMPLE
#define SAMPLE 1 /* ask every SAMPLE-th pair */
#endif

static void ask(const char *question, demo_answer *out) {
    const harmony_message user = {.role = HARMONY_USER, .text = question, .size = strlen(question)};
    demo_ask((harmony_prompt){.date = DEMO_DATE, .effort = HARMONY_MEDIUM, .messages = &user, .message_count = 1}, out);
}

static void known_questions_have_known_answers(void **state) {
    (void)state;
    pairs all;
    pairs_load(&all);
    unsigned asked = 0, right = 0, named = 0, named_right = 0;
    for (size_t i = 0; i < all.count; i++) {
        const pair *p = &all.items[i];
        if (i % SAMPLE != 0 && !p->named) continue;
        demo_answer answer;
        ask(p->prompt, &answer);
        bool ok = demo_says(&answer.parts.content, p->answer);
        if (!ok)
            print_message("%s -> %.*s\n", p->prompt, (int)answer.parts.content.size,
                          answer.parts.content.data ? answer.parts.content.data : "");
        asked++;
        right += ok;
        named += p->named;
        named_right += p->named && ok;
        demo_answer_free(&answer);
    }
    pairs_free(&all);
    print_message("%u of %u answers are right, %u of %u named ones\n", right, asked, named_right, named);
    assert_int_equal(named, 60);
    assert_int_equal(named_right, named);
    assert_true(right * 100 >= asked * 95);
}

/* TEST_DATA/demo/tokens.json and logits.f32: the logits of the last rows of a conversation, in float64 by torch. */
static void logits_are_those_of_training(void **state) {
    (void)state;
    cJSON *conversation = read_json(TEST_DATA "/demo/tokens.json");
    const cJSON *list = cJSON_GetObjectItem(conversation, "tokens");
    uint32_t count = (uint32_t)cJSON_GetArraySize(list), rows = 0;
    uint32_t *ids = calloc(count, sizeof *ids);
    const cJSON *id;
    size_t at = 0;
    cJSON_ArrayForEach(id, list) ids[at++] = (uint32_t)id->valuedouble;
    rows = (uint32_t)cJSON_GetObjectItem(conversation, "rows")->valuedouble;
    cJSON_Delete(conversation);
    assert_true(rows > 0 && rows <= count);

    size_t wanted_count = (size_t)rows * demo_vocabulary(), before = (size_t)(count - rows) * demo_vocabulary();
    float *wanted = malloc(wanted_count * sizeof *wanted), *got = NULL;
    FILE *file = fopen(TEST_DATA "/demo/logits.f32", "rb");
    assert_true(file && wanted);
    assert_int_equal(fread(wanted, sizeof *wanted, wanted_count, file), wanted_count);
    assert_int_equal(fgetc(file), EOF);
    demo_logits(ids, count, &got);
    double error = relative_error(got + before, wanted, wanted_count);
    print_message("relative error of the logits: %.2g\n", error);
    assert_true(error < 1e-4); /* activations are rounded to 16 bits */

    fclose(file);
    free(wanted);
    free(got);
    free(ids);
}

static int all_tests(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_questions_have_known_answers),
        cmocka_unit_test(logits_are_those_of_training),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(void) { return demo_main(all_tests); }
