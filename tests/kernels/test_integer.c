/* Integer products: every instruction set against plain C to the last bit, plain C against double precision, and all
 * ways to share and batch the work against each other. */
#include <math.h>

#include "gguf/random_blocks.h"
#include "kernels/dequant.h"
#include "kernels/integer.h"
#include "kernels/isa.h"
#include "kernels/matmul.h"
#include "random.h"
#include "support.h"

static const gguf_type types[] = {TYPE_MXFP4, TYPE_Q8_0};
enum { TYPES = sizeof types / sizeof *types };

static matrix make_matrix(gguf_type type, uint32_t rows, uint32_t cols, uint64_t seed) {
    matrix w = {.type = type, .rows = rows, .cols = cols};
    assert_ok(gguf_row_bytes(type, cols, &w.row_bytes, err));
    random_blocks blocks;
    random_blocks_init(&blocks, type, 0, 0.1);
    uint8_t *data = malloc(w.row_bytes * rows); /* exactly: a read past the last row shows under a sanitizer */
    random_blocks_fill(&blocks, seed, data, w.row_bytes * rows);
    w.data = data;
    return w;
}

static float *make_tokens(size_t tokens, uint32_t cols, uint64_t *seed) {
    float *x = malloc(tokens * cols * sizeof *x);
    random_floats(seed, x, tokens * cols);
    for (size_t t = 0; t < tokens; t++) /* blocks of very different sizes, as activations have them */
        for (uint32_t c = 0; c < cols; c++) x[t * cols + c] *= exp2f((float)((int)(t + c / 32) % 24 - 12));
    return x;
}

static void rounded_rows_are_equal_everywhere(void **state) {
    (void)state;
    uint64_t seed = 1;
    for (int which = 0; which < ISA_COUNT; which++) {
        if (!isa_available((isa)which)) continue;
        isa_use((isa)which);
        for (uint32_t cols = 32; cols <= 352; cols += 32) {
            activations a;
            assert_ok(activations_open(2, cols, &a, err));
            float *x = make_tokens(1, cols, &seed);
            if (cols == 64) x[33] = NAN;
            if (cols == 96) x[70] = -INFINITY;
            if (cols == 128) memset(x + 32, 0, 32 * sizeof *x);
            if (cols == 160)
                for (uint32_t c = 0; c < 32; c++) x[c] = 1e-38f;
            if (cols == 192) x[5] = -3e38f;
            if (cols == 224) /* halves, to be rounded to even ones */
                for (uint32_t c = 0; c < 32; c++) x[c] = c ? (float)c + 0.5f : (float)ACTIVATION_MOST;
            activations_round(&a, 0, x);
            integer_portable.round(x, cols, activations_row(&a, 1));
            activation_row row = activations_row(&a, 0), plain = activations_row(&a, 1);
            size_t blocks = cols / 32, together = integer_kernels_used()->together;
            assert_memory_equal(row.q, plain.q, cols * sizeof *row.q);
            assert_memory_equal(row.scales, plain.scales, blocks * sizeof *row.scales);
            assert_memory_equal(row.sums, plain.sums, blocks * sizeof *row.sums);
            for (uint32_t c = 0; c < cols; c++) {
                float scale = row.scales[c / 32];
                size_t digit = integer_digit(together, c);
                assert_int_equal(row.q[c], row.high[digit] * 256 + row.low[digit]);
                assert_true(abs(row.q[c]) <= ACTIVATION_MOST);
                if (!isnan(scale) && fabsf(x[c]) > 1e-30f)
                    assert_true(fabs(x[c] - (double)scale * row.q[c]) <= 0.51 * (double)scale);
            }
            assert_true(isnan(row.scales[cols / 32 - 1]) == (cols == 64 || cols == 96));
            free(x);
            activations_close(&a);
        }
    }
}

