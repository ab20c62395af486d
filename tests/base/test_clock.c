/* Clocks that never go back, and a process that knows its age. */
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "support.h"

static void time_does_not_go_back(void **state) {
    (void)state;
    double last = clock_seconds();
    for (int i = 0; i < 10000; i++) {
        double now = clock_seconds();
        assert_true(now >= last);
        last = now;
    }
}

static void sleep_is_never_too_short(void **state) {
    (void)state;
    static const double lengths[] = {-1, 0, 10e-6, 100e-6, 3e-3, 20e-3};
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        double end = clock_seconds() + lengths[i];
        clock_sleep_until(end);
        assert_true(clock_seconds() >= end);
    }
}

static void a_process_grows_older(void **state) {
    (void)state;
    double start = clock_seconds(), before = clock_process_age();
    assert_true(before >= 0 && before < 3600);
    nanosleep(&(struct timespec){0, 50000000}, NULL);
    double grown = clock_process_age() - before, passed = clock_seconds() - start;
    assert_true(grown > 0.02 && grown < passed + 0.02);
}

/* Counted from its own start, not from its parent's. */
static void a_child_is_younger(void **state) {
    (void)state;
    nanosleep(&(struct timespec){0, 100000000}, NULL);
    double mine = clock_process_age();
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) _exit(clock_process_age() < mine ? 0 : 1);
    int status = -1;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(time_does_not_go_back),
        cmocka_unit_test(sleep_is_never_too_short),
        cmocka_unit_test(a_process_grows_older),
        cmocka_unit_test(a_child_is_younger),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
