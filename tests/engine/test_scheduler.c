/* Many requests at once: each gets, bit for bit, what it gets alone, whoever comes and goes beside it and whatever the
 * prefix cache has; and the pages of the KV pool are always where they should be. */
#include "engine/scheduler.h"

#include <math.h>
#include <pthread.h>
#include <time.h>

#include "base/cancel.h"
#include "engine/engine.h"
#include "kernels/isa.h"
#include "random.h"
#include "support.h"

#ifndef REQUESTS
#define REQUESTS 1000
#endif

enum { POSITIONS = 128, CHUNK = 12, SEQUENCES = 6, MOST_TOKENS = 40, PROMPTS = 36, THREADS = 3 };

static cluster world;
static engine model;
static scheduler *scheduled;

/* ---- what requests get ---- */

/* A token and what the distribution was: two numbers that hardly any changed logit leaves as they are. */
typedef struct choice {
    uint32_t token;
    double entropy;
    float logprob;
} choice;

/* A request, and all that it was told. */
typedef struct client {
    scheduler_request request;
    uint64_t id;
    choice choices[MOST_TOKENS];
    uint32_t n_choices, progress, stop_after, cancel_after; /* 0: never */
    uint32_t ended;
    scheduler_result result;
} client;

static void check_pages(void) {
    gptoss_error why = {0};
    if (!scheduler_check(scheduled, &why)) fail_msg("%s", why.text);
}

static bool note_token(void *context, const scheduler_token *t) {
    client *c = context;
    assert_int_equal(t->step, c->n_choices);
    assert_int_equal(c->ended, 0);
    c->choices[c->n_choices++] = (choice){t->token, t->report->entropy, t->report->logprob};
    check_pages();
    if (c->n_choices == c->cancel_after) scheduler_cancel(scheduled, c->id);
    return c->n_choices != c->stop_after;
}

static void note_progress(void *context, uint32_t done) {
    client *c = context;
    assert_true(done > c->progress && done <= c->request.n_prompt);
    c->progress = done;
}

static void note_end(void *context, const scheduler_result *result) {
    client *c = context;
    assert_int_equal(c->ended, 0);
    assert_int_equal(result->generated, c->n_choices);
    c->result = *result;
    check_pages();
    __atomic_store_n(&c->ended, 1, __ATOMIC_RELEASE);
}

static client client_of(const uint32_t *prompt, uint32_t n_prompt, uint32_t max_tokens) {
    return (client){.request = {.prompt = prompt,
                                .n_prompt = n_prompt,
                                .max_tokens = max_tokens,
                                .sampling = sampler_defaults(),
                                .report = true,
                                .on_token = note_token,
                                .on_progress = note_progress,
                                .on_end = note_end}};
}

static void submit(client *c) {
    c->request.context = c;
    assert_ok(scheduler_submit(scheduled, &c->request, &c->id, err));
}

static void open_scheduler(uint32_t points) {
    assert_ok(
        scheduler_open(model.pipeline, &(scheduler_config){.waiting = 64, .resume_points = points}, &scheduled, err));
}

/* Lets all that was submitted end. */
static void run_and_close(void) {
    scheduler_stats stats;
    scheduler_finish(scheduled);
    assert_ok(scheduler_run(scheduled, err));
    check_pages();
    scheduler_read_stats(scheduled, &stats);
    assert_int_equal(stats.waiting + stats.running + stats.full_pages_running + stats.window_pages_running, 0);
    assert_int_equal(stats.ended, stats.accepted);
    scheduler_close(scheduled);
}

/* What a request gets when nobody else is there and nothing was before it. */
static client alone(const uint32_t *prompt, uint32_t n_prompt, uint32_t max_tokens) {
    client c = client_of(prompt, n_prompt, max_tokens);
    open_scheduler(0);
    submit(&c);
    run_and_close();
    assert_int_equal(c.result.end, SCHEDULER_LENGTH);
    assert_int_equal(c.result.generated, max_tokens);
    assert_int_equal(c.result.cached_tokens, 0);
    assert_int_equal(c.progress, n_prompt);
    return c;
}

static void expect_same(const client *got, const client *want) {
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

/* ---- prompts ---- */

typedef struct line {
    uint32_t ids[POSITIONS], count;
    client want; /* alone */
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
        while (fresh-- > 0) l->ids[l->count++] = (uint32_t)random_below(seed, model.hp.n_vocab);
        uint32_t most = POSITIONS - l->count < MOST_TOKENS / 2 ? POSITIONS - l->count : MOST_TOKENS / 2;
        l->want = alone(l->ids, l->count, most);
    }
}

