/* scheduler.h: many requests at once on one pipeline: continuous batching over a paged KV cache. Runs on rank 0.
 *
 * Any thread submits and cancels; one thread, that which may call MPI (the main one), calls scheduler_run and does all
 * the work: at every step it admits waiting requests in the order in which they came, as far as sequences and KV pages
 * go, mixes the next tokens of answers with parts of prompts into waves, keeps as many waves under way as the pipeline
 * takes, and retires what has ended. An admitted request always has the pages that it can come to need, so nothing that
 * runs is ever put back. Of requests that come together and begin alike one reads the beginning, the others wait for
 * it. What a request gets does not depend, in any bit, on the others: it is what it would get alone.
 *
 * The scheduler knows tokens only. Text, stop strings and constraints live in the callbacks. */
#ifndef ENGINE_SCHEDULER_H
#define ENGINE_SCHEDULER_H

#include <stdbool.h>

#include "cluster/pipeline.h"
#include "engine/prefix_cache.h"
#include "engine/sampler.h"

typedef struct scheduler scheduler;

typedef struct scheduler_config {
    uint32_t waiting;       /* requests that may wait for their turn, beside those at work */
    uint32_t chunk;         /* tokens in a wave, at most; 0: as many as the pipeline takes */
    uint32_t shared_chunk;  /* tokens of prompts in a wave, at most, while answers grow: they wait for it; 0: chosen */
    uint32_t resume_points; /* beginnings of sequences that the prefix cache remembers, at most; 0: no cache */
    const prefix_image *kept; /* what the prefix cache knows from the start: see prefix_cache_fill; NULL: nothing */
} scheduler_config;

/* ---- a request ---- */

enum { SCHEDULER_BORDERS = 4 };

typedef struct scheduler_token {
    uint32_t step; /* counts from 0 */
    uint32_t token;
    const sampler_report *report; /* NULL unless asked for; valid during the call */
} scheduler_token;

typedef enum scheduler_end {
    SCHEDULER_STOPPED,   /* on_token returned false */
    SCHEDULER_LENGTH,    /* max_tokens were generated */
    SCHEDULER_CANCELLED, /* scheduler_cancel, or the scheduler was stopped or interrupted */
    SCHEDULER_FAILED     /* see error */
} scheduler_end;

/* How a request went. Seconds: each counts from the end of the one before; all are 0 from where it did not come to. */
typedef struct scheduler_result {
    scheduler_end end;
    gptoss_error error;        /* of SCHEDULER_FAILED */
    uint32_t prompt_tokens;    /* of the request */
    uint32_t cached_tokens;    /* of these, taken from the prefix cache */
    uint32_t generated;        /* tokens, the last one included */
    double queued_seconds;     /* until it was admitted */
    double prompt_seconds;     /* until its prompt was read, and the first token could be chosen */
    double generation_seconds; /* until its end */
} scheduler_result;

typedef struct scheduler_request {
    const uint32_t *prompt; /* copied; every token < n_vocab */
    uint32_t n_prompt;      /* at least 1 */
    uint32_t max_tokens;    /* n_prompt + max_tokens must fit the stages' positions and the pool; 0: reads the prompt */
    sampler_settings sampling; /* copied, with its biases; every biased token < n_vocab */
    bool report;               /* whether on_token gets a report, with ... */
    uint32_t n_top;            /* ... as many of the likeliest tokens */
    bool not_cached;           /* neither uses the prefix cache nor leaves anything in it */

    /* Where others are likely to part from this one: the prefix cache can be resumed from where it was left a point
     * alone. It gets points without being told at the ends of prompt and answer, every so many tokens of a long prompt,
     * and where a second prompt parted from one that it knows. */
    const uint32_t *borders; /* copied; so many tokens of the prompt before each, from 1 to n_prompt - 1 */
    uint32_t n_borders;      /* at most SCHEDULER_BORDERS */
    uint32_t message_start;  /* a token that begins messages, which a follow-up may leave out of the answer; 0: none */

    /* Calls, all by the thread in scheduler_run; any but on_end may be NULL, on_token if max_tokens is 0. All other
     * requests wait while one runs: none may block or wait for a client (put tokens into a queue of your own;
     * max_tokens bounds it). They may call scheduler_submit and scheduler_cancel. */
    void *context;
    /* Constrained decoding: whether a token that was chosen may be taken. One that may not is chosen again, among those
     * that edit_logits leaves: all others get a logit of minus infinity there. So tokens come with the frequencies that
     * masking all logits at once would give, but are seldom masked. top_k, top_p and min_p cut first what the model
     * would say, then what it may say. The report tells the model's own distribution. NULL: edit_logits, if there is
     * one, changes logits[n_vocab] in place as it likes before each token is chosen, and the report tells what is left.
     */
    bool (*allows)(void *context, uint32_t token);
    void (*edit_logits)(void *context, float *logits);
    /* Each chosen token, end tokens included; this is where stop strings and end tokens are found. Returning false ends
     * the answer with it. */
    bool (*on_token)(void *context, const scheduler_token *token);
    /* Whether there is room for what the next token will bring; false leaves the answer where it is, with its pages,
     * and costs the others nothing. Asked again at every step. */
    bool (*has_room)(void *context);
    /* `done` of n_prompt tokens were read (or taken from the prefix cache). */
    void (*on_progress)(void *context, uint32_t done);
    /* The logits [rows][n_vocab] that follow positions [position, position + rows) of prompt and answer, in order,
     * before edit_logits. With it the prefix cache is not used, and every position that is run is told. */
    void (*on_logits)(void *context, uint32_t position, uint32_t rows, const float *logits);
    /* Once for every accepted request, and the last call of it. */
    void (*on_end)(void *context, const scheduler_result *result);
} scheduler_request;

