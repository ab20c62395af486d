/* Messages between ranks: contents, sizes, order; and what waiting for them costs. */
#include <math.h>
#include <stdatomic.h>
#include <sys/resource.h>
#include <time.h>

#include "base/clock.h"
#include "cluster/cluster.h"
#include "cluster/link.h"
#include "cluster/link_model.h"
#include "cluster/ping.h"
#include "support.h"

static cluster world;

static int neighbour(int distance) { return (world.rank + world.size + distance) % world.size; }

static void pause_for(double seconds) {
    time_t whole = (time_t)seconds;
    nanosleep(&(struct timespec){whole, (long)((seconds - (double)whole) * 1e9)}, NULL);
}

static uint8_t *message_of(int rank, size_t size) {
    uint8_t *message = malloc(size + 1);
    for (size_t i = 0; i < size; i++) message[i] = (uint8_t)((i * 7 + (size_t)rank * 101) % 253);
    return message;
}

/* Each rank to the next one, in a ring; the room to receive is larger than the message. */
static void messages_of_every_size_arrive(void **state) {
    (void)state;
    static const size_t sizes[] = {0, 1, 63, 64, 4095, 4096, 4097, 65536, 8 << 20};
    enum { SPARE = 10 };
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        uint8_t *mine = message_of(world.rank, sizes[i]), *want = message_of(neighbour(-1), sizes[i]);
        uint8_t *got = malloc(sizes[i] + SPARE);
        memset(got, 255, sizes[i] + SPARE);
        MPI_Request sent, received;
        link_receive(got, sizes[i] + SPARE, neighbour(-1), 5, &received);
        link_send(mine, sizes[i], neighbour(1), 5, &sent);
        assert_int_equal(link_wait(&received), sizes[i]);
        link_wait(&sent);
        assert_memory_equal(got, want, sizes[i]);
        for (size_t spare = 0; spare < SPARE; spare++) assert_int_equal(got[sizes[i] + spare], 255);
        assert_true(sent == MPI_REQUEST_NULL && received == MPI_REQUEST_NULL);
        assert_int_equal(link_wait(&received), 0); /* complete already */
        free(mine);
        free(want);
        free(got);
    }
}

static void nothing_to_wait_for_is_complete(void **state) {
    (void)state;
    MPI_Request none = MPI_REQUEST_NULL;
    assert_int_equal(link_wait(&none), 0);
}

/* Many under way at once: those of one tag keep their order, tags do not mix. */
static void messages_keep_their_order(void **state) {
    (void)state;
    enum { COUNT = 50 };
    uint32_t out[2][COUNT], in[2][COUNT];
    MPI_Request sent[2][COUNT], received[2][COUNT];
    for (uint32_t i = 0; i < COUNT; i++)
        for (int tag = 0; tag < 2; tag++)
            link_receive(&in[tag][i], sizeof in[tag][i], neighbour(-1), 10 + tag, &received[tag][i]);
    for (int tag = 1; tag >= 0; tag--) {
        for (uint32_t i = 0; i < COUNT; i++) {
            out[tag][i] = (uint32_t)(1000 * tag) + i;
            link_send(&out[tag][i], sizeof out[tag][i], neighbour(1), 10 + tag, &sent[tag][i]);
        }
    }
    for (uint32_t i = 0; i < COUNT; i++) {
        for (int tag = 0; tag < 2; tag++) {
            assert_int_equal(link_wait(&received[tag][i]), sizeof in[tag][i]);
            assert_int_equal(in[tag][i], 1000 * tag + (int)i);
            link_wait(&sent[tag][i]);
        }
    }
}

/* Of messages from all other ranks the one that is there is taken, even when those before it never come. */
static void whatever_comes_first_is_taken(void **state) {
    (void)state;
    enum { MOST = 8 };
    MPI_Request sent, waiting[MOST];
    uint32_t in[MOST], token;
    int which = -1;
    for (int i = 0; i < world.size; i++) waiting[i] = MPI_REQUEST_NULL;
    assert_int_equal(link_wait_any(waiting, world.size, &which), 0);
    assert_int_equal(which, world.size);
    for (int i = 1; i < world.size; i++) link_receive(&in[i], sizeof in[i], neighbour(i), 40, &waiting[i]);
    for (int i = world.size - 1; i > 0; i--) { /* the one that was posted last sends first */
        MPI_Barrier(MPI_COMM_WORLD);
        token = (uint32_t)(world.rank + 1000);
        link_send(&token, sizeof token, neighbour(-i), 40, &sent);
        assert_int_equal(link_wait_any(waiting, world.size, &which), sizeof token);
        assert_int_equal(which, i);
        assert_true(waiting[i] == MPI_REQUEST_NULL);
        assert_int_equal(in[i], neighbour(i) + 1000);
        link_wait(&sent);
    }
    assert_int_equal(link_wait_any(waiting, world.size, &which), 0);
    assert_int_equal(which, world.size);
}

