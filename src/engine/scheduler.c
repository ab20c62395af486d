#include "engine/scheduler.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/cancel.h"
#include "base/clock.h"
#include "base/mem.h"
#include "base/plural.h"
#include "cluster/peers.h"
#include "engine/scheduler_internal.h"

static const double LOOK_EVERY = 0.05; /* seconds between looks for an interruption while nothing happens */

/* ---- any thread ---- */

static gptoss_status refuse(scheduler *s, gptoss_error *err) {
    s->refused++;
    if (s->finishing) return error_set(err, GPTOSS_BUSY, "no more requests are accepted");
    return error_set(err, GPTOSS_BUSY, "%u requests are at work and %u wait already", s->n_running, s->n_waiting);
}

static gptoss_status enqueue(scheduler *s, job *j, uint64_t *id, gptoss_error *err) {
    gptoss_status status = GPTOSS_OK;
    pthread_mutex_lock(&s->lock);
    if (s->finishing || s->n_waiting + s->n_running >= s->config.waiting + s->most_running) {
        status = refuse(s, err);
    } else {
        if (id) *id = s->next_id;
        j->id = s->next_id++;
        *s->last = j;
        s->last = &j->next;
        s->n_waiting++;
        s->accepted++;
        pthread_cond_signal(&s->news);
    }
    pthread_mutex_unlock(&s->lock);
    return status;
}

gptoss_status scheduler_submit(scheduler *s, const scheduler_request *request, uint64_t *id, gptoss_error *err) {
    job *j;
    TRY(job_open(request, &s->limits, &j, err));
    gptoss_status status = GPTOSS_OK;
    if (j->full_pages > s->limits.paging.pages[KV_FULL])
        status = error_set(err, GPTOSS_MISUSE, "%u positions are more than the KV cache has room for",
                           job_most_positions(j));
    if (status == GPTOSS_OK) status = enqueue(s, j, id, err);
    if (status != GPTOSS_OK) job_close(j);
    return status;
}

void scheduler_cancel(scheduler *s, uint64_t id) {
    pthread_mutex_lock(&s->lock);
    for (job *j = s->first; j; j = j->next) j->cancelled |= j->id == id;
    for (uint32_t i = 0; i < s->n_running; i++) s->running[i]->cancelled |= s->running[i]->id == id;
    pthread_cond_signal(&s->news);
    pthread_mutex_unlock(&s->lock);
}

static void end_intake(scheduler *s, bool stop) {
    pthread_mutex_lock(&s->lock);
    s->finishing = true;
    s->stopping |= stop;
    pthread_cond_signal(&s->news);
    pthread_mutex_unlock(&s->lock);
}

void scheduler_finish(scheduler *s) { end_intake(s, false); }

void scheduler_stop(scheduler *s) { end_intake(s, true); }

void scheduler_read_stats(scheduler *s, scheduler_stats *out) {
    pthread_mutex_lock(&s->lock);
    *out = s->published;
    out->waiting = s->n_waiting;
    out->running = s->n_running;
    out->accepted = s->accepted;
    out->refused = s->refused;
    pthread_mutex_unlock(&s->lock);
}

void scheduler_read_figures(scheduler *s, rank_figures *out) {
    pthread_mutex_lock(&s->lock);
    memcpy(out, s->figures, (size_t)pipeline_ranks(s->pipeline) * sizeof *out);
    pthread_mutex_unlock(&s->lock);
}

static void publish(scheduler *s) {
    scheduler_stats *t = &s->stats;
    uint32_t used[KV_KINDS], running[KV_KINDS];
    for (kv_kind kind = 0; kind < KV_KINDS; kind++) {
        running[kind] = kv_pool_running(s->pool, kind);
        used[kind] = kv_pool_pages(s->pool, kind) - kv_pool_free(s->pool, kind);
    }
    t->full_pages = kv_pool_pages(s->pool, KV_FULL);
    t->full_pages_running = running[KV_FULL];
    t->full_pages_cached = used[KV_FULL] - running[KV_FULL];
    t->window_pages = kv_pool_pages(s->pool, KV_WINDOW);
    t->window_pages_running = running[KV_WINDOW];
    t->window_pages_cached = used[KV_WINDOW] - running[KV_WINDOW];
    t->resume_points = prefix_cache_points(s->cache);
    t->cache_evictions = prefix_cache_evictions(s->cache);
    pthread_mutex_lock(&s->lock);
    s->published = *t;
    memcpy(s->figures, pipeline_figures(s->pipeline), (size_t)pipeline_ranks(s->pipeline) * sizeof *s->figures);
    pthread_mutex_unlock(&s->lock);
}

