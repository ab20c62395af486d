/* NEON with the dot product extension. sdot multiplies signed bytes, and both digits of an activation are such: with
 * q = 256 * high + low, the sum of w * q is that of w * high, shifted by eight bits, plus that of w * low. It makes
 * eight products of a weight with 16 bits an instruction, where smlal makes four.
 *
 * Designed by counting instructions and run in an emulator: how far to prefetch, and from how many tokens on packing
 * pays, has not been measured on a processor. */
#include "kernels/integer.h"

#if defined(__aarch64__)

#include <arm_neon.h>
#include <math.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline))

enum { FP4_BYTES = 17, Q8_BYTES = 34, LINE = 64 };
enum { GROUP = 4 };                /* tokens whose sums with 16 rows stay in registers */
enum { WEIGHTS_AHEAD = 16 << 10 }; /* bytes; as on x86-64 */

/* Four columns each of the panel's rows, rows 4 i to 4 i + 3 in vector i; and a block's eight of them. */
enum { QUADS = ACTIVATION_BLOCK / 4, VECTORS = PANEL_ROWS / 4, BLOCK_BYTES = ACTIVATION_BLOCK * PANEL_ROWS };

INLINE int8x16_t load(const uint8_t *at) { return vreinterpretq_s8_u8(vld1q_u8(at)); }

/* Into the second cache. Reading ahead past the end of the weights does no harm. */
INLINE void prefetch_far(const uint8_t *at, size_t bytes) {
    for (size_t i = 0; i < bytes; i += LINE) __builtin_prefetch(at + i, 0, 2);
}

INLINE uint32_t fp4_scale_bits(uint8_t exponent) { return (uint32_t)exponent << 23; }

INLINE float q8_scale(const uint8_t *block) {
    uint16_t bits;
    memcpy(&bits, block, sizeof bits);
    return vgetq_lane_f32(vcvt_f32_f16(vreinterpret_f16_u16(vdup_n_u16(bits))), 0);
}

/* Twice the values of 4-bit floats; nibbles are whole bytes. */
INLINE int8x16_t fp4_doubled(uint8x16_t nibbles) {
    static const int8_t table[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};
    return vqtbl1q_s8(vld1q_s8(table), nibbles);
}

INLINE int8x16_t fp4_low(uint8x16_t nibbles) { return fp4_doubled(vandq_u8(nibbles, vdupq_n_u8(15))); }
INLINE int8x16_t fp4_high(uint8x16_t nibbles) { return fp4_doubled(vshrq_n_u8(nibbles, 4)); }

/* ---- one token ----
 *
 * Rows one after the other, as they lie in memory, so that processors fetch ahead by themselves. */

/* The sum of w * q of one block, in four parts. */
INLINE int32x4_t block_products(integer_format format, const uint8_t *block, const int8_t *high, const int8_t *low) {
    int8x16_t first, second;
    if (format == INTEGER_MXFP4) {
        uint8x16_t nibbles = vld1q_u8(block + 1);
        first = fp4_low(nibbles), second = fp4_high(nibbles);
    } else {
        first = load(block + 2), second = load(block + 18);
    }
    int32x4_t sum = vdotq_s32(vdupq_n_s32(0), first, vld1q_s8(high));
    sum = vdotq_s32(sum, second, vld1q_s8(high + 16));
    sum = vdotq_s32(vshlq_n_s32(sum, 8), first, vld1q_s8(low));
    return vdotq_s32(sum, second, vld1q_s8(low + 16));
}

/* The scales of four blocks of a row. */
INLINE float32x4_t four_scales(integer_format format, const uint8_t *row) {
    if (format == INTEGER_MXFP4) {
        uint64_t first = fp4_scale_bits(row[0]) | (uint64_t)fp4_scale_bits(row[FP4_BYTES]) << 32;
        uint64_t second = fp4_scale_bits(row[2 * FP4_BYTES]) | (uint64_t)fp4_scale_bits(row[3 * FP4_BYTES]) << 32;
        return vreinterpretq_f32_u64(vcombine_u64(vcreate_u64(first), vcreate_u64(second)));
    }
    uint16_t halves[4];
    for (size_t i = 0; i < 4; i++) memcpy(halves + i, row + i * Q8_BYTES, sizeof *halves);
    uint64_t bits = halves[0] | (uint64_t)halves[1] << 16 | (uint64_t)halves[2] << 32 | (uint64_t)halves[3] << 48;
    return vcvt_f32_f16(vreinterpret_f16_u64(vcreate_u64(bits)));
}

