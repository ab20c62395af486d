/* Which waves are well-formed: one edit away from a good one, each kind of fault is found. */
#include "model/wave.h"
#include "support.h"

static const wave_limits limits = {.chunk = 6, .n_vocab = 100, .sequences = 4, .positions = 50};

static const wave_token good[6] = {{99, 0, 49, 1}, {0, 1, 3, 0}, {1, 1, 4, 0},
                                   {2, 1, 5, 1},   {0, 3, 0, 0}, {5, 3, 1, 0}};

static void good_waves_are_valid(void **state) {
    (void)state;
    assert_true(wave_is_valid(good, 6, &limits));
    for (uint32_t count = 1; count < 6; count++) assert_true(wave_is_valid(good + 6 - count, count, &limits));
    assert_int_equal(wave_logits_rows(good, 6), 2);
    assert_int_equal(wave_logits_rows(good, 0), 0);
}

static void expect_fault(uint32_t at, wave_token instead) {
    wave_token tokens[6];
    memcpy(tokens, good, sizeof good);
    tokens[at] = instead;
    if (wave_is_valid(tokens, 6, &limits))
        fail_msg("token %u may be {%u, %u, %u, %u}", at, instead.id, instead.sequence, instead.position,
                 instead.logits);
}

static void faults_are_found(void **state) {
    (void)state;
    wave_token seven[7] = {0};
    for (uint32_t i = 0; i < 7; i++) seven[i].position = i;
    assert_true(wave_is_valid(seven, 6, &limits));
    assert_false(wave_is_valid(seven, 7, &limits)); /* longer than a chunk */
    assert_false(wave_is_valid(seven, 0, &limits));
    assert_false(wave_is_valid(seven, UINT32_MAX, &limits));
    expect_fault(0, (wave_token){100, 0, 49, 1}); /* no such token */
    expect_fault(0, (wave_token){99, 0, 50, 1});  /* position */
    expect_fault(5, (wave_token){5, 4, 1, 0});    /* sequence */
    expect_fault(0, (wave_token){99, 0, 49, 2});
    expect_fault(2, (wave_token){1, 1, 3, 0}); /* a position twice */
    expect_fault(2, (wave_token){1, 1, 5, 0}); /* one left out */
    expect_fault(2, (wave_token){1, 1, 2, 0}); /* backwards */
    expect_fault(1, (wave_token){0, 2, 3, 0}); /* sequence 1 after 2 */
    expect_fault(4, (wave_token){0, 0, 7, 0}); /* sequence 0 again */
    expect_fault(5, (wave_token){0, 3, UINT32_MAX, 0});
}

static void runs_become_waves(void **state) {
    (void)state;
    const uint32_t ids[] = {7, 8, 9};
    wave_token tokens[3];
    wave_of_run(ids, 3, 2, 40, 1, tokens);
    const wave_token want[] = {{7, 2, 40, 0}, {8, 2, 41, 0}, {9, 2, 42, 1}};
    assert_memory_equal(tokens, want, sizeof want);
    wave_of_run(ids, 3, 2, 40, 3, tokens);
    assert_int_equal(wave_logits_rows(tokens, 3), 3);
    assert_true(wave_is_valid(tokens, 3, &limits));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(good_waves_are_valid),
        cmocka_unit_test(faults_are_found),
        cmocka_unit_test(runs_become_waves),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
