/* A rank's share of the cores: at least one, all of them dealt, on this machine and on made-up ones. */
#include <sched.h>
#include <stdlib.h>

#include "plan/topology.h"
#include "support.h"

static cpu_set_t affinity(void) {
    cpu_set_t set;
    CPU_ZERO(&set);
    assert_int_equal(sched_getaffinity(0, sizeof set, &set), 0);
    return set;
}

static int claim(int local_rank, int local_ranks) {
    int cores = -1;
    assert_ok(topology_claim_cores(local_rank, local_ranks, &cores, err));
    assert_true(cores >= 1);
    return cores;
}

static void shares_of_this_machine_cover_it(void **state) {
    (void)state;
    int all = claim(0, 1);
    cpu_set_t everything = affinity();
    print_message("this machine: %d cores, %d hardware threads\n", all, CPU_COUNT(&everything));
    for (int ranks = 1; ranks <= 2 * all + 3; ranks++) {
        int sum = 0;
        cpu_set_t covered;
        CPU_ZERO(&covered);
        for (int rank = 0; rank < ranks; rank++) {
            sum += claim(rank, ranks);
            cpu_set_t mine = affinity(), both;
            assert_true(CPU_COUNT(&mine) >= 1);
            CPU_AND(&both, &covered, &mine);
            if (ranks <= all)
                assert_int_equal(CPU_COUNT(&both), 0); /* nobody else's cores */
            else
                assert_true(CPU_EQUAL(&mine, &everything));
            CPU_OR(&covered, &covered, &mine);
        }
        assert_true(CPU_EQUAL(&covered, &everything));
        assert_int_equal(sum, ranks <= all ? all : ranks);
    }
    claim(0, 1);
}

static void a_launchers_narrow_binding_is_widened(void **state) {
    (void)state;
    int all = claim(0, 1);
    cpu_set_t everything = affinity(), one;
    CPU_ZERO(&one);
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
        if (CPU_ISSET(cpu, &everything)) {
            CPU_SET(cpu, &one);
            break;
        }
    assert_int_equal(sched_setaffinity(0, sizeof one, &one), 0);
    assert_int_equal(claim(0, 1), all);
    cpu_set_t after = affinity();
    assert_true(CPU_EQUAL(&after, &everything));
}

static void a_process_started_on_few_cores_counts_those(void **state) {
    (void)state;
    int all = claim(0, 1), cores = -1;
    assert_ok(topology_count_cores(&cores, err));
    assert_int_equal(cores, all);
    cpu_set_t everything = affinity();
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        if (!CPU_ISSET(cpu, &everything)) continue;
        cpu_set_t one;
        CPU_ZERO(&one);
        CPU_SET(cpu, &one);
        assert_int_equal(sched_setaffinity(0, sizeof one, &one), 0);
        assert_ok(topology_count_cores(&cores, err));
        assert_int_equal(cores, 1);
        cpu_set_t after = affinity();
        assert_true(CPU_EQUAL(&after, &one)); /* counting binds nothing */
    }
    claim(0, 1);
}

/* hwloc pretends to be on such a machine; it then refuses to bind, which must not matter. */
static void shares_of_larger_machines(void **state) {
    (void)state;
    static const struct {
        const char *description;
        int cores;
    } machines[] = {{"core:1 pu:1", 1}, {"core:3 pu:2", 3}, {"pack:2 core:4 pu:2", 8}, {"numa:2 core:8 pu:1", 16}};
    for (size_t m = 0; m < sizeof machines / sizeof *machines; m++) {
        assert_int_equal(setenv("HWLOC_SYNTHETIC", machines[m].description, 1), 0);
        static const int rank_counts[] = {1, 2, 3, 5, 8, 9, 16, 20};
        for (size_t r = 0; r < sizeof rank_counts / sizeof *rank_counts; r++) {
            int ranks = rank_counts[r], sum = 0, least = 1000, most = 0;
            for (int rank = 0; rank < ranks; rank++) {
                int cores = claim(rank, ranks);
                sum += cores;
                if (cores < least) least = cores;
                if (cores > most) most = cores;
            }
            assert_true(most - least <= 1);
            assert_int_equal(sum, ranks <= machines[m].cores ? machines[m].cores : ranks);
        }
    }
    unsetenv("HWLOC_SYNTHETIC");
}

/* Some virtual machines show hardware threads without cores. */
static void a_machine_without_cores_still_gives_one(void **state) {
    (void)state;
    assert_int_equal(setenv("HWLOC_SYNTHETIC", "pack:1 pu:4", 1), 0);
    assert_int_equal(claim(0, 1), 1);
    assert_int_equal(claim(2, 3), 1);
    int cores = -1;
    assert_ok(topology_count_cores(&cores, err));
    assert_true(cores >= 1);
    unsetenv("HWLOC_SYNTHETIC");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shares_of_this_machine_cover_it),
        cmocka_unit_test(a_launchers_narrow_binding_is_widened),
        cmocka_unit_test(a_process_started_on_few_cores_counts_those),
        cmocka_unit_test(shares_of_larger_machines),
        cmocka_unit_test(a_machine_without_cores_still_gives_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
