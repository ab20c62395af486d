/* activations.h: vectors rounded to 16 bits for products with quantized weights.
 *
 * A row of `cols` floats becomes blocks of 32: x[c] is about scale[c / 32] * q[c] with |q| <= ACTIVATION_MOST, so that
 * sums of products with weights of 8 bits are exact in 32-bit integers and the error is that of a 16-bit number. */
#ifndef KERNELS_ACTIVATIONS_H
#define KERNELS_ACTIVATIONS_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

enum {
    ACTIVATION_BLOCK = 32,
    ACTIVATION_TOGETHER = 2,           /* blocks whose digits may be side by side, at most */
    ACTIVATION_MOST = 127 * 256 + 127, /* the largest number of two signed 8-bit digits */
    FP4_BIAS = 12                      /* added to twice a 4-bit float's value to make it unsigned */
};

/* One rounded row; every array begins on a cache line. */
typedef struct activation_row {
    int16_t *q; /* [cols], in order */
    /* [cols, up to a multiple of 64]: q = 256 * high + low, in an order of the instruction set's own
     * (integer_split) */
    int8_t *high, *low;
    float *scales; /* [cols / 32] */
    int32_t *sums; /* [cols / 32]: of q; what a bias of the weights has to be multiplied with */
} activation_row;

/* Rows of equal length. cols is a multiple of 32. */
typedef struct activations {
    size_t cols, count, row_bytes;
    uint8_t *rows; /* owned */
} activations;

gptoss_status activations_open(size_t count, size_t cols, activations *out, gptoss_error *err);
void activations_close(activations *a); /* an empty one is fine */

activation_row activations_row(const activations *a, size_t i);

/* Rounds x[cols] into row i with the kernels in use. A block that holds NaN or infinity gets a NaN for its scale, so
 * that every product with it is NaN; one whose largest magnitude is below 1e-30 becomes zero. */
void activations_round(activations *a, size_t i, const float *x);

/* The same rows rearranged for products with many tokens: groups of up to `group` tokens side by side.
 *
 * Blocks are taken in chunks of PACK_BLOCKS; within a chunk the groups follow each other, and within a group lie the
 * blocks one after the other, in the order that the kernels in use want (integer_kernels.order). All tokens' scales lie
 * likewise, [block][token]. So a kernel that takes a chunk of columns and then group after group reads straight on. */
enum { PACK_BLOCKS = 8, PAIRS = ACTIVATION_BLOCK / 2 };

/* A block of a group:
 *
 *   PACKED_PAIRS    [column pair][token], a pair being two int16 in one int32.
 *   PACKED_DIGITS   [token][high, low][32] bytes, which are as large.
 *   PACKED_CROSSED  [column pair][token] and then [token]. Of every 16 columns the first CROSSED lie crossed: four
 *                   columns a b c d are the pairs (a, c) and (b, d). What follows the pairs is the sum of all a b + c d
 *                   of the block, modulo 2^32.
 *   PACKED_BFLOAT16 [high, low][pair][token], a pair being the digits of two columns in bfloat16, high ones times 256.
 *                   Of every 16 columns the even ones come first, then the odd ones. */
typedef enum packed_order { PACKED_PAIRS, PACKED_DIGITS, PACKED_CROSSED, PACKED_BFLOAT16 } packed_order;
enum { CROSSED = 12, CROSSED_WORDS = PAIRS + 1 };

typedef struct packed_tokens {
    size_t tokens, cols, group;
    int32_t *pairs; /* [tokens * packed_words(cols)] */
    float *scales;  /* [tokens * cols / 32] */
} packed_tokens;

/* How many int32 a token takes. */
size_t packed_words(size_t cols);

/* Room at pairs and scales, of the sizes above, for some tokens in groups as even as can be, since a group of very few
 * would take nearly the time of a full one, or in whole groups where the kernels want that. Not for kernels without
 * groups. */
packed_tokens packed_room(size_t tokens, size_t cols, int32_t *pairs, float *scales);

/* Where a chunk (beginning at block `block`, of `blocks` blocks) of the group beginning at `token` lies. */
size_t packed_pairs_at(const packed_tokens *p, size_t block, size_t blocks, size_t token);
size_t packed_scales_at(const packed_tokens *p, size_t block, size_t blocks, size_t token);

/* Writes tokens [begin, end) of p, token t being row first + (index ? index[t] : t) of a. Different tokens may be
 * written by different threads at the same time. */
void packed_write(const packed_tokens *p, const activations *a, const uint32_t *index, size_t first, size_t begin,
                  size_t end);

#endif
