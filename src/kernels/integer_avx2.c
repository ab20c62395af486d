/* AVX2. */
#include "kernels/integer.h"

#if defined(__x86_64__)

#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "kernels/integer_x86.h"

enum { GROUP = 6, TOGETHER = 2, HALF_PANEL = 8 };
enum { TOKENS_AHEAD = 256 }; /* pairs to prefetch ahead: a few hundred cycles of work */

INLINE __m256i load(const void *at) { return _mm256_loadu_si256((const __m256i *)at); }

/* 16 bytes of one place below 16 bytes of another. */
INLINE __m256i load_halves(const uint8_t *low, const uint8_t *high) {
    return _mm256_inserti128_si256(_mm256_castsi128_si256(_mm_loadu_si128((const __m128i *)low)),
                                   _mm_loadu_si128((const __m128i *)high), 1);
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

/* ---- a few tokens ----
 *
 * A panel is multiplied in two passes. The first goes through its rows one after the other, as they lie in memory, and
 * leaves the integer sum of every block: processors fetch ahead of one stream of addresses by themselves. The second
 * turns rows of sums into lanes of float vectors, and adds them up in the order that integer.h promises. */

/* Scale bytes of eight rows as powers of two. */
INLINE __m256 fp4_scales(const uint8_t *exponents) {
    __m128i bytes = _mm_loadl_epi64((const __m128i *)exponents);
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu8_epi32(bytes), 23));
}

INLINE __m256 q8_scales(const uint16_t *halves) { return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)halves)); }

/* Blocks of a row that a panel's first pass leaves to its second, at most: the rows of gpt-oss have 90 and 128. */
enum { PANEL_SPAN = 96 };

/* Tokens that go through the first pass together. */
enum { ROW_TOKENS = 2 };

/* A panel's block sums, a token after the other, and weight scales, those of a block side by side. */
typedef struct panel_blocks {
    int32_t sums[ROW_TOKENS][PANEL_ROWS][PANEL_SPAN];
    union {
        uint8_t exponents[PANEL_SPAN][PANEL_ROWS];
        uint16_t halves[PANEL_SPAN][PANEL_ROWS];
    } scales;
} panel_blocks;

/* Bytes of weights to ask for ahead of those being multiplied: some microseconds of work, a fraction of a second-level
 * cache. Processors that fetch ahead by themselves do not go far enough. */
enum { WEIGHTS_AHEAD = 16 << 10 };

INLINE void fp4_collect_scales(const uint8_t *row, size_t blocks, uint8_t exponents[][PANEL_ROWS], size_t r) {
#pragma GCC unroll 8
    for (size_t b = 0; b < blocks; b++) exponents[b][r] = row[b * FP4_BYTES];
}

INLINE void q8_collect_scales(const uint8_t *row, size_t blocks, uint16_t halves[][PANEL_ROWS], size_t r) {
#pragma GCC unroll 8
    for (size_t b = 0; b < blocks; b++) memcpy(&halves[b][r], row + b * Q8_BYTES, sizeof(uint16_t));
}

/* ---- the second pass of a panel ---- */

/* rows[r] lane i becomes rows[i] lane r. */
INLINE void transpose_8x8(__m256i rows[8]) {
    __m256i pair[8], four[8];
    for (int i = 0; i < 8; i += 2) {
        pair[i] = _mm256_unpacklo_epi32(rows[i], rows[i + 1]);
        pair[i + 1] = _mm256_unpackhi_epi32(rows[i], rows[i + 1]);
    }
    for (int i = 0; i < 8; i += 4)
        for (int j = 0; j < 2; j++) {
            four[i + 2 * j] = _mm256_unpacklo_epi64(pair[i + j], pair[i + j + 2]);
            four[i + 2 * j + 1] = _mm256_unpackhi_epi64(pair[i + j], pair[i + j + 2]);
        }
    for (int i = 0; i < 4; i++) {
        rows[i] = _mm256_permute2x128_si256(four[i], four[i + 4], 0x20);
        rows[i + 4] = _mm256_permute2x128_si256(four[i], four[i + 4], 0x31);
    }
}

