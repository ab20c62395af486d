/* Ranks are known by what each launcher sets. */
#include "cli/launcher.h"
#include "support.h"

static const char *const names[] = {"OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK"};
enum { NAMES = sizeof names / sizeof *names };

static int forget(void **state) {
    (void)state;
    for (int i = 0; i < NAMES; i++) unsetenv(names[i]);
    return 0;
}

static void nothing_set_is_a_process_on_its_own(void **state) {
    (void)state;
    assert_false(launcher_started_us());
    assert_false(launcher_rank_above_0());
}

static void every_launcher_tells_the_rank(void **state) {
    for (int i = 0; i < NAMES; i++) {
        forget(state);
        setenv(names[i], "0", 1);
        assert_true(launcher_started_us());
        assert_false(launcher_rank_above_0());
        setenv(names[i], "10", 1);
        assert_true(launcher_started_us());
        assert_true(launcher_rank_above_0());
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(nothing_set_is_a_process_on_its_own, forget),
        cmocka_unit_test_setup(every_launcher_tells_the_rank, forget),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