/* A message that was given up goes to whoever asks for it next. */
static void dropped_messages_are_left_alone(void **state) {
    (void)state;
    uint32_t dropped = 7, got = 0, token = (uint32_t)world.rank + 50;
    MPI_Request sent, received;
    link_receive(&dropped, sizeof dropped, neighbour(-1), 41, &received);
    link_drop(&received);
    assert_true(received == MPI_REQUEST_NULL);
    link_drop(&received);
    MPI_Barrier(MPI_COMM_WORLD);
    link_send(&token, sizeof token, neighbour(1), 41, &sent);
    link_receive(&got, sizeof got, neighbour(-1), 41, &received);
    assert_int_equal(link_wait(&received), sizeof got);
    link_wait(&sent);
    assert_int_equal(got, neighbour(-1) + 50);
    assert_int_equal(dropped, 7);
}

/* From rank 0 to rank 1, one of which waits for it, while the other one does nothing but look between two steps of its
 * work, until it is told in memory that both share. */
static void long_messages_move_while_a_rank_computes(void **state) {
    (void)state;
    enum { BYTES = 3 << 20 };
    MPI_Win window;
    MPI_Aint size;
    int unit;
    atomic_int *told;
    MPI_Win_allocate_shared(sizeof *told, 1, MPI_INFO_NULL, MPI_COMM_WORLD, &told, &window);
    MPI_Win_shared_query(window, 0, &size, &unit, &told);
    if (world.rank == 0) atomic_init(told, 0);
    cluster_agree(&world, GPTOSS_OK, NULL);
    uint8_t *message = message_of(0, BYTES), *got = calloc(BYTES, 1);
    for (int waits = 0; waits < 2 && world.rank < 2; waits++) {
        MPI_Request request;
        if (world.rank == 0)
            link_send(message, BYTES, 1, 21, &request);
        else
            link_receive(got, BYTES, 0, 21, &request);
        if (world.rank == waits) {
            link_wait(&request);
            atomic_fetch_add(told, 1);
        } else {
            while (atomic_load(told) == waits) link_progress();
            link_wait(&request);
        }
        if (world.rank == 1) assert_memory_equal(got, message, BYTES);
        memset(got, 0, BYTES);
    }
    free(message);
    free(got);
    cluster_agree(&world, GPTOSS_OK, NULL);
    MPI_Win_free(&window);
}

/* A rank sends only after its neighbour has waited for a while: the waiting must end all the same. */
static void long_waits_end(void **state) {
    (void)state;
    static const double waits[] = {0, 20e-6, 1e-3, 0.05};
    for (size_t i = 0; i < sizeof waits / sizeof *waits; i++) {
        for (int sender = 0; sender < world.size; sender++) {
            uint32_t value = 0, token = (uint32_t)(100 + i);
            MPI_Request request;
            if (world.rank == sender) {
                pause_for(waits[i]);
                for (int to = 0; to < world.size; to++) {
                    if (to == sender) continue;
                    link_send(&token, sizeof token, to, 20, &request);
                    link_wait(&request);
                }
            } else {
                link_receive(&value, sizeof value, sender, 20, &request);
                assert_int_equal(link_wait(&request), sizeof value);
                assert_int_equal(value, token);
            }
        }
    }
}

static double cpu_seconds(void) {
    struct rusage use;
    getrusage(RUSAGE_SELF, &use);
    return (double)(use.ru_utime.tv_sec + use.ru_stime.tv_sec) +
           1e-6 * (double)(use.ru_utime.tv_usec + use.ru_stime.tv_usec);
}

/* Printed, not asserted: a busy machine would fail the test for no fault of ours. All ranks share one clock. */
static void print_what_waiting_costs(void **state) {
    (void)state;
    static const struct {
        double wait;
        int times;
    } rounds[] = {{0.0001, 200}, {0.001, 100}, {0.01, 50}, {1, 1}};
    if (world.size != 2) return;
    for (size_t i = 0; i < sizeof rounds / sizeof *rounds; i++) {
        double late = 0, latest = 0, cpu = cpu_seconds(), start = clock_seconds();
        for (int n = 0; n < rounds[i].times; n++) {
            double sent_at = 0;
            MPI_Request request;
            MPI_Barrier(MPI_COMM_WORLD);
            if (world.rank == 0) {
                pause_for(rounds[i].wait);
                sent_at = clock_seconds();
                link_send(&sent_at, sizeof sent_at, 1, 30, &request);
                link_wait(&request);
            } else {
                link_receive(&sent_at, sizeof sent_at, 0, 30, &request);
                link_wait(&request);
                double delay = clock_seconds() - sent_at;
                late += delay / rounds[i].times;
                if (delay > latest) latest = delay;
            }
        }
        if (world.rank == 1)
            print_message("after waiting %g s, a message is taken %.0f us late on average, %.0f at most; the wait used "
                          "%.1f%% of a core\n",
                          rounds[i].wait, late * 1e6, latest * 1e6,
                          100 * (cpu_seconds() - cpu) / (clock_seconds() - start));
    }
}

