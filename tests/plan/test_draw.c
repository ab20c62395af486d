/* How unevenly experts fall on shards, against all draws. */
#include <math.h>

#include "plan/draw.h"
#include "random.h"
#include "support.h"

enum { MOST_SHARDS = 4 };

static double choose(uint32_t n, uint32_t k) {
    double ways = 1;
    for (uint32_t i = 0; i < k; i++) ways = ways * (n - i) / (i + 1);
    return ways;
}

/* Sum over all ways to draw `left` from shards [t, shards) of ways * max. */
static double try_all(const uint32_t *experts, const double *seconds, uint32_t shards, uint32_t t, uint32_t left,
                      double ways, double most) {
    if (t == shards) return left == 0 ? ways * most : 0;
    double sum = 0;
    for (uint32_t c = 0; c <= left && c <= experts[t]; c++)
        sum += try_all(experts, seconds, shards, t + 1, left - c, ways * choose(experts[t], c),
                       fmax(most, c * seconds[t]));
    return sum;
}

static void assert_near(double got, double want) {
    if (!(fabs(got - want) <= 1e-9 * (1 + fabs(want)))) fail_msg("%.12g instead of %.12g", got, want);
}

static void expectations_are_exact(void **state) {
    (void)state;
    uint64_t seed = 4;
    for (int round = 0; round < 2000; round++) {
        uint32_t experts[MOST_SHARDS], all = 0, shards = 1 + (uint32_t)random_below(&seed, MOST_SHARDS);
        double seconds[MOST_SHARDS], got;
        for (uint32_t t = 0; t < shards; t++) {
            experts[t] = (uint32_t)random_below(&seed, 9) + (t == 0);
            seconds[t] = round % 2 ? 1 : 0.25 * (double)(1 + random_below(&seed, 8));
            all += experts[t];
        }
        uint32_t draws = (uint32_t)random_below(&seed, all + 1);
        assert_ok(draw_expected_most(experts, seconds, shards, draws, &got, err));
        assert_near(got, try_all(experts, seconds, shards, 0, draws, 1, 0) / choose(all, draws));
    }
}

static void known_models(void **state) {
    (void)state;
    const double second[] = {1, 1, 1, 1};
    double got;
    /* 4 of 32 experts on two shards: 2 C(16,4) * 4 + 2 C(16,3) 16 * 3 + C(16,2)^2 * 2, of C(32,4). */
    assert_ok(draw_expected_most((const uint32_t[]){16, 16}, second, 2, 4, &got, err));
    assert_near(got, (2 * 1820 * 4.0 + 2 * 560 * 16 * 3.0 + 120 * 120 * 2.0) / 35960);
    assert_ok(draw_expected_most((const uint32_t[]){1, 0}, second, 2, 1, &got, err)); /* the fallback */
    assert_near(got, 1);
    /* All tokens together use more experts, and more evenly. */
    double before = 9;
    for (int tokens = 1; tokens <= 256; tokens *= 4) {
        double distinct = 128 * (1 - pow(1 - 4 / 128.0, tokens));
        assert_ok(draw_expected_work((const uint32_t[]){32, 32, 32, 32}, second, 4, 4, tokens, &got, err));
        assert_true(got >= distinct / 4 && got <= distinct && got / distinct < before);
        before = got / distinct;
    }
    assert_ok(draw_expected_work((const uint32_t[]){32}, second, 1, 4, 1, &got, err));
    assert_near(got, 4);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(expectations_are_exact), cmocka_unit_test(known_models)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
