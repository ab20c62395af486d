/* scheduler_internal.h: the state that the scheduler's files share. */
#ifndef ENGINE_SCHEDULER_INTERNAL_H
#define ENGINE_SCHEDULER_INTERNAL_H

#include <pthread.h>

#include "engine/job.h"

/* A wave under way: whose tokens are in it. */
typedef struct seat {
    job *job; /* NULL: it has ended */
    uint32_t position, count, rows;
} seat;

typedef struct booking {
    seat *seats; /* owned; [limits.runs] */
    uint32_t count;
} booking;

struct scheduler {
    /* the thread in scheduler_run alone */
    pipeline *pipeline;
    scheduler_config config;
    wave_limits limits;
    kv_pool *pool;
    prefix_cache *cache;
    wave wave;         /* being made */
    booking *bookings; /* owned; [depth]: a ring */
    uint32_t depth;
    uint64_t submitted, collected; /* waves; never wrap, or the ring would lose its order */
    uint32_t most_running;
    uint32_t next_answer, next_prompt; /* whose turn it is, of the running ones */
    scheduler_stats stats;

    pthread_mutex_t lock; /* guards all below */
    pthread_cond_t news;
    job *first, **last; /* the waiting queue */
    uint32_t n_waiting;
    job **running; /* owned; [most_running]; that thread reads them without the lock, since it alone changes them */
    uint32_t n_running;
    uint64_t next_id;
    uint64_t accepted, refused;
    bool finishing, stopping;
    scheduler_stats published;
    rank_figures *figures; /* owned: [ranks], published too */
};

/* ---- scheduler_admission.c ---- */

/* Lets waiting jobs run, as far as there is room. */
void scheduler_admit(scheduler *s);

/* Before tokens of a prompt go off: settles what running[index] goes on behind, unless it is settled. *waits: another
 * one is about to read what both begin with, and will leave it to be resumed from. */
gptoss_status scheduler_begin(scheduler *s, uint32_t index, bool *waits, gptoss_error *err);

/* ---- scheduler_wave.c ---- */

/* Makes and submits a wave of what is to be sent. *sent: whether there was anything. */
gptoss_status scheduler_send(scheduler *s, bool *sent, gptoss_error *err);

/* Waits for the oldest wave and gives its results out. */
gptoss_status scheduler_collect(scheduler *s, gptoss_error *err);

/* ---- scheduler.c ---- */

/* Takes a running job off, its pages free, and ends it. */
void scheduler_retire(scheduler *s, job *j, scheduler_end end, const gptoss_error *why);

#endif
