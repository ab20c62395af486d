/* Products of every weight type against double precision; and that no split, batch or order of work changes a bit. */
#include <math.h>
#include <stdbool.h>

#include "gguf/random_blocks.h"
#include "kernels/dequant.h"
#include "kernels/isa.h"
#include "kernels/matmul.h"
#include "random.h"
#include "support.h"

static const gguf_type types[] = {TYPE_F32,  TYPE_F16,    TYPE_BF16,   TYPE_Q4_0, TYPE_Q4_1, TYPE_Q5_0,
                                  TYPE_Q5_1, TYPE_Q8_0,   TYPE_Q2_K,   TYPE_Q3_K, TYPE_Q4_K, TYPE_Q5_K,
                                  TYPE_Q6_K, TYPE_IQ4_NL, TYPE_IQ4_XS, TYPE_MXFP4};
enum { TYPES = sizeof types / sizeof *types };

/* A matrix of random weights at an odd address. The caller frees `owned`. */
static matrix make_matrix(gguf_type type, uint32_t rows, uint32_t cols, uint64_t seed, uint8_t **owned) {
    matrix w = {.type = type, .rows = rows, .cols = cols};
    assert_ok(gguf_row_bytes(type, cols, &w.row_bytes, err));
    random_blocks blocks;
    random_blocks_init(&blocks, type, 0, 0.1);
    *owned = malloc(1 + w.row_bytes * rows);
    uint8_t *aligned = malloc(w.row_bytes * rows);
    random_blocks_fill(&blocks, seed, aligned, w.row_bytes * rows);
    memcpy(*owned + 1, aligned, w.row_bytes * rows);
    free(aligned);
    w.data = *owned + 1;
    return w;
}

/* What one matmul call is about. Strides leave gaps, which must stay as they are. */
typedef struct product {
    matrix w;
    uint8_t *owned;
    float *x, *bias, *y;
    uint32_t *index;
    size_t tokens, x_rows, x_stride, y_stride;
} product;

static const float GAP = 123.5f;

static product make_product(gguf_type type, uint32_t rows, uint32_t cols, size_t tokens, uint64_t *seed) {
    product p = {.tokens = tokens, .x_rows = tokens + 3, .x_stride = cols + tokens % 3, .y_stride = rows + tokens % 2};
    p.w = make_matrix(type, rows, cols, random_bits(seed), &p.owned);
    p.x = malloc(p.x_rows * p.x_stride * sizeof *p.x);
    p.bias = malloc(rows * sizeof *p.bias);
    p.y = malloc((tokens * p.y_stride + 1) * sizeof *p.y);
    p.index = malloc((tokens + 1) * sizeof *p.index);
    random_floats(seed, p.x, p.x_rows * p.x_stride);
    random_floats(seed, p.bias, rows);
    for (size_t t = 0; t < tokens; t++) p.index[t] = (uint32_t)random_below(seed, p.x_rows);
    return p;
}

static void free_product(product *p) {
    free(p->owned);
    free(p->x);
    free(p->bias);
    free(p->y);
    free(p->index);
}

/* Fills y with GAP and computes rows [begin, end), scratch being exactly as large as promised. */
static void compute(product *p, uint32_t begin, uint32_t end, bool indexed, bool biased) {
    float *scratch = malloc(matmul_scratch(p->w.cols, p->tokens) * sizeof *scratch);
    for (size_t i = 0; i < p->tokens * p->y_stride + 1; i++) p->y[i] = GAP;
    const operand x = {.tokens = p->tokens, .index = indexed ? p->index : NULL, .x = p->x, .stride = p->x_stride};
    const target y = {.y = p->y, .stride = p->y_stride, .bias = biased ? p->bias : NULL};
    matmul(&p->w, begin, end, &x, &y, scratch);
    free(scratch);
}

/* Float32 with as many lanes as dot_f32 has: its error grows with cols / 16 at most. */
static bool near(float got, double want, double magnitude, uint32_t cols) {
    return fabs(got - want) <= magnitude * (cols / 16 + 8) * 0x1p-24; /* false for NaN */
}

