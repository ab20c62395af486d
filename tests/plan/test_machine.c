/* Limits as control groups state them, in made-up system folders. */
#include <sys/stat.h>
#include <unistd.h>

#include "plan/machine.h"
#include "support.h"

static char root[64];

static void put(const char *path, const char *text) {
    char full[512];
    snprintf(full, sizeof full, "%s%s", root, path);
    for (char *slash = strchr(full + strlen(root) + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        mkdir(full, 0777);
        *slash = '/';
    }
    FILE *f = fopen(full, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static int make_root(void **state) {
    (void)state;
    snprintf(root, sizeof root, "%s/gptoss-machine-XXXXXX", P_tmpdir);
    return mkdtemp(root) ? 0 : -1;
}

static int remove_root(void **state) {
    (void)state;
    char command[128];
    snprintf(command, sizeof command, "rm -r '%s'", root);
    return system(command);
}

static uint64_t physical(void) { return (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE); }

static void without_groups_it_is_the_machines(void **state) {
    (void)state;
    assert_true(machine_memory(root) == physical());
    assert_true(machine_memory("") <= physical() && machine_memory("") > 0);
}

static void version_2_counts_with_all_groups_above(void **state) {
    (void)state;
    put("/proc/self/cgroup", "0::/office/job\n");
    put("/sys/fs/cgroup/office/job/memory.max", "max\n");
    assert_true(machine_memory(root) == physical());
    put("/sys/fs/cgroup/office/memory.max", "300000000\n");
    assert_int_equal(machine_memory(root), 300000000);
    put("/sys/fs/cgroup/office/job/memory.max", "200000000\n");
    assert_int_equal(machine_memory(root), 200000000);
    put("/sys/fs/cgroup/office/job/memory.max", "400000000\n");
    assert_int_equal(machine_memory(root), 300000000);
}

static void version_1_has_a_hierarchy_of_its_own(void **state) {
    (void)state;
    put("/proc/self/cgroup", "12:pids:/\n7:hugetlb,memory:/box\nnonsense\n1:name=systemd:/\n");
    put("/sys/fs/cgroup/memory/box/memory.limit_in_bytes", "9223372036854771712\n");
    assert_true(machine_memory(root) == physical());
    put("/sys/fs/cgroup/memory/box/memory.limit_in_bytes", "123456789\n");
    assert_int_equal(machine_memory(root), 123456789);
    put("/sys/fs/cgroup/memory/memory.limit_in_bytes", "1000\n");
    assert_int_equal(machine_memory(root), 1000);
}

static void quotas_of_processors_are_rounded_up(void **state) {
    (void)state;
    put("/proc/self/cgroup", "0::/pods/one\n");
    assert_true(machine_processors(root) == UINT64_MAX);
    put("/sys/fs/cgroup/pods/one/cpu.max", "max 100000\n");
    assert_true(machine_processors(root) == UINT64_MAX);
    put("/sys/fs/cgroup/pods/cpu.max", "400000 100000\n");
    assert_int_equal(machine_processors(root), 4);
    put("/sys/fs/cgroup/pods/one/cpu.max", "150000 100000\n");
    assert_int_equal(machine_processors(root), 2);
    put("/sys/fs/cgroup/pods/one/cpu.max", "1 0\n");
    assert_int_equal(machine_processors(root), 4);
    put("/proc/self/cgroup", "3:cpuset:/box\n4:cpu,cpuacct:/box\n");
    put("/sys/fs/cgroup/cpu/box/cpu.cfs_period_us", "100000\n");
    put("/sys/fs/cgroup/cpu/box/cpu.cfs_quota_us", "-1\n");
    assert_true(machine_processors(root) == UINT64_MAX);
    put("/sys/fs/cgroup/cpu/box/cpu.cfs_quota_us", "250000\n");
    assert_int_equal(machine_processors(root), 3);
}

static void some_is_left_for_the_system(void **state) {
    (void)state;
    const uint64_t gib = UINT64_C(1) << 30;
    assert_int_equal(machine_usable(0), 0);
    assert_int_equal(machine_usable(gib / 4), 0);
    assert_int_equal(machine_usable(4 * gib), 4 * gib - gib / 2);
    assert_int_equal(machine_usable(20 * gib), 18 * gib);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_groups_it_is_the_machines),
        cmocka_unit_test(version_2_counts_with_all_groups_above),
        cmocka_unit_test(version_1_has_a_hierarchy_of_its_own),
        cmocka_unit_test(quotas_of_processors_are_rounded_up),
        cmocka_unit_test(some_is_left_for_the_system),
    };
    return cmocka_run_group_tests(tests, make_root, remove_root);
}
