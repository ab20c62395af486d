#include "engine/asker.h"

#include <math.h>
#include <pthread.h>
#include <time.h>

#include "support.h"

cluster asker_world;
engine asker_model;
scheduler *asker_scheduler;

/* ---- requests ---- */

void asker_check_pages(void) {
    gptoss_error why = {0};
    if (!scheduler_check(asker_scheduler, &why)) fail_msg("%s", why.text);
}

bool asker_note_token(void *context, const scheduler_token *t) {
    asker *c = context;
    assert_int_equal(t->step, c->n_choices);
    assert_int_equal(c->ended, 0);
    c->choices[c->n_choices++] = (choice){t->token, t->report->entropy, t->report->logprob};
    asker_check_pages();
    if (c->n_choices == c->cancel_after) scheduler_cancel(asker_scheduler, c->id);
    return c->n_choices != c->stop_after;
}

static void note_progress(void *context, uint32_t done) {
    asker *c = context;
    assert_true(done > c->progress && done <= c->request.n_prompt);
    c->progress = done;
}

void asker_note_end(void *context, const scheduler_result *result) {
    asker *c = context;
    assert_int_equal(c->ended, 0);
    assert_int_equal(result->generated, c->n_choices);
    c->result = *result;
    asker_check_pages();
    __atomic_store_n(&c->ended, 1, __ATOMIC_RELEASE);
}

asker asker_of(const uint32_t *prompt, uint32_t n_prompt, uint32_t max_tokens) {
    return (asker){.request = {.prompt = prompt,
                               .n_prompt = n_prompt,
                               .max_tokens = max_tokens,
                               .sampling = sampler_defaults(),
                               .report = true,
                               .on_token = asker_note_token,
                               .on_progress = note_progress,
                               .on_end = asker_note_end}};
}

void asker_submit(asker *c) {
    c->request.context = c;
    assert_ok(scheduler_submit(asker_scheduler, &c->request, &c->id, err));
}

void asker_open_scheduler(uint32_t points) {
    assert_ok(scheduler_open(asker_model.pipeline, &(scheduler_config){.waiting = 64, .resume_points = points},
                             &asker_scheduler, err));
}

void asker_run_and_close(void) {
    scheduler_stats stats;
    scheduler_finish(asker_scheduler);
    assert_ok(scheduler_run(asker_scheduler, err));
    asker_check_pages();
    scheduler_read_stats(asker_scheduler, &stats);
    assert_int_equal(stats.waiting + stats.running + stats.full_pages_running + stats.window_pages_running, 0);
    assert_int_equal(stats.ended, stats.accepted);
    scheduler_close(asker_scheduler);
}

asker asker_alone(const uint32_t *prompt, uint32_t n_prompt, uint32_t max_tokens) {
    asker c = asker_of(prompt, n_prompt, max_tokens);
    asker_open_scheduler(0);
    asker_submit(&c);
    asker_run_and_close();
    assert_int_equal(c.result.end, SCHEDULER_LENGTH);
    assert_int_equal(c.result.generated, max_tokens);
    assert_int_equal(c.result.cached_tokens, 0);
    assert_int_equal(c.progress, n_prompt);
    return c;
}

void asker_expect_same(const asker *got, const asker *want) {
    assert_true(got->n_choices <= want->n_choices);
    for (uint32_t i = 0; i < got->n_choices; i++) {
        const choice *a = &got->choices[i], *b = &want->choices[i];
        /* Logits that are edited are summed up in one go, otherwise each rank sums its own. */
        double apart = got->request.edit_logits ? fabs(a->entropy - b->entropy) / b->entropy : a->entropy != b->entropy;
        if (a->token != b->token || !(apart < 1e-14) || a->logprob != b->logprob)
            fail_msg("prompt of %u tokens (%u cached), step %u: token %u (entropy %.17g), alone %u (%.17g)",
                     got->request.n_prompt, got->result.cached_tokens, i, a->token, a->entropy, b->token, b->entropy);
    }
}

/* ---- schedulers ---- */

void asker_with_positions(const char *name, uint32_t positions, uint32_t full_pages, uint32_t window_pages,
                          uint32_t rows, void (*at_rank_0)(void)) {
    golden g;
    golden_load(name, &g);
    const engine_config config = {.path = g.path,
                                  .threads = 1,
                                  .sequences = SEQUENCES,
                                  .chunk = CHUNK,
                                  .logits_rows = rows,
                                  .shards = asker_world.size == 4 ? 2 : 1, /* of two stages */
                                  .kv_pages = {full_pages, window_pages},
                                  .kv_page_bits = {4, 4}};
    assert_ok(engine_open(&asker_world, &config, &asker_model, err));
    assert_ok(engine_start(&asker_model, positions, err));
    if (asker_world.rank == 0) {
        at_rank_0();
        pipeline_stop(asker_model.pipeline);
    } else {
        assert_ok(pipeline_work(asker_model.pipeline, err));
    }
    engine_close(&asker_model);
    golden_free(&g);
}

void asker_with_model(const char *name, uint32_t full_pages, uint32_t window_pages, uint32_t rows,
                      void (*at_rank_0)(void)) {
    asker_with_positions(name, POSITIONS, full_pages, window_pages, rows, at_rank_0);
}

void asker_pause(long microseconds) { nanosleep(&(struct timespec){0, microseconds * 1000}, NULL); }

void asker_wait(const asker *c) {
    while (!__atomic_load_n(&c->ended, __ATOMIC_ACQUIRE)) asker_pause(100);
}

asker asker_ask(const uint32_t *prompt, uint32_t n_prompt, uint32_t max_tokens) {
    asker c = asker_of(prompt, n_prompt, max_tokens);
    asker_submit(&c);
    asker_wait(&c);
    return c;
}

static void *converse(void *context) {
    void (*questions)(void) = context;
    questions();
    scheduler_finish(asker_scheduler);
    return NULL;
}

void asker_run_with_questions(uint32_t points, void (*questions)(void)) {
    pthread_t thread;
    asker_open_scheduler(points);
    /* POSIX lets a function pointer pass as data */
    void *context;
    memcpy(&context, &questions, sizeof context);
    assert_int_equal(pthread_create(&thread, NULL, converse, context), 0);
    assert_ok(scheduler_run(asker_scheduler, err));
    pthread_join(thread, NULL);
    asker_check_pages();
    scheduler_close(asker_scheduler);
}
