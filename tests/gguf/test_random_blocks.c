/* Scales of random blocks: the smallest ones, where 16-bit floating point has no full precision left. */
#include <math.h>

#include "gguf/random_blocks.h"
#include "kernels/dequant.h"
#include "support.h"

enum { WEIGHTS = 1 << 16 };

static double deviation_of(gguf_type type, double deviation) {
    static uint8_t bytes[4 * WEIGHTS];
    static float weights[WEIGHTS];
    random_blocks r;
    uint64_t row_bytes;
    assert_ok(gguf_row_bytes(type, WEIGHTS, &row_bytes, err));
    random_blocks_init(&r, type, 0, deviation);
    random_blocks_fill(&r, 1, bytes, row_bytes);
    dequant_for(type)(bytes, WEIGHTS, weights);
    double squares = 0;
    for (size_t i = 0; i < WEIGHTS; i++) squares += (double)weights[i] * weights[i];
    return sqrt(squares / WEIGHTS);
}

static const gguf_type types[] = {TYPE_F16,  TYPE_Q4_0, TYPE_Q4_1, TYPE_Q5_0, TYPE_Q5_1,   TYPE_Q8_0,  TYPE_Q2_K,
                                  TYPE_Q3_K, TYPE_Q4_K, TYPE_Q5_K, TYPE_Q6_K, TYPE_IQ4_NL, TYPE_IQ4_XS};

static void no_deviation_makes_every_weight_0(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) assert_true(deviation_of(types[i], 0) == 0);
}

static void subnormal_scales_are_right(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        double wanted = types[i] == TYPE_F16 ? 1e-5 : 1e-3;
        double got = deviation_of(types[i], wanted);
        if (!(fabs(got / wanted - 1) < 0.1)) fail_msg("type %u: %g, not %g", types[i], got, wanted);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_deviation_makes_every_weight_0),
        cmocka_unit_test(subnormal_scales_are_right),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