INLINE __m256 add_block(integer_format format, __m256i sums, const panel_blocks *p, size_t block, size_t r,
                        __m256i bias, __m256 token_scale, __m256 y) {
    bool fp4 = format == INTEGER_MXFP4;
    __m256 scales = fp4 ? fp4_scales(p->scales.exponents[block] + r) : q8_scales(p->scales.halves[block] + r);
    if (fp4) sums = _mm256_sub_epi32(sums, bias);
    return _mm256_fmadd_ps(_mm256_cvtepi32_ps(sums), _mm256_mul_ps(scales, token_scale), y);
}

INLINE void add_panel(integer_format format, const panel_blocks *p, size_t blocks, activation_row x, size_t t,
                      size_t first, float y[PANEL_ROWS]) {
    __m256 upper = _mm256_loadu_ps(y), lower = _mm256_loadu_ps(y + 8);
    for (size_t b = 0; b < blocks; b += 8) {
        __m256i sums[PANEL_ROWS];
        for (size_t r = 0; r < PANEL_ROWS; r++) sums[r] = load(&p->sums[t][r][b]);
        transpose_8x8(sums);
        transpose_8x8(sums + 8);
        for (size_t i = 0; i < 8 && b + i < blocks; i++) {
            __m256i bias = _mm256_set1_epi32(FP4_BIAS * x.sums[first + b + i]);
            __m256 scale = _mm256_set1_ps(x.scales[first + b + i]);
            upper = add_block(format, sums[i], p, b + i, 0, bias, scale, upper);
            lower = add_block(format, sums[8 + i], p, b + i, 8, bias, scale, lower);
        }
    }
    _mm256_storeu_ps(y, upper);
    _mm256_storeu_ps(y + 8, lower);
}

/* The first pass over `blocks` <= PANEL_SPAN blocks of row r of a panel, beginning at column `column` of x[tokens]: of
 * each its scale, and for each token the sum of w * q, for MXFP4 of twice w plus FP4_BIAS. Numbers without meaning may
 * follow the sums. */
typedef void row_pass(const uint8_t *row, size_t blocks, const activation_row *x, size_t tokens, size_t column,
                      size_t r, panel_blocks *p);

/* The second pass over blocks [0, blocks), which begin at block `first` of x, for token number t. */
typedef void panel_add(integer_format format, const panel_blocks *p, size_t blocks, activation_row x, size_t t,
                       size_t first, float y[PANEL_ROWS]);

/* An integer_panel of two such passes; `tokens` is known when this is compiled. */
INLINE void panel_run(integer_format format, row_pass *pass, panel_add *add, const uint8_t *rows, size_t row_bytes,
                      size_t cols, const activation_row *x, size_t tokens, float *y) {
    size_t all = cols / ACTIVATION_BLOCK, block_bytes = block_size(format);
    panel_blocks p;
    memset(y, 0, tokens * PANEL_ROWS * sizeof *y);
    for (size_t first = 0; first < all; first += PANEL_SPAN) {
        size_t blocks = all - first < PANEL_SPAN ? all - first : PANEL_SPAN;
        for (size_t r = 0; r < PANEL_ROWS; r++)
            pass(rows + r * row_bytes + first * block_bytes, blocks, x, tokens, first * ACTIVATION_BLOCK, r, &p);
        for (size_t t = 0; t < tokens; t++) add(format, &p, blocks, x[t], t, first, y + t * PANEL_ROWS);
    }
    if (format == INTEGER_MXFP4)
        for (size_t i = 0; i < tokens * PANEL_ROWS; i++) y[i] *= 0.5f; /* what was summed is twice the weights */
}

