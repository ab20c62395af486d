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

static topology *claim(int local_rank, int local_ranks) {
    topology *t;
    assert_ok(topology_open_share(local_rank, local_ranks, &t, err));
    assert_true(topology_cores(t) >= 1);
    return t;
}

/* The cores of a share; its binding ends with it. */
static int count_share(int local_rank, int local_ranks) {
    topology *t = claim(local_rank, local_ranks);
    int cores = topology_cores(t);
    topology_close(t);
    return cores;
}

static void set_affinity(const cpu_set_t *set) { assert_int_equal(sched_setaffinity(0, sizeof *set, set), 0); }

static void expect_affinity(const cpu_set_t *want) {
    cpu_set_t now = affinity();
    assert_true(CPU_EQUAL(&now, want));
}

static cpu_set_t only(int cpu) {
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(cpu, &one);
    return one;
}

static void pretend(const char *machine) { assert_int_equal(setenv("HWLOC_SYNTHETIC", machine, 1), 0); }

static void shares_of_this_machine_cover_it(void **state) {
    (void)state;
    cpu_set_t before = affinity();
    topology *whole = claim(0, 1);
    int all = topology_cores(whole);
    cpu_set_t everything = affinity();
    topology_close(whole);
    print_message("this machine: %d cores, %d hardware threads\n", all, CPU_COUNT(&everything));
    for (int ranks = 1; ranks <= 2 * all + 3; ranks++) {
        int sum = 0;
        cpu_set_t covered;
        CPU_ZERO(&covered);
        for (int rank = 0; rank < ranks; rank++) {
            topology *t = claim(rank, ranks);
            sum += topology_cores(t);
            cpu_set_t mine = affinity(), both;
            assert_true(CPU_COUNT(&mine) >= 1);
            CPU_AND(&both, &covered, &mine);
            if (ranks <= all)
                assert_int_equal(CPU_COUNT(&both), 0); /* nobody else's cores */
            else
                assert_true(CPU_EQUAL(&mine, &everything));
            CPU_OR(&covered, &covered, &mine);
            topology_close(t);
        }
        assert_true(CPU_EQUAL(&covered, &everything));
        assert_int_equal(sum, ranks <= all ? all : ranks);
    }
    expect_affinity(&before);
}

static void a_launchers_narrow_binding_is_widened_and_given_back(void **state) {
    (void)state;
    cpu_set_t before = affinity();
    int all = count_share(0, 1);
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        if (!CPU_ISSET(cpu, &before)) continue;
        cpu_set_t one = only(cpu);
        set_affinity(&one);
        topology *t = claim(0, 1);
        assert_int_equal(topology_cores(t), all);
        cpu_set_t wide = affinity();
        assert_true(CPU_COUNT(&wide) >= all);
        topology_close(t);
        expect_affinity(&one);
    }
    set_affinity(&before);
}

static void a_process_started_on_few_cores_keeps_to_those(void **state) {
    (void)state;
    cpu_set_t before = affinity();
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        if (!CPU_ISSET(cpu, &before)) continue;
        cpu_set_t one = only(cpu);
        set_affinity(&one);
        topology *t;
        assert_ok(topology_open(&t, err));
        assert_int_equal(topology_cores(t), 1);
        for (topology_bind how = BIND_CORE; how <= BIND_NONE; how++) {
            topology_bind_thread(t, how, 0, 1);
            expect_affinity(&one);
        }
        topology_close(t);
        expect_affinity(&one);
    }
    set_affinity(&before);
}

/* Every thread ends on exactly the hardware threads that were announced, and the process is free again afterwards. */
static void threads_are_bound_as_announced(void **state) {
    (void)state;
    cpu_set_t before = affinity();
    topology *t;
    assert_ok(topology_open(&t, err));
    int cores = topology_cores(t);
    char seen[64][32];
    for (int i = 0; i < cores && i < 64; i++) {
        topology_describe_thread(t, BIND_CORE, i, cores, seen[i], sizeof seen[i]);
        for (int j = 0; j < i; j++) assert_string_not_equal(seen[i], seen[j]);
        topology_bind_thread(t, BIND_CORE, i, cores);
        cpu_set_t now = affinity();
        assert_true(CPU_ISSET(atoi(seen[i]), &now));
        assert_true(CPU_COUNT(&now) < CPU_COUNT(&before) || cores == 1);
    }
    topology_bind_thread(t, BIND_NONE, 0, cores);
    expect_affinity(&before);
    topology_close(t);
    expect_affinity(&before);
}

