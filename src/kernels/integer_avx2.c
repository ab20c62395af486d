/* AVX2. A panel's eight rows are the eight lanes of every float vector. */
#include "kernels/integer.h"

#if defined(__x86_64__)

#include <immintrin.h>
#include <math.h>
#include <stdbool.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline))

enum { FP4_BYTES = 17, Q8_BYTES = 34, LINE = 64, GROUP = 6 };
enum { TOKENS_AHEAD = 256 }; /* pairs to prefetch ahead: a few hundred cycles of work */

INLINE __m256i load(const void *at) { return _mm256_loadu_si256((const __m256i *)at); }

/* 16 bytes of one place below 16 bytes of another. */
INLINE __m256i load_halves(const uint8_t *low, const uint8_t *high) {
    return _mm256_inserti128_si256(_mm256_castsi128_si256(_mm_loadu_si128((const __m128i *)low)),
                                   _mm_loadu_si128((const __m128i *)high), 1);
}

INLINE void prefetch(const uint8_t *at, size_t bytes) {
    for (size_t i = 0; i < bytes; i += LINE) _mm_prefetch((const char *)at + i, _MM_HINT_T0);
}

/* Into the second cache: the first is full of the tile and the tokens under way. */
INLINE void prefetch_far(const uint8_t *at, size_t bytes) {
    for (size_t i = 0; i < bytes; i += LINE) _mm_prefetch((const char *)at + i, _MM_HINT_T1);
}

/* The sums of the four lanes of each half of a, b, c, d: [a b c d of the lower half | of the upper half]. */
INLINE __m256i sum_halves(__m256i a, __m256i b, __m256i c, __m256i d) {
    return _mm256_hadd_epi32(_mm256_hadd_epi32(a, b), _mm256_hadd_epi32(c, d));
}

/* Eight rows' 16 bytes at `rows`, turned so that word i of row r is lane r of out[i]. */
INLINE void transpose(const uint8_t *rows, size_t row_bytes, __m256i out[4]) {
    const uint8_t *upper = rows + 4 * row_bytes;
    __m256i a = load_halves(rows, upper), b = load_halves(rows + row_bytes, upper + row_bytes);
    __m256i c = load_halves(rows + 2 * row_bytes, upper + 2 * row_bytes);
    __m256i d = load_halves(rows + 3 * row_bytes, upper + 3 * row_bytes);
    __m256i ab = _mm256_unpacklo_epi32(a, b), cd = _mm256_unpacklo_epi32(c, d);
    __m256i ab_high = _mm256_unpackhi_epi32(a, b), cd_high = _mm256_unpackhi_epi32(c, d);
    out[0] = _mm256_unpacklo_epi64(ab, cd);
    out[1] = _mm256_unpackhi_epi64(ab, cd);
    out[2] = _mm256_unpacklo_epi64(ab_high, cd_high);
    out[3] = _mm256_unpackhi_epi64(ab_high, cd_high);
}

/* ---- MXFP4 ---- */

/* Twice the 4-bit floats plus FP4_BIAS: unsigned, as the first operand of maddubs must be. */
INLINE __m256i fp4_biased(__m256i nibbles) {
    const __m256i table = _mm256_setr_epi8(12, 13, 14, 15, 16, 18, 20, 24, 12, 11, 10, 9, 8, 6, 4, 0, 12, 13, 14, 15,
                                           16, 18, 20, 24, 12, 11, 10, 9, 8, 6, 4, 0);
    return _mm256_shuffle_epi8(table, nibbles);
}

INLINE __m256i fp4_signed(__m256i nibbles) {
    const __m256i table = _mm256_setr_epi8(0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12, 0, 1, 2, 3, 4, 6, 8,
                                           12, 0, -1, -2, -3, -4, -6, -8, -12);
    return _mm256_shuffle_epi8(table, nibbles);
}

INLINE __m256i low_nibbles(__m256i bytes) { return _mm256_and_si256(bytes, _mm256_set1_epi8(15)); }
INLINE __m256i high_nibbles(__m256i bytes) { return low_nibbles(_mm256_srli_epi16(bytes, 4)); }

