/* The float32 operations between matrix products, against double precision and by hand. */
#include <complex.h>
#include <math.h>
#include <stdbool.h>

#include "kernels/isa.h"
#include "kernels/ops.h"
#include "random.h"
#include "support.h"

/* Within `tolerance` of want, relative to `magnitude`; a NaN is not. */
#define assert_near(got, want, magnitude, tolerance)                     \
    do {                                                                 \
        double near_got = (got), near_want = (want);                     \
        if (!(fabs(near_got - near_want) <= (magnitude) * (tolerance)))  \
            fail_msg("%s is %.9g, not %.9g", #got, near_got, near_want); \
    } while (0)

/* ---- rms_norm ---- */

static void rms_norm_equals_its_formula(void **state) {
    (void)state;
    uint64_t seed = 1;
    static const size_t counts[] = {1, 2, 15, 16, 17, 96, 100, 2880};
    static const float sizes[] = {1e-6f, 1e-3f, 1, 100, 1e6f};
    for (size_t c = 0; c < sizeof counts / sizeof *counts; c++) {
        for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
            size_t count = counts[c];
            float *x = malloc(count * sizeof *x), *weight = malloc(count * sizeof *weight),
                  *y = malloc(count * sizeof *y);
            random_floats(&seed, x, count);
            random_floats(&seed, weight, count);
            double mean = 0;
            for (size_t i = 0; i < count; i++) {
                x[i] *= sizes[s];
                mean += (double)x[i] * x[i] / (double)count;
            }
            rms_norm(x, weight, count, 1e-5f, y);
            for (size_t i = 0; i < count; i++)
                assert_near(y[i], x[i] / sqrt(mean + 1e-5) * weight[i], fabs(x[i] / sqrt(mean + 1e-5)), 3e-6);
            rms_norm(x, weight, count, 1e-5f, x); /* y may be x */
            assert_memory_equal(x, y, count * sizeof *x);
            free(x);
            free(weight);
            free(y);
        }
    }
}

static void rms_norm_of_nothing_is_nothing(void **state) {
    (void)state;
    float x[8] = {0}, weight[8] = {1, 2, 3, 4, 5, 6, 7, 8}, y[8];
    rms_norm(x, weight, 8, 1e-5f, y);
    for (int i = 0; i < 8; i++) assert_true(y[i] == 0);
}

/* ---- rope ---- */

static const double TURN = 6.283185307179586476925;

/* The angle per position of pair j as the formula in ops.h says it. */
static double angle_of(uint32_t j, uint32_t dim, double base, double factor, double context) {
    double plain = pow(base, -2.0 * j / dim);
    double low = dim * log(context / (TURN * 32)) / (2 * log(base)), high = dim * log(context / TURN) / (2 * log(base));
    double ramp = fmin(1, fmax(0, (j - low) / (high - low)));
    return factor == 1 ? plain : plain / factor * ramp + plain * (1 - ramp);
}

static void frequencies_follow_yarn(void **state) {
    (void)state;
    static const struct {
        uint32_t dim;
        double base, factor, context;
    } models[] = {{64, 150000, 32, 4096},
                  {64, 10000, 1, 4096},
                  {64, 150000, 1, 4096},
                  {128, 500000, 8, 8192},
                  {2, 10000, 4, 2048}};
    for (size_t m = 0; m < sizeof models / sizeof *models; m++) {
        double out[64];
        rope_frequencies(models[m].dim, models[m].base, models[m].factor, models[m].context, out);
        for (uint32_t j = 0; j < models[m].dim / 2; j++) {
            double want = angle_of(j, models[m].dim, models[m].base, models[m].factor, models[m].context);
            assert_near(out[j], want, want, 1e-12);
        }
    }
}

/* The released model's correction range is 8.09 to 17.40 in its 32 pairs. Were it rounded, pairs 9 to 17 would turn at
 * other speeds. */
static void the_correction_range_is_not_rounded(void **state) {
    (void)state;
    double out[32];
    rope_frequencies(64, 150000, 32, 4096, out);
    double low = 64 * log(4096 / (TURN * 32)) / (2 * log(150000)), high = 64 * log(4096 / TURN) / (2 * log(150000));
    assert_near(low, 8.0928, 1, 1e-3);
    assert_near(high, 17.3980, 1, 1e-3);
    for (uint32_t j = 0; j < 32; j++) {
        double plain = pow(150000, -2.0 * j / 64), rounded_ramp = fmin(1, fmax(0, (j - 8.0) / (18.0 - 8.0)));
        double rounded = plain / 32 * rounded_ramp + plain * (1 - rounded_ramp);
        if (j <= 8)
            assert_near(out[j], plain, plain, 1e-12);
        else if (j >= 18)
            assert_near(out[j], plain / 32, plain / 32, 1e-12);
        else
            assert_true(fabs(out[j] / rounded - 1) > 1e-3);
    }
}

