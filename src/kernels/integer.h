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

enum { PANEL_ROWS = 16, PANEL_TOKENS = 8 };

/* Room for a panel's share of a chunk: weights, in int16 and in floats, and scales. */
enum {
    CHUNK_FLOATS = PACK_BLOCKS * CROSSED_WORDS * PANEL_ROWS,
    CHUNK_WEIGHTS = 2 * CHUNK_FLOATS,
    CHUNK_SCALES = PACK_BLOCKS * PANEL_ROWS
};

/* y[t][PANEL_ROWS] = `rows` times x[t], for PANEL_ROWS rows that lie row_bytes apart and 1 to PANEL_TOKENS tokens; cols
 * is a multiple of 32. y overlaps nothing. */
typedef void integer_panel(const uint8_t *rows, size_t row_bytes, size_t cols, const activation_row *x, size_t tokens,
                           float *y);

/* Blocks [begin, end) of PANEL_ROWS rows as int16 and float32: weights[block][pair][PANEL_ROWS][2],
 * scales[block][PANEL_ROWS]; blocks count from 0 at `begin`, pairs are those of columns. Both are on a cache line.
 * Where tokens are packed as digits, weights are bytes instead, in an order of the instruction set's own. Where they
 * are packed crossed, four columns a b c d are the pairs (b, d) and (a, c), so that each meets its neighbour, and an
 * int32[PANEL_ROWS] follows the pairs of a block: minus the sum of all a b + c d.
 * Where they are packed as bfloat16, weights are bfloat16 too: weights[block][row][32], in the order of packed_order.
 * `ahead` is where later calls will read: as many bytes from there are prefetched as are read here. */
typedef void integer_unpack(const uint8_t *rows, size_t row_bytes, size_t begin, size_t end, int16_t *weights,
                            float *scales, const uint8_t *ahead);

/* y[t][PANEL_ROWS] += panel * tokens, for the blocks of one chunk and `tokens` <= group tokens of one group; arguments
 * as described at integer_unpack and packed_tokens. */
typedef void integer_multiply(const int16_t *weights, const float *scales, const int32_t *pairs,
                              const float *token_scales, size_t blocks, size_t tokens, float *y);

/* The same for two panels: the second one's weights and scales lie CHUNK_WEIGHTS and CHUNK_SCALES behind, and y_2 is
 * its y. */
typedef void integer_multiply_two(const int16_t *weights, const float *scales, const int32_t *pairs,
                                  const float *token_scales, size_t blocks, size_t tokens, float *y, float *y_2);

typedef struct integer_kernels {
    void (*round)(const float *x, size_t cols, activation_row out);
    size_t together; /* see integer_split */
    integer_panel *panel[INTEGER_FORMATS];
    /* Products with many tokens; NULL and 0 where there is nothing better than a few at a time. */
    integer_unpack *unpack[INTEGER_FORMATS];
    integer_multiply *multiply[INTEGER_FORMATS];
    integer_multiply_two *multiply_two[INTEGER_FORMATS]; /* NULL where that is no faster */
    size_t group;                                        /* tokens side by side, at most */
    bool whole_groups;  /* groups are full but for the last one, which takes the time of a full one */
    size_t span_bytes;  /* of packed tokens that rows are multiplied with before the next rows; 0 for all */
    packed_order order; /* of packed tokens; digits only with `together` of 1 */
    size_t few;         /* up to so many tokens panels are faster */
    /* What an instruction set does in its own way; NULL for others. `begin` and `end` enclose a thread's
     * multiplications, the last group having `rest` tokens, or 0 if it is full. `turn` makes y[t][PANEL_ROWS] of what
     * multiplications left for a group. `pack` writes blocks of a row as number `lane` of the `width` tokens of a
     * group. */
    void (*begin)(size_t rest);
    void (*end)(void);
    void (*turn)(float *y);
    void (*pack)(activation_row row, size_t block, size_t blocks, size_t lane, size_t width, int32_t *group);
} integer_kernels;

/* Those of the instruction set in use; for ISA_REFERENCE the portable ones, which it does not multiply with. */
const integer_kernels *integer_kernels_used(void);

/* NULL when this program was built without it. */
const integer_kernels *integer_kernels_of(int which_isa);

extern const integer_kernels integer_portable;
#if defined(__x86_64__)
extern const integer_kernels integer_avx2, integer_avx512;
#if defined(GPTOSS_AMX)
extern const integer_kernels integer_amx;
#endif
#elif defined(__aarch64__)
extern const integer_kernels integer_neon;
#endif

/* One row times x in plain C: the naive twin, and what rows beyond the last whole panel go through. */
float integer_dot(integer_format format, const uint8_t *row, size_t cols, activation_row x);

/* Fills in high, low and sums of a row from its q. `together` blocks A, B, ..., a divisor of ACTIVATION_TOGETHER, have
 * their digits side by side, since formats of 4 bits keep weights j and j + 16 of a block in one byte:
 *
 *     A[0..16) B[0..16) ... A[16..32) B[16..32) ...
 *
 * An incomplete last group has zeros for the blocks that it lacks. */
void integer_split(size_t cols, size_t together, activation_row row);

/* Where the digits of column c then are. */
size_t integer_digit(size_t together, size_t c);

#endif