static void check_against_double(product *p, uint32_t begin, uint32_t end, bool indexed, bool biased) {
    float *row = malloc(p->w.cols * sizeof *row);
    for (uint32_t r = 0; r < p->y_stride; r++) {
        bool computed = r >= begin && r < end;
        if (computed) dequant_for(p->w.type)(p->w.data + r * p->w.row_bytes, p->w.cols, row);
        for (size_t t = 0; t < p->tokens; t++) {
            float got = p->y[t * p->y_stride + r];
            if (!computed) {
                assert_true(got == GAP);
                continue;
            }
            const float *x = p->x + (indexed ? p->index[t] : t) * p->x_stride;
            double want = biased ? p->bias[r] : 0, magnitude = fabs(want);
            for (uint32_t c = 0; c < p->w.cols; c++) {
                want += (double)row[c] * x[c];
                magnitude += fabs((double)row[c] * x[c]);
            }
            if (!near(got, want, magnitude, p->w.cols))
                fail_msg("%s, %u x %u, row %u, token %zu: %g, not %g", gguf_type_traits(p->w.type)->name, p->w.rows,
                         p->w.cols, r, t, (double)got, want);
        }
    }
    assert_true(p->y[p->tokens * p->y_stride] == GAP);
    free(row);
}

static void all_types_and_odd_shapes(void **state) {
    (void)state;
    uint64_t seed = 3;
    for (size_t i = 0; i < TYPES; i++) {
        uint32_t block = gguf_type_traits(types[i])->block_elements;
        for (uint32_t round = 0; round < 24; round++) {
            uint32_t rows = 1 + (uint32_t)random_below(&seed, 30),
                     blocks = 1 + (uint32_t)random_below(&seed, block == 1 ? 100 : 5);
            product p = make_product(types[i], rows, blocks * block, random_below(&seed, 10), &seed);
            uint32_t begin = (uint32_t)random_below(&seed, rows + 1),
                     end = begin + (uint32_t)random_below(&seed, rows - begin + 1);
            if (round % 3 == 0) begin = 0, end = rows;
            bool indexed = round % 2, biased = round / 2 % 2;
            compute(&p, begin, end, indexed, biased);
            check_against_double(&p, begin, end, indexed, biased);
            free_product(&p);
        }
    }
}

static void wide_rows_as_in_real_models(void **state) {
    (void)state;
    uint64_t seed = 4;
    static const struct {
        gguf_type type;
        uint32_t cols;
    } shapes[] = {{TYPE_MXFP4, 2880}, {TYPE_Q8_0, 2880}, {TYPE_Q6_K, 4096},
                  {TYPE_F32, 2880},   {TYPE_F32, 4097},  {TYPE_BF16, 2881}};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        product p = make_product(shapes[i].type, 19, shapes[i].cols, 3, &seed);
        compute(&p, 0, 19, false, true);
        check_against_double(&p, 0, 19, false, true);
        free_product(&p);
    }
}

/* However rows are shared between threads, and tokens between calls, every element has the same bits. */
static void splits_and_batches_change_no_bit(void **state) {
    (void)state;
    uint64_t seed = 5;
    for (size_t i = 0; i < TYPES; i++) {
        uint32_t rows = 37, cols = 256 + (gguf_type_traits(types[i])->block_elements == 1 ? 5 : 0);
        product p = make_product(types[i], rows, cols, 7, &seed);
        size_t bytes = (p.tokens * p.y_stride + 1) * sizeof *p.y;
        float *whole = malloc(bytes), *scratch = malloc(matmul_scratch(cols, p.tokens) * sizeof *scratch);
        const operand all = {.tokens = p.tokens, .index = p.index, .x = p.x, .stride = p.x_stride};
        const target to = {.y = p.y, .stride = p.y_stride, .bias = p.bias};
        compute(&p, 0, rows, true, true);
        memcpy(whole, p.y, bytes);
        for (uint32_t first = 0; first <= rows; first++) {
            uint32_t second = first + (uint32_t)random_below(&seed, rows - first + 1);
            const uint32_t cuts[] = {0, first, second, rows};
            for (size_t e = 0; e < bytes / sizeof *p.y; e++) p.y[e] = GAP;
            for (int part = 2; part >= 0; part--) matmul(&p.w, cuts[part], cuts[part + 1], &all, &to, scratch);
            assert_memory_equal(p.y, whole, bytes);
        }
        for (size_t e = 0; e < bytes / sizeof *p.y; e++) p.y[e] = GAP;
        for (size_t t = 0; t < p.tokens; t++) {
            const operand one = {.tokens = 1, .first = p.index[t], .x = p.x, .stride = p.x_stride};
            matmul(&p.w, 0, rows, &one, &(target){.y = p.y + t * p.y_stride, .bias = p.bias}, scratch);
        }
        assert_memory_equal(p.y, whole, bytes);
        free(whole);
        free(scratch);
        free_product(&p);
    }
}