/* ---- opening ---- */

/* Opens a golden model on all ranks, with pools of that many pages of 16 positions (0: enough for all sequences); rank
 * 0 runs `at_rank_0`, the others work for it. */
static void with_model(const char *name, uint32_t full_pages, uint32_t window_pages, uint32_t rows,
                       void (*at_rank_0)(void)) {
    golden g;
    golden_load(name, &g);
    const engine_config config = {.path = g.path,
                                  .threads = 1,
                                  .sequences = SEQUENCES,
                                  .chunk = CHUNK,
                                  .logits_rows = rows,
                                  .shards = world.size == 4 ? 2 : 1, /* of two stages */
                                  .kv_pages = {full_pages, window_pages},
                                  .kv_page_bits = {4, 4}};
    assert_ok(engine_open(&world, &config, &model, err));
    assert_ok(engine_start(&model, POSITIONS, err));
    if (world.rank == 0) {
        at_rank_0();
        pipeline_stop(model.pipeline);
    } else {
        assert_ok(pipeline_work(model.pipeline, err));
    }
    engine_close(&model);
    golden_free(&g);
}

/* ---- a thousand requests ---- */

typedef struct crowd {
    client *clients;
    uint32_t count;
    uint64_t seed;
} crowd;

static void pause_for(long microseconds) { nanosleep(&(struct timespec){0, microseconds * 1000}, NULL); }

/* Submits its clients at random moments, and cancels some of them at others. */
static void *visit(void *context) {
    crowd *c = context;
    for (uint32_t i = 0; i < c->count; i++) {
        client *who = &c->clients[i];
        gptoss_error why = {0};
        who->request.context = who;
        while (scheduler_submit(scheduled, &who->request, &who->id, &why) == GPTOSS_BUSY) pause_for(300);
        if (random_below(&c->seed, 4) == 0) pause_for((long)random_below(&c->seed, 2000));
        uint32_t back = (uint32_t)random_below(&c->seed, 5);
        if (back <= i && random_below(&c->seed, 4) == 0) scheduler_cancel(scheduled, c->clients[i - back].id);
    }
    return NULL;
}

static const line *line_of(const client *c) {
    for (uint32_t i = 0; i < PROMPTS; i++)
        if (lines[i].ids == c->request.prompt) return &lines[i];
    return NULL;
}

