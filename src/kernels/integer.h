/* integer.h: products of quantized weights with activations rounded to 16 bits; one set of functions per instruction
 * set, all with the same results to the last bit.
 *
 * For each row and token the sum of a block of 32 products is an exact integer. It is turned into float32 (rounded to
 * nearest) and added to the row's sum with one fused multiply-add, blocks in ascending order:
 *
 *     y = fma(float(sum of w[c] * q[c]), weight_scale * activation_scale, y)
 *
 * So results depend neither on how many tokens are multiplied together nor on the instruction set. */
#ifndef KERNELS_INTEGER_H
#define KERNELS_INTEGER_H

#include "gguf/types.h"
#include "kernels/activations.h"

/* How weights lie in memory: rows as in a GGUF file. */
typedef enum integer_format { INTEGER_MXFP4, INTEGER_Q8_0, INTEGER_FORMATS } integer_format;

/* Whether a type has integer kernels. */
bool integer_format_of(gguf_type type, integer_format *out);

enum { PANEL_ROWS = 8, TILE_ROWS = 16, MOST_GROUP = 16 };

/* y[r] = row r of `rows` times x, for PANEL_ROWS rows that lie row_bytes apart; cols is a multiple of 32. The rows that
 * follow are prefetched. y overlaps nothing. */
typedef void integer_panel(const uint8_t *rows, size_t row_bytes, size_t cols, activation_row x, float *y);

/* Blocks [begin, end) of PANEL_ROWS rows as int16 and float32, for half a tile:
 * weights[block][pair][TILE_ROWS][2], scales[block][TILE_ROWS]; blocks count from 0 at `begin`; the caller points both
 * at the half's first row. `ahead` is where later calls will read: as many bytes from there are prefetched as are read
 * here. */
typedef void integer_unpack(const uint8_t *rows, size_t row_bytes, size_t begin, size_t end, int16_t *weights,
                            float *scales, const uint8_t *ahead);

/* y[t][TILE_ROWS] += tile * tokens, for the blocks of one chunk and `tokens` <= group tokens of one group; arguments
 * as described at integer_unpack and packed_tokens. weights and scales are 32-byte aligned. */
typedef void integer_multiply(const int16_t *weights, const float *scales, const int32_t *pairs,
                              const float *token_scales, size_t blocks, size_t tokens, float *y);

typedef struct integer_kernels {
    void (*round)(const float *x, size_t cols, activation_row out);
    integer_panel *panel[INTEGER_FORMATS];
    /* Products with many tokens; NULL and 0 where there is nothing better than a panel at a time. */
    integer_unpack *unpack[INTEGER_FORMATS];
    integer_multiply *multiply;
    size_t group; /* tokens side by side, at most MOST_GROUP */
} integer_kernels;

/* Those of the instruction set in use; for ISA_REFERENCE the portable ones, which it does not multiply with. */
const integer_kernels *integer_kernels_used(void);

/* NULL when this program was built without it. */
const integer_kernels *integer_kernels_of(int which_isa);

extern const integer_kernels integer_portable;
#if defined(__x86_64__)
extern const integer_kernels integer_avx2;
#endif

/* One row times x in plain C: the naive twin, and what rows beyond the last whole panel go through. */
float integer_dot(integer_format format, const uint8_t *row, size_t cols, activation_row x);

/* Fills in high, low and biases of a row from its q. */
void integer_split(size_t cols, activation_row row);

#endif