/* One row times x; `format` is known when this is compiled. */
INLINE float multiply_row(integer_format format, const uint8_t *row, size_t cols, activation_row x) {
    size_t block_bytes = format == INTEGER_MXFP4 ? FP4_BYTES : Q8_BYTES, blocks = cols / ACTIVATION_BLOCK, b = 0;
    const int8_t *high = x.high, *low = x.low;
    float y = 0;
    for (; b + 4 <= blocks; b += 4, row += 4 * block_bytes) {
        int32x4_t sum[4];
        prefetch_far(row + WEIGHTS_AHEAD, 4 * block_bytes);
        for (size_t i = 0; i < 4; i++, high += ACTIVATION_BLOCK, low += ACTIVATION_BLOCK)
            sum[i] = block_products(format, row + i * block_bytes, high, low);
        float32x4_t products = vcvtq_f32_s32(vpaddq_s32(vpaddq_s32(sum[0], sum[1]), vpaddq_s32(sum[2], sum[3])));
        float32x4_t scales = vmulq_f32(four_scales(format, row), vld1q_f32(x.scales + b));
        y = vfmas_laneq_f32(y, vgetq_lane_f32(products, 0), scales, 0);
        y = vfmas_laneq_f32(y, vgetq_lane_f32(products, 1), scales, 1);
        y = vfmas_laneq_f32(y, vgetq_lane_f32(products, 2), scales, 2);
        y = vfmas_laneq_f32(y, vgetq_lane_f32(products, 3), scales, 3);
    }
    for (; b < blocks; b++, row += block_bytes, high += ACTIVATION_BLOCK, low += ACTIVATION_BLOCK) {
        float product = (float)vaddvq_s32(block_products(format, row, high, low));
        float scale = format == INTEGER_MXFP4 ? vget_lane_f32(vcreate_f32(fp4_scale_bits(*row)), 0) : q8_scale(row);
        y = fmaf(product, scale * x.scales[b], y);
    }
    return format == INTEGER_MXFP4 ? 0.5f * y : y; /* what was summed is twice the weights */
}

/* ---- several tokens ----
 *
 * A panel's blocks are unpacked to [quad of columns][PANEL_ROWS][4] bytes: a row is then a lane, and no sums across
 * lanes are needed. */

/* Word i of four rows' 16 bytes becomes out[i], a row a lane. */
INLINE void transpose(const uint8_t *rows, size_t row_bytes, uint8x16_t out[4]) {
    uint32x4_t row[4];
    for (size_t r = 0; r < 4; r++) row[r] = vreinterpretq_u32_u8(vld1q_u8(rows + r * row_bytes));
    uint64x2_t even01 = vreinterpretq_u64_u32(vtrn1q_u32(row[0], row[1]));
    uint64x2_t even23 = vreinterpretq_u64_u32(vtrn1q_u32(row[2], row[3]));
    uint64x2_t odd01 = vreinterpretq_u64_u32(vtrn2q_u32(row[0], row[1]));
    uint64x2_t odd23 = vreinterpretq_u64_u32(vtrn2q_u32(row[2], row[3]));
    out[0] = vreinterpretq_u8_u64(vtrn1q_u64(even01, even23));
    out[1] = vreinterpretq_u8_u64(vtrn1q_u64(odd01, odd23));
    out[2] = vreinterpretq_u8_u64(vtrn2q_u64(even01, even23));
    out[3] = vreinterpretq_u8_u64(vtrn2q_u64(odd01, odd23));
}

