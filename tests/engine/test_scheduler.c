/* Many requests at once: each gets, bit for bit, what it gets alone, whoever comes and goes beside it; none waits for
 * ever, and each ends as it should. */
#include <math.h>
#include <pthread.h>

#include "base/cancel.h"
#include "engine/asker.h"
#include "kernels/isa.h"
#include "random.h"
#include "support.h"

#ifndef REQUESTS
#define REQUESTS 1000
#endif

enum { PROMPTS = 36, THREADS = 3, FIRST = 45 };

/* ---- prompts ---- */

typedef struct line {
    uint32_t ids[POSITIONS], count, border;
    asker want; /* alone */
} line;

static line lines[PROMPTS];

/* Prompts that begin alike: a few beginnings, random ends, and conversations that go on behind an answer. */
static void write_lines(uint64_t *seed) {
    for (uint32_t i = 0; i < PROMPTS; i++) {
        line *l = &lines[i];
        const line *root = i ? &lines[random_below(seed, i)] : l;
        uint32_t kept = root->count < 60 ? root->count : 60, fresh = 1 + (uint32_t)random_below(seed, 30);
        if (i % 5 == 0) kept = 0;
        if (i % 5 == 1) kept = (uint32_t)random_below(seed, kept + 1);
        memcpy(l->ids, root->ids, kept * sizeof *l->ids);
        l->count = kept;
        for (uint32_t n = 0; i % 5 == 2 && kept == root->count && n < 10; n++)
            l->ids[l->count++] = root->want.choices[n].token;
        l->border = l->count;
        while (fresh-- > 0) l->ids[l->count++] = (uint32_t)random_below(seed, asker_model.hp.n_vocab);
        uint32_t most = POSITIONS - l->count < MOST_TOKENS / 2 ? POSITIONS - l->count : MOST_TOKENS / 2;
        l->want = asker_alone(l->ids, l->count, most);
    }
}

/* ---- a thousand requests ---- */

typedef struct crowd {
    asker *askers;
    uint32_t count;
    uint64_t seed;
} crowd;

/* Submits its askers at random moments, and cancels some of them at others. */
static void *visit(void *context) {
    crowd *c = context;
    for (uint32_t i = 0; i < c->count; i++) {
        asker *who = &c->askers[i];
        gptoss_error why = {0};
        who->request.context = who;
        while (scheduler_submit(asker_scheduler, &who->request, &who->id, &why) == GPTOSS_BUSY) asker_pause(300);
        if (random_below(&c->seed, 4) == 0) asker_pause((long)random_below(&c->seed, 2000));
        uint32_t back = (uint32_t)random_below(&c->seed, 5);
        if (back <= i && random_below(&c->seed, 4) == 0) scheduler_cancel(asker_scheduler, c->askers[i - back].id);
    }
    return NULL;
}

static const line *line_of(const asker *c) {
    for (uint32_t i = 0; i < PROMPTS; i++)
        if (lines[i].ids == c->request.prompt) return &lines[i];
    return NULL;
}

static void expect_right_ends(const asker *all, uint32_t count, uint32_t *whole) {
    for (uint32_t i = 0; i < count; i++) {
        const asker *c = &all[i];
        assert_int_equal(c->ended, 1);
        asker_expect_same(c, &line_of(c)->want);
        bool stopped = c->stop_after > 0 && c->n_choices == c->stop_after;
        if (c->result.end == SCHEDULER_CANCELLED) continue;
        assert_int_equal(c->result.end, stopped ? SCHEDULER_STOPPED : SCHEDULER_LENGTH);
        if (!stopped) assert_int_equal(c->n_choices, c->request.max_tokens);
        (*whole)++;
    }
}