/* Scale bytes of eight rows as powers of two. */
INLINE __m256 fp4_scales(const uint8_t *exponents) {
    __m128i bytes = _mm_loadl_epi64((const __m128i *)exponents);
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu8_epi32(bytes), 23));
}

/* The biased products of two blocks of a row, in four parts each: [block A | block B]. Sums of four products of 24 and
 * 128 fit 16 bits. */
INLINE __m256i fp4_products(__m256i nibbles, const int8_t *high, const int8_t *low) {
    __m256i w0 = fp4_biased(low_nibbles(nibbles)), w1 = fp4_biased(high_nibbles(nibbles));
    __m256i h = _mm256_add_epi16(_mm256_maddubs_epi16(w0, load(high)), _mm256_maddubs_epi16(w1, load(high + 32)));
    __m256i l = _mm256_add_epi16(_mm256_maddubs_epi16(w0, load(low)), _mm256_maddubs_epi16(w1, load(low + 32)));
    return _mm256_add_epi32(_mm256_madd_epi16(h, _mm256_set1_epi16(256)), _mm256_madd_epi16(l, _mm256_set1_epi16(1)));
}

INLINE __m256i fp4_two_blocks(const uint8_t *row) { return load_halves(row + 1, row + FP4_BYTES + 1); }
INLINE __m256i fp4_one_block(const uint8_t *row) {
    return _mm256_zextsi128_si256(_mm_loadu_si128((const __m128i *)(row + 1)));
}

INLINE __m256i fp4_four_rows(const uint8_t *rows, size_t row_bytes, const int8_t *high, const int8_t *low, bool two) {
    __m256i sum[4];
    for (size_t r = 0; r < 4; r++, rows += row_bytes)
        sum[r] = fp4_products(two ? fp4_two_blocks(rows) : fp4_one_block(rows), high, low);
    return sum_halves(sum[0], sum[1], sum[2], sum[3]);
}

INLINE __m256 fp4_add(__m256 y, __m256i products, __m256 scales, activation_row x, size_t block) {
    products = _mm256_sub_epi32(products, _mm256_set1_epi32(x.biases[block]));
    return _mm256_fmadd_ps(_mm256_cvtepi32_ps(products), _mm256_mul_ps(scales, _mm256_set1_ps(x.scales[block])), y);
}

/* Scale bytes are collected this many blocks before they are used, so that the narrow stores have reached the cache
 * when the wide load comes. */
enum { FP4_AHEAD = 4, FP4_RING = 8 };

INLINE void fp4_collect(const uint8_t *rows, size_t row_bytes, size_t block, uint8_t ring[FP4_RING][PANEL_ROWS]) {
    for (size_t r = 0; r < PANEL_ROWS; r++) ring[block % FP4_RING][r] = rows[r * row_bytes + block * FP4_BYTES];
}

static void panel_mxfp4(const uint8_t *rows, size_t row_bytes, size_t cols, activation_row x, float *y) {
    uint8_t ring[FP4_RING][PANEL_ROWS];
    size_t blocks = cols / 32;
    const uint8_t *next = rows + PANEL_ROWS * row_bytes;
    for (size_t b = 0; b < FP4_AHEAD && b < blocks; b++) fp4_collect(rows, row_bytes, b, ring);
    __m256 sum = _mm256_setzero_ps();
    size_t b = 0;
    for (; b + 1 < blocks; b += 2) {
        const int8_t *high = x.high + b * 32, *low = x.low + b * 32;
        const uint8_t *at = rows + b * FP4_BYTES;
        prefetch(next + b * FP4_BYTES * PANEL_ROWS, 2 * FP4_BYTES * PANEL_ROWS);
        if (b + FP4_AHEAD < blocks) fp4_collect(rows, row_bytes, b + FP4_AHEAD, ring);
        if (b + FP4_AHEAD + 1 < blocks) fp4_collect(rows, row_bytes, b + FP4_AHEAD + 1, ring);
        __m256i first = fp4_four_rows(at, row_bytes, high, low, true);
        __m256i second = fp4_four_rows(at + 4 * row_bytes, row_bytes, high, low, true);
        sum = fp4_add(sum, _mm256_permute2x128_si256(first, second, 0x20), fp4_scales(ring[b % FP4_RING]), x, b);
        sum = fp4_add(sum, _mm256_permute2x128_si256(first, second, 0x31), fp4_scales(ring[(b + 1) % FP4_RING]), x,
                      b + 1);
    }
    if (b < blocks) {
        const int8_t *high = x.high + b * 32, *low = x.low + b * 32;
        const uint8_t *at = rows + b * FP4_BYTES;
        __m256i first = fp4_four_rows(at, row_bytes, high, low, false);
        __m256i second = fp4_four_rows(at + 4 * row_bytes, row_bytes, high, low, false);
        sum = fp4_add(sum, _mm256_permute2x128_si256(first, second, 0x20), fp4_scales(ring[b % FP4_RING]), x, b);
    }
    _mm256_storeu_ps(y, _mm256_mul_ps(sum, _mm256_set1_ps(0.5f)));
}

