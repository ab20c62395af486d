/* Spans of ranks: in order, none over another, waits in the midst of work taken out of it, and no more than fit. */
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "cluster/link.h"
#include "cluster/link_model.h"
#include "cluster/tags.h"
#include "cluster/trace.h"
#include "support.h"

static cluster world;

typedef struct collected {
    int next_rank;
    size_t count[8], of_kind[8][TRACE_KINDS];
    uint64_t lost[8];
    bool waves_match;
} collected;

static void check_rank(void *context, int rank, const trace_span *spans, size_t count, uint64_t lost) {
    collected *all = context;
    assert_int_equal(rank, all->next_rank++);
    for (size_t i = 0; i < count; i++) {
        assert_true(spans[i].begin < spans[i].end && spans[i].kind < TRACE_KINDS);
        if (i > 0) assert_true(spans[i].begin >= spans[i - 1].end);
        all->of_kind[rank][spans[i].kind]++;
        if (spans[i].wave != 7 || spans[i].tokens != 5 || spans[i].sequences != 2) all->waves_match = false;
    }
    all->count[rank] = count;
    all->lost[rank] = lost;
}

static void pass_token_round(void) {
    uint32_t token = 1, got;
    MPI_Request sent, received;
    if (world.size == 1) return;
    link_receive(&got, sizeof got, (world.rank + world.size - 1) % world.size, 60, &received);
    link_send(&token, sizeof token, (world.rank + 1) % world.size, 60, &sent);
    link_wait(&received);
    link_wait(&sent);
}

static void work_for(double seconds) { clock_sleep_until(clock_seconds() + seconds); }

static collected collect(trace *t) {
    collected all = {.waves_match = true};
    assert_ok(trace_collect(&world, t, check_rank, &all, err));
    if (world.rank == 0) assert_int_equal(all.next_rank, world.size);
    return all;
}

/* A wait, then work with a wait in it: two waits and two pieces of work, all of the same wave. */
static void waits_are_taken_out_of_work(void **state) {
    (void)state;
    trace *t;
    const link_model slow = {.latency = 2e-3};
    assert_ok(trace_open(100, &t, err));
    assert_ok(link_model_use(&world, &slow, err));
    trace_start(t);
    pass_token_round();
    trace_begin(t, TRACE_LAYERS, 7, 5, 2);
    work_for(1e-3);
    pass_token_round();
    work_for(1e-3);
    trace_end(t);
    trace_stop(t);
    pass_token_round(); /* not recorded */
    collected all = collect(t);
    for (int rank = 0; rank < world.size && world.rank == 0; rank++) {
        assert_true(all.of_kind[rank][TRACE_LAYERS] >= (world.size > 1 ? 2 : 1)); /* a send may wait too */
        if (world.size > 1) assert_true(all.of_kind[rank][TRACE_TRANSFER] >= 2);
        assert_int_equal(all.lost[rank], 0);
    }
    if (world.rank == 0) assert_true(all.waves_match);
    all = collect(t); /* none twice */
    for (int rank = 0; rank < world.size && world.rank == 0; rank++) assert_int_equal(all.count[rank], 0);
    link_use_stamps(NULL);
    trace_close(t);
}

static void what_has_no_room_is_counted(void **state) {
    (void)state;
    trace *t;
    assert_ok(trace_open(3, &t, err));
    trace_start(t);
    for (int i = 0; i < 10; i++) {
        trace_begin(t, TRACE_OUTPUT, 7, 5, 2);
        work_for(20e-6);
        trace_end(t);
    }
    trace_stop(t);
    collected all = collect(t);
    for (int rank = 0; rank < world.size && world.rank == 0; rank++) {
        assert_int_equal(all.count[rank], 3);
        assert_int_equal(all.lost[rank], 7);
    }
    trace_close(t);
}

static void without_a_trace_nothing_happens(void **state) {
    (void)state;
    trace *t;
    trace_begin(NULL, TRACE_LAYERS, 1, 1, 1);
    trace_end(NULL);
    trace_close(NULL);
    assert_ok(trace_open(3, &t, err));
    trace_begin(t, TRACE_LAYERS, 1, 1, 1); /* does not record */
    trace_end(t);
    collected all = collect(t);
    if (world.rank == 0) assert_int_equal(all.count[0], 0);
    trace_close(t);
}

/* Counts that do not fit what came behind them: one too many, and one whose bytes are as many once more than 2^64. */
static void traces_that_lie_about_their_length_are_refused(void **state) {
    (void)state;
    static const uint64_t counts[] = {3, 2 + (UINT64_C(1) << 59)};
    for (size_t i = 0; i < sizeof counts / sizeof *counts && world.size == 2; i++) {
        if (world.rank == 0) {
            trace *t;
            collected all = {0};
            gptoss_error why = {0};
            assert_ok(trace_open(100, &t, err));
            assert_int_equal(trace_collect(&world, t, check_rank, &all, &why), GPTOSS_PEER);
            assert_non_null(strstr(why.text, "rank 1 sent a malformed trace"));
            assert_int_equal(all.next_rank, 1);
            trace_close(t);
        } else {
            const uint64_t head[] = {counts[i], 0};
            const trace_span spans[2] = {{0, 1, TRACE_LAYERS, 7, 5, 2}, {1, 2, TRACE_LAYERS, 7, 5, 2}};
            MPI_Request sent[2];
            assert_ok(cluster_agree(&world, GPTOSS_OK, err));
            link_send(head, sizeof head, 0, TAG_TRACE, &sent[0]);
            link_send(spans, sizeof spans, 0, TAG_TRACE, &sent[1]);
            link_wait(&sent[0]);
            link_wait(&sent[1]);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(waits_are_taken_out_of_work),
        cmocka_unit_test(what_has_no_room_is_counted),
        cmocka_unit_test(without_a_trace_nothing_happens),
        cmocka_unit_test(traces_that_lie_about_their_length_are_refused),
    };
    gptoss_error err;
    if (cluster_open(true, &world, &err) != GPTOSS_OK) return 1;
    int failures = cmocka_run_group_tests(tests, NULL, NULL);
    cluster_close(&world);
    return failures;
}