/* ---- the end of a job ---- */

static void forget_seats(scheduler *s, const job *j) {
    for (uint64_t n = s->collected; n != s->submitted; n++) {
        booking *b = &s->bookings[n % s->depth];
        for (uint32_t i = 0; i < b->count; i++)
            if (b->seats[i].job == j) b->seats[i].job = NULL;
    }
}

static void stop_running(scheduler *s, const job *j) {
    uint32_t i = 0;
    pthread_mutex_lock(&s->lock);
    while (s->running[i] != j) i++;
    for (s->n_running--; i < s->n_running; i++) s->running[i] = s->running[i + 1]; /* turns go by this order */
    pthread_mutex_unlock(&s->lock);
}

void scheduler_retire(scheduler *s, job *j, scheduler_end end, const gptoss_error *why) {
    bool whole = end == SCHEDULER_STOPPED || end == SCHEDULER_LENGTH;
    if (whole && j->cached) prefix_cache_add(s->cache, j->tokens, j->sequence.position, &j->sequence);
    sequence_clear(&j->sequence, s->pool);
    forget_seats(s, j);
    stop_running(s, j);
    s->stats.ended++;
    publish(s); /* on_end may look */
    job_end(j, end, why);
}

static job *take_cancelled_waiting(scheduler *s) {
    job *found = NULL;
    pthread_mutex_lock(&s->lock);
    job **at = &s->first;
    while (*at && !(*at)->cancelled && !s->stopping) at = &(*at)->next;
    if (*at) {
        found = *at;
        *at = found->next;
        if (!*at) s->last = at;
        s->n_waiting--;
    }
    pthread_mutex_unlock(&s->lock);
    return found;
}

static job *find_cancelled_running(scheduler *s) {
    job *found = NULL;
    pthread_mutex_lock(&s->lock);
    for (uint32_t i = 0; i < s->n_running && !found; i++)
        if (s->running[i]->cancelled || s->stopping) found = s->running[i];
    pthread_mutex_unlock(&s->lock);
    return found;
}

static void end_cancelled(scheduler *s) {
    for (job *j; (j = find_cancelled_running(s)) != NULL;) scheduler_retire(s, j, SCHEDULER_CANCELLED, NULL);
    for (job *j; (j = take_cancelled_waiting(s)) != NULL;) {
        s->stats.ended++;
        job_end(j, SCHEDULER_CANCELLED, NULL);
    }
}

/* ---- the loop ---- */

/* Waits for news; false when there will be none. What still runs has no room for more, and is asked again after a
 * while. */
static bool wait_for_news(scheduler *s) {
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += (long)(LOOK_EVERY * 1e9);
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    pthread_mutex_lock(&s->lock);
    bool done = s->finishing && !s->first && s->n_running == 0, pausing = s->n_running > 0;
    if (!done && (!s->first || pausing) && !s->stopping) pthread_cond_timedwait(&s->news, &s->lock, &until);
    pthread_mutex_unlock(&s->lock);
    return !done;
}

static gptoss_status interrupted(const scheduler *s, gptoss_error *err) {
    if (s->n_running != 1)
        return error_set(err, GPTOSS_CANCELLED, "interrupted with %u requests at work", s->n_running);
    const job *j = s->running[0];
    if (j->sequence.position < j->n_prompt)
        return error_set(err, GPTOSS_CANCELLED, "interrupted while reading the prompt, at token %u of %u",
                         j->sequence.position, j->n_prompt);
    return error_set(err, GPTOSS_CANCELLED, "interrupted after %u token%s of the answer", j->n_tokens - j->n_prompt,
                     plural(j->n_tokens - j->n_prompt));
}

/* A rank that is lost is the reason, whatever went wrong first. */
static gptoss_status explain(gptoss_status status, gptoss_error *why) {
    int rank;
    if (!peers_lost(&rank)) return status;
    return error_set(why, GPTOSS_PEER, "rank %d is lost: its process has ended", rank);
}