/* Bytes 0 2 1 3 of every word: their even ones are then columns 0 and 1, their odd ones columns 2 and 3. */
INLINE __m256i swap_middle(__m256i words) {
    const __m256i order = _mm256_setr_epi8(0, 2, 1, 3, 4, 6, 5, 7, 8, 10, 9, 11, 12, 14, 13, 15, 0, 2, 1, 3, 4, 6, 5, 7,
                                           8, 10, 9, 11, 12, 14, 13, 15);
    return _mm256_shuffle_epi8(words, order);
}

/* Stores four columns, whose middle ones are swapped, as two pairs of int16. */
INLINE void store_pairs(int16_t *weights, size_t pair, __m256i bytes) {
    __m256i even = _mm256_srai_epi16(_mm256_slli_epi16(bytes, 8), 8), odd = _mm256_srai_epi16(bytes, 8);
    _mm256_store_si256((__m256i *)(weights + pair * 2 * TILE_ROWS), even);
    _mm256_store_si256((__m256i *)(weights + (pair + 1) * 2 * TILE_ROWS), odd);
}

static void unpack_mxfp4(const uint8_t *rows, size_t row_bytes, size_t begin, size_t end, int16_t *weights,
                         float *scales, const uint8_t *ahead) {
    uint8_t exponents[PACK_BLOCKS][PANEL_ROWS];
    for (size_t r = 0; r < PANEL_ROWS; r++)
        for (size_t b = begin; b < end; b++) exponents[b - begin][r] = rows[r * row_bytes + b * FP4_BYTES];
    for (size_t b = begin; b < end; b++, weights += ACTIVATION_BLOCK * TILE_ROWS, scales += TILE_ROWS) {
        prefetch_far(ahead, FP4_BYTES * PANEL_ROWS);
        ahead += FP4_BYTES * PANEL_ROWS;
        __m256i words[4];
        transpose(rows + b * FP4_BYTES + 1, row_bytes, words);
        for (size_t i = 0; i < 4; i++) {
            __m256i nibbles = swap_middle(words[i]);
            store_pairs(weights, 2 * i, fp4_signed(low_nibbles(nibbles)));
            store_pairs(weights, 8 + 2 * i, fp4_signed(high_nibbles(nibbles)));
        }
        _mm256_storeu_ps(scales, _mm256_mul_ps(fp4_scales(exponents[b - begin]), _mm256_set1_ps(0.5f)));
    }
}

/* ---- Q8_0 ---- */

INLINE __m256i q8_products(const uint8_t *row, const int16_t *q) {
    __m256i w0 = _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)row));
    __m256i w1 = _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)(row + 16)));
    return _mm256_add_epi32(_mm256_madd_epi16(w0, load(q)), _mm256_madd_epi16(w1, load(q + 16)));
}

INLINE __m256i q8_four_rows(const uint8_t *rows, size_t row_bytes, const int16_t *q) {
    return sum_halves(q8_products(rows, q), q8_products(rows + row_bytes, q), q8_products(rows + 2 * row_bytes, q),
                      q8_products(rows + 3 * row_bytes, q));
}

