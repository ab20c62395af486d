/* What the shipped demo model answers, and its logits, held to what its training wrote down.
 *
 * Every pair of configs/demo/pairs.json is asked, under sanitizers (SAMPLE) the named ones and some others. */
#include <cjson/cJSON.h>

#include "engine/engine.h"
#include "engine/generate.h"
#include "pairs.h"
#include "support.h"
#include "text/harmony.h"

#ifndef SAMPLE
#define SAMPLE 1 /* ask every SAMPLE-th pair */
#endif

enum { POSITIONS = 512, CHUNK = 128, MAX_TOKENS = 120 };

static engine demo;
static tokenizer *words;
static harmony format;

static bool feed(void *parser, uint32_t step, uint32_t token) {
    (void)step;
    assert_ok(harmony_parser_feed(parser, token, err));
    return !harmony_parser_done(parser);
}

/* Greedy, with everything at its default but the date. */
static void ask(const char *question, harmony_effort effort, harmony_answer *out) {
    const harmony_message user = {.role = HARMONY_USER, .text = question, .size = strlen(question)};
    const harmony_prompt prompt = {.date = "2027-03-14", .effort = effort, .messages = &user, .message_count = 1};
    tokens ids = {0};
    sampler *greedy;
    generate_result result;
    const sampler_settings settings = sampler_defaults();
    assert_ok(harmony_render(&format, &prompt, &ids, err));
    assert_true(ids.count + MAX_TOKENS <= POSITIONS);
    assert_ok(sampler_open(&settings, demo.hp.n_vocab, &greedy, err));
    generate_request request = {.prompt = ids.ids,
                                .n_prompt = (uint32_t)ids.count,
                                .max_tokens = MAX_TOKENS,
                                .chunk = CHUNK,
                                .n_vocab = demo.hp.n_vocab,
                                .sampler = greedy,
                                .on_token = feed};
    harmony_parser *parser;
    *out = (harmony_answer){0};
    assert_ok(harmony_parser_open(&format, harmony_answer_add, out, &parser, err));
    request.context = parser;
    assert_ok(generate(demo.pipeline, &request, &result, err));
    assert_ok(harmony_parser_finish(parser, err));
    harmony_parser_close(parser);
    sampler_close(greedy);
    tokens_free(&ids);
}

static bool equals(const buffer *text, const char *wanted) {
    return text->size == strlen(wanted) && memcmp(text->data, wanted, text->size) == 0;
}

static void known_questions_have_known_answers(void **state) {
    (void)state;
    pairs all;
    pairs_load(&all);
    unsigned asked = 0, right = 0, named = 0, named_right = 0;
    for (size_t i = 0; i < all.count; i++) {
        const pair *p = &all.items[i];
        if (i % SAMPLE != 0 && !p->named) continue;
        harmony_answer answer;
        ask(p->prompt, HARMONY_MEDIUM, &answer);
        bool ok = equals(&answer.content, p->answer);
        if (!ok)
            print_message("%s -> %.*s\n", p->prompt, (int)answer.content.size,
                          answer.content.data ? answer.content.data : "");
        asked++;
        right += ok;
        named += p->named;
        named_right += p->named && ok;
        harmony_answer_free(&answer);
    }
    pairs_free(&all);
    print_message("%u of %u answers are right, %u of %u named ones\n", right, asked, named_right, named);
    assert_int_equal(named, 60);
    assert_int_equal(named_right, named);
    assert_true(right * 100 >= asked * 95);
}

static void more_effort_means_longer_reasoning(void **state) {
    (void)state;
    size_t length[3];
    for (int effort = HARMONY_LOW; effort <= HARMONY_HIGH; effort++) {
        harmony_answer answer;
        ask("What is 2+2?", (harmony_effort)effort, &answer);
        assert_true(equals(&answer.content, "2 + 2 = 4."));
        length[effort] = answer.reasoning.size;
        harmony_answer_free(&answer);
    }
    assert_true(length[HARMONY_LOW] > 0);
    assert_true(length[HARMONY_LOW] < length[HARMONY_MEDIUM]);
    assert_true(length[HARMONY_MEDIUM] < length[HARMONY_HIGH]);
}

static bool take_none(void *context, uint32_t step, uint32_t token) {
    (void)context, (void)step, (void)token;
    return false;
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
    assert_true(rows > 0 && rows <= count && count <= POSITIONS);

    size_t wanted_count = (size_t)rows * demo.hp.n_vocab, all_count = (size_t)count * demo.hp.n_vocab;
    float *wanted = malloc(wanted_count * sizeof *wanted), *got = malloc(all_count * sizeof *got);
    FILE *file = fopen(TEST_DATA "/demo/logits.f32", "rb"), *dump = tmpfile();
    assert_true(file && dump && wanted && got);
    assert_int_equal(fread(wanted, sizeof *wanted, wanted_count, file), wanted_count);
    assert_int_equal(fgetc(file), EOF);

    sampler *greedy;
    generate_result result;
    const sampler_settings settings = sampler_defaults();
    assert_ok(sampler_open(&settings, demo.hp.n_vocab, &greedy, err));
    const generate_request request = {.prompt = ids,
                                      .n_prompt = count,
                                      .max_tokens = 0,
                                      .chunk = CHUNK,
                                      .n_vocab = demo.hp.n_vocab,
                                      .sampler = greedy,
                                      .dump = dump,
                                      .on_token = take_none};
    assert_ok(generate(demo.pipeline, &request, &result, err));
    rewind(dump);
    assert_int_equal(fread(got, sizeof *got, all_count, dump), all_count);
    double error = relative_error(got + (all_count - wanted_count), wanted, wanted_count);
    print_message("relative error of the logits: %.2g\n", error);
    assert_true(error < 1e-4); /* activations are rounded to 16 bits */

    sampler_close(greedy);
    fclose(file);
    fclose(dump);
    free(wanted);
    free(got);
    free(ids);
}

static int ask_everything(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_questions_have_known_answers),
        cmocka_unit_test(more_effort_means_longer_reasoning),
        cmocka_unit_test(logits_are_those_of_training),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

static gptoss_status open_demo(const cluster *ranks, gptoss_error *err) {
    const engine_config config = {.path = DEMO_MODEL, .threads = 1, .chunk = CHUNK, .logits_rows = CHUNK};
    TRY(engine_open(ranks, &config, &demo, err));
    if (ranks->rank == 0) {
        TRY(tokenizer_open(demo.file, &words, err));
        TRY(harmony_open(words, &format, err));
    }
    return engine_start(&demo, POSITIONS, err);
}

int main(void) {
    gptoss_error problem = {0};
    cluster ranks;
    int failed = 0;
    gptoss_status status = cluster_open(true, &ranks, &problem);
    if (status == GPTOSS_OK) {
        status = open_demo(&ranks, &problem);
        if (status == GPTOSS_OK && ranks.rank != 0) status = pipeline_work(demo.pipeline, &problem);
        if (status == GPTOSS_OK && ranks.rank == 0) {
            failed = ask_everything();
            pipeline_stop(demo.pipeline);
        }
        tokenizer_close(words);
        engine_close(&demo);
        cluster_close(&ranks);
    }
    if (status != GPTOSS_OK) print_error("%s\n", problem.text);
    return failed || status != GPTOSS_OK;
}
