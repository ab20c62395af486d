/* From prompt to answer on as many ranks as started: reading in chunks and going on token by token are one arithmetic.
 */
#include "base/cancel.h"
#include "engine/engine.h"
#include "engine/generate.h"
#include "kernels/isa.h"
#include "support.h"

enum { POSITIONS = 128, CHUNK = 8, MOST_TOKENS = 64 };

static cluster world;

/* What the callbacks of one run saw. */
typedef struct account {
    uint32_t tokens[MOST_TOKENS], n_tokens, stop_after, progress, progress_calls;
} account;

static bool note_token(void *context, uint32_t step, uint32_t token, const sampler_report *report) {
    account *a = context;
    assert_null(report);
    assert_int_equal(step, a->n_tokens);
    a->tokens[a->n_tokens++] = token;
    return a->n_tokens != a->stop_after;
}

static void note_progress(void *context, uint32_t done) {
    account *a = context;
    assert_true(done > a->progress);
    a->progress = done;
    a->progress_calls++;
}

/* One greedy run on rank 0; logits (may be NULL) receives those of every position run, and *rows how many. */
static generate_result run(engine *e, const uint32_t *prompt, uint32_t n_prompt, uint32_t max_tokens, uint32_t chunk,
                           account *a, float **logits, size_t *rows) {
    generate_result result;
    FILE *dump = logits ? tmpfile() : NULL;
    const generate_request request = {.prompt = prompt,
                                      .n_prompt = n_prompt,
                                      .max_tokens = max_tokens,
                                      .chunk = chunk,
                                      .sampling = sampler_defaults(),
                                      .dump = dump,
                                      .context = a,
                                      .on_token = note_token,
                                      .on_progress = note_progress};
    assert_ok(generate(e->pipeline, &request, &result, err));
    assert_int_equal(a->n_tokens, result.generated);
    assert_int_equal(a->progress, n_prompt);
    assert_int_equal(a->progress_calls, (n_prompt + chunk - 1) / chunk);
    if (logits) {
        size_t row = e->hp.n_vocab * sizeof(float);
        *rows = (size_t)ftell(dump) / row;
        *logits = malloc(*rows * row);
        rewind(dump);
        assert_int_equal(fread(*logits, row, *rows, dump), *rows);
        fclose(dump);
    }
    return result;
}

static uint32_t argmax(const float *logits, size_t count) {
    size_t best = 0;
    for (size_t i = 1; i < count; i++)
        if (logits[i] > logits[best]) best = i;
    return (uint32_t)best;
}

/* Opens a golden model on all ranks; rank 0 runs `at_rank_0`, the others work for it. */
static void with_engine(const char *name, void (*at_rank_0)(engine *e, const golden *g)) {
    golden g;
    engine e;
    golden_load(name, &g);
    const engine_config config = {.path = g.path, .threads = 1, .chunk = CHUNK, .logits_rows = CHUNK};
    assert_ok(engine_open(&world, &config, &e, err));
    assert_ok(engine_start(&e, POSITIONS, err));
    if (world.rank == 0) {
        at_rank_0(&e, &g);
        pipeline_stop(e.pipeline);
    } else {
        assert_ok(pipeline_work(e.pipeline, err));
    }
    engine_close(&e);
    golden_free(&g);
}

static void read_prompts(engine *e, const golden *g) {
    for (uint32_t chunk = 1; chunk <= CHUNK; chunk += 3) {
        account a = {0};
        float *logits;
        size_t rows;
        generate_result result = run(e, g->tokens, (uint32_t)g->positions, 0, chunk, &a, &logits, &rows);
        assert_int_equal(rows, g->positions);
        assert_true(relative_error(logits, g->logits, rows * g->n_vocab) < 2e-6);
        assert_int_equal(result.generated, 0);
        assert_false(result.stopped);
        free(logits);
    }
}

static void prompts_give_the_golden_logits(void **state) {
    (void)state;
    for (const char *const *name = golden_names; *name; name++) with_engine(*name, read_prompts);
}