static void plain_c_equals_double_precision(void **state) {
    (void)state;
    uint64_t seed = 2;
    for (size_t i = 0; i < TYPES; i++) {
        for (uint32_t cols = 32; cols <= 2880; cols = cols * 2 + 32) {
            matrix w = make_matrix(types[i], 3, cols, random_bits(&seed));
            float *x = make_tokens(1, cols, &seed), *weights = malloc(cols * sizeof *weights);
            activations a;
            integer_format format;
            assert_true(integer_format_of(types[i], &format));
            assert_ok(activations_open(1, cols, &a, err));
            activations_round(&a, 0, x);
            activation_row row = activations_row(&a, 0);
            for (uint32_t r = 0; r < 3; r++) {
                double want = 0, magnitude = 0;
                dequant_for(types[i])(w.data + r * w.row_bytes, cols, weights);
                for (uint32_t c = 0; c < cols; c++) {
                    double product = (double)weights[c] * row.scales[c / 32] * row.q[c];
                    want += product;
                    magnitude += fabs(product);
                }
                float got = integer_dot(format, w.data + r * w.row_bytes, cols, row);
                assert_true(fabs(got - want) <= magnitude * (cols / 32.0 + 4) * 0x1p-24);
            }
            free(x);
            free(weights);
            free((void *)w.data);
            activations_close(&a);
        }
    }
}

/* Every way to multiply gives exactly what plain C gives, row by row and token by token. */
static void check_all_ways(matrix w, const float *x, size_t tokens, uint64_t *seed) {
    uint32_t rows = w.rows, cols = w.cols;
    float *want = malloc(tokens * rows * sizeof *want), *got = malloc(tokens * rows * sizeof *got);
    float *scratch = aligned_alloc(64, (matmul_scratch(cols, tokens) * sizeof *scratch + 63) / 64 * 64);
    activations a;
    integer_format format;
    assert_true(integer_format_of(w.type, &format));
    assert_ok(activations_open(tokens, cols, &a, err));
    for (size_t t = 0; t < tokens; t++) activations_round(&a, t, x + t * cols);
    uint32_t index[64];
    assert_true(tokens <= sizeof index / sizeof *index);
    for (size_t t = 0; t < tokens; t++) index[t] = (uint32_t)random_below(seed, tokens);
    for (size_t t = 0; t < tokens; t++)
        for (uint32_t r = 0; r < rows; r++)
            want[t * rows + r] = integer_dot(format, w.data + r * w.row_bytes, cols, activations_row(&a, index[t]));
    operand o = {.tokens = tokens, .index = index, .x = x, .stride = cols, .rounded = &a};
    const target y = {.y = got, .stride = rows};
    matmul(&w, 0, rows, &o, &y, scratch);
    assert_memory_equal(got, want, tokens * rows * sizeof *got);
    if (integer_kernels_used()->group > 0) {
        int32_t *pairs = malloc(tokens * packed_words(cols) * sizeof *pairs);
        float *scales = malloc(tokens * cols / 32 * sizeof *scales);
        const packed_tokens packed = packed_room(tokens, cols, pairs, scales);
        packed_write(&packed, &a, index, 0, tokens / 2, tokens);
        packed_write(&packed, &a, index, 0, 0, tokens / 2);
        o.packed = &packed;
        memset(got, 0xff, tokens * rows * sizeof *got);
        uint32_t cut = (uint32_t)random_below(seed, rows + 1);
        matmul(&w, cut, rows, &o, &y, scratch);
        matmul(&w, 0, cut, &o, &y, scratch);
        assert_memory_equal(got, want, tokens * rows * sizeof *got);
        free(pairs);
        free(scales);
    }
    activations_close(&a);
    free(scratch);
    free(got);
    free(want);
}

static void check_random(gguf_type type, uint32_t rows, uint32_t cols, size_t tokens, uint64_t *seed) {
    matrix w = make_matrix(type, rows, cols, random_bits(seed));
    float *x = make_tokens(tokens, cols, seed);
    check_all_ways(w, x, tokens, seed);
    free(x);
    free((void *)w.data);
}

static void kernels_equal_plain_c(void **state) {
    (void)state;
    uint64_t seed = 3;
    for (int which = ISA_PORTABLE; which < ISA_COUNT; which++) {
        if (!isa_available((isa)which)) continue;
        isa_use((isa)which);
        print_message("%s\n", isa_name((isa)which));
        for (size_t i = 0; i < TYPES; i++) {
            for (uint32_t blocks = 1; blocks <= 19; blocks++)
                for (size_t tokens = 1; tokens <= 20; tokens += 1 + random_below(&seed, 3))
                    check_random(types[i], 1 + (uint32_t)random_below(&seed, 50), blocks * 32, tokens, &seed);
            check_random(types[i], 35, 2880, 14, &seed);
            for (size_t tokens = 21; tokens <= 40; tokens++)
                check_random(types[i], 16 + (uint32_t)random_below(&seed, 50), 352, tokens, &seed);
            check_random(types[i], 16, 4096, 1, &seed);
        }
    }
}