/* ---- links that are not there ---- */

static void model_links(double latency, double bandwidth) {
    const link_model model = {latency, bandwidth};
    assert_ok(link_model_use(&world, &model, err));
}

/* Three in a row, the first of them behind a pause, so that the direction is free again. */
static void modelled_messages_are_never_early(void **state) {
    (void)state;
    enum { COUNT = 3, BYTES = 5000 };
    static const double latency = 3e-3, bandwidth = 1e6;
    model_links(latency, bandwidth);
    for (int turn = 0; turn < 3; turn++) {
        double out[COUNT][BYTES / 8], in[COUNT][BYTES / 8];
        MPI_Request sent[COUNT], received[COUNT];
        if (turn > 0) pause_for(0.02);
        for (int i = 0; i < COUNT; i++) link_receive(in[i], sizeof in[i], neighbour(-1), 50, &received[i]);
        for (int i = 0; i < COUNT; i++) {
            memset(out[i], i + 1, sizeof out[i]);
            out[i][0] = clock_seconds();
            link_send(out[i], sizeof out[i], neighbour(1), 50, &sent[i]);
        }
        for (int i = 0, which = 0; i < COUNT; i++) {
            assert_int_equal(link_wait_any(received, COUNT, &which), BYTES);
            assert_int_equal(which, i);
            double late = clock_seconds() - in[0][0];
            if (late < latency + (i + 1) * BYTES / bandwidth) fail_msg("message %d took only %g s", i, late);
            assert_memory_equal(&in[i][1], &out[i][1], BYTES - 8);
        }
        for (int i = 0; i < COUNT; i++) link_wait(&sent[i]);
    }
    link_use_stamps(NULL);
}

/* Behind a long message they are due so soon after each other that several become so during one look at all. */
static void modelled_messages_do_not_overtake(void **state) {
    (void)state;
    enum { COUNT = 64, BYTES = 16, LONG = 1 << 20 };
    static uint8_t long_out[LONG], long_in[LONG], out[COUNT][BYTES], in[COUNT][BYTES];
    MPI_Request sent[COUNT + 1], received[COUNT + 1];
    model_links(1e-3, BYTES / 1e-8);
    for (int turn = 0; turn < 20; turn++) {
        link_receive(long_in, LONG, neighbour(-1), 54, &received[COUNT]);
        for (int i = 0; i < COUNT; i++) link_receive(in[i], BYTES, neighbour(-1), 53, &received[i]);
        link_send(long_out, LONG, neighbour(1), 54, &sent[COUNT]);
        for (int i = 0; i < COUNT; i++) {
            memset(out[i], turn + i, BYTES);
            link_send(out[i], BYTES, neighbour(1), 53, &sent[i]);
        }
        for (int i = 0, which = 0; i < COUNT; i++) {
            assert_int_equal(link_wait_any(received, COUNT, &which), BYTES);
            assert_int_equal(which, i);
            assert_memory_equal(in[i], out[i], BYTES);
        }
        assert_int_equal(link_wait(&received[COUNT]), LONG);
        for (int i = 0; i <= COUNT; i++) link_wait(&sent[i]);
    }
    link_use_stamps(NULL);
}

/* So long that they come in parts, with hardly any latency: they are due before they are whole, and several become so
 * during one look at all. */
static void messages_that_come_during_a_look_do_not_overtake(void **state) {
    (void)state;
    enum { COUNT = 4, BYTES = 5000 };
    static uint8_t out[COUNT][BYTES], in[COUNT][BYTES];
    MPI_Request sent[COUNT], received[COUNT];
    model_links(1e-9, 1e12);
    for (int turn = 0; turn < 500; turn++) {
        for (int i = 0; i < COUNT; i++) link_receive(in[i], BYTES, neighbour(-1), 55, &received[i]);
        for (int i = 0; i < COUNT; i++) {
            memset(out[i], turn + i, BYTES);
            link_send(out[i], BYTES, neighbour(1), 55, &sent[i]);
        }
        for (int i = 0, which = 0; i < COUNT; i++) {
            assert_int_equal(link_wait_any(received, COUNT, &which), BYTES);
            assert_int_equal(which, i);
            assert_memory_equal(in[i], out[i], BYTES);
        }
        for (int i = 0; i < COUNT; i++) link_wait(&sent[i]);
    }
    link_use_stamps(NULL);
}