enum { Q8_AHEAD = 2, Q8_RING = 4 };

INLINE void q8_collect(const uint8_t *rows, size_t row_bytes, size_t block, uint16_t ring[Q8_RING][PANEL_ROWS]) {
    for (size_t r = 0; r < PANEL_ROWS; r++)
        memcpy(&ring[block % Q8_RING][r], rows + r * row_bytes + block * Q8_BYTES, sizeof(uint16_t));
}

INLINE __m256 q8_scales(const uint16_t *halves) { return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)halves)); }

static void panel_q8_0(const uint8_t *rows, size_t row_bytes, size_t cols, activation_row x, float *y) {
    uint16_t ring[Q8_RING][PANEL_ROWS];
    size_t blocks = cols / 32;
    const uint8_t *next = rows + PANEL_ROWS * row_bytes;
    for (size_t b = 0; b < Q8_AHEAD && b < blocks; b++) q8_collect(rows, row_bytes, b, ring);
    __m256 sum = _mm256_setzero_ps();
    for (size_t b = 0; b < blocks; b++) {
        const int16_t *q = x.q + b * 32;
        const uint8_t *at = rows + b * Q8_BYTES + 2;
        prefetch(next + b * Q8_BYTES * PANEL_ROWS, Q8_BYTES * PANEL_ROWS);
        if (b + Q8_AHEAD < blocks) q8_collect(rows, row_bytes, b + Q8_AHEAD, ring);
        __m256i first = q8_four_rows(at, row_bytes, q), second = q8_four_rows(at + 4 * row_bytes, row_bytes, q);
        __m256i products = _mm256_add_epi32(_mm256_permute2x128_si256(first, second, 0x20),
                                            _mm256_permute2x128_si256(first, second, 0x31));
        __m256 scales = _mm256_mul_ps(q8_scales(ring[b % Q8_RING]), _mm256_set1_ps(x.scales[b]));
        sum = _mm256_fmadd_ps(_mm256_cvtepi32_ps(products), scales, sum);
    }
    _mm256_storeu_ps(y, sum);
}

static void unpack_q8_0(const uint8_t *rows, size_t row_bytes, size_t begin, size_t end, int16_t *weights,
                        float *scales, const uint8_t *ahead) {
    uint16_t halves[PACK_BLOCKS][PANEL_ROWS];
    for (size_t r = 0; r < PANEL_ROWS; r++)
        for (size_t b = begin; b < end; b++)
            memcpy(&halves[b - begin][r], rows + r * row_bytes + b * Q8_BYTES, sizeof(uint16_t));
    for (size_t b = begin; b < end; b++, weights += ACTIVATION_BLOCK * TILE_ROWS, scales += TILE_ROWS) {
        prefetch_far(ahead, Q8_BYTES * PANEL_ROWS);
        ahead += Q8_BYTES * PANEL_ROWS;
        for (size_t half = 0; half < 2; half++) {
            __m256i words[4];
            transpose(rows + b * Q8_BYTES + 2 + 16 * half, row_bytes, words);
            for (size_t i = 0; i < 4; i++) store_pairs(weights, 8 * half + 2 * i, swap_middle(words[i]));
        }
        _mm256_storeu_ps(scales, q8_scales(halves[b - begin]));
    }
}

/* ---- many tokens ---- */

/* An addition that stays where it is written: left to itself, gcc multiplies for all tokens before it adds anything,
 * and spills the sums. */
INLINE void add_to(__m256i *sum, __m256i value) { __asm__("vpaddd %1, %0, %0" : "+x"(*sum) : "x"(value)); }

/* Twelve sums stay in registers: two vectors of eight rows times six tokens. `tokens` is known when this is compiled.
 */