INLINE void panel_run_all(integer_format format, row_pass *pass, panel_add *add, const uint8_t *rows, size_t row_bytes,
                          size_t cols, const activation_row *x, size_t tokens, float *y) {
    size_t t = 0;
    for (; t + ROW_TOKENS <= tokens; t += ROW_TOKENS)
        panel_run(format, pass, add, rows, row_bytes, cols, x + t, ROW_TOKENS, y + t * PANEL_ROWS);
    if (t < tokens) panel_run(format, pass, add, rows, row_bytes, cols, x + t, 1, y + t * PANEL_ROWS);
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

/* Twice the weights plus FP4_BIAS of columns j and j + 16 of two blocks. */
typedef struct fp4_weights {
    __m256i low, high;
} fp4_weights;

INLINE fp4_weights fp4_two_blocks(const uint8_t *row) {
    __m256i nibbles = load_halves(row + 1, row + FP4_BYTES + 1);
    return (fp4_weights){fp4_biased(low_nibbles(nibbles)), fp4_biased(high_nibbles(nibbles))};
}

INLINE fp4_weights fp4_one_block(const uint8_t *row) {
    __m256i nibbles = _mm256_zextsi128_si256(_mm_loadu_si128((const __m128i *)(row + 1)));
    return (fp4_weights){fp4_biased(low_nibbles(nibbles)), fp4_biased(high_nibbles(nibbles))};
}

/* The biased products of two blocks of a row, in four parts each: [block A | block B]. Sums of four products of 24 and
 * 128 fit 16 bits. */
INLINE __m256i fp4_products(fp4_weights w, const int8_t *high, const int8_t *low) {
    __m256i h =
        _mm256_add_epi16(_mm256_maddubs_epi16(w.low, load(high)), _mm256_maddubs_epi16(w.high, load(high + 32)));
    __m256i l = _mm256_add_epi16(_mm256_maddubs_epi16(w.low, load(low)), _mm256_maddubs_epi16(w.high, load(low + 32)));
    return _mm256_add_epi32(_mm256_madd_epi16(h, _mm256_set1_epi16(256)), _mm256_madd_epi16(l, _mm256_set1_epi16(1)));
}

/* Up to eight blocks of a row, beginning at column c, with each token. */
INLINE void fp4_eight(const uint8_t *row, size_t blocks, const activation_row *x, size_t tokens, size_t c,
                      int32_t (*sums)[PANEL_ROWS][PANEL_SPAN]) {
    const __m256i in_order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7); /* the two blocks of a pair lie in halves */
    __m256i pair[ROW_TOKENS][4];
    for (size_t i = 0; i < 4; i++, row += 2 * FP4_BYTES, c += 2 * ACTIVATION_BLOCK) {
        bool any = 2 * i < blocks;
        fp4_weights w = {0};
        if (any) w = 2 * i + 1 < blocks ? fp4_two_blocks(row) : fp4_one_block(row);
        for (size_t t = 0; t < tokens; t++)
            pair[t][i] = any ? fp4_products(w, x[t].high + c, x[t].low + c) : _mm256_setzero_si256();
    }
    for (size_t t = 0; t < tokens; t++) {
        __m256i eight = sum_halves(pair[t][0], pair[t][1], pair[t][2], pair[t][3]);
        _mm256_storeu_si256((__m256i *)sums[t], _mm256_permutevar8x32_epi32(eight, in_order));
    }
}

INLINE void fp4_pass(const uint8_t *row, size_t blocks, const activation_row *x, size_t tokens, size_t column, size_t r,
                     panel_blocks *p) {
    for (size_t b = 0; b < blocks; b += 8, row += 8 * FP4_BYTES, column += 8 * ACTIVATION_BLOCK) {
        int32_t(*sums)[PANEL_ROWS][PANEL_SPAN] = (void *)&p->sums[0][r][b];
        prefetch_far(row + WEIGHTS_AHEAD, 8 * FP4_BYTES);
        if (b + 8 <= blocks) {
            fp4_eight(row, 8, x, tokens, column, sums);
            fp4_collect_scales(row, 8, p->scales.exponents + b, r);
        } else {
            fp4_eight(row, blocks - b, x, tokens, column, sums);
            fp4_collect_scales(row, blocks - b, p->scales.exponents + b, r);
        }
    }
}

