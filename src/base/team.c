#include "base/team.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>

#include "base/mem.h"

/* Waiting begins with a short spin, since the next step of a layer usually follows within microseconds, goes on by
 * offering the core to whoever wants it, since waking up takes longer than most waits, and ends in sleep. */
enum { SPINS = 2000, YIELDS = 500 };

struct team {
    int threads, started;
    pthread_t *handles;
    team_work *work;
    void *context;
    void (*look)(void);    /* see team_between; NULL: nothing to look after */
    atomic_uint round;     /* counts team_run calls; a change tells the members to start */
    atomic_int unfinished; /* members still working on this round */
    atomic_bool closing;
    pthread_mutex_t mutex; /* guards sleeping only */
    pthread_cond_t start, finish;
};

typedef struct member {
    team *owner;
    int worker;
} member;

static void spin_pause(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

/* Pauses between looks number 0, 1, ...; returns false when it is time to sleep. */
static bool pause_briefly(int look) {
    if (look < SPINS)
        spin_pause();
    else
        sched_yield();
    return look < SPINS + YIELDS;
}

static void await_round(team *t, unsigned seen) {
    for (int look = 0; pause_briefly(look); look++)
        if (atomic_load_explicit(&t->round, memory_order_acquire) != seen) return;
    pthread_mutex_lock(&t->mutex);
    while (atomic_load(&t->round) == seen) pthread_cond_wait(&t->start, &t->mutex);
    pthread_mutex_unlock(&t->mutex);
}

static void await_finish(team *t) {
    for (int look = 0; pause_briefly(look); look++)
        if (atomic_load_explicit(&t->unfinished, memory_order_acquire) == 0) return;
    pthread_mutex_lock(&t->mutex);
    while (atomic_load(&t->unfinished) != 0) pthread_cond_wait(&t->finish, &t->mutex);
    pthread_mutex_unlock(&t->mutex);
}

static void *member_main(void *argument) {
    member *m = argument;
    team *t = m->owner;
    unsigned seen = 0;
    for (;;) {
        await_round(t, seen);
        seen++;
        if (atomic_load(&t->closing)) break;
        t->work(t->context, m->worker, t->threads);
        if (atomic_fetch_sub(&t->unfinished, 1) == 1) {
            pthread_mutex_lock(&t->mutex);
            pthread_cond_signal(&t->finish);
            pthread_mutex_unlock(&t->mutex);
        }
    }
    free(m);
    return NULL;
}

static void begin_round(team *t) {
    pthread_mutex_lock(&t->mutex);
    atomic_fetch_add(&t->round, 1);
    pthread_cond_broadcast(&t->start);
    pthread_mutex_unlock(&t->mutex);
}

gptoss_status team_open(int threads, team **out, gptoss_error *err) {
    team *t;
    TRY(mem_array(1, sizeof *t, "thread team", &t, err));
    gptoss_status status = mem_array((size_t)threads, sizeof *t->handles, "thread team", &t->handles, err);
    if (status != GPTOSS_OK) {
        free(t);
        return status;
    }
    t->threads = threads;
    pthread_mutex_init(&t->mutex, NULL);
    pthread_cond_init(&t->start, NULL);
    pthread_cond_init(&t->finish, NULL);
    for (int i = 1; i < threads && status == GPTOSS_OK; i++) {
        member *m = NULL;
        status = mem_array(1, sizeof *m, "thread team", &m, err);
        if (status != GPTOSS_OK) break;
        *m = (member){t, i};
        int failure = pthread_create(&t->handles[i], NULL, member_main, m);
        if (failure) {
            free(m);
            status = error_set_errno(err, GPTOSS_NO_MEMORY, failure, "cannot start thread %d of %d", i + 1, threads);
        } else {
            t->started++;
        }
    }
    if (status != GPTOSS_OK) {
        team_close(t);
        return status;
    }
    *out = t;
    return GPTOSS_OK;
}

void team_close(team *t) {
    if (!t) return;
    atomic_store(&t->closing, true);
    begin_round(t);
    for (int i = 1; i <= t->started; i++) pthread_join(t->handles[i], NULL);
    pthread_cond_destroy(&t->finish);
    pthread_cond_destroy(&t->start);
    pthread_mutex_destroy(&t->mutex);
    free(t->handles);
    free(t);
}

int team_size(const team *t) { return t->threads; }

void team_run(team *t, team_work *work, void *context) {
    if (t->threads > 1) {
        t->work = work;
        t->context = context;
        atomic_store(&t->unfinished, t->threads - 1);
        begin_round(t);
    }
    work(context, 0, t->threads);
    if (t->threads > 1) await_finish(t);
    if (t->look) t->look();
}

void team_between(team *t, void (*look)(void)) { t->look = look; }

void team_share(uint64_t count, uint64_t grain, int worker, int workers, uint64_t *begin, uint64_t *end) {
    uint64_t grains = count / grain + (count % grain != 0);
    uint64_t first = grains / (uint64_t)workers * (uint64_t)worker, extra = grains % (uint64_t)workers;
    uint64_t size = grains / (uint64_t)workers + ((uint64_t)worker < extra);
    first += (uint64_t)worker < extra ? (uint64_t)worker : extra;
    *begin = first * grain < count ? first * grain : count;
    *end = (first + size) * grain < count ? (first + size) * grain : count;
}