static void targets_can_be_indexed_weighted_and_added_to(void **state) {
    (void)state;
    uint64_t seed = 8;
    product p = make_product(TYPE_Q8_0, 21, 96, 4, &seed);
    compute(&p, 0, 21, false, true);
    const uint32_t places[] = {3, 0, 2, 1};
    const float weights[] = {0.5f, -2, 1, 0.25f};
    float scratch[8 * 96 > 6000 ? 8 * 96 : 6000], sums[4 * 21];
    assert_true(matmul_scratch(96, 4) <= sizeof scratch / sizeof *scratch);
    for (size_t i = 0; i < 4 * 21; i++) sums[i] = (float)i;
    const operand x = {.tokens = 4, .x = p.x, .stride = p.x_stride};
    matmul(&p.w, 0, 21, &x,
           &(target){.y = sums, .stride = 21, .index = places, .bias = p.bias, .weights = weights, .add = true},
           scratch);
    for (size_t t = 0; t < 4; t++)
        for (size_t r = 0; r < 21; r++) {
            size_t i = places[t] * 21 + r;
            assert_true(sums[i] == (float)i + p.y[t * p.y_stride + r] * weights[t]);
        }
    free_product(&p);
}

static void a_nan_reaches_its_own_token_and_no_other(void **state) {
    (void)state;
    uint64_t seed = 6;
    product p = make_product(TYPE_Q8_0, 11, 64, 5, &seed);
    p.x[2 * p.x_stride + 63] = NAN;
    compute(&p, 0, 11, false, false);
    for (size_t t = 0; t < 5; t++)
        for (size_t r = 0; r < 11; r++) assert_int_equal(isnan(p.y[t * p.y_stride + r]) != 0, t == 2);
    free_product(&p);
}

static void dot_products_of_every_length(void **state) {
    (void)state;
    uint64_t seed = 7;
    for (uint32_t count = 0; count < 200; count++) {
        float *a = malloc((count + 1) * sizeof *a), *b = malloc((count + 1) * sizeof *b);
        random_floats(&seed, a, count);
        random_floats(&seed, b, count);
        a[count] = b[count] = NAN; /* one too many would show */
        double want = 0, magnitude = 0;
        for (uint32_t i = 0; i < count; i++) {
            want += (double)a[i] * b[i];
            magnitude += fabs((double)a[i] * b[i]);
        }
        assert_true(near(dot_f32(a, b, count), want, magnitude, count));
        isa_use(ISA_PORTABLE);
        float portable = dot_f32(a, b, count);
        isa_use(isa_best());
        assert_true(dot_f32(a, b, count) == portable);
        for (uint32_t i = 0; i < count; i++) { /* each element counts, once */
            float kept = a[i];
            memset(a, 0, count * sizeof *a);
            a[i] = 3;
            assert_true(dot_f32(a, b, count) == 3 * b[i]);
            a[i] = kept;
        }
        free(a);
        free(b);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_types_and_odd_shapes),
        cmocka_unit_test(wide_rows_as_in_real_models),
        cmocka_unit_test(splits_and_batches_change_no_bit),
        cmocka_unit_test(a_nan_reaches_its_own_token_and_no_other),
        cmocka_unit_test(dot_products_of_every_length),
        cmocka_unit_test(targets_can_be_indexed_weighted_and_added_to),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