INLINE void multiply_group(const int16_t *weights, const float *scales, const int32_t *pairs, const float *token_scales,
                           size_t blocks, size_t tokens, float *y) {
    for (size_t b = 0; b < blocks; b++) {
        __m256i sum[GROUP][2];
        for (size_t t = 0; t < tokens; t++) sum[t][0] = sum[t][1] = _mm256_setzero_si256();
        for (size_t p = 0; p < PAIRS; p++, weights += 2 * TILE_ROWS, pairs += tokens) {
            _mm_prefetch((const char *)(pairs + TOKENS_AHEAD), _MM_HINT_T0);
            __m256i w0 = _mm256_load_si256((const __m256i *)weights);
            __m256i w1 = _mm256_load_si256((const __m256i *)(weights + TILE_ROWS));
            for (size_t t = 0; t < tokens; t++) {
                __m256i x = _mm256_set1_epi32(pairs[t]);
                add_to(&sum[t][0], _mm256_madd_epi16(w0, x));
                add_to(&sum[t][1], _mm256_madd_epi16(w1, x));
            }
        }
        for (size_t half = 0; half < 2; half++) {
            __m256 row_scales = _mm256_loadu_ps(scales + b * TILE_ROWS + half * 8);
            for (size_t t = 0; t < tokens; t++) {
                float *at = y + t * TILE_ROWS + half * 8;
                __m256 scale = _mm256_mul_ps(row_scales, _mm256_set1_ps(token_scales[b * tokens + t]));
                _mm256_storeu_ps(at, _mm256_fmadd_ps(_mm256_cvtepi32_ps(sum[t][half]), scale, _mm256_loadu_ps(at)));
            }
        }
    }
}

static void multiply(const int16_t *weights, const float *scales, const int32_t *pairs, const float *token_scales,
                     size_t blocks, size_t tokens, float *y) {
    switch (tokens) {
    case 1: multiply_group(weights, scales, pairs, token_scales, blocks, 1, y); break;
    case 2: multiply_group(weights, scales, pairs, token_scales, blocks, 2, y); break;
    case 3: multiply_group(weights, scales, pairs, token_scales, blocks, 3, y); break;
    case 4: multiply_group(weights, scales, pairs, token_scales, blocks, 4, y); break;
    case 5: multiply_group(weights, scales, pairs, token_scales, blocks, 5, y); break;
    default: multiply_group(weights, scales, pairs, token_scales, blocks, GROUP, y); break;
    }
}

/* ---- rounding ---- */

static void round_row(const float *x, size_t cols, activation_row out) {
    const __m256i magnitude = _mm256_set1_epi32(0x7fffffff);
    for (size_t b = 0; b < cols / 32; b++, x += 32) {
        __m256i largest = _mm256_setzero_si256();
        for (size_t i = 0; i < 4; i++)
            largest = _mm256_max_epi32(largest, _mm256_and_si256(load(x + 8 * i), magnitude));
        __m128i top = _mm_max_epi32(_mm256_castsi256_si128(largest), _mm256_extracti128_si256(largest, 1));
        top = _mm_max_epi32(top, _mm_shuffle_epi32(top, 0x4e));
        top = _mm_max_epi32(top, _mm_shuffle_epi32(top, 0xb1));
        float most = _mm_cvtss_f32(_mm_castsi128_ps(top));
        bool usable = most >= 1e-30f && most < INFINITY;
        out.scales[b] = most < INFINITY ? usable ? most / (float)ACTIVATION_MOST : 0.0f : NAN;
        __m256 inverse = _mm256_set1_ps(usable ? (float)ACTIVATION_MOST / most : 0.0f);
        for (size_t i = 0; i < 2; i++) {
            __m256i first = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(x + 16 * i), inverse));
            __m256i second = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(x + 16 * i + 8), inverse));
            __m256i both = _mm256_permute4x64_epi64(_mm256_packs_epi32(first, second), 0xd8);
            if (!usable) both = _mm256_setzero_si256();
            _mm256_storeu_si256((__m256i *)(out.q + b * 32 + 16 * i), both);
        }
    }
    integer_split(cols, out);
}

const integer_kernels integer_avx2 = {.round = round_row,
                                      .panel = {panel_mxfp4, panel_q8_0},
                                      .unpack = {unpack_mxfp4, unpack_q8_0},
                                      .multiply = multiply,
                                      .group = GROUP};

#endif
