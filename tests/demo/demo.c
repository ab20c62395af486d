#include "demo.h"

#include "engine/engine.h"
#include "engine/generate.h"
#include "pairs.h"
#include "support.h"

enum { CHUNK = 128 };

static engine demo;
static tokenizer *words;
static harmony format;

/* What one answer is gathered with. */
typedef struct listener {
    harmony_parser *parser;
    demo_answer *answer;
} listener;

static bool feed(void *context, uint32_t step, uint32_t token, const sampler_report *report) {
    listener *l = context;
    (void)step, (void)report;
    assert_ok(harmony_parser_feed(l->parser, token, err));
    assert_ok(tokenizer_decode(words, &token, 1, &l->answer->raw, err));
    return !harmony_parser_done(l->parser);
}

static void run(generate_request *request) {
    generate_result result;
    request->chunk = CHUNK;
    request->sampling = sampler_defaults();
    assert_true(request->n_prompt + request->max_tokens <= DEMO_POSITIONS);
    assert_ok(generate(demo.pipeline, request, &result, err));
}

void demo_ask(harmony_prompt prompt, demo_answer *out) {
    listener l = {.answer = out};
    tokens ids = {0};
    *out = (demo_answer){0};
    assert_ok(harmony_render(&format, &prompt, &ids, err));
    assert_ok(harmony_parser_open(&format, harmony_answer_add, &out->parts, &l.parser, err));
    generate_request request = {.prompt = ids.ids,
                                .n_prompt = (uint32_t)ids.count,
                                .max_tokens = DEMO_MAX_TOKENS,
                                .context = &l,
                                .on_token = feed};
    run(&request);
    assert_ok(harmony_parser_finish(l.parser, err));
    out->finish = harmony_parser_result(l.parser);
    out->recoveries = harmony_recoveries_total(harmony_parser_recoveries(l.parser));
    harmony_parser_close(l.parser);
    tokens_free(&ids);
}

void demo_answer_free(demo_answer *answer) {
    harmony_answer_free(&answer->parts);
    buffer_free(&answer->raw);
}

bool demo_says(const buffer *text, const char *wanted) {
    return text->size == strlen(wanted) && (text->size == 0 || memcmp(text->data, wanted, text->size) == 0);
}

size_t demo_vocabulary(void) { return demo.hp.n_vocab; }

static bool take_none(void *context, uint32_t step, uint32_t token, const sampler_report *report) {
    (void)context, (void)step, (void)token, (void)report;
    return false;
}

void demo_logits(const uint32_t *ids, uint32_t count, float **out) {
    FILE *dump = tmpfile();
    size_t size = (size_t)count * demo.hp.n_vocab;
    assert_non_null(dump);
    *out = malloc(size * sizeof **out);
    assert_non_null(*out);
    generate_request request = {.prompt = ids, .n_prompt = count, .dump = dump, .on_token = take_none};
    run(&request);
    rewind(dump);
    assert_int_equal(fread(*out, sizeof **out, size, dump), size);
    fclose(dump);
}

static gptoss_status open_demo(const cluster *ranks, gptoss_error *err) {
    const engine_config config = {.path = DEMO_MODEL, .threads = 1, .chunk = CHUNK, .logits_rows = CHUNK};
    TRY(engine_open(ranks, &config, &demo, err));
    if (ranks->rank == 0) {
        TRY(tokenizer_open(demo.file, &words, err));
        TRY(harmony_open(words, &format, err));
    }
    return engine_start(&demo, DEMO_POSITIONS, err);
}

int demo_main(int (*all_tests)(void)) {
    gptoss_error problem = {0};
    cluster ranks;
    int failed = 0;
    gptoss_status status = cluster_open(true, &ranks, &problem);
    if (status == GPTOSS_OK) {
        status = open_demo(&ranks, &problem);
        if (status == GPTOSS_OK && ranks.rank != 0) status = pipeline_work(demo.pipeline, &problem);
        if (status == GPTOSS_OK && ranks.rank == 0) {
            failed = all_tests();
            pipeline_stop(demo.pipeline);
        }
        tokenizer_close(words);
        engine_close(&demo);
        cluster_close(&ranks);
    }
    if (status != GPTOSS_OK) print_error("%s\n", problem.text);
    return failed || status != GPTOSS_OK;
}