INLINE void unpack_block(integer_format format, const uint8_t *rows, size_t row_bytes, int8_t *quads) {
    for (size_t v = 0; v < VECTORS; v++, rows += 4 * row_bytes, quads += 16) {
        uint8x16_t words[4];
        if (format == INTEGER_MXFP4) {
            transpose(rows + 1, row_bytes, words);
            for (size_t i = 0; i < 4; i++) {
                vst1q_s8(quads + i * LINE, fp4_low(words[i]));
                vst1q_s8(quads + (4 + i) * LINE, fp4_high(words[i]));
            }
        } else {
            for (size_t half = 0; half < 2; half++) {
                transpose(rows + 2 + 16 * half, row_bytes, words);
                for (size_t i = 0; i < 4; i++) vst1q_s8(quads + (4 * half + i) * LINE, vreinterpretq_s8_u8(words[i]));
            }
        }
    }
}

INLINE void unpack(integer_format format, const uint8_t *rows, size_t row_bytes, size_t begin, size_t end,
                   int16_t *weights, float *scales, const uint8_t *ahead) {
    size_t block_bytes = format == INTEGER_MXFP4 ? FP4_BYTES : Q8_BYTES;
    int8_t *quads = (int8_t *)weights;
    for (size_t r = 0; r < PANEL_ROWS; r++) {
        const uint8_t *block = rows + r * row_bytes + begin * block_bytes;
        for (size_t b = 0; b < end - begin; b++, block += block_bytes) {
            uint32_t bits = fp4_scale_bits(*block);
            float scale;
            memcpy(&scale, &bits, sizeof scale);
            scales[b * PANEL_ROWS + r] = format == INTEGER_MXFP4 ? 0.5f * scale : q8_scale(block);
        }
    }
    for (size_t b = begin; b < end; b++, quads += BLOCK_BYTES, ahead += PANEL_ROWS * block_bytes) {
        prefetch_far(ahead, PANEL_ROWS * block_bytes);
        unpack_block(format, rows + b * block_bytes, row_bytes, quads);
    }
}

static void unpack_mxfp4(const uint8_t *rows, size_t row_bytes, size_t begin, size_t end, int16_t *weights,
                         float *scales, const uint8_t *ahead) {
    unpack(INTEGER_MXFP4, rows, row_bytes, begin, end, weights, scales, ahead);
}

static void unpack_q8_0(const uint8_t *rows, size_t row_bytes, size_t begin, size_t end, int16_t *weights,
                        float *scales, const uint8_t *ahead) {
    unpack(INTEGER_Q8_0, rows, row_bytes, begin, end, weights, scales, ahead);
}

typedef struct sums {
    int32x4_t of[GROUP][VECTORS];
} sums;

/* *sum += w * the four bytes of that lane; the lane is known once loops are unrolled. Volatile, so that all stays in
 * the order written: left to itself, gcc loads much ahead, and spills the sums. */
INLINE void add_lane(int32x4_t *sum, int8x16_t w, int8x16_t digits, size_t lane) {
    switch (lane) {
    case 0: __asm__ volatile("sdot %0.4s, %1.16b, %2.4b[0]" : "+w"(*sum) : "w"(w), "w"(digits)); break;
    case 1: __asm__ volatile("sdot %0.4s, %1.16b, %2.4b[1]" : "+w"(*sum) : "w"(w), "w"(digits)); break;
    case 2: __asm__ volatile("sdot %0.4s, %1.16b, %2.4b[2]" : "+w"(*sum) : "w"(w), "w"(digits)); break;
    default: __asm__ volatile("sdot %0.4s, %1.16b, %2.4b[3]" : "+w"(*sum) : "w"(w), "w"(digits)); break;
    }
}

INLINE void add_quad(sums *sum, const int8_t *quad, const int8x16_t digits[GROUP], size_t tokens, size_t lane) {
    for (size_t v = 0; v < VECTORS; v++) {
        int8x16_t w = vld1q_s8(quad + 16 * v);
        for (size_t t = 0; t < tokens; t++) add_lane(&sum->of[t][v], w, digits[t], lane);
    }
}