/* A row's weights, from a few: the least and the greatest that a format has, in long runs and in turns. */
static void fill_with_extremes(matrix *w, uint64_t *seed) {
    bool fp4 = w->type == TYPE_MXFP4;
    uint8_t *at = (uint8_t *)w->data;
    const uint8_t bytes[2][4] = {{0x80, 0x7f, 0x81, 0x00}, {0x77, 0xff, 0x7f, 0xf7}};
    size_t head = fp4 ? 1 : 2, numbers = fp4 ? 16 : 32;
    for (uint32_t r = 0; r < w->rows; r++) {
        uint64_t few = 1 + random_below(seed, 4);
        for (uint32_t b = 0; b < w->cols / 32; b++, at += head + numbers)
            for (size_t i = 0; i < numbers; i++) at[head + i] = bytes[fp4][random_below(seed, few)];
    }
}

/* Every sum that a kernel makes on its way has room where it is kept, or is modulo a power of two that does no harm. */
static void the_largest_numbers_are_exact(void **state) {
    (void)state;
    enum { TOKENS = 35, ROWS = 48, COLS = 320 };
    uint64_t seed = 5;
    float x[TOKENS * COLS];
    for (size_t t = 0; t < TOKENS; t++) /* all of one sign, all of the other, mixed */
        for (size_t c = 0; c < COLS; c++)
            x[t * COLS + c] = t % 4 == 0 || (t % 4 != 1 && random_below(&seed, 2)) ? 1.0f : -1.0f;
    for (int which = ISA_PORTABLE; which < ISA_COUNT; which++) {
        if (!isa_available((isa)which)) continue;
        isa_use((isa)which);
        for (size_t i = 0; i < TYPES; i++) {
            matrix w = make_matrix(types[i], ROWS, COLS, 6);
            fill_with_extremes(&w, &seed);
            check_all_ways(w, x, TOKENS, &seed);
            check_all_ways(w, x, 4, &seed);
            free((void *)w.data);
        }
    }
}

static void a_nan_reaches_its_own_token_and_no_other(void **state) {
    (void)state;
    uint64_t seed = 4;
    for (int which = ISA_PORTABLE; which < ISA_COUNT; which++) {
        if (!isa_available((isa)which)) continue;
        isa_use((isa)which);
        matrix w = make_matrix(TYPE_Q8_0, 16, 64, 9);
        float *x = make_tokens(3, 64, &seed), got[3 * 16];
        float *scratch = aligned_alloc(64, (matmul_scratch(64, 3) * sizeof *scratch + 63) / 64 * 64);
        x[64 + 63] = NAN;
        activations a;
        assert_ok(activations_open(3, 64, &a, err));
        for (size_t t = 0; t < 3; t++) activations_round(&a, t, x + t * 64);
        matmul(&w, 0, 16, &(operand){.tokens = 3, .rounded = &a}, &(target){.y = got, .stride = 16}, scratch);
        for (size_t i = 0; i < 3 * 16; i++) assert_int_equal(isnan(got[i]) != 0, i / 16 == 1);
        activations_close(&a);
        free(scratch);
        free(x);
        free((void *)w.data);
    }
}

static void names_lead_to_instruction_sets_and_back(void **state) {
    (void)state;
    isa found;
    for (int which = 0; which < ISA_COUNT; which++) {
        assert_true(isa_by_name(isa_name((isa)which), &found));
        assert_int_equal(found, which);
    }
    assert_false(isa_by_name("sse9", &found));
    assert_false(isa_by_name("", &found));
    assert_true(isa_available(ISA_REFERENCE) && isa_available(ISA_PORTABLE) && isa_available(isa_best()));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rounded_rows_are_equal_everywhere),
        cmocka_unit_test(plain_c_equals_double_precision),
        cmocka_unit_test(kernels_equal_plain_c),
        cmocka_unit_test(the_largest_numbers_are_exact),
        cmocka_unit_test(a_nan_reaches_its_own_token_and_no_other),
        cmocka_unit_test(names_lead_to_instruction_sets_and_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