static void *finish_after(void *context) {
    pthread_t *threads = context;
    for (int i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
    scheduler_finish(asker_scheduler);
    return NULL;
}

static void receive_a_crowd(void) {
    uint64_t seed = 3 + (uint64_t)asker_world.size;
    uint32_t whole = 0;
    asker *all = calloc(REQUESTS, sizeof *all);
    crowd crowds[THREADS];
    pthread_t threads[THREADS], last;
    scheduler_stats stats;
    write_lines(&seed);
    for (uint32_t i = 0; i < REQUESTS; i++) {
        const line *l = &lines[random_below(&seed, PROMPTS)];
        all[i] = asker_of(l->ids, l->count, (uint32_t)random_below(&seed, l->want.n_choices + 1));
        all[i].stop_after = random_below(&seed, 4) ? 0 : 1 + (uint32_t)random_below(&seed, 9);
        all[i].cancel_after = random_below(&seed, 12) ? 0 : 1 + (uint32_t)random_below(&seed, 9);
        all[i].request.not_cached = random_below(&seed, 8) == 0;
        all[i].request.borders = &l->border;
        all[i].request.n_borders = l->border > 0;
        all[i].request.message_start = (uint32_t)random_below(&seed, 2) * l->want.choices[3].token;
    }
    assert_ok(scheduler_open(asker_model.pipeline, &(scheduler_config){.waiting = 5, .resume_points = 20},
                             &asker_scheduler, err));
    for (uint32_t i = 0; i < THREADS; i++) {
        uint32_t begin = REQUESTS * i / THREADS, end = REQUESTS * (i + 1) / THREADS;
        crowds[i] = (crowd){all + begin, end - begin, seed + i};
        assert_int_equal(pthread_create(&threads[i], NULL, visit, &crowds[i]), 0);
    }
    assert_int_equal(pthread_create(&last, NULL, finish_after, threads), 0);
    assert_ok(scheduler_run(asker_scheduler, err));
    pthread_join(last, NULL);
    asker_check_pages();
    scheduler_read_stats(asker_scheduler, &stats);
    assert_int_equal(stats.ended, REQUESTS);
    assert_int_equal(stats.running + stats.waiting + stats.full_pages_running + stats.window_pages_running, 0);
    expect_right_ends(all, REQUESTS, &whole);
    print_message("%u of %u requests ended whole; %llu of %llu prompt tokens were cached, %llu points evicted\n", whole,
                  REQUESTS, (unsigned long long)stats.cached_tokens, (unsigned long long)stats.prompt_tokens,
                  (unsigned long long)stats.cache_evictions);
    assert_true(whole > REQUESTS / 2 && stats.cached_tokens > 0 && stats.cache_evictions > 0);
    scheduler_close(asker_scheduler);
    free(all);
}

static void a_crowd_gets_what_each_gets_alone(void **state) {
    (void)state;
    asker_with_model("q8_0-mxfp4", 0, 60, SEQUENCES, receive_a_crowd);
}

/* Pages for two or three requests, not for six, and a row of logits for one answer a wave. */
static void a_crowd_waits_for_few_pages(void **state) {
    (void)state;
    asker_with_model(asker_world.size == 4 ? "like-q2_k" : "like-q4_k_m", 10, 20, 1, receive_a_crowd);
}

/* ---- company ---- */

static uint32_t talk[FIRST];

typedef struct killer {
    asker self;
    asker *victim;
    uint32_t victim_had;
} killer;

static bool kill_at_the_third(void *context, const scheduler_token *t) {
    killer *k = context;
    if (t->step == 3) {
        k->victim_had = k->victim->n_choices;
        scheduler_cancel(asker_scheduler, k->victim->id);
        assert_int_equal(k->victim->ended, 0);
    }
    if (t->step == 5) {
        scheduler_stats stats;
        scheduler_read_stats(asker_scheduler, &stats);
        assert_int_equal(k->victim->ended, 1);
        assert_int_equal(stats.running, 1);
    }
    k->self.n_choices++;
    return true;
}

static void cancel_another(void) {
    asker victim = asker_of(talk, FIRST, MOST_TOKENS), queued = asker_of(talk, 3, 3);
    killer k = {.self = asker_of(talk + 3, 5, 12), .victim = &victim};
    k.self.request.on_token = kill_at_the_third;
    asker_open_scheduler(20);
    asker_submit(&victim);
    k.self.request.context = &k;
    assert_ok(scheduler_submit(asker_scheduler, &k.self.request, &k.self.id, err));
    asker_submit(&queued);
    scheduler_cancel(asker_scheduler, queued.id);
    scheduler_cancel(asker_scheduler, 12345); /* nobody */
    asker_run_and_close();
    assert_int_equal(victim.result.end, SCHEDULER_CANCELLED);
    assert_true(victim.n_choices <= k.victim_had + 1); /* of a wave that was back already */
    assert_int_equal(k.self.result.end, SCHEDULER_LENGTH);
    assert_int_equal(queued.result.end, SCHEDULER_CANCELLED);
    assert_int_equal(queued.n_choices, 0);
}

static void cancelling_frees_at_once(void **state) {
    (void)state;
    asker_with_model("bf16", 0, 0, SEQUENCES, cancel_another);
}

/* How far an answer was each time a part of a long prompt had been read. */
typedef struct watch {
    asker reader, *speaker, *late;
    uint32_t parts, spoken_before, late_before;
} watch;

static void note_part(void *context, uint32_t done) {
    watch *w = context;
    w->parts++;
    if (done < w->reader.request.n_prompt) w->late_before = w->late->ended;
    if (w->parts == 1) w->spoken_before = w->speaker->n_choices;
}

static void read_beside_others(void) {
    asker speaker = asker_of(talk, 3, MOST_TOKENS), late = asker_of(talk + 9, 4, 2);
    watch w = {.reader = asker_of(lines[0].ids, 100, 1), .speaker = &speaker, .late = &late};
    for (uint32_t i = 0; i < 100; i++) lines[0].ids[i] = i;
    w.reader.request.on_progress = note_part;
    asker_open_scheduler(0);
    asker_submit(&speaker);
    w.reader.request.context = &w;
    assert_ok(scheduler_submit(asker_scheduler, &w.reader.request, &w.reader.id, err));
    asker_submit(&late);
    asker_run_and_close();
    assert_true(w.parts >= 100 / CHUNK * 2); /* of small parts */
    assert_int_equal(w.late_before, 1);      /* a short prompt did not wait for the end of the long one */
    assert_int_equal(speaker.n_choices, MOST_TOKENS);
}

static void long_prompts_hold_nobody_up(void **state) {
    (void)state;
    asker_with_model("bf16", 0, 0, SEQUENCES, read_beside_others);
}

/* As many waves under way as there are stages, each with its share of the answers. */
static void keep_stages_busy(void) {
    enum { TOKENS = 20 };
    asker all[SEQUENCES];
    scheduler_stats stats;
    uint32_t stages = pipeline_spread(asker_model.pipeline);
    asker_open_scheduler(0);
    for (int i = 0; i < SEQUENCES; i++) {
        all[i] = asker_of(talk + i, 2, TOKENS);
        asker_submit(&all[i]);
    }
    scheduler_finish(asker_scheduler);
    assert_ok(scheduler_run(asker_scheduler, err));
    scheduler_read_stats(asker_scheduler, &stats);
    scheduler_close(asker_scheduler);
    for (int i = 0; i < SEQUENCES; i++) assert_int_equal(all[i].n_choices, TOKENS);
    assert_int_equal(stages, asker_world.size == 4 ? 2 : asker_world.size);
    assert_true(pipeline_depth(asker_model.pipeline) >= stages);
    assert_true(stats.waves >= stages * (TOKENS - 1) && stats.waves < (stages + 1) * (TOKENS - 1) + SEQUENCES);
}

static void answers_are_spread_over_the_stages(void **state) {
    (void)state;
    asker_with_model("bf16", 0, 0, SEQUENCES, keep_stages_busy);
}

/* An answer that has no room for more until another has ended, and then for a while. */
typedef struct pauser {
    asker self, *other;
    uint32_t refused;
} pauser;

static bool make_room(void *context) {
    pauser *p = context;
    bool room = p->self.n_choices < 5 || (p->other->ended && p->refused > 20);
    p->refused += !room && p->other->ended;
    return room;
}

static bool pass_token(void *context, const scheduler_token *t) {
    return asker_note_token(&((pauser *)context)->self, t);
}

static void pass_end(void *context, const scheduler_result *r) { asker_note_end(&((pauser *)context)->self, r); }

static void pause_beside_others(void) {
    asker want = asker_alone(talk, 20, 30), want_neighbour = asker_alone(talk + 3, 9, MOST_TOKENS);
    asker neighbour = asker_of(talk + 3, 9, MOST_TOKENS), waiting[SEQUENCES];
    pauser p = {.self = asker_of(talk, 20, 30), .other = &neighbour};
    p.self.request.context = &p;
    p.self.request.has_room = make_room;
    p.self.request.on_token = pass_token;
    p.self.request.on_progress = NULL;
    p.self.request.on_end = pass_end;
    asker_open_scheduler(4);
    assert_ok(scheduler_submit(asker_scheduler, &p.self.request, &p.self.id, err));
    asker_submit(&neighbour);
    for (int i = 0; i < SEQUENCES; i++) { /* more than there is room for beside it */
        waiting[i] = asker_of(talk, 20, 3);
        asker_submit(&waiting[i]);
    }
    asker_run_and_close();
    assert_int_equal(p.refused, 21);
    assert_int_equal(p.self.result.end, SCHEDULER_LENGTH);
    asker_expect_same(&p.self, &want);
    asker_expect_same(&neighbour, &want_neighbour);
    assert_int_equal(p.self.n_choices, 30);
    for (int i = 0; i < SEQUENCES; i++) assert_int_equal(waiting[i].n_choices, 3);
}

static void one_without_room_waits_alone(void **state) {
    (void)state;
    asker_with_model("bf16", 0, 0, SEQUENCES, pause_beside_others);
}

/* ---- constraints ---- */

static void allow_even_tokens(void *context, float *logits) {
    (void)context;
    for (uint32_t i = 1; i < asker_model.hp.n_vocab; i += 2) logits[i] = -INFINITY;
}

static void allow_nothing(void *context, float *logits) {
    const asker *c = context;
    for (uint32_t i = 0; i < asker_model.hp.n_vocab && c->n_choices == 2; i++) logits[i] = -INFINITY;
}

static void constrain(void) {
    asker even = asker_of(talk, 9, 10), none = asker_of(talk, 9, 10), free_one = asker_of(talk, 9, 10);
    asker want = asker_alone(talk, 9, 10);
    even.request.edit_logits = allow_even_tokens;
    none.request.edit_logits = allow_nothing;
    asker_open_scheduler(5);
    asker_submit(&even);
    asker_submit(&none);
    asker_submit(&free_one);
    asker_run_and_close();
    for (uint32_t i = 0; i < 10; i++) assert_int_equal(even.choices[i].token % 2, 0);
    assert_int_equal(none.result.end, SCHEDULER_FAILED);
    assert_int_equal(none.n_choices, 2);
    assert_non_null(strstr(none.result.error.text, "allows no token"));
    asker_expect_same(&none, &want);
    asker_expect_same(&free_one, &want);
    assert_int_equal(free_one.n_choices, 10);
}

static void constraints_edit_logits(void **state) {
    (void)state;
    asker_with_model("bf16", 0, 0, SEQUENCES, constrain);
}

/* ---- what is refused, and how it ends ---- */

static void expect_refused(scheduler_request r, gptoss_status want) {
    gptoss_error why = {0};
    uint64_t id = 77;
    assert_int_equal(scheduler_submit(asker_scheduler, &r, &id, &why), want);
    assert_true(strlen(why.text) > 0);
    assert_int_equal(id, 77);
}

static void submit_too_much(void) {
    const uint32_t unknown[] = {1, asker_model.hp.n_vocab};
    const logit_bias bias = {asker_model.hp.n_vocab, 1};
    asker good = asker_of(talk, 5, 2);
    scheduler_request r = good.request;
    assert_ok(scheduler_open(asker_model.pipeline, &(scheduler_config){.waiting = 2}, &asker_scheduler, err));
    r.n_prompt = 0;
    expect_refused(r, GPTOSS_MISUSE);
    r = good.request;
    r.prompt = unknown, r.n_prompt = 2;
    expect_refused(r, GPTOSS_MISUSE);
    r = good.request;
    r.max_tokens = POSITIONS - 4;
    expect_refused(r, GPTOSS_MISUSE);
    r.max_tokens = UINT32_MAX;
    expect_refused(r, GPTOSS_MISUSE);
    r.max_tokens = POSITIONS - 5; /* positions there are, but not pages */
    expect_refused(r, GPTOSS_MISUSE);
    r = good.request;
    r.on_token = NULL;
    expect_refused(r, GPTOSS_MISUSE);
    r = good.request;
    r.on_end = NULL;
    expect_refused(r, GPTOSS_MISUSE);
    r = good.request;
    r.sampling.biases = &bias, r.sampling.n_biases = 1;
    expect_refused(r, GPTOSS_MISUSE);

    const uint32_t outside[] = {0, 5}, many[SCHEDULER_BORDERS + 1] = {1, 1, 1, 1, 1};
    for (int i = 0; i < 2; i++) {
        r = good.request;
        r.borders = &outside[i], r.n_borders = 1;
        expect_refused(r, GPTOSS_MISUSE);
    }
    r = good.request;
    r.borders = many, r.n_borders = SCHEDULER_BORDERS + 1;
    expect_refused(r, GPTOSS_MISUSE);

    asker some[5 + 2];
    for (int i = 0; i < 7; i++) {
        some[i] = good;
        asker_submit(&some[i]);
    };
    expect_refused(good.request, GPTOSS_BUSY);
    scheduler_stats stats;
    scheduler_read_stats(asker_scheduler, &stats);
    assert_int_equal(stats.waiting, 7);
    assert_int_equal(stats.refused, 1);
    scheduler_finish(asker_scheduler);
    expect_refused(good.request, GPTOSS_BUSY);
    assert_ok(scheduler_run(asker_scheduler, err));
    for (int i = 0; i < 7; i++) assert_int_equal(some[i].result.end, SCHEDULER_LENGTH);
    scheduler_close(asker_scheduler);
}

static void what_cannot_run_is_refused(void **state) {
    (void)state;
    asker_with_model("bf16", 7, 15, SEQUENCES, submit_too_much); /* window pages for five of six */
}

static bool stop_all(void *context, const scheduler_token *t) {
    (void)t;
    asker *c = context;
    c->n_choices++;
    scheduler_stop(asker_scheduler);
    return true;
}

static void stop_at_work(void) {
    asker some[9];
    asker_open_scheduler(4);
    for (int i = 0; i < 9; i++) some[i] = asker_of(talk, 20, 30);
    some[0].request.on_token = stop_all;
    for (int i = 0; i < 9; i++) asker_submit(&some[i]);
    asker_run_and_close();
    for (int i = 0; i < 9; i++) assert_int_equal(some[i].result.end, SCHEDULER_CANCELLED);
    asker_open_scheduler(4); /* the pipeline is fit for more */
    asker after = asker_of(talk, 20, 3), unheard = asker_of(talk, 20, 3);
    asker_submit(&after);
    asker_run_and_close();
    assert_int_equal(after.n_choices, 3);
    asker_open_scheduler(4);
    asker_submit(&unheard);
    scheduler_close(asker_scheduler);
    assert_int_equal(unheard.ended, 0);
}

static void stopping_ends_all(void **state) {
    (void)state;
    asker_with_model("bf16", 0, 0, SEQUENCES, stop_at_work);
}

static void be_interrupted(void) {
    asker some[8];
    gptoss_error why = {0};
    asker_open_scheduler(4);
    for (int i = 0; i < 8; i++) {
        some[i] = asker_of(talk, 20, 30);
        asker_submit(&some[i]);
    };
    cancel_request();
    assert_int_equal(scheduler_run(asker_scheduler, &why), GPTOSS_CANCELLED);
    assert_true(strlen(why.text) > 0);
    for (int i = 0; i < 8; i++) assert_int_equal(some[i].result.end, SCHEDULER_CANCELLED);
    scheduler_close(asker_scheduler);
}

static void interruptions_end_all(void **state) {
    (void)state;
    asker_with_model("bf16", 0, 0, SEQUENCES, be_interrupted);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_crowd_gets_what_each_gets_alone),
        cmocka_unit_test(a_crowd_waits_for_few_pages),
        cmocka_unit_test(cancelling_frees_at_once),
        cmocka_unit_test(long_prompts_hold_nobody_up),
        cmocka_unit_test(answers_are_spread_over_the_stages),
        cmocka_unit_test(one_without_room_waits_alone),
        cmocka_unit_test(constraints_edit_logits),
        cmocka_unit_test(what_cannot_run_is_refused),
        cmocka_unit_test(stopping_ends_all),
        cmocka_unit_test(interruptions_end_all), /* last: the wish to stop stays */
    };
    gptoss_error err;
    uint64_t seed = 21;
    for (int i = 0; i < FIRST; i++) talk[i] = (uint32_t)random_below(&seed, 100);
    isa_use(isa_best());
    if (cluster_open(getenv("OMPI_COMM_WORLD_SIZE") != NULL, &asker_world, &err) != GPTOSS_OK) return 1;
    int failures = cmocka_run_group_tests(tests, NULL, NULL);
    cluster_close(&asker_world);
    return failures;
}