static void expect_right_ends(const client *all, uint32_t count, uint32_t *whole) {
    for (uint32_t i = 0; i < count; i++) {
        const client *c = &all[i];
        assert_int_equal(c->ended, 1);
        expect_same(c, &line_of(c)->want);
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
    scheduler_finish(scheduled);
    return NULL;
}

static void receive_a_crowd(void) {
    uint64_t seed = 3 + (uint64_t)world.size;
    uint32_t whole = 0;
    client *all = calloc(REQUESTS, sizeof *all);
    crowd crowds[THREADS];
    pthread_t threads[THREADS], last;
    scheduler_stats stats;
    write_lines(&seed);
    for (uint32_t i = 0; i < REQUESTS; i++) {
        const line *l = &lines[random_below(&seed, PROMPTS)];
        all[i] = client_of(l->ids, l->count, (uint32_t)random_below(&seed, l->want.n_choices + 1));
        all[i].stop_after = random_below(&seed, 4) ? 0 : 1 + (uint32_t)random_below(&seed, 9);
        all[i].cancel_after = random_below(&seed, 12) ? 0 : 1 + (uint32_t)random_below(&seed, 9);
        all[i].request.not_cached = random_below(&seed, 8) == 0;
    }
    assert_ok(scheduler_open(model.pipeline, &(scheduler_config){.waiting = 5, .resume_points = 20}, &scheduled, err));
    for (uint32_t i = 0; i < THREADS; i++) {
        uint32_t begin = REQUESTS * i / THREADS, end = REQUESTS * (i + 1) / THREADS;
        crowds[i] = (crowd){all + begin, end - begin, seed + i};
        assert_int_equal(pthread_create(&threads[i], NULL, visit, &crowds[i]), 0);
    }
    assert_int_equal(pthread_create(&last, NULL, finish_after, threads), 0);
    assert_ok(scheduler_run(scheduled, err));
    pthread_join(last, NULL);
    check_pages();
    scheduler_read_stats(scheduled, &stats);
    assert_int_equal(stats.ended, REQUESTS);
    assert_int_equal(stats.running + stats.waiting + stats.full_pages_running + stats.window_pages_running, 0);
    expect_right_ends(all, REQUESTS, &whole);
    print_message("%u of %u requests ended whole; %llu of %llu prompt tokens were cached, %llu points evicted\n", whole,
                  REQUESTS, (unsigned long long)stats.cached_tokens, (unsigned long long)stats.prompt_tokens,
                  (unsigned long long)stats.cache_evictions);
    assert_true(whole > REQUESTS / 2 && stats.cached_tokens > 0 && stats.cache_evictions > 0);
    scheduler_close(scheduled);
    free(all);
}

static void a_crowd_gets_what_each_gets_alone(void **state) {
    (void)state;
    with_model("q8_0-mxfp4", 0, 60, SEQUENCES, receive_a_crowd);
}

/* Pages for two or three requests, not for six, and a row of logits for one answer a wave. */
static void a_crowd_waits_for_few_pages(void **state) {
    (void)state;
    with_model(world.size == 4 ? "like-q2_k" : "like-q4_k_m", 10, 20, 1, receive_a_crowd);
}

/* ---- the prefix cache ---- */

static client ask(const uint32_t *prompt, uint32_t n_prompt, uint32_t max_tokens) {
    client c = client_of(prompt, n_prompt, max_tokens);
    submit(&c);
    while (!__atomic_load_n(&c.ended, __ATOMIC_ACQUIRE)) pause_for(100);
    return c;
}

/* The questions of one test, put one after the other by a thread of their own while the scheduler runs. */
static void *converse(void *context) {
    void (*questions)(void) = context;
    questions();
    scheduler_finish(scheduled);
    return NULL;
}

static void run_with_questions(uint32_t points, void (*questions)(void)) {
    pthread_t thread;
    open_scheduler(points);
    /* POSIX lets a function pointer pass as data */
    void *context;
    memcpy(&context, &questions, sizeof context);
    assert_int_equal(pthread_create(&thread, NULL, converse, context), 0);
    assert_ok(scheduler_run(scheduled, err));
    pthread_join(thread, NULL);
    check_pages();
    scheduler_close(scheduled);
}

enum { FIRST = 45, ANSWER = 12, SECOND = 7 };

static uint32_t talk[FIRST + ANSWER + SECOND], other[FIRST + 20], third[FIRST + 9];
static client want_first, want_second, want_other, want_third;

/* A chat's second turn, the same question again, and questions that begin like others. */
static void ask_in_turns(void) {
    client first = ask(talk, FIRST, ANSWER);
    expect_same(&first, &want_first);
    assert_int_equal(first.result.cached_tokens, 0);
    client second = ask(talk, FIRST + ANSWER + SECOND, 9);
    expect_same(&second, &want_second);
    assert_int_equal(second.result.cached_tokens, FIRST + ANSWER - 1); /* an answer's last token was never run */
    for (int again = 0; again < 3; again++) {
        client same = ask(talk, FIRST, ANSWER);
        expect_same(&same, &want_first);
        assert_int_equal(same.result.cached_tokens, FIRST - 1); /* one must be run for its logits */
    }
    client branch = ask(other, FIRST + 20, 9); /* as the first up to token 30, where nobody thought of stopping */
    expect_same(&branch, &want_other);
    assert_int_equal(branch.result.cached_tokens, 0);
    client knows = ask(third, FIRST + 9, 9); /* the same 30, where by now two have parted */
    expect_same(&knows, &want_third);
    assert_int_equal(knows.result.cached_tokens, 30);
    client not_cached = client_of(talk, FIRST, ANSWER);
    not_cached.request.not_cached = true;
    submit(&not_cached);
    while (!__atomic_load_n(&not_cached.ended, __ATOMIC_ACQUIRE)) pause_for(100);
    expect_same(&not_cached, &want_first);
    assert_int_equal(not_cached.result.cached_tokens, 0);
    scheduler_stats stats;
    scheduler_read_stats(scheduled, &stats);
    assert_int_equal(stats.cache_hits, 5);
    assert_int_equal(stats.cache_misses, 2);
    assert_int_equal(stats.cached_tokens, FIRST + ANSWER - 1 + 3 * (FIRST - 1) + 30);
}

static void write_talk(void) {
    uint64_t seed = 21;
    for (uint32_t i = 0; i < FIRST + ANSWER + SECOND; i++) talk[i] = (uint32_t)random_below(&seed, model.hp.n_vocab);
    want_first = alone(talk, FIRST, ANSWER);
    for (uint32_t i = 0; i < ANSWER; i++) talk[FIRST + i] = want_first.choices[i].token;
    for (uint32_t i = 0; i < FIRST + 20; i++) other[i] = i < 30 ? talk[i] : (talk[i % FIRST] + 1) % model.hp.n_vocab;
    for (uint32_t i = 0; i < FIRST + 9; i++) third[i] = i < 30 ? talk[i] : (talk[i % FIRST] + 2) % model.hp.n_vocab;
    want_second = alone(talk, FIRST + ANSWER + SECOND, 9);
    want_other = alone(other, FIRST + 20, 9);
    want_third = alone(third, FIRST + 9, 9);
}

static void turns_read_what_is_new(void) {
    write_talk();
    run_with_questions(20, ask_in_turns);
}

static void the_prefix_cache_changes_no_bit(void **state) {
    (void)state;
    with_model("q8_0-mxfp4", 0, 90, SEQUENCES, turns_read_what_is_new);
    with_model("f32", 9, 0, 1, turns_read_what_is_new);
}

/* One resume point at a time: whatever is remembered drives out what was. */
static void ask_again_and_again(void) {
    for (int i = 0; i < 12; i++) {
        client a = ask(talk, FIRST, ANSWER), b = ask(other, FIRST + 20, 9);
        expect_same(&a, &want_first);
        expect_same(&b, &want_other);
    }
    scheduler_stats stats;
    scheduler_read_stats(scheduled, &stats);
    assert_int_equal(stats.resume_points, 1);
    assert_true(stats.cache_evictions > 20);
}

static void forget_all_but_one(void) {
    write_talk();
    run_with_questions(1, ask_again_and_again);
}

static void old_points_are_forgotten(void **state) {
    (void)state;
    with_model("q8_0-mxfp4", 0, 30, SEQUENCES, forget_all_but_one);
}

/* ---- company ---- */

typedef struct killer {
    client client;
    client *victim;
    uint32_t victim_had;
} killer;

static bool kill_at_the_third(void *context, const scheduler_token *t) {
    killer *k = context;
    if (t->step == 3) {
        k->victim_had = k->victim->n_choices;
        scheduler_cancel(scheduled, k->victim->id);
        assert_int_equal(k->victim->ended, 0);
    }
    if (t->step == 5) {
        scheduler_stats stats;
        scheduler_read_stats(scheduled, &stats);
        assert_int_equal(k->victim->ended, 1);
        assert_int_equal(stats.running, 1);
    }
    k->client.n_choices++;
    return true;
}

static void cancel_another(void) {
    client victim = client_of(talk, FIRST, MOST_TOKENS), queued = client_of(talk, 3, 3);
    killer k = {.client = client_of(talk + 3, 5, 12), .victim = &victim};
    k.client.request.on_token = kill_at_the_third;
    open_scheduler(20);
    submit(&victim);
    k.client.request.context = &k;
    assert_ok(scheduler_submit(scheduled, &k.client.request, &k.client.id, err));
    submit(&queued);
    scheduler_cancel(scheduled, queued.id);
    scheduler_cancel(scheduled, 12345); /* nobody */
    run_and_close();
    assert_int_equal(victim.result.end, SCHEDULER_CANCELLED);
    assert_true(victim.n_choices <= k.victim_had + 1); /* of a wave that was back already */
    assert_int_equal(k.client.result.end, SCHEDULER_LENGTH);
    assert_int_equal(queued.result.end, SCHEDULER_CANCELLED);
    assert_int_equal(queued.n_choices, 0);
}

static void cancelling_frees_at_once(void **state) {
    (void)state;
    with_model("bf16", 0, 0, SEQUENCES, cancel_another);
}

/* How far an answer was each time a part of a long prompt had been read. */
typedef struct watch {
    client reader, *speaker, *late;
    uint32_t parts, spoken_before, late_before;
} watch;

static void note_part(void *context, uint32_t done) {
    watch *w = context;
    w->parts++;
    if (done < w->reader.request.n_prompt) w->late_before = w->late->ended;
    if (w->parts == 1) w->spoken_before = w->speaker->n_choices;
}

static void read_beside_others(void) {
    client speaker = client_of(talk, 3, MOST_TOKENS), late = client_of(talk + 9, 4, 2);
    watch w = {.reader = client_of(lines[0].ids, 100, 1), .speaker = &speaker, .late = &late};
    for (uint32_t i = 0; i < 100; i++) lines[0].ids[i] = i;
    w.reader.request.on_progress = note_part;
    open_scheduler(0);
    submit(&speaker);
    w.reader.request.context = &w;
    assert_ok(scheduler_submit(scheduled, &w.reader.request, &w.reader.id, err));
    submit(&late);
    run_and_close();
    assert_true(w.parts >= 100 / CHUNK * 2); /* of small parts */
    assert_int_equal(w.late_before, 1);      /* a short prompt did not wait for the end of the long one */
    assert_int_equal(speaker.n_choices, MOST_TOKENS);
}

static void long_prompts_hold_nobody_up(void **state) {
    (void)state;
    with_model("bf16", 0, 0, SEQUENCES, read_beside_others);
}

/* An answer that has no room for more until another has ended, and then for a while. */
typedef struct pauser {
    client self, *other;
    uint32_t refused;
} pauser;

static bool make_room(void *context) {
    pauser *p = context;
    bool room = p->self.n_choices < 5 || (p->other->ended && p->refused > 20);
    p->refused += !room && p->other->ended;
    return room;
}

static bool pass_token(void *context, const scheduler_token *t) { return note_token(&((pauser *)context)->self, t); }

static void pass_end(void *context, const scheduler_result *r) { note_end(&((pauser *)context)->self, r); }

static void pause_beside_others(void) {
    client want = alone(talk, 20, 30), want_neighbour = alone(talk + 3, 9, MOST_TOKENS);
    client neighbour = client_of(talk + 3, 9, MOST_TOKENS), waiting[SEQUENCES];
    pauser p = {.self = client_of(talk, 20, 30), .other = &neighbour};
    p.self.request.context = &p;
    p.self.request.has_room = make_room;
    p.self.request.on_token = pass_token;
    p.self.request.on_progress = NULL;
    p.self.request.on_end = pass_end;
    open_scheduler(4);
    assert_ok(scheduler_submit(scheduled, &p.self.request, &p.self.id, err));
    submit(&neighbour);
    for (int i = 0; i < SEQUENCES; i++) { /* more than there is room for beside it */
        waiting[i] = client_of(talk, 20, 3);
        submit(&waiting[i]);
    }
    run_and_close();
    assert_int_equal(p.refused, 21);
    assert_int_equal(p.self.result.end, SCHEDULER_LENGTH);
    expect_same(&p.self, &want);
    expect_same(&neighbour, &want_neighbour);
    assert_int_equal(p.self.n_choices, 30);
    for (int i = 0; i < SEQUENCES; i++) assert_int_equal(waiting[i].n_choices, 3);
}

static void one_without_room_waits_alone(void **state) {
    (void)state;
    with_model("bf16", 0, 0, SEQUENCES, pause_beside_others);
}

/* ---- constraints ---- */

static void allow_even_tokens(void *context, float *logits) {
    (void)context;
    for (uint32_t i = 1; i < model.hp.n_vocab; i += 2) logits[i] = -INFINITY;
}

static void allow_nothing(void *context, float *logits) {
    const client *c = context;
    for (uint32_t i = 0; i < model.hp.n_vocab && c->n_choices == 2; i++) logits[i] = -INFINITY;
}

static void constrain(void) {
    client even = client_of(talk, 9, 10), none = client_of(talk, 9, 10), free_one = client_of(talk, 9, 10);
    client want = alone(talk, 9, 10);
    even.request.edit_logits = allow_even_tokens;
    none.request.edit_logits = allow_nothing;
    open_scheduler(5);
    submit(&even);
    submit(&none);
    submit(&free_one);
    run_and_close();
    for (uint32_t i = 0; i < 10; i++) assert_int_equal(even.choices[i].token % 2, 0);
    assert_int_equal(none.result.end, SCHEDULER_FAILED);
    assert_int_equal(none.n_choices, 2);
    assert_non_null(strstr(none.result.error.text, "allows no token"));
    expect_same(&none, &want);
    expect_same(&free_one, &want);
    assert_int_equal(free_one.n_choices, 10);
}

static void constraints_edit_logits(void **state) {
    (void)state;
    with_model("bf16", 0, 0, SEQUENCES, constrain);
}

/* ---- what is refused, and how it ends ---- */

static void expect_refused(scheduler_request r, gptoss_status want) {
    gptoss_error why = {0};
    uint64_t id = 77;
    assert_int_equal(scheduler_submit(scheduled, &r, &id, &why), want);
    assert_true(strlen(why.text) > 0);
    assert_int_equal(id, 77);
}

static void submit_too_much(void) {
    const uint32_t unknown[] = {1, model.hp.n_vocab};
    const logit_bias bias = {model.hp.n_vocab, 1};
    client good = client_of(talk, 5, 2);
    scheduler_request r = good.request;
    assert_ok(scheduler_open(model.pipeline, &(scheduler_config){.waiting = 2}, &scheduled, err));
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

    client some[5 + 2];
    for (int i = 0; i < 7; i++) {
        some[i] = good;
        submit(&some[i]);
    };
    expect_refused(good.request, GPTOSS_BUSY);
    scheduler_stats stats;
    scheduler_read_stats(scheduled, &stats);
    assert_int_equal(stats.waiting, 7);
    assert_int_equal(stats.refused, 1);
    scheduler_finish(scheduled);
    expect_refused(good.request, GPTOSS_BUSY);
    assert_ok(scheduler_run(scheduled, err));
    for (int i = 0; i < 7; i++) assert_int_equal(some[i].result.end, SCHEDULER_LENGTH);
    scheduler_close(scheduled);
}

static void what_cannot_run_is_refused(void **state) {
    (void)state;
    with_model("bf16", 7, 15, SEQUENCES, submit_too_much); /* window pages for five of six */
}

static bool stop_all(void *context, const scheduler_token *t) {
    (void)t;
    client *c = context;
    c->n_choices++;
    scheduler_stop(scheduled);
    return true;
}

static void stop_at_work(void) {
    client some[9];
    open_scheduler(4);
    for (int i = 0; i < 9; i++) some[i] = client_of(talk, 20, 30);
    some[0].request.on_token = stop_all;
    for (int i = 0; i < 9; i++) submit(&some[i]);
    run_and_close();
    for (int i = 0; i < 9; i++) assert_int_equal(some[i].result.end, SCHEDULER_CANCELLED);
    open_scheduler(4); /* the pipeline is fit for more */
    client after = client_of(talk, 20, 3), unheard = client_of(talk, 20, 3);
    submit(&after);
    run_and_close();
    assert_int_equal(after.n_choices, 3);
    open_scheduler(4);
    submit(&unheard);
    scheduler_close(scheduled);
    assert_int_equal(unheard.ended, 0);
}

static void stopping_ends_all(void **state) {
    (void)state;
    with_model("bf16", 0, 0, SEQUENCES, stop_at_work);
}

static void be_interrupted(void) {
    client some[8];
    gptoss_error why = {0};
    open_scheduler(4);
    for (int i = 0; i < 8; i++) {
        some[i] = client_of(talk, 20, 30);
        submit(&some[i]);
    };
    cancel_request();
    assert_int_equal(scheduler_run(scheduled, &why), GPTOSS_CANCELLED);
    assert_true(strlen(why.text) > 0);
    for (int i = 0; i < 8; i++) assert_int_equal(some[i].result.end, SCHEDULER_CANCELLED);
    scheduler_close(scheduled);
}

static void interruptions_end_all(void **state) {
    (void)state;
    with_model("bf16", 0, 0, SEQUENCES, be_interrupted);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_crowd_gets_what_each_gets_alone),
        cmocka_unit_test(a_crowd_waits_for_few_pages),
        cmocka_unit_test(the_prefix_cache_changes_no_bit),
        cmocka_unit_test(old_points_are_forgotten),
        cmocka_unit_test(cancelling_frees_at_once),
        cmocka_unit_test(long_prompts_hold_nobody_up),
        cmocka_unit_test(one_without_room_waits_alone),
        cmocka_unit_test(constraints_edit_logits),
        cmocka_unit_test(what_cannot_run_is_refused),
        cmocka_unit_test(stopping_ends_all),
        cmocka_unit_test(interruptions_end_all), /* last: the wish to stop stays */
    };
    gptoss_error err;
    isa_use(isa_best());
    if (cluster_open(getenv("OMPI_COMM_WORLD_SIZE") != NULL, &world, &err) != GPTOSS_OK) return 1;
    int failures = cmocka_run_group_tests(tests, NULL, NULL);
    cluster_close(&world);
    return failures;
}
