/* Threads that work together, over and over: every share done once, and everything written seen by the caller. */
#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

#include "base/mem.h"
#include "base/team.h"
#include "random.h"
#include "support.h"

enum { MOST_THREADS = 8, ROUNDS = 20000 };

/* Plain, not atomic: the team's own ordering must be enough. A cache line each. */
typedef struct round_work {
    uint32_t round;
    struct {
        uint32_t round, calls, workers, padding[13];
    } seen[MOST_THREADS];
} round_work;

static void note_round(void *context, int worker, int workers) {
    round_work *w = context;
    w->seen[worker].round = w->round;
    w->seen[worker].calls++;
    w->seen[worker].workers = (uint32_t)workers;
}

static void every_member_works_once_a_round(void **state) {
    (void)state;
    for (int threads = 1; threads <= MOST_THREADS; threads++) {
        const uint32_t rounds = threads == 2 ? ROUNDS / 2 : ROUNDS / 20; /* more threads than cores take long */
        team *t;
        assert_ok(team_open(threads, &t, err));
        assert_int_equal(team_size(t), threads);
        round_work w = {0};
        for (w.round = 1; w.round <= rounds; w.round++) {
            team_run(t, note_round, &w);
            for (int i = 0; i < threads; i++)
                if (w.seen[i].round != w.round || w.seen[i].calls != w.round || w.seen[i].workers != (uint32_t)threads)
                    fail_msg("%d threads, round %u: worker %d was last seen in round %u", threads, w.round, i,
                             w.seen[i].round);
        }
        for (int i = threads; i < MOST_THREADS; i++) assert_int_equal(w.seen[i].calls, 0);
        team_close(t);
    }
}

/* Each round continues what other workers wrote in the round before: results must be visible between members too. */
typedef struct relay {
    uint64_t cells[64];
    uint32_t shift;
} relay;

static void add_neighbour(void *context, int worker, int workers) {
    relay *r = context;
    uint64_t begin, end;
    team_share(32, 1, worker, workers, &begin, &end);
    size_t from = r->shift % 2 ? 0 : 32, to = 32 - from;
    for (uint64_t i = begin; i < end; i++) r->cells[to + i] = r->cells[from + (i + r->shift) % 32] + i;
}

static void results_of_a_round_reach_every_member_of_the_next(void **state) {
    (void)state;
    relay want = {0};
    for (want.shift = 0; want.shift < ROUNDS / 8; want.shift++) add_neighbour(&want, 0, 1);
    for (int threads = 2; threads <= 4; threads += 2) {
        team *t;
        assert_ok(team_open(threads, &t, err));
        relay got = {0};
        for (got.shift = 0; got.shift < ROUNDS / 8; got.shift++) team_run(t, add_neighbour, &got);
        assert_memory_equal(&got, &want, sizeof got);
        team_close(t);
    }
}

/* Pauses long enough for members to fall asleep, on both sides of a round. */
static void pause_sometimes(void *context, int worker, int workers) {
    (void)workers;
    atomic_int *calls = context;
    if (worker == atomic_fetch_add(calls, 1) % 3) nanosleep(&(struct timespec){0, 2000000}, NULL);
}

static void sleeping_members_are_woken(void **state) {
    (void)state;
    team *t;
    atomic_int calls = 0;
    assert_ok(team_open(3, &t, err));
    for (int round = 1; round <= 100; round++) {
        team_run(t, pause_sometimes, &calls);
        assert_int_equal(atomic_load(&calls), 3 * round);
        if (round % 10 == 0) nanosleep(&(struct timespec){0, 5000000}, NULL);
    }
    nanosleep(&(struct timespec){0, 20000000}, NULL);
    team_close(t); /* all asleep */
}

static struct {
    pthread_t thread;
    const round_work *work;
    uint32_t looks;
} looked;

static void look(void) {
    looked.looks++;
    assert_true(pthread_equal(pthread_self(), looked.thread));
    for (int i = 0; i < 3; i++) assert_int_equal(looked.work->seen[i].round, looked.work->round);
}

static void the_caller_looks_once_after_each_round(void **state) {
    (void)state;
    team *t;
    round_work w = {0};
    assert_ok(team_open(3, &t, err));
    looked.thread = pthread_self();
    looked.work = &w;
    team_between(t, look);
    for (w.round = 1; w.round <= 100; w.round++) {
        team_run(t, note_round, &w);
        assert_int_equal(looked.looks, w.round);
    }
    team_between(t, NULL);
    team_run(t, note_round, &w);
    assert_int_equal(looked.looks, 100);
    team_close(t);
}

static void teams_open_and_close_without_work(void **state) {
    (void)state;
    for (int i = 0; i < 300; i++) {
        team *t;
        assert_ok(team_open(1 + i % MOST_THREADS, &t, err));
        team_close(t);
    }
    team_close(NULL);
}

static void every_failing_allocation_is_survived(void **state) {
    (void)state;
    for (int n = 0;; n++) {
        team *t = NULL;
        gptoss_error err = {0};
        mem_fail_after(n);
        gptoss_status status = team_open(4, &t, &err);
        mem_fail_after(-1);
        if (status == GPTOSS_OK) {
            assert_true(n >= 2);
            team_close(t);
            break;
        }
        assert_int_equal(status, GPTOSS_NO_MEMORY);
        assert_null(t);
    }
}

/* ---- team_share ---- */

static void check_shares(uint64_t count, uint64_t grain, int workers) {
    uint64_t at = 0, least = UINT64_MAX, most = 0;
    for (int worker = 0; worker < workers; worker++) {
        uint64_t begin = 77, end = 77;
        team_share(count, grain, worker, workers, &begin, &end);
        if (begin != at || end < begin || (begin % grain && begin != count))
            fail_msg("%llu items, grain %llu: worker %d of %d gets [%llu, %llu) after %llu", (unsigned long long)count,
                     (unsigned long long)grain, worker, workers, (unsigned long long)begin, (unsigned long long)end,
                     (unsigned long long)at);
        uint64_t grains = (end - begin + grain - 1) / grain;
        if (grains < least) least = grains;
        if (grains > most) most = grains;
        at = end;
    }
    assert_true(at == count);
    assert_true(most - least <= 1);
}

static void shares_cover_everything_evenly_in_grains(void **state) {
    (void)state;
    for (uint64_t count = 0; count <= 40; count++)
        for (uint64_t grain = 1; grain <= 12; grain++)
            for (int workers = 1; workers <= 10; workers++) check_shares(count, grain, workers);
    uint64_t seed = 11;
    for (int i = 0; i < 20000; i++) {
        uint64_t count = random_bits(&seed) >> (8 + random_below(&seed, 56));
        uint64_t grain = 1 + (random_bits(&seed) >> (20 + random_below(&seed, 44)));
        check_shares(count, grain, 1 + (int)random_below(&seed, 200));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_member_works_once_a_round),
        cmocka_unit_test(results_of_a_round_reach_every_member_of_the_next),
        cmocka_unit_test(sleeping_members_are_woken),
        cmocka_unit_test(the_caller_looks_once_after_each_round),
        cmocka_unit_test(teams_open_and_close_without_work),
        cmocka_unit_test(every_failing_allocation_is_survived),
        cmocka_unit_test(shares_cover_everything_evenly_in_grains),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
