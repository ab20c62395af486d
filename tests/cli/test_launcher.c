/* Ranks are known by what each launcher sets. */
#include "cli/launcher.h"
#include "support.h"

static const char *const ranks[] = {"OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK"};
static const char *const sizes[] = {"OMPI_COMM_WORLD_SIZE", "PMI_SIZE"};
enum { RANKS = sizeof ranks / sizeof *ranks, SIZES = sizeof sizes / sizeof *sizes };

static int forget(void **state) {
    (void)state;
    for (int i = 0; i < RANKS; i++) unsetenv(ranks[i]);
    for (int i = 0; i < SIZES; i++) unsetenv(sizes[i]);
    return 0;
}

static void nothing_set_is_a_process_on_its_own(void **state) {
    (void)state;
    assert_false(launcher_started_us());
    assert_false(launcher_started_only_us());
}

static void every_launcher_tells_the_rank(void **state) {
    for (int i = 0; i < RANKS; i++) {
        forget(state);
        setenv(ranks[i], "0", 1);
        assert_true(launcher_started_us());
        assert_false(launcher_started_only_us()); /* as far as it is known */
    }
}

static void a_launcher_may_start_one_alone(void **state) {
    for (int i = 0; i < SIZES; i++) {
        forget(state);
        setenv(sizes[i], "1", 1);
        assert_true(launcher_started_only_us());
        setenv(sizes[i], "10", 1);
        assert_false(launcher_started_only_us());
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(nothing_set_is_a_process_on_its_own, forget),
        cmocka_unit_test_setup(every_launcher_tells_the_rank, forget),
        cmocka_unit_test_setup(a_launcher_may_start_one_alone, forget),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