static gptoss_status step(scheduler *s, bool *done, gptoss_error *err) {
    bool sent = false;
    if (cancel_requested()) return interrupted(s, err);
    TRY(explain(GPTOSS_OK, err));
    end_cancelled(s);
    scheduler_admit(s);
    publish(s);
    if (s->submitted - s->collected < s->depth) TRY(scheduler_send(s, &sent, err));
    if (sent) return GPTOSS_OK;
    if (s->submitted != s->collected) return scheduler_collect(s, err);
    *done = !wait_for_news(s);
    return GPTOSS_OK;
}

/* Ends what is left when the pipeline did. */
static void end_all(scheduler *s, gptoss_status status, const gptoss_error *why) {
    pthread_mutex_lock(&s->lock);
    s->finishing = true;
    job *j = s->first;
    s->first = NULL;
    s->last = &s->first;
    s->n_waiting = 0;
    pthread_mutex_unlock(&s->lock);
    scheduler_end end = status == GPTOSS_CANCELLED ? SCHEDULER_CANCELLED : SCHEDULER_FAILED;
    while (s->n_running > 0) scheduler_retire(s, s->running[0], end, why);
    for (job *next; j; j = next) {
        next = j->next;
        s->stats.ended++;
        job_end(j, end, why);
    }
}

gptoss_status scheduler_run(scheduler *s, gptoss_error *err) {
    gptoss_error why = {0}, ignored;
    gptoss_status status = GPTOSS_OK;
    const logits_row *rows;
    for (bool done = false; !done && status == GPTOSS_OK;) status = step(s, &done, &why);
    if (status != GPTOSS_OK) status = explain(status, &why);
    if (status != GPTOSS_OK) end_all(s, status, &why);
    for (; s->submitted != s->collected && status == GPTOSS_CANCELLED; s->collected++)
        pipeline_collect(s->pipeline, &rows, &ignored);
    publish(s);
    if (status != GPTOSS_OK && err) *err = why;
    return status;
}

/* ---- opening ---- */

/* A sequence holds a window's pages, and while it is new the one that its first is a copy of. */
static uint32_t window_pages(const scheduler *s, bool cached) {
    const wave_limits *l = &s->limits;
    return kv_paging_most(&l->paging, KV_WINDOW, l->positions, s->config.chunk) + cached;
}

static gptoss_status settle(scheduler *s, gptoss_error *err) {
    scheduler_config *c = &s->config;
    uint32_t pages = s->limits.paging.pages[KV_WINDOW];
    if (c->chunk == 0 || c->chunk > s->limits.chunk) c->chunk = s->limits.chunk;
    /* A quarter: an answer's next token waits about twice as long as alone, since a part of a prompt calls on most
     * experts, and all its tokens share the reading of them. */
    if (c->shared_chunk == 0) c->shared_chunk = (c->chunk + 3) / 4;
    if (pages < window_pages(s, true)) c->resume_points = 0;
    uint32_t room = pages / window_pages(s, c->resume_points > 0);
    s->most_running = room < s->limits.runs ? room : s->limits.runs;
    if (s->most_running > 0) return GPTOSS_OK;
    return error_set(err, GPTOSS_MISUSE, "a KV cache of %u window pages has no room for a single sequence", pages);
}

static gptoss_status open_buffers(scheduler *s, gptoss_error *err) {
    TRY(settle(s, err));
    TRY(kv_pool_open(&s->limits.paging, &s->pool, err));
    TRY(prefix_cache_open(&s->limits, s->pool, s->config.resume_points, &s->cache, err));
    if (s->config.kept) TRY(prefix_cache_fill(s->cache, s->config.kept, err));
    TRY(wave_open(&s->limits, &s->wave, err));
    TRY(mem_array((size_t)pipeline_ranks(s->pipeline), sizeof *s->figures, "scheduler", &s->figures, err));
    TRY(mem_array(s->most_running, sizeof *s->running, "scheduler", &s->running, err));
    TRY(mem_array(s->depth, sizeof *s->bookings, "scheduler", &s->bookings, err));
    for (uint32_t i = 0; i < s->depth; i++)
        TRY(mem_array(s->limits.runs, sizeof *s->bookings[i].seats, "scheduler", &s->bookings[i].seats, err));
    return GPTOSS_OK;
}

