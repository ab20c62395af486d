/* matmul.h: products of weight matrices, as they stand in the file, with float32 activations. */
#ifndef KERNELS_MATMUL_H
#define KERNELS_MATMUL_H

#include <stddef.h>
#include <stdint.h>

#include "gguf/types.h"

/* W[rows][cols], row-major, each row `row_bytes` = gguf_row_bytes(type, cols) bytes; borrowed, any alignment. */
typedef struct matrix {
    gguf_type type;
    uint32_t rows, cols;
    uint64_t row_bytes;
    const uint8_t *data;
} matrix;

/* float32 scratch for matmul, in floats, for matrices of up to `cols` columns. */
size_t matmul_scratch(size_t cols);

/* For rows r of [row_begin, row_end) and tokens t of [0, tokens):
 *
 *     y[t * y_stride + r] = sum over c of W[r][c] * x[i(t) * x_stride + c] + (bias ? bias[r] : 0)
 *
 * where i(t) = x_index ? x_index[t] : t. float32 arithmetic; the order of additions depends on cols alone, so results
 * are the same for any split of rows between threads, any number of tokens and any machine.
 * scratch: matmul_scratch(w->cols) floats of the calling thread's own. y overlaps nothing else.
 * The type must be one for which dequant_for() is not NULL. */
void matmul(const matrix *w, uint32_t row_begin, uint32_t row_end, const float *x, size_t x_stride,
            const uint32_t *x_index, size_t tokens, const float *bias, float *y, size_t y_stride, float *scratch);

/* sum of a[i] * b[i] in float32, in an order that depends on count alone. */
float dot_f32(const float *a, const float *b, size_t count);

#endif
