/* matmul.h: products of weight matrices, as they stand in the file, with the activations of some tokens. */
#ifndef KERNELS_MATMUL_H
#define KERNELS_MATMUL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "gguf/types.h"
#include "kernels/activations.h"

/* W[rows][cols], row-major, each row beginning `row_bytes` >= gguf_row_bytes(type, cols) bytes behind the one before;
 * borrowed, any alignment. */
typedef struct matrix {
    gguf_type type;
    uint32_t rows, cols;
    uint64_t row_bytes;
    const uint8_t *data;
} matrix;

/* The vectors a matrix is multiplied with: token t is row `first + (index ? index[t] : t)` of x and of `rounded`. */
typedef struct operand {
    size_t tokens, first;
    const uint32_t *index;
    const float *x; /* rows of `stride` floats */
    size_t stride;
    const activations *rounded; /* the same rows; NULL when every product is to be made in float32 */
    const packed_tokens
        *packed; /* the tokens, rearranged; or NULL. Worth it for more than integer_kernels.few tokens. */
} operand;

/* Where products go: row r of token t to y[(index ? index[t] : t) * stride + r], as
 *
 *     (product + bias[r]) * weights[t]        (no bias: 0; no weights: 1)
 *
 * instead of, or with `add` in addition to, what is there. */
typedef struct target {
    float *y;
    size_t stride;
    const uint32_t *index;
    const float *bias, *weights;
    bool add;
} target;

/* Floats of scratch that matmul needs for matrices of up to `cols` columns and operands of up to `tokens` tokens. */
size_t matmul_scratch(size_t cols, size_t tokens);

/* Rows [row_begin, row_end) of w times all tokens. The type must be one for which dequant_for() is not NULL. Types with
 * integer kernels are multiplied with `rounded` (see integer.h), others with x in float32. Results are the same for any
 * split of rows between threads, any number of tokens, packed or not, and any instruction set but ISA_REFERENCE, which
 * multiplies all in float32.
 * scratch: matmul_scratch() floats of the calling thread's own, on a cache line. y overlaps nothing else. */
void matmul(const matrix *w, uint32_t row_begin, uint32_t row_end, const operand *x, const target *y, float *scratch);

/* Rows in whole multiples of this are the best shares for threads. */
enum { MATMUL_GRAIN = 16 };

/* sum of a[i] * b[i] in float32, in an order that depends on count alone. */
float dot_f32(const float *a, const float *b, size_t count);

#endif
