/* exp_f32 against the exponential in double, over all its range; its vector twin bit for bit. */
#include "kernels/exp.h"

#include <float.h>

#include "exp_vector.h"
#include "kernels/isa.h"
#include "random.h"
#include "support.h"

static float from_bits(uint32_t bits) {
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

static double step_at(double y) { /* the distance between float32 numbers around y */
    return y < FLT_MIN ? 0x1p-149 : ldexp(1, ilogb(y) - 23);
}

static double error_at(float x) {
    double want = exp((double)x);
    return fabs((double)exp_f32(x) - want) / step_at(want);
}

static void at_most_one_step_off(void **state) {
    (void)state;
    double worst = 0;
    for (float x = -103.5f; x < 88.7f; x += 1.0f / 8192) worst = fmax(worst, error_at(x));
    uint64_t seed = 1;
    for (int i = 0; i < 500000; i++) {
        worst = fmax(worst, error_at(random_float(&seed)));
        worst = fmax(worst, error_at(1e-3f * random_float(&seed)));
    }
    print_message("error of exp_f32: %.3f units in the last place at most\n", worst);
    assert_true(worst < 1);
}

static void the_ends_of_its_range(void **state) {
    (void)state;
    assert_true(exp_f32(0) == 1 && exp_f32(-0.0f) == 1);
    assert_true(exp_f32(-104) == 0 && exp_f32(-1e30f) == 0 && exp_f32(-INFINITY) == 0);
    assert_true(exp_f32(88.8f) == INFINITY && exp_f32(1e30f) == INFINITY && exp_f32(INFINITY) == INFINITY);
    assert_true(exp_f32(88.7f) < INFINITY);
    assert_true(isnan(exp_f32(NAN)) && isnan(exp_f32(-NAN)));
}

static void vectors_give_the_same_bits(void **state) {
    (void)state;
    if (!isa_available(ISA_AVX2) && !isa_available(ISA_NEON)) return;
    uint64_t seed = 2;
    for (uint32_t i = 0; i < 1000000; i++) {
        float x[8], y[8];
        for (int l = 0; l < 8; l++) x[l] = i % 2 ? 110 * random_float(&seed) : from_bits((uint32_t)random_bits(&seed));
        exp_vector(x, y);
        for (int l = 0; l < 8; l++) {
            float want = exp_f32(x[l]);
            if (memcmp(&want, &y[l], sizeof want) != 0 && !(isnan(want) && isnan(y[l])))
                fail_msg("e^%.9g is %.9g in a vector, %.9g alone", (double)x[l], (double)y[l], (double)want);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(at_most_one_step_off),
        cmocka_unit_test(the_ends_of_its_range),
        cmocka_unit_test(vectors_give_the_same_bits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