/* hwloc pretends to be on such a machine; it then refuses to bind, which must not matter. */
static void shares_of_larger_machines(void **state) {
    (void)state;
    static const struct {
        const char *description;
        int cores;
    } machines[] = {{"core:1 pu:1", 1}, {"core:3 pu:2", 3}, {"pack:2 core:4 pu:2", 8}, {"numa:2 core:8 pu:1", 16}};
    for (size_t m = 0; m < sizeof machines / sizeof *machines; m++) {
        pretend(machines[m].description);
        static const int rank_counts[] = {1, 2, 3, 5, 8, 9, 16, 20};
        for (size_t r = 0; r < sizeof rank_counts / sizeof *rank_counts; r++) {
            int ranks = rank_counts[r], sum = 0, least = 1000, most = 0;
            for (int rank = 0; rank < ranks; rank++) {
                int cores = count_share(rank, ranks);
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

/* Where `count` threads of one rank would go: "0-1 2-3" and so on. */
static void expect_threads(int rank, int ranks, topology_bind how, int count, const char *want) {
    char got[256] = "";
    topology *t = claim(rank, ranks);
    for (int i = 0; i < count; i++) {
        char set[64];
        topology_describe_thread(t, how, i, count, set, sizeof set);
        snprintf(got + strlen(got), sizeof got - strlen(got), "%s%s", i ? " " : "", set);
    }
    topology_close(t);
    assert_string_equal(got, want);
}

static void threads_of_larger_machines(void **state) {
    (void)state;
    pretend("numa:2 core:2 pu:2"); /* 8 hardware threads, two a core, four a node */
    expect_threads(0, 1, BIND_CORE, 1, "0-1");
    expect_threads(0, 1, BIND_CORE, 4, "0-1 2-3 4-5 6-7");
    expect_threads(0, 1, BIND_CORE, 5, "0-1 2-3 4-5 6-7 0-1"); /* hardware threads are left on the first core */
    expect_threads(0, 1, BIND_CORE, 9, "0-7 0-7 0-7 0-7 0-7 0-7 0-7 0-7 0-7");
    expect_threads(0, 1, BIND_NUMA, 4, "0-3 0-3 4-7 4-7");
    expect_threads(0, 1, BIND_NONE, 2, "0-7 0-7");
    expect_threads(1, 2, BIND_CORE, 2, "4-5 6-7");
    expect_threads(1, 2, BIND_NUMA, 2, "4-7 4-7");
    expect_threads(1, 2, BIND_NONE, 1, "0-7");
    expect_threads(3, 4, BIND_CORE, 2, "6-7 6-7");
    expect_threads(3, 4, BIND_CORE, 3, "0-7 0-7 0-7"); /* on cores of ranks that wait */
    expect_threads(3, 4, BIND_NUMA, 1, "6-7");
    unsetenv("HWLOC_SYNTHETIC");
}

/* No rank may insist on a core that all use. */
static void ranks_that_share_cores_are_not_bound_to_one(void **state) {
    (void)state;
    pretend("core:1 pu:1");
    expect_threads(1, 2, BIND_CORE, 2, "0 0");
    pretend("core:2 pu:1");
    for (int rank = 0; rank < 3; rank++) expect_threads(rank, 3, BIND_CORE, 1, "0-1");
    unsetenv("HWLOC_SYNTHETIC");
}

/* Some virtual machines show hardware threads without cores. */
static void a_machine_without_cores_still_gives_one(void **state) {
    (void)state;
    pretend("pack:1 pu:4");
    assert_int_equal(count_share(0, 1), 1);
    assert_int_equal(count_share(2, 3), 1);
    for (topology_bind how = BIND_CORE; how <= BIND_NONE; how++) expect_threads(0, 1, how, 2, "0-3 0-3");
    topology *t;
    assert_ok(topology_open(&t, err));
    assert_true(topology_cores(t) >= 1);
    topology_close(t);
    topology_close(NULL);
    unsetenv("HWLOC_SYNTHETIC");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shares_of_this_machine_cover_it),
        cmocka_unit_test(a_launchers_narrow_binding_is_widened_and_given_back),
        cmocka_unit_test(a_process_started_on_few_cores_keeps_to_those),
        cmocka_unit_test(shares_of_larger_machines),
        cmocka_unit_test(threads_are_bound_as_announced),
        cmocka_unit_test(threads_of_larger_machines),
        cmocka_unit_test(ranks_that_share_cores_are_not_bound_to_one),
        cmocka_unit_test(a_machine_without_cores_still_gives_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