/* Adds the products of a block with one digit, of each token at digits[t]. */
INLINE void add_digit(sums *sum, const int8_t *quads, const int8_t *const digits[], size_t tokens) {
    for (size_t half = 0; half < 2; half++, quads += 4 * LINE) {
        __asm__ volatile("" : "+r"(quads)); /* forgets what was loaded for the other digit: it would spill */
        int8x16_t sixteen[GROUP];
        for (size_t t = 0; t < tokens; t++) sixteen[t] = vld1q_s8(digits[t] + 16 * half);
        add_quad(sum, quads, sixteen, tokens, 0);
        add_quad(sum, quads + LINE, sixteen, tokens, 1);
        add_quad(sum, quads + 2 * LINE, sixteen, tokens, 2);
        add_quad(sum, quads + 3 * LINE, sixteen, tokens, 3);
    }
}

/* y[t][PANEL_ROWS] += one block of a panel * tokens; `tokens` <= GROUP is known when this is compiled. */
INLINE void multiply_block(const int8_t *quads, const float *scales, const int8_t *const high[],
                           const int8_t *const low[], const float *token_scales, size_t tokens, float *y) {
    sums sum;
    for (size_t t = 0; t < tokens; t++)
        for (size_t v = 0; v < VECTORS; v++) sum.of[t][v] = vdupq_n_s32(0);
    add_digit(&sum, quads, high, tokens);
    for (size_t t = 0; t < tokens; t++)
        for (size_t v = 0; v < VECTORS; v++) sum.of[t][v] = vshlq_n_s32(sum.of[t][v], 8);
    add_digit(&sum, quads, low, tokens);
    for (size_t v = 0; v < VECTORS; v++) {
        float32x4_t row_scales = vld1q_f32(scales + 4 * v);
        for (size_t t = 0; t < tokens; t++) {
            float *at = y + t * PANEL_ROWS + 4 * v;
            float32x4_t scale = vmulq_n_f32(row_scales, token_scales[t]);
            vst1q_f32(at, vfmaq_f32(vld1q_f32(at), vcvtq_f32_s32(sum.of[t][v]), scale));
        }
    }
}

/* Packed tokens, as PACKED_DIGITS says. */
INLINE void multiply_group(const int16_t *weights, const float *scales, const int32_t *pairs, const float *token_scales,
                           size_t blocks, size_t tokens, float *y) {
    const int8_t *quads = (const int8_t *)weights, *digits = (const int8_t *)pairs;
    for (size_t b = 0; b < blocks; b++, quads += BLOCK_BYTES, scales += PANEL_ROWS, token_scales += tokens) {
        const int8_t *high[GROUP], *low[GROUP];
        for (size_t t = 0; t < tokens; t++, digits += 2 * ACTIVATION_BLOCK) {
            high[t] = digits;
            low[t] = digits + ACTIVATION_BLOCK;
        }
        multiply_block(quads, scales, high, low, token_scales, tokens, y);
    }
}

static void multiply(const int16_t *weights, const float *scales, const int32_t *pairs, const float *token_scales,
                     size_t blocks, size_t tokens, float *y) {
    switch (tokens) {
    case 1: multiply_group(weights, scales, pairs, token_scales, blocks, 1, y); break;
    case 2: multiply_group(weights, scales, pairs, token_scales, blocks, 2, y); break;
    case 3: multiply_group(weights, scales, pairs, token_scales, blocks, 3, y); break;
    default: multiply_group(weights, scales, pairs, token_scales, blocks, GROUP, y); break;
    }
}

/* ---- panels ---- */

/* Blocks [begin, end) of unpacked weights times tokens that are not packed. */
INLINE void multiply_rows(const int8_t *quads, const float *scales, size_t begin, size_t end, const activation_row *x,
                          size_t tokens, float *y) {
    for (size_t b = begin; b < end; b++, quads += BLOCK_BYTES, scales += PANEL_ROWS) {
        const int8_t *high[GROUP], *low[GROUP];
        float token_scales[GROUP];
        for (size_t t = 0; t < tokens; t++) {
            high[t] = x[t].high + b * ACTIVATION_BLOCK;
            low[t] = x[t].low + b * ACTIVATION_BLOCK;
            token_scales[t] = x[t].scales[b];
        }
        multiply_block(quads, scales, high, low, token_scales, tokens, y);
    }
}