static void magnitude_grows_with_the_logarithm_of_the_factor(void **state) {
    (void)state;
    assert_true(rope_magnitude(1) == 1);
    assert_near(rope_magnitude(32), 1.3465735902799727, 1, 1e-7);
    assert_near(rope_magnitude(40), 1 + 0.1 * log(40), 1, 1e-7);
}

/* Pair (x[j], x[j + dim / 2]) as a complex number, multiplied by magnitude * e^(i * angle). */
static void rotation_is_complex_multiplication(void **state) {
    (void)state;
    enum { DIM = 64, HEADS = 3 };
    uint64_t seed = 2;
    static const uint32_t positions[] = {0, 1, 2, 127, 128, 4095, 4096, 65535, 131071};
    double frequencies[DIM / 2];
    rope_frequencies(DIM, 150000, 32, 4096, frequencies);
    float magnitude = rope_magnitude(32);
    for (size_t p = 0; p < sizeof positions / sizeof *positions; p++) {
        float cosines[DIM / 2], sines[DIM / 2], x[HEADS * DIM], before[HEADS * DIM];
        random_floats(&seed, x, HEADS * DIM);
        memcpy(before, x, sizeof x);
        rope_angles(frequencies, DIM / 2, positions[p], magnitude, cosines, sines);
        rope_apply(x, HEADS, DIM, cosines, sines);
        for (int h = 0; h < HEADS; h++) {
            for (uint32_t j = 0; j < DIM / 2; j++) {
                double complex pair = before[h * DIM + j] + I * before[h * DIM + j + DIM / 2];
                double complex want =
                    (1 + 0.1 * log(32)) * pair * cexp(I * (positions[p] * angle_of(j, DIM, 150000, 32, 4096)));
                assert_near(x[h * DIM + j], creal(want), cabs(want), 4e-7);
                assert_near(x[h * DIM + j + DIM / 2], cimag(want), cabs(want), 4e-7);
            }
        }
    }
}

/* ---- top_k_softmax ---- */

/* Position i goes before j: larger, or equal and earlier; NaN is smallest. */
static bool goes_before(const float *logits, uint32_t i, uint32_t j) {
    float a = isnan(logits[i]) ? -INFINITY : logits[i], b = isnan(logits[j]) ? -INFINITY : logits[j];
    return a > b || (a == b && i < j);
}

static void check_top_k(const float *logits, uint32_t count, uint32_t k) {
    uint32_t *chosen = malloc(k * sizeof *chosen);
    float *weights = malloc(k * sizeof *weights);
    top_k_softmax(logits, count, k, chosen, weights);
    double sum = 0, total = 0;
    bool damaged = false;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t rank = 0;
        damaged |= isnan(logits[i]);
        for (uint32_t j = 0; j < count; j++) rank += goes_before(logits, j, i);
        if (rank < k) {
            assert_int_equal(chosen[rank], i);
            if (isfinite(logits[i])) sum += exp((double)logits[i] - logits[chosen[0]]);
        }
    }
    damaged |= logits[chosen[0]] == -INFINITY;
    for (uint32_t n = 0; n < k; n++) {
        total += weights[n];
        if (damaged)
            assert_true(isnan(weights[n]));
        else
            assert_near(weights[n], exp((double)logits[chosen[n]] - logits[chosen[0]]) / sum, 1, 1e-6);
    }
    if (!damaged) assert_near(total, 1, 1, 1e-6);
    free(chosen);
    free(weights);
}

static void the_k_largest_in_order(void **state) {
    (void)state;
    uint64_t seed = 3;
    for (int round = 0; round < 3000; round++) {
        float logits[40];
        uint32_t count = 1 + (uint32_t)random_below(&seed, 40), k = 1 + (uint32_t)random_below(&seed, count);
        for (uint32_t i = 0; i < count; i++) {
            logits[i] = 10 * random_float(&seed);
            if (round % 3 == 1) logits[i] = (float)(int)(logits[i] / 4); /* many ties */
            if (round % 5 == 1 && random_below(&seed, 4) == 0) logits[i] = NAN;
            if (round % 7 == 1 && random_below(&seed, 4) == 0) logits[i] = -INFINITY;
        }
        check_top_k(logits, count, k);
        check_top_k(logits, count, count);
    }
}