gptoss_status scheduler_open(pipeline *p, const scheduler_config *config, scheduler **out, gptoss_error *err) {
    scheduler *s;
    pthread_condattr_t attributes;
    TRY(mem_array(1, sizeof *s, "scheduler", &s, err));
    s->pipeline = p;
    s->config = *config;
    s->limits = pipeline_wave_limits(p);
    s->depth = pipeline_depth(p);
    s->last = &s->first;
    s->next_id = 1;
    pthread_mutex_init(&s->lock, NULL);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&s->news, &attributes);
    pthread_condattr_destroy(&attributes);
    gptoss_status status = open_buffers(s, err);
    if (status != GPTOSS_OK) {
        scheduler_close(s);
        return status;
    }
    publish(s);
    *out = s;
    return GPTOSS_OK;
}

void scheduler_close(scheduler *s) {
    if (!s) return;
    for (job *j = s->first, *next; j; j = next) {
        next = j->next;
        job_close(j);
    }
    for (uint32_t i = 0; s->bookings && i < s->depth; i++) free(s->bookings[i].seats);
    free(s->bookings);
    free(s->running);
    free(s->figures);
    wave_close(&s->wave);
    prefix_cache_close(s->cache);
    kv_pool_close(s->pool);
    pthread_cond_destroy(&s->news);
    pthread_mutex_destroy(&s->lock);
    free(s);
}

gptoss_status scheduler_snapshot(const scheduler *s, prefix_snapshot *out, gptoss_error *err) {
    return prefix_cache_snapshot(s->cache, out, err);
}

/* ---- checking ---- */

static bool counts_agree(const scheduler *s, kv_kind kind, const uint32_t *running, const uint32_t *cached,
                         gptoss_error *err) {
    for (uint32_t page = 0; page < kv_pool_pages(s->pool, kind); page++) {
        uint32_t of_running = kv_pool_holders(s->pool, kind, page, KV_RUNNING),
                 of_cache = kv_pool_holders(s->pool, kind, page, KV_CACHED);
        if (of_running == running[page] && of_cache == cached[page]) continue;
        error_set(err, GPTOSS_INTERNAL, "page %u of kind %d: %u sequences and %u points hold it, not %u and %u", page,
                  (int)kind, running[page], cached[page], of_running, of_cache);
        return false;
    }
    return true;
}

/* The page that a sequence will go on storing in is in no other's table. */
static bool writers_agree(const scheduler *s, kv_kind kind, const uint32_t *tables, gptoss_error *err) {
    for (uint32_t i = 0; i < s->n_running; i++) {
        const sequence *q = &s->running[i]->sequence;
        if (q->position % (1u << s->limits.paging.page_bits[kind]) == 0 || q->count[kind] == 0) continue;
        uint32_t page = q->pages[kind][q->count[kind] - 1];
        if (tables[page] == 1) continue;
        error_set(err, GPTOSS_INTERNAL, "page %u of kind %d: %u sequences store in it", page, (int)kind, tables[page]);
        return false;
    }
    return true;
}

bool scheduler_check(const scheduler *s, gptoss_error *err) {
    uint32_t *running[KV_KINDS] = {0}, *cached[KV_KINDS] = {0}, *tables[KV_KINDS] = {0};
    bool sound = kv_pool_check(s->pool, err);
    for (kv_kind kind = 0; kind < KV_KINDS; kind++) {
        size_t pages = kv_pool_pages(s->pool, kind);
        if (mem_array(pages, sizeof **running, "a check", &running[kind], err) != GPTOSS_OK ||
            mem_array(pages, sizeof **cached, "a check", &cached[kind], err) != GPTOSS_OK ||
            mem_array(pages, sizeof **tables, "a check", &tables[kind], err) != GPTOSS_OK)
            sound = false;
    }
    if (sound) prefix_cache_count(s->cache, cached);
    for (kv_kind kind = 0; kind < KV_KINDS && sound; kind++) {
        for (uint32_t i = 0; i < s->n_running; i++) {
            const sequence *q = &s->running[i]->sequence;
            for (uint32_t n = 0; n < q->count[kind]; n++) tables[kind][q->pages[kind][n]]++;
            for (uint32_t n = 0; n < q->count[kind]; n++) running[kind][q->pages[kind][n]]++;
            if (q->copies[kind]) running[kind][q->source[kind]]++;
        }
        sound = counts_agree(s, kind, running[kind], cached[kind], err) && writers_agree(s, kind, tables[kind], err);
    }
    for (kv_kind kind = 0; kind < KV_KINDS; kind++) {
        free(running[kind]);
        free(cached[kind]);
        free(tables[kind]);
    }
    return sound;
}