/* A long message to one rank and a short one to another: each has its own time. */
static void modelled_links_are_free_of_each_other(void **state) {
    (void)state;
    enum { LONG = 20000, SHORT = 16 };
    static const double latency = 1e-3, bandwidth = 1e6;
    static double out[LONG / 8], in[2][LONG / 8];
    MPI_Request sent[2], received[2];
    if (world.size < 3) return;
    model_links(latency, bandwidth);
    for (int i = 0; i < 2; i++) link_receive(in[i], LONG, neighbour(-1 - i), 51, &received[i]);
    out[0] = clock_seconds();
    link_send(out, LONG, neighbour(1), 51, &sent[0]);
    link_send(out, SHORT, neighbour(2), 51, &sent[1]);
    for (int i = 0, which; i < 2; i++) {
        size_t bytes = link_wait_any(received, 2, &which);
        assert_int_equal(bytes, which == 0 ? LONG : SHORT);
        assert_true(clock_seconds() - in[which][0] >= latency + (double)bytes / bandwidth);
    }
    for (int i = 0; i < 2; i++) link_wait(&sent[i]);
    link_use_stamps(NULL);
}

static void watch_wait(void *context, const link_report *wait) {
    link_times *sum = context;
    assert_true(wait->end >= wait->begin && wait->sent <= wait->end);
    double from = wait->sent > wait->begin ? wait->sent : wait->begin;
    sum->waiting += wait->end - wait->begin;
    if (wait->sent > 0) sum->transfer += wait->end - from;
}

/* What is told of single waits sums up to what is told of all. */
static void waits_and_transfers_are_told_apart(void **state) {
    (void)state;
    link_times before, after, watched = {0, 0};
    uint32_t token = 3, got = 0;
    MPI_Request sent, received;
    model_links(2e-3, 0);
    before = link_spent();
    link_watch(watch_wait, &watched);
    for (int i = 0; i < 5; i++) {
        link_receive(&got, sizeof got, neighbour(-1), 52, &received);
        if (world.rank % 2) pause_for(5e-3);
        link_send(&token, sizeof token, neighbour(1), 52, &sent);
        link_wait(&received);
        link_wait(&sent);
    }
    link_watch(NULL, NULL);
    after = link_spent();
    assert_true(fabs(after.waiting - before.waiting - watched.waiting) < 1e-9);
    assert_true(fabs(after.transfer - before.transfer - watched.transfer) < 1e-9);
    assert_true(watched.transfer <= watched.waiting);
    /* Ranks next to one that pauses wait for it before anything is under way. */
    if (world.rank % 2 == 0 && world.size % 2 == 0) assert_true(watched.waiting - watched.transfer > 0);
    link_use_stamps(NULL);
}

/* The message as well as its stamp go to whoever asks next. */
static void stamped_messages_can_be_dropped(void **state) {
    model_links(1e-3, 0);
    dropped_messages_are_left_alone(state);
    messages_keep_their_order(state);
    link_use_stamps(NULL);
}

static void different_models_are_refused_by_all(void **state) {
    (void)state;
    gptoss_error err = {0};
    const link_model model = {1e-3, world.rank == 1 ? 1e9 : 2e9};
    assert_int_equal(link_model_use(&world, &model, &err), GPTOSS_BAD_INPUT);
    if (world.rank == 1) assert_non_null(strstr(err.text, "--link-model"));
    if (world.rank != 1) assert_string_equal(err.text, "");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_to_wait_for_is_complete),
        cmocka_unit_test(messages_of_every_size_arrive),
        cmocka_unit_test(messages_keep_their_order),
        cmocka_unit_test(whatever_comes_first_is_taken),
        cmocka_unit_test(dropped_messages_are_left_alone),
        cmocka_unit_test(long_messages_move_while_a_rank_computes),
        cmocka_unit_test(long_waits_end),
        cmocka_unit_test(modelled_messages_are_never_early),
        cmocka_unit_test(modelled_messages_do_not_overtake),
        cmocka_unit_test(messages_that_come_during_a_look_do_not_overtake),
        cmocka_unit_test(modelled_links_are_free_of_each_other),
        cmocka_unit_test(waits_and_transfers_are_told_apart),
        cmocka_unit_test(stamped_messages_can_be_dropped),
        cmocka_unit_test(different_models_are_refused_by_all),
        cmocka_unit_test(print_what_waiting_costs),
    };
    gptoss_error err;
    /* As in containers where no process may read another one's memory: long messages come in parts. */
    setenv("OMPI_MCA_btl_vader_single_copy_mechanism", "none", 0);
    if (cluster_open(true, &world, &err) != GPTOSS_OK) return 1;
    int failures = cmocka_run_group_tests(tests, NULL, NULL);
    cluster_close(&world);
    return failures;
}