static void experts_are_still_valid_when_no_logit_is_a_number(void **state) {
    (void)state;
    static const float bad[] = {NAN, -INFINITY, INFINITY};
    for (int kind = 0; kind < 3; kind++) {
        float logits[32], weights[4];
        uint32_t chosen[4] = {99, 99, 99, 99};
        for (int i = 0; i < 32; i++) logits[i] = bad[kind];
        top_k_softmax(logits, 32, 4, chosen, weights);
        for (uint32_t n = 0; n < 4; n++) assert_int_equal(chosen[n], n); /* never an index past the experts */
        for (uint32_t n = 0; n < 4; n++) assert_true(isnan(weights[n]));
    }
}

/* ---- swiglu ---- */

static void swiglu_equals_its_formula(void **state) {
    (void)state;
    enum { COUNT = 2001 };
    static float gate[COUNT], up[COUNT], h[COUNT], in_gate[COUNT], in_up[COUNT];
    uint64_t seed = 4;
    for (int i = 0; i < COUNT; i++) {
        gate[i] = (float)(i - 1000) / 50; /* -20 to 20 */
        up[i] = 12 * random_float(&seed);
    }
    memcpy(in_gate, gate, sizeof gate);
    memcpy(in_up, up, sizeof up);
    swiglu_clamped(gate, up, COUNT, h);
    for (int i = 0; i < COUNT; i++) {
        double g = fmin(gate[i], 7), u = fmax(-7, fmin(up[i], 7));
        double want = g / (1 + exp(-1.702 * g)) * (u + 1);
        assert_near(h[i], want, fabs(want), 3e-6);
    }
    swiglu_clamped(in_gate, up, COUNT, in_gate); /* h may be gate ... */
    assert_memory_equal(in_gate, h, sizeof h);
    swiglu_clamped(gate, in_up, COUNT, in_up); /* ... or up */
    assert_memory_equal(in_up, h, sizeof h);
}

static void swiglu_has_the_same_bits_on_every_instruction_set(void **state) {
    (void)state;
    enum { COUNT = 1027 };
    float gate[COUNT], up[COUNT], want[COUNT], got[COUNT];
    uint64_t seed = 8;
    random_floats(&seed, gate, COUNT);
    random_floats(&seed, up, COUNT);
    for (int i = 0; i < COUNT; i++) {
        gate[i] *= i % 3 ? 10.0f : 100.0f;
        up[i] *= 10.0f;
    }
    gate[3] = up[5] = NAN;
    gate[9] = -INFINITY;
    up[11] = INFINITY;
    isa_use(ISA_PORTABLE);
    swiglu_clamped(gate, up, COUNT, want);
    for (int which = ISA_PORTABLE; which < ISA_COUNT; which++) {
        if (!isa_available((isa)which)) continue;
        isa_use((isa)which);
        swiglu_clamped(gate, up, COUNT, got);
        for (int i = 0; i < COUNT; i++)
            assert_true(memcmp(&got[i], &want[i], sizeof got[i]) == 0 || (isnan(got[i]) && isnan(want[i])));
    }
    isa_use(isa_best());
}

static void swiglu_clamps_one_side_of_gate_and_both_of_up(void **state) {
    (void)state;
    const float gate[] = {7, 8, 1e30f, INFINITY, 1, 1, 1, 1, -50, -1e30f};
    const float up[] = {0, 0, 0, 0, 7, 1e30f, -7, -INFINITY, 3, 3};
    float h[10];
    swiglu_clamped(gate, up, 10, h);
    for (int i = 1; i < 4; i++) assert_true(h[i] == h[0]);
    assert_true(h[5] == h[4]);
    assert_true(h[7] == h[6]);
    assert_near(h[8], 0, 1, 1e-30); /* far below 0 the gate is shut, not clamped */
    assert_near(h[9], 0, 1, 1e-30);
    const float bad_gate[] = {NAN, 1}, bad_up[] = {1, NAN};
    swiglu_clamped(bad_gate, bad_up, 2, h);
    assert_true(isnan(h[0]) && isnan(h[1])); /* damage is not clamped away */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rms_norm_equals_its_formula),
        cmocka_unit_test(rms_norm_of_nothing_is_nothing),
        cmocka_unit_test(frequencies_follow_yarn),
        cmocka_unit_test(the_correction_range_is_not_rounded),
        cmocka_unit_test(magnitude_grows_with_the_logarithm_of_the_factor),
        cmocka_unit_test(rotation_is_complex_multiplication),
        cmocka_unit_test(the_k_largest_in_order),
        cmocka_unit_test(experts_are_still_valid_when_no_logit_is_a_number),
        cmocka_unit_test(swiglu_equals_its_formula),
        cmocka_unit_test(swiglu_has_the_same_bits_on_every_instruction_set),
        cmocka_unit_test(swiglu_clamps_one_side_of_gate_and_both_of_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