static void panel_mxfp4(const uint8_t *rows, size_t row_bytes, size_t cols, const activation_row *x, size_t tokens,
                        float *y) {
    panel_run_all(INTEGER_MXFP4, fp4_pass, add_panel, rows, row_bytes, cols, x, tokens, y);
}

/* Bytes 0 2 1 3 of every word: their even ones are then columns 0 and 1, their odd ones columns 2 and 3. */
INLINE __m256i swap_middle(__m256i words) {
    const __m256i order = _mm256_setr_epi8(0, 2, 1, 3, 4, 6, 5, 7, 8, 10, 9, 11, 12, 14, 13, 15, 0, 2, 1, 3, 4, 6, 5, 7,
                                           8, 10, 9, 11, 12, 14, 13, 15);
    return _mm256_shuffle_epi8(words, order);
}

/* Stores four columns of eight rows, whose middle ones are swapped, as two pairs of int16. */
INLINE void store_pairs(int16_t *weights, size_t pair, __m256i bytes) {
    __m256i even = _mm256_srai_epi16(_mm256_slli_epi16(bytes, 8), 8), odd = _mm256_srai_epi16(bytes, 8);
    _mm256_store_si256((__m256i *)(weights + pair * 2 * PANEL_ROWS), even);
    _mm256_store_si256((__m256i *)(weights + (pair + 1) * 2 * PANEL_ROWS), odd);
}

static void unpack_mxfp4(const uint8_t *rows, size_t row_bytes, size_t begin, size_t end, int16_t *weights,
                         float *scales, const uint8_t *ahead) {
    uint8_t exponents[PACK_BLOCKS][PANEL_ROWS];
    for (size_t r = 0; r < PANEL_ROWS; r++)
        for (size_t b = begin; b < end; b++) exponents[b - begin][r] = rows[r * row_bytes + b * FP4_BYTES];
    for (size_t b = begin; b < end; b++, weights += ACTIVATION_BLOCK * PANEL_ROWS, scales += PANEL_ROWS) {
        prefetch_far(ahead, FP4_BYTES * PANEL_ROWS);
        ahead += FP4_BYTES * PANEL_ROWS;
        for (size_t r = 0; r < PANEL_ROWS; r += HALF_PANEL) {
            __m256i words[4];
            transpose(rows + r * row_bytes + b * FP4_BYTES + 1, row_bytes, words);
            for (size_t i = 0; i < 4; i++) {
                __m256i nibbles = swap_middle(words[i]);
                store_pairs(weights + 2 * r, 2 * i, fp4_signed(low_nibbles(nibbles)));
                store_pairs(weights + 2 * r, 8 + 2 * i, fp4_signed(high_nibbles(nibbles)));
            }
            _mm256_store_ps(scales + r, _mm256_mul_ps(fp4_scales(exponents[b - begin] + r), _mm256_set1_ps(0.5f)));
        }
    }
}

/* ---- Q8_0 ---- */

INLINE __m256i q8_products(const uint8_t *row, const int16_t *q) {
    __m256i w0 = _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)row));
    __m256i w1 = _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)(row + 16)));
    return _mm256_add_epi32(_mm256_madd_epi16(w0, load(q)), _mm256_madd_epi16(w1, load(q + 16)));
}

/* Up to eight blocks of a row with one token. */
INLINE void q8_eight(const uint8_t *row, size_t blocks, const int16_t *q, int32_t *sums) {
    __m256i product[8];
    for (size_t i = 0; i < 8; i++)
        product[i] =
            i < blocks ? q8_products(row + i * Q8_BYTES + 2, q + i * ACTIVATION_BLOCK) : _mm256_setzero_si256();
    __m256i first = sum_halves(product[0], product[1], product[2], product[3]);
    __m256i second = sum_halves(product[4], product[5], product[6], product[7]);
    __m256i eight = _mm256_add_epi32(_mm256_permute2x128_si256(first, second, 0x20),
                                     _mm256_permute2x128_si256(first, second, 0x31));
    _mm256_storeu_si256((__m256i *)sums, eight);
}