INLINE void panel_of_several(integer_unpack *unpack_format, size_t block_bytes, const uint8_t *rows, size_t row_bytes,
                             size_t cols, const activation_row *x, size_t tokens, float *y) {
    _Alignas(LINE) int8_t quads[PACK_BLOCKS * BLOCK_BYTES];
    float scales[PACK_BLOCKS * PANEL_ROWS];
    size_t all = cols / ACTIVATION_BLOCK;
    memset(y, 0, tokens * PANEL_ROWS * sizeof *y);
    for (size_t begin = 0; begin < all; begin += PACK_BLOCKS) {
        size_t end = all - begin < PACK_BLOCKS ? all : begin + PACK_BLOCKS;
        const uint8_t *ahead = rows + PANEL_ROWS * (row_bytes + begin * block_bytes);
        unpack_format(rows, row_bytes, begin, end, (int16_t *)(void *)quads, scales, ahead);
        size_t t = 0;
        for (; t + GROUP <= tokens; t += GROUP)
            multiply_rows(quads, scales, begin, end, x + t, GROUP, y + t * PANEL_ROWS);
        switch (tokens - t) {
        case 1: multiply_rows(quads, scales, begin, end, x + t, 1, y + t * PANEL_ROWS); break;
        case 2: multiply_rows(quads, scales, begin, end, x + t, 2, y + t * PANEL_ROWS); break;
        case 3: multiply_rows(quads, scales, begin, end, x + t, 3, y + t * PANEL_ROWS); break;
        }
    }
}

static void panel_mxfp4(const uint8_t *rows, size_t row_bytes, size_t cols, const activation_row *x, size_t tokens,
                        float *y) {
    if (tokens == 1)
        for (size_t r = 0; r < PANEL_ROWS; r++) y[r] = multiply_row(INTEGER_MXFP4, rows + r * row_bytes, cols, *x);
    else
        panel_of_several(unpack_mxfp4, FP4_BYTES, rows, row_bytes, cols, x, tokens, y);
}

static void panel_q8_0(const uint8_t *rows, size_t row_bytes, size_t cols, const activation_row *x, size_t tokens,
                       float *y) {
    if (tokens == 1)
        for (size_t r = 0; r < PANEL_ROWS; r++) y[r] = multiply_row(INTEGER_Q8_0, rows + r * row_bytes, cols, *x);
    else
        panel_of_several(unpack_q8_0, Q8_BYTES, rows, row_bytes, cols, x, tokens, y);
}

/* ---- rounding ---- */

static void round_row(const float *x, size_t cols, activation_row out) {
    for (size_t b = 0; b < cols / 32; b++, x += 32) {
        uint32x4_t largest = vdupq_n_u32(0); /* magnitudes compare as their bits do, NaN above all */
        for (size_t i = 0; i < 32; i += 4)
            largest = vmaxq_u32(largest, vreinterpretq_u32_f32(vabsq_f32(vld1q_f32(x + i))));
        uint32_t bits = vmaxvq_u32(largest);
        float most;
        memcpy(&most, &bits, sizeof most);
        bool usable = most >= 1e-30f && most < INFINITY;
        out.scales[b] = most < INFINITY ? usable ? most / (float)ACTIVATION_MOST : 0.0f : NAN;
        float inverse = usable ? (float)ACTIVATION_MOST / most : 0.0f;
        for (size_t i = 0; i < 32; i += 8) { /* what is not usable becomes 0 or NaN, and either 0 */
            int32x4_t first = vcvtnq_s32_f32(vmulq_n_f32(vld1q_f32(x + i), inverse));
            int32x4_t second = vcvtnq_s32_f32(vmulq_n_f32(vld1q_f32(x + i + 4), inverse));
            vst1q_s16(out.q + b * 32 + i, vcombine_s16(vmovn_s32(first), vmovn_s32(second)));
        }
    }
    integer_split(cols, 1, out);
}

const integer_kernels integer_neon = {.round = round_row,
                                      .together = 1,
                                      .panel = {panel_mxfp4, panel_q8_0},
                                      .unpack = {unpack_mxfp4, unpack_q8_0},
                                      .multiply = {multiply, multiply},
                                      .group = GROUP,
                                      .order = PACKED_DIGITS,
                                      .few = PANEL_TOKENS};

#endif