/* What was generated, read as a prompt, gives the same logits in the same bits, and so the same next token. */
static void answer_and_reread(engine *e, const golden *g) {
    enum { PROMPT = 21, TOKENS = 30 };
    account first = {0}, again = {0};
    float *logits, *logits_again;
    size_t rows, rows_again;
    generate_result result = run(e, g->tokens, PROMPT, TOKENS, CHUNK, &first, &logits, &rows);
    assert_int_equal(result.generated, TOKENS);
    assert_false(result.stopped);
    assert_true(result.seconds >= result.prompt_seconds && result.prompt_seconds > 0);
    assert_int_equal(rows, PROMPT + TOKENS - 1); /* the last token is not run itself */
    assert_int_equal(first.tokens[0], argmax(g->logits + (PROMPT - 1) * g->n_vocab, g->n_vocab));
    for (size_t i = 0; i < TOKENS; i++)
        assert_int_equal(first.tokens[i], argmax(logits + (PROMPT - 1 + i) * g->n_vocab, g->n_vocab));

    uint32_t prompt[PROMPT + TOKENS];
    memcpy(prompt, g->tokens, PROMPT * sizeof *prompt);
    memcpy(prompt + PROMPT, first.tokens, TOKENS * sizeof *prompt);
    run(e, prompt, PROMPT + TOKENS - 1, 1, 5, &again, &logits_again, &rows_again);
    assert_int_equal(rows_again, rows);
    assert_memory_equal(logits, logits_again, rows * g->n_vocab * sizeof *logits);
    assert_int_equal(again.tokens[0], first.tokens[TOKENS - 1]);
    free(logits);
    free(logits_again);
}

static void answers_read_again_change_no_bit(void **state) {
    (void)state;
    with_engine("q8_0-mxfp4", answer_and_reread);
    with_engine("like-q4_k_m", answer_and_reread);
}

static void end_early(engine *e, const golden *g) {
    for (uint32_t stop_after = 1; stop_after < 5; stop_after++) {
        account a = {.stop_after = stop_after};
        generate_result result = run(e, g->tokens, 9, 10, 4, &a, NULL, NULL);
        assert_int_equal(result.generated, stop_after);
        assert_true(result.stopped);
    }
    account a = {.stop_after = 3}; /* the limit and the wish at once */
    assert_true(run(e, g->tokens, 9, 3, 4, &a, NULL, NULL).stopped);
    account full = {0}; /* up to the last position there is */
    assert_int_equal(run(e, g->tokens, POSITIONS - 40, 40, CHUNK, &full, NULL, NULL).generated, 40);
}

static void answers_end_when_they_should(void **state) {
    (void)state;
    with_engine("bf16", end_early);
}

static gptoss_status run_with(engine *e, const golden *g, FILE *dump, generate_result *result, gptoss_error *err) {
    account a = {0};
    const generate_request request = {.prompt = g->tokens,
                                      .n_prompt = 20,
                                      .max_tokens = 5,
                                      .chunk = 3,
                                      .sampling = sampler_defaults(),
                                      .dump = dump,
                                      .context = &a,
                                      .on_token = note_token};
    return generate(e->pipeline, &request, result, err);
}

static void fail_to_dump(engine *e, const golden *g) {
    FILE *full = fopen("/dev/full", "wb");
    if (!full) return;
    setvbuf(full, NULL, _IONBF, 0);
    generate_result result;
    gptoss_error why = {0};
    assert_int_equal(run_with(e, g, full, &result, &why), GPTOSS_IO);
    assert_true(strlen(why.text) > 0);
    fclose(full); /* waves are still under way; the caller stops the pipeline */
}

static void a_full_disk_is_reported(void **state) {
    (void)state;
    with_engine("bf16", fail_to_dump);
}

static void be_cancelled(engine *e, const golden *g) {
    generate_result result = {.generated = 99};
    gptoss_error why = {0};
    cancel_request();
    assert_int_equal(run_with(e, g, NULL, &result, &why), GPTOSS_CANCELLED);
    assert_int_equal(result.generated, 0);
    assert_true(strlen(why.text) > 0);
}

static void cancelling_ends_the_answer(void **state) {
    (void)state;
    with_engine("f32", be_cancelled);
}

int main(void) {
    isa_use(ISA_REFERENCE); /* the golden logits are held to float32 */
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(prompts_give_the_golden_logits), cmocka_unit_test(answers_read_again_change_no_bit),
        cmocka_unit_test(answers_end_when_they_should),   cmocka_unit_test(a_full_disk_is_reported),
        cmocka_unit_test(cancelling_ends_the_answer), /* last: the wish to stop stays */
    };
    gptoss_error err;
    if (cluster_open(getenv("OMPI_COMM_WORLD_SIZE") != NULL, &world, &err) != GPTOSS_OK) return 1;
    int failures = cmocka_run_group_tests(tests, NULL, NULL);
    cluster_close(&world);
    return failures;
}