/* ---- any thread ---- */

/* Puts a request into the waiting queue. *id names it for scheduler_cancel, and is set before the first callback.
 * GPTOSS_MISUSE: it can never run (empty, a token that does not exist, more than the positions or pages there are).
 * GPTOSS_BUSY: the queue is full, try again later; or no more requests are accepted. Nothing is called back then. */
gptoss_status scheduler_submit(scheduler *s, const scheduler_request *request, uint64_t *id, gptoss_error *err);

/* Ends a request early: at the next step its sequence and pages are free, and on_end was called. Does nothing when it
 * has ended already, whenever that was. Does not wait. */
void scheduler_cancel(scheduler *s, uint64_t id);

/* No more requests are accepted; scheduler_run returns when those that were have ended. */
void scheduler_finish(scheduler *s);

/* The same, and cancels them. */
void scheduler_stop(scheduler *s);

typedef struct scheduler_stats {
    uint32_t waiting, running;             /* requests now */
    uint64_t accepted, refused, ended;     /* requests since the start; refused: GPTOSS_BUSY */
    uint64_t prompt_tokens, cached_tokens; /* of prompts begun; the latter came from the prefix cache */
    uint64_t generated_tokens;
    uint64_t waves;
    uint64_t cache_hits, cache_misses; /* prompts begun with and without a cached prefix */
    uint64_t cache_evictions;          /* resume points dropped for want of room */
    uint32_t resume_points;            /* in the prefix cache now */
    /* KV pages of full and of windowed layers: all, those of running sequences, those the prefix cache alone keeps */
    uint32_t full_pages, full_pages_running, full_pages_cached;
    uint32_t window_pages, window_pages_running, window_pages_cached;
} scheduler_stats;

void scheduler_read_stats(scheduler *s, scheduler_stats *out); /* as of the last step */

/* What each of the pipeline's ranks had done by then: out[ranks]; see pipeline_figures. */
void scheduler_read_figures(scheduler *s, rank_figures *out);

/* ---- the thread that drives the pipeline ---- */

/* p stays the caller's; nothing else submits to it while the scheduler exists, and none of its waves is under way. */
gptoss_status scheduler_open(pipeline *p, const scheduler_config *config, scheduler **out, gptoss_error *err);

/* All requests have ended, or scheduler_run was never called: requests that still wait are dropped without a call. */
void scheduler_close(scheduler *s); /* NULL is fine */

/* Works until scheduler_finish or scheduler_stop; sleeps while there is nothing to do. A damaged request ends alone; a
 * failure of the pipeline or an interruption (cancel_request) ends all of them, and is returned. No wave is under way
 * afterwards. */
gptoss_status scheduler_run(scheduler *s, gptoss_error *err);

/* What the prefix cache has come to know; by this thread, when it is in no call and none of the waves is under way. */
gptoss_status scheduler_snapshot(const scheduler *s, prefix_snapshot *out, gptoss_error *err);

/* For tests, by this thread or when it is in no call: whether every page is free or held by whom it should be, no page
 * is written by two, and no count is wrong. On false the text says what is. */
bool scheduler_check(const scheduler *s, gptoss_error *err);

#endif