INLINE void q8_pass(const uint8_t *row, size_t blocks, const activation_row *x, size_t tokens, size_t column, size_t r,
                    panel_blocks *p) {
    for (size_t b = 0; b < blocks; b += 8, row += 8 * Q8_BYTES, column += 8 * ACTIVATION_BLOCK) {
        size_t count = blocks - b < 8 ? blocks - b : 8;
        prefetch_far(row + WEIGHTS_AHEAD, 8 * Q8_BYTES);
        for (size_t t = 0; t < tokens; t++) {
            if (count == 8)
                q8_eight(row, 8, x[t].q + column, &p->sums[t][r][b]);
            else
                q8_eight(row, count, x[t].q + column, &p->sums[t][r][b]);
        }
        if (count == 8)
            q8_collect_scales(row, 8, p->scales.halves + b, r);
        else
            q8_collect_scales(row, count, p->scales.halves + b, r);
    }
}

static void panel_q8_0(const uint8_t *rows, size_t row_bytes, size_t cols, const activation_row *x, size_t tokens,
                       float *y) {
    panel_run_all(INTEGER_Q8_0, q8_pass, add_panel, rows, row_bytes, cols, x, tokens, y);
}

static void unpack_q8_0(const uint8_t *rows, size_t row_bytes, size_t begin, size_t end, int16_t *weights,
                        float *scales, const uint8_t *ahead) {
    uint16_t halves[PACK_BLOCKS][PANEL_ROWS];
    for (size_t r = 0; r < PANEL_ROWS; r++)
        for (size_t b = begin; b < end; b++)
            memcpy(&halves[b - begin][r], rows + r * row_bytes + b * Q8_BYTES, sizeof(uint16_t));
    for (size_t b = begin; b < end; b++, weights += ACTIVATION_BLOCK * PANEL_ROWS, scales += PANEL_ROWS) {
        prefetch_far(ahead, Q8_BYTES * PANEL_ROWS);
        ahead += Q8_BYTES * PANEL_ROWS;
        for (size_t r = 0; r < PANEL_ROWS; r += HALF_PANEL) {
            for (size_t half = 0; half < 2; half++) {
                __m256i words[4];
                transpose(rows + r * row_bytes + b * Q8_BYTES + 2 + 16 * half, row_bytes, words);
                for (size_t i = 0; i < 4; i++) store_pairs(weights + 2 * r, 8 * half + 2 * i, swap_middle(words[i]));
            }
            _mm256_store_ps(scales + r, q8_scales(halves[b - begin] + r));
        }
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
        for (size_t p = 0; p < PAIRS; p++, weights += 2 * PANEL_ROWS, pairs += tokens) {
            _mm_prefetch((const char *)(pairs + TOKENS_AHEAD), _MM_HINT_T0);
            __m256i w0 = _mm256_load_si256((const __m256i *)weights);
            __m256i w1 = _mm256_load_si256((const __m256i *)(weights + PANEL_ROWS));
            for (size_t t = 0; t < tokens; t++) {
                __m256i x = _mm256_set1_epi32(pairs[t]);
                add_to(&sum[t][0], _mm256_madd_epi16(w0, x));
                add_to(&sum[t][1], _mm256_madd_epi16(w1, x));
            }
        }
        for (size_t half = 0; half < 2; half++) {
            __m256 row_scales = _mm256_loadu_ps(scales + b * PANEL_ROWS + half * 8);
            for (size_t t = 0; t < tokens; t++) {
                float *at = y + t * PANEL_ROWS + half * 8;
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
    integer_split(cols, TOGETHER, out);
}

const integer_kernels integer_avx2 = {.round = round_row,
                                      .together = TOGETHER,
                                      .panel = {panel_mxfp4, panel_q8_0},
                                      .unpack = {unpack_mxfp4, unpack_q8_0},
                                      .multiply = {multiply, multiply},
                                      .group = GROUP,
                                      .few = 2};

#endif
