/* What all ranks come to agree on, for every way in which some of them may fail. */
#include <mpi.h>
#include <time.h>
#include <unistd.h>

#include "cluster/cluster.h"
#include "support.h"

static cluster world;

/* The status with which a rank fails; different ranks, different faults. */
static gptoss_status fault_of(int rank) { return (gptoss_status)(GPTOSS_MISUSE + rank % GPTOSS_INTERNAL); }

static void ranks_know_their_places(void **state) {
    (void)state;
    int rank, size;
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    assert_true(world.has_mpi);
    assert_int_equal(world.rank, rank);
    assert_int_equal(world.size, size);
    assert_in_range(world.local_rank, 0, world.local_size - 1);
    assert_in_range(world.local_size, 1, world.size);
    assert_true(world.machine[0]);
}

/* Every set of failing ranks: the lowest of them is heard by all, and it alone has something to say. */
static void the_lowest_failing_rank_speaks(void **state) {
    (void)state;
    for (int failing = 0; failing < 1 << world.size; failing++) {
        int lowest = 0;
        while (failing && !(failing >> lowest & 1)) lowest++;
        gptoss_error err = {0};
        gptoss_status mine = GPTOSS_OK;
        char text[100];
        snprintf(text, sizeof text, "rank %d stumbled", world.rank);
        if (failing >> world.rank & 1) mine = error_set(&err, fault_of(world.rank), "%s", text);
        gptoss_status agreed = cluster_agree(&world, mine, &err);
        assert_int_equal(agreed, failing ? fault_of(lowest) : GPTOSS_OK);
        assert_int_equal(err.status, agreed);
        char told[200] = "";
        if (failing && lowest == world.rank && lowest > 0)
            snprintf(told, sizeof told, "rank %d on %s: %s", lowest, world.machine, text);
        else if (failing && lowest == world.rank)
            strcpy(told, text);
        assert_string_equal(err.text, told);
        assert_int_equal(cluster_agree(&world, mine, NULL), agreed);
    }
}

static void a_rank_with_another_value_is_found(void **state) {
    (void)state;
    for (int odd = 0; odd < world.size; odd++) {
        gptoss_error err = {0};
        uint64_t value = world.rank == odd ? UINT64_C(1) << 63 : 0; /* all 64 bits count */
        gptoss_status status = cluster_same(&world, value, "the model file", &err);
        if (world.size == 1) {
            assert_int_equal(status, GPTOSS_OK);
            continue;
        }
        int speaker = odd ? odd : 1; /* when rank 0 is the odd one, all others differ from it */
        assert_int_equal(status, GPTOSS_BAD_INPUT);
        if (world.rank == speaker) {
            char who[20];
            snprintf(who, sizeof who, "rank %d", speaker);
            assert_non_null(strstr(err.text, who));
            assert_non_null(strstr(err.text, "the model file"));
        } else {
            assert_string_equal(err.text, "");
        }
    }
    assert_ok(cluster_same(&world, 0x123456789abcdef, "the model file", err));
}

static void rank_0_tells_the_others(void **state) {
    (void)state;
    static const size_t sizes[] = {0, 1, 8, 4097, 3000000};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        uint8_t *data = malloc(sizes[i] + 1);
        for (size_t at = 0; at < sizes[i]; at++) data[at] = (uint8_t)(world.rank == 0 ? at % 251 : 255);
        data[sizes[i]] = 99;
        cluster_broadcast(&world, data, sizes[i]);
        for (size_t at = 0; at < sizes[i]; at++) assert_int_equal(data[at], at % 251);
        assert_int_equal(data[sizes[i]], 99);
        free(data);
    }
}

static void rank_0_hears_from_all(void **state) {
    (void)state;
    for (size_t count = 0; count < 7; count++) {
        uint64_t mine[7], *all = NULL;
        for (size_t i = 0; i < count; i++) mine[i] = (uint64_t)world.rank << 40 | i;
        if (world.rank == 0) all = calloc(count * (size_t)world.size + 1, sizeof *all);
        cluster_gather(&world, mine, count, all);
        for (size_t i = 0; all && i < count * (size_t)world.size; i++)
            assert_int_equal(all[i], i / count << 40 | i % count);
        free(all);
    }
}

static double cpu_seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* While one rank reads the prompt or its weights, the others leave their cores to it. */
static void waiting_for_the_others_costs_no_core(void **state) {
    (void)state;
    MPI_Barrier(MPI_COMM_WORLD);
    double before = cpu_seconds();
    if (world.rank == 0) sleep(2);
    assert_int_equal(cluster_agree(&world, GPTOSS_OK, NULL), GPTOSS_OK);
    uint64_t data = 0;
    if (world.rank == 0) sleep(2);
    cluster_broadcast(&world, &data, sizeof data);
    double spent = cpu_seconds() - before;
    if (spent > 0.3) fail_msg("rank %d spent %.2f s of processor time on 4 s of waiting", world.rank, spent);
}

static void a_process_that_nothing_launched_is_a_cluster_of_one(void **state) {
    (void)state;
    cluster alone;
    assert_ok(cluster_open(false, &alone, err));
    assert_int_equal(alone.rank, 0);
    assert_int_equal(alone.size, 1);
    assert_int_equal(alone.local_rank, 0);
    assert_int_equal(alone.local_size, 1);
    assert_false(alone.has_mpi);
    gptoss_error err = {0};
    error_set(&err, GPTOSS_IO, "kept");
    assert_int_equal(cluster_agree(&alone, GPTOSS_IO, &err), GPTOSS_IO);
    assert_string_equal(err.text, "kept");
    assert_int_equal(cluster_agree(&alone, GPTOSS_OK, NULL), GPTOSS_OK);
    assert_int_equal(cluster_same(&alone, 7, "the model file", NULL), GPTOSS_OK);
    uint64_t mine[2] = {3, 4}, all[2] = {0};
    cluster_broadcast(&alone, mine, sizeof mine);
    cluster_gather(&alone, mine, 2, all);
    assert_memory_equal(all, mine, sizeof mine);
    cluster_close(&alone);
    int finalized;
    MPI_Finalized(&finalized);
    assert_false(finalized);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ranks_know_their_places),
        cmocka_unit_test(the_lowest_failing_rank_speaks),
        cmocka_unit_test(a_rank_with_another_value_is_found),
        cmocka_unit_test(rank_0_tells_the_others),
        cmocka_unit_test(rank_0_hears_from_all),
        cmocka_unit_test(waiting_for_the_others_costs_no_core),
        cmocka_unit_test(a_process_that_nothing_launched_is_a_cluster_of_one),
    };
    gptoss_error err;
    if (cluster_open(true, &world, &err) != GPTOSS_OK) return 1;
    int failures = cmocka_run_group_tests(tests, NULL, NULL);
    cluster_close(&world);
    return failures;
}
