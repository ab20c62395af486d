/* AVX-512 with VNNI: a panel's sixteen rows are the sixteen lanes of a register. */
#include "kernels/integer.h"

#if defined(__x86_64__)

#include <math.h>

#include "kernels/integer_x86.h"

enum { GROUP = 12, TOGETHER = 4 };
enum { TOKENS_AHEAD = 512 }; /* pairs to prefetch ahead: a few hundred cycles of work */

INLINE __m512i load(const void *at) { return _mm512_loadu_si512(at); }
INLINE __m128i load_16(const uint8_t *at) { return _mm_loadu_si128((const __m128i *)at); }

/* 16 bytes each of four places side by side. */
INLINE __m512i four_rows(const uint8_t *a, const uint8_t *b, const uint8_t *c, const uint8_t *d) {
    __m256i low = _mm256_inserti128_si256(_mm256_castsi128_si256(load_16(a)), load_16(b), 1);
    __m256i high = _mm256_inserti128_si256(_mm256_castsi128_si256(load_16(c)), load_16(d), 1);
    return _mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1);
}

/* The byte of the table that the low four bits of each byte name. */
INLINE __m512i look_up(__m128i table, __m512i nibbles) {
    return _mm512_shuffle_epi8(_mm512_broadcast_i32x4(table), nibbles);
}

INLINE __m512i low_nibbles(__m512i bytes) { return _mm512_and_si512(bytes, _mm512_set1_epi8(15)); }
INLINE __m512i high_nibbles(__m512i bytes) { return low_nibbles(_mm512_srli_epi16(bytes, 4)); }

/* Of four vectors the sums of each 128-bit part: [a b c d of the first part | of the second | ...]. */
INLINE __m512i sum_parts(__m512i a, __m512i b, __m512i c, __m512i d) {
    __m512i ab = _mm512_add_epi32(_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
    __m512i cd = _mm512_add_epi32(_mm512_unpacklo_epi32(c, d), _mm512_unpackhi_epi32(c, d));
    return _mm512_add_epi32(_mm512_unpacklo_epi64(ab, cd), _mm512_unpackhi_epi64(ab, cd));
}

/* The sums of 16 vectors. */
INLINE __m512i sum_vectors(const __m512i v[16]) {
    __m512i four[4];
    for (int i = 0; i < 4; i++) four[i] = sum_parts(v[4 * i], v[4 * i + 1], v[4 * i + 2], v[4 * i + 3]);
    __m512i first =
        _mm512_add_epi32(_mm512_shuffle_i32x4(four[0], four[1], 0x44), _mm512_shuffle_i32x4(four[0], four[1], 0xee));
    __m512i second =
        _mm512_add_epi32(_mm512_shuffle_i32x4(four[2], four[3], 0x44), _mm512_shuffle_i32x4(four[2], four[3], 0xee));
    return _mm512_add_epi32(_mm512_shuffle_i32x4(first, second, 0x88), _mm512_shuffle_i32x4(first, second, 0xdd));
}

/* rows[r] lane i becomes rows[i] lane r. */
INLINE void transpose_16x16(__m512i rows[16]) {
    __m512i pair[16], four[16];
    for (int i = 0; i < 16; i += 2) {
        pair[i] = _mm512_unpacklo_epi32(rows[i], rows[i + 1]);
        pair[i + 1] = _mm512_unpackhi_epi32(rows[i], rows[i + 1]);
    }
    for (int i = 0; i < 16; i += 4)
        for (int j = 0; j < 2; j++) {
            four[i + 2 * j] = _mm512_unpacklo_epi64(pair[i + j], pair[i + j + 2]);
            four[i + 2 * j + 1] = _mm512_unpackhi_epi64(pair[i + j], pair[i + j + 2]);
        }
    for (int j = 0; j < 4; j++) { /* part k of four[4 i + j] are rows 4 i to 4 i + 3 of lane 4 k + j */
        __m512i low0 = _mm512_shuffle_i32x4(four[j], four[4 + j], 0x88);
        __m512i low1 = _mm512_shuffle_i32x4(four[8 + j], four[12 + j], 0x88);
        __m512i high0 = _mm512_shuffle_i32x4(four[j], four[4 + j], 0xdd);
        __m512i high1 = _mm512_shuffle_i32x4(four[8 + j], four[12 + j], 0xdd);
        rows[j] = _mm512_shuffle_i32x4(low0, low1, 0x88);
        rows[8 + j] = _mm512_shuffle_i32x4(low0, low1, 0xdd);
        rows[4 + j] = _mm512_shuffle_i32x4(high0, high1, 0x88);
        rows[12 + j] = _mm512_shuffle_i32x4(high0, high1, 0xdd);
    }
}

/* Sixteen rows' 16 bytes at `rows`, turned so that word i of row r is lane r of out[i]. */
INLINE void transpose_words(const uint8_t *rows, size_t row_bytes, __m512i out[4]) {
    __m512i v[4]; /* v[j]: rows j, 4 + j, 8 + j, 12 + j */
    for (size_t j = 0; j < 4; j++) {
        const uint8_t *row = rows + j * row_bytes;
        v[j] = four_rows(row, row + 4 * row_bytes, row + 8 * row_bytes, row + 12 * row_bytes);
    }
    __m512i low01 = _mm512_unpacklo_epi32(v[0], v[1]), low23 = _mm512_unpacklo_epi32(v[2], v[3]);
    __m512i high01 = _mm512_unpackhi_epi32(v[0], v[1]), high23 = _mm512_unpackhi_epi32(v[2], v[3]);
    out[0] = _mm512_unpacklo_epi64(low01, low23);
    out[1] = _mm512_unpackhi_epi64(low01, low23);
    out[2] = _mm512_unpacklo_epi64(high01, high23);
    out[3] = _mm512_unpackhi_epi64(high01, high23);
}

/* ---- the second pass of a panel ---- */

INLINE __m512 fp4_scales_16(const uint8_t *exponents) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu8_epi32(load_16(exponents)), 23));
}

INLINE __m512 q8_scales_16(const uint16_t *halves) {
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)halves));
}

INLINE void add_panel(integer_format format, const panel_blocks *p, size_t blocks, activation_row x, size_t t,
                      size_t first, float y[PANEL_ROWS]) {
    bool fp4 = format == INTEGER_MXFP4;
    __m512 sum = _mm512_loadu_ps(y);
    for (size_t b = 0; b < blocks; b += 16) {
        __m512i sums[PANEL_ROWS];
        for (size_t r = 0; r < PANEL_ROWS; r++) sums[r] = load(&p->sums[t][r][b]);
        transpose_16x16(sums);
        for (size_t i = 0; i < 16 && b + i < blocks; i++) {
            size_t at = first + b + i;
            __m512 scales = fp4 ? fp4_scales_16(p->scales.exponents[b + i]) : q8_scales_16(p->scales.halves[b + i]);
            if (fp4) sums[i] = _mm512_sub_epi32(sums[i], _mm512_set1_epi32(FP4_BIAS * x.sums[at]));
            scales = _mm512_mul_ps(scales, _mm512_set1_ps(x.scales[at]));
            sum = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sums[i]), scales, sum);
        }
    }
    _mm512_storeu_ps(y, sum);
}

/* ---- MXFP4 ---- */

/* The nibbles of `blocks` <= 4 blocks of a row side by side; of the last one again for those that it lacks. */
INLINE __m512i fp4_four_blocks(const uint8_t *row, size_t blocks) {
    size_t last = blocks < 4 ? blocks - 1 : 3;
    row++;
    return four_rows(row, row + (last < 1 ? last : 1) * FP4_BYTES, row + (last < 2 ? last : 2) * FP4_BYTES,
                     row + last * FP4_BYTES);
}

/* Twice the weights plus FP4_BIAS of columns j and j + 16 of four blocks: unsigned, as dpbusd wants its first operand.
 */
typedef struct fp4_weights {
    __m512i low, high;
} fp4_weights;

INLINE fp4_weights fp4_biased(__m512i nibbles) {
    const __m128i table = _mm_setr_epi8(12, 13, 14, 15, 16, 18, 20, 24, 12, 11, 10, 9, 8, 6, 4, 0);
    return (fp4_weights){look_up(table, low_nibbles(nibbles)), look_up(table, high_nibbles(nibbles))};
}

/* The biased products of four blocks, in four parts each. */
INLINE __m512i fp4_products(fp4_weights w, const int8_t *high, const int8_t *low) {
    __m512i h = _mm512_dpbusd_epi32(_mm512_setzero_si512(), w.low, load(high));
    __m512i l = _mm512_dpbusd_epi32(_mm512_setzero_si512(), w.low, load(low));
    h = _mm512_dpbusd_epi32(h, w.high, load(high + LINE));
    l = _mm512_dpbusd_epi32(l, w.high, load(low + LINE));
    return _mm512_add_epi32(_mm512_slli_epi32(h, 8), l);
}

/* Up to sixteen blocks of a row, beginning at column c. */
INLINE void fp4_sixteen(const uint8_t *row, size_t blocks, activation_row x, size_t c, int32_t *sums) {
    const __m512i in_order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    __m512i four[4];
    for (size_t i = 0; i < 4; i++, row += 4 * FP4_BYTES, c += 4 * ACTIVATION_BLOCK) {
        four[i] = _mm512_setzero_si512();
        if (4 * i >= blocks) continue;
        four[i] = fp4_products(fp4_biased(fp4_four_blocks(row, blocks - 4 * i)), x.high + c, x.low + c);
    }
    __m512i sum = sum_parts(four[0], four[1], four[2], four[3]);
    _mm512_storeu_si512(sums, _mm512_permutexvar_epi32(in_order, sum));
}

INLINE void fp4_pass(const uint8_t *row, size_t blocks, const activation_row *x, size_t tokens, size_t column, size_t r,
                     panel_blocks *p) {
    (void)tokens; /* one: more go through lanes */
    for (size_t b = 0; b < blocks; b += 16, row += 16 * FP4_BYTES, column += 16 * ACTIVATION_BLOCK) {
        int32_t *sums = &p->sums[0][r][b];
        prefetch_far(row + WEIGHTS_AHEAD, 16 * FP4_BYTES);
        if (b + 16 <= blocks) {
            fp4_sixteen(row, 16, *x, column, sums);
            fp4_collect_scales(row, 16, p->scales.exponents + b, r);
        } else {
            fp4_sixteen(row, blocks - b, *x, column, sums);
            fp4_collect_scales(row, blocks - b, p->scales.exponents + b, r);
        }
    }
}

/* ---- Q8_0 ---- */

/* Up to sixteen blocks of a row with one token. */
INLINE void q8_sixteen(const uint8_t *row, size_t blocks, const int16_t *q, int32_t *sums) {
    __m512i product[16];
    for (size_t i = 0; i < 16; i++, row += Q8_BYTES, q += ACTIVATION_BLOCK) {
        product[i] = _mm512_setzero_si512();
        if (i >= blocks) continue;
        __m512i w = _mm512_cvtepi8_epi16(_mm256_loadu_si256((const __m256i *)(row + 2)));
        product[i] = _mm512_dpwssd_epi32(product[i], w, load(q));
    }
    _mm512_storeu_si512(sums, sum_vectors(product));
}

INLINE void q8_pass(const uint8_t *row, size_t blocks, const activation_row *x, size_t tokens, size_t column, size_t r,
                    panel_blocks *p) {
    (void)tokens; /* one: more go through lanes */
    for (size_t b = 0; b < blocks; b += 16, row += 16 * Q8_BYTES, column += 16 * ACTIVATION_BLOCK) {
        int32_t *sums = &p->sums[0][r][b];
        prefetch_far(row + WEIGHTS_AHEAD, 16 * Q8_BYTES);
        if (b + 16 <= blocks) {
            q8_sixteen(row, 16, x->q + column, sums);
            q8_collect_scales(row, 16, p->scales.halves + b, r);
        } else {
            q8_sixteen(row, blocks - b, x->q + column, sums);
            q8_collect_scales(row, blocks - b, p->scales.halves + b, r);
        }
    }
}

/* ---- a few tokens ----
 *
 * With two tokens or more it pays to turn a panel's rows into lanes first: no sums across lanes are needed then. */

/* Twice the weights plus FP4_BIAS, or the weights plus Q8_BIAS: four columns of each row in a register. */
enum { Q8_BIAS = 128, BLOCK_WORDS = ACTIVATION_BLOCK / 4 };

INLINE void fp4_words(const uint8_t *rows, size_t row_bytes, __m512i words[BLOCK_WORDS]) {
    __m512i nibbles[4];
    transpose_words(rows + 1, row_bytes, nibbles);
    for (size_t i = 0; i < 4; i++) {
        fp4_weights w = fp4_biased(nibbles[i]);
        words[i] = w.low;
        words[4 + i] = w.high;
    }
}

INLINE void q8_words(const uint8_t *rows, size_t row_bytes, __m512i words[BLOCK_WORDS]) {
    transpose_words(rows + 2, row_bytes, words);
    transpose_words(rows + 18, row_bytes, words + 4);
    for (size_t i = 0; i < BLOCK_WORDS; i++) words[i] = _mm512_xor_si512(words[i], _mm512_set1_epi8(-128));
}

/* sum += w * four digits of one token. */
INLINE void multiply_digits(__m512i *sum, __m512i w, const int8_t *digits) {
    __asm__("vpdpbusd %2%{1to16%}, %1, %0" : "+v"(*sum) : "v"(w), "m"(*(const int32_t *)(const void *)digits));
}

/* Block b's sums of w * q, without the bias. */
INLINE __m512i lanes_multiply(const __m512i words[BLOCK_WORDS], activation_row x, size_t b) {
    size_t at = b / TOGETHER * TOGETHER * ACTIVATION_BLOCK + b % TOGETHER * 16;
    __m512i high = _mm512_setzero_si512(), low = _mm512_setzero_si512();
    for (size_t i = 0; i < BLOCK_WORDS; i++) {
        size_t digits = at + i / 4 * TOGETHER * 16 + i % 4 * 4;
        multiply_digits(&high, words[i], x.high + digits);
        multiply_digits(&low, words[i], x.low + digits);
    }
    return _mm512_add_epi32(_mm512_slli_epi32(high, 8), low);
}

/* An integer_panel; `tokens` is known when this is compiled. */
INLINE void lanes_run(integer_format format, const uint8_t *rows, size_t row_bytes, size_t cols,
                      const activation_row *x, size_t tokens, float *y) {
    bool fp4 = format == INTEGER_MXFP4;
    size_t all = cols / ACTIVATION_BLOCK, block_bytes = fp4 ? FP4_BYTES : Q8_BYTES;
    const uint8_t *ahead = rows + PANEL_ROWS * row_bytes;
    panel_blocks p;
    __m512 sum[PANEL_TOKENS];
    for (size_t t = 0; t < tokens; t++) sum[t] = _mm512_setzero_ps();
    for (size_t b = 0; b < all; b++, ahead += PANEL_ROWS * block_bytes) {
        size_t in_span = b % PANEL_SPAN, left = all - b;
        if (in_span == 0)
            panel_collect(format, rows + b * block_bytes, row_bytes, left < PANEL_SPAN ? left : PANEL_SPAN, &p);
        prefetch_far(ahead, PANEL_ROWS * block_bytes);
        __m512i words[BLOCK_WORDS];
        if (fp4)
            fp4_words(rows + b * block_bytes, row_bytes, words);
        else
            q8_words(rows + b * block_bytes, row_bytes, words);
        __m512 scales = fp4 ? fp4_scales_16(p.scales.exponents[in_span]) : q8_scales_16(p.scales.halves[in_span]);
        for (size_t t = 0; t < tokens; t++) {
            __m512i bias = _mm512_set1_epi32((fp4 ? FP4_BIAS : Q8_BIAS) * x[t].sums[b]);
            __m512i products = _mm512_sub_epi32(lanes_multiply(words, x[t], b), bias);
            __m512 scale = _mm512_mul_ps(scales, _mm512_set1_ps(x[t].scales[b]));
            sum[t] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(products), scale, sum[t]);
        }
    }
    for (size_t t = 0; t < tokens; t++)
        _mm512_storeu_ps(y + t * PANEL_ROWS, fp4 ? _mm512_mul_ps(sum[t], _mm512_set1_ps(0.5f)) : sum[t]);
}

INLINE void lanes_run_some(integer_format format, const uint8_t *rows, size_t row_bytes, size_t cols,
                           const activation_row *x, size_t tokens, float *y) {
    switch (tokens) {
    case 2: lanes_run(format, rows, row_bytes, cols, x, 2, y); break;
    case 3: lanes_run(format, rows, row_bytes, cols, x, 3, y); break;
    case 4: lanes_run(format, rows, row_bytes, cols, x, 4, y); break;
    case 5: lanes_run(format, rows, row_bytes, cols, x, 5, y); break;
    case 6: lanes_run(format, rows, row_bytes, cols, x, 6, y); break;
    case 7: lanes_run(format, rows, row_bytes, cols, x, 7, y); break;
    default: lanes_run(format, rows, row_bytes, cols, x, PANEL_TOKENS, y); break;
    }
}

static void panel_mxfp4(const uint8_t *rows, size_t row_bytes, size_t cols, const activation_row *x, size_t tokens,
                        float *y) {
    if (tokens == 1)
        panel_run(INTEGER_MXFP4, fp4_pass, add_panel, rows, row_bytes, cols, x, 1, y);
    else
        lanes_run_some(INTEGER_MXFP4, rows, row_bytes, cols, x, tokens, y);
}

static void panel_q8_0(const uint8_t *rows, size_t row_bytes, size_t cols, const activation_row *x, size_t tokens,
                       float *y) {
    if (tokens == 1)
        panel_run(INTEGER_Q8_0, q8_pass, add_panel, rows, row_bytes, cols, x, 1, y);
    else
        lanes_run_some(INTEGER_Q8_0, rows, row_bytes, cols, x, tokens, y);
}

/* ---- many tokens ----
 *
 * A processor like Zen 4 has two ports for multiply-adds of 16-bit numbers and four for additions. So half of the
 * multiplications of activations x and weights w are traded for additions (S. Winograd, "A New Algorithm for Inner
 * Product", IEEE Transactions on Computers C-17, 1968), columns 0 and 1 standing for any two neighbours:
 *
 *     x0 w0 + x1 w1 = (x0 + w1) (x1 + w0) - x0 x1 - w0 w1
 *
 * The sums of all x0 x1 and of all w0 w1 are what a block of packed tokens and of unpacked weights ends with. An
 * activation of at most ACTIVATION_MOST and a weight of 8 bits have a sum of 16 bits; all else is modulo 2^32, where
 * the result of a block fits. A quarter of the columns is multiplied as it is, which keeps all ports busy. */

/* Stores words of four columns each, of sixteen rows, as two pairs of int16. */
INLINE void store_pairs(int16_t *weights, __m512i words) {
    const __m512i swap_middle =
        _mm512_broadcast_i32x4(_mm_setr_epi8(0, 2, 1, 3, 4, 6, 5, 7, 8, 10, 9, 11, 12, 14, 13, 15));
    __m512i bytes = _mm512_shuffle_epi8(words, swap_middle); /* even bytes are the first pair, odd ones the second */
    _mm512_store_si512(weights, _mm512_srai_epi16(_mm512_slli_epi16(bytes, 8), 8));
    _mm512_store_si512(weights + 2 * PANEL_ROWS, _mm512_srai_epi16(bytes, 8));
}

/* The same, crossed; returns sum + w[0] w[1] + w[2] w[3]. */
INLINE __m512i store_crossed(int16_t *weights, __m512i words, __m512i sum) {
    __m512i odd = _mm512_srai_epi16(words, 8), even = _mm512_srai_epi16(_mm512_slli_epi16(words, 8), 8);
    _mm512_store_si512(weights, odd);
    _mm512_store_si512(weights + 2 * PANEL_ROWS, even);
    return _mm512_dpwssd_epi32(sum, odd, even);
}

/* A block of which words[i] are columns 4 i to 4 i + 3. */
INLINE void store_block(int16_t *weights, const __m512i words[BLOCK_WORDS]) {
    __m512i sum = _mm512_setzero_si512();
    for (size_t i = 0; i < BLOCK_WORDS; i++, weights += 4 * PANEL_ROWS) {
        if (i % 4 < CROSSED / 4)
            sum = store_crossed(weights, words[i], sum);
        else
            store_pairs(weights, words[i]);
    }
    _mm512_store_si512(weights, _mm512_sub_epi32(_mm512_setzero_si512(), sum));
}

enum { BLOCK_WEIGHTS = CROSSED_WORDS * 2 * PANEL_ROWS }; /* in int16 */

static void unpack_mxfp4(const uint8_t *rows, size_t row_bytes, size_t begin, size_t end, int16_t *weights,
                         float *scales, const uint8_t *ahead) {
    const __m128i doubled = _mm_setr_epi8(0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12);
    uint8_t exponents[PACK_BLOCKS][PANEL_ROWS];
    for (size_t r = 0; r < PANEL_ROWS; r++)
        fp4_collect_scales(rows + r * row_bytes + begin * FP4_BYTES, end - begin, exponents, r);
    for (size_t b = begin; b < end; b++, weights += BLOCK_WEIGHTS, scales += PANEL_ROWS) {
        prefetch_far(ahead, FP4_BYTES * PANEL_ROWS);
        ahead += FP4_BYTES * PANEL_ROWS;
        __m512i nibbles[4], words[BLOCK_WORDS];
        transpose_words(rows + b * FP4_BYTES + 1, row_bytes, nibbles);
        for (size_t i = 0; i < 4; i++) {
            words[i] = look_up(doubled, low_nibbles(nibbles[i]));
            words[4 + i] = look_up(doubled, high_nibbles(nibbles[i]));
        }
        store_block(weights, words);
        _mm512_store_ps(scales, _mm512_mul_ps(fp4_scales_16(exponents[b - begin]), _mm512_set1_ps(0.5f)));
    }
}

static void unpack_q8_0(const uint8_t *rows, size_t row_bytes, size_t begin, size_t end, int16_t *weights,
                        float *scales, const uint8_t *ahead) {
    uint16_t halves[PACK_BLOCKS][PANEL_ROWS];
    for (size_t r = 0; r < PANEL_ROWS; r++)
        q8_collect_scales(rows + r * row_bytes + begin * Q8_BYTES, end - begin, halves, r);
    for (size_t b = begin; b < end; b++, weights += BLOCK_WEIGHTS, scales += PANEL_ROWS) {
        prefetch_far(ahead, Q8_BYTES * PANEL_ROWS);
        ahead += Q8_BYTES * PANEL_ROWS;
        __m512i words[BLOCK_WORDS];
        transpose_words(rows + b * Q8_BYTES + 2, row_bytes, words);
        transpose_words(rows + b * Q8_BYTES + 18, row_bytes, words + 4);
        store_block(weights, words);
        _mm512_store_ps(scales, q8_scales_16(halves[b - begin]));
    }
}

/* The instructions of the inner loop, in the order written: left to themselves, compilers move loads together and
 * multiplications behind each other, and copy and spill the sums. */
INLINE __m512i load_pair(const int32_t *pair) {
    __m512i all;
    __asm__ volatile("vpbroadcastd %1, %0" : "=v"(all) : "m"(*pair));
    return all;
}

INLINE void add_words(__m512i *to, __m512i w) { __asm__ volatile("vpaddw %1, %0, %0" : "+v"(*to) : "v"(w)); }

INLINE void multiply_words(__m512i *sum, __m512i a, __m512i b) {
    __asm__ volatile("vpdpwssd %2, %1, %0" : "+v"(*sum) : "v"(a), "v"(b));
}

INLINE void multiply_pair(__m512i *sum, __m512i w, const int32_t *pair) {
    __asm__ volatile("vpdpwssd %2%{1to16%}, %1, %0" : "+v"(*sum) : "v"(w), "m"(*pair));
}

/* sum[t] += four crossed columns, pairs number `crossed` and the next, and, unless it is NO_PAIR, the pair of columns
 * `plain`. With a plain pair, two ports are as busy with multiplying as the other two with adding. */
enum { NO_PAIR = 0 }; /* that one is crossed */

INLINE void multiply_columns(__m512i *sum, const int16_t *weights, const int32_t *pairs, size_t crossed, size_t plain,
                             size_t tokens) {
    const int16_t *at = weights + crossed * 2 * PANEL_ROWS;
    __m512i first = load(at), second = load(at + 2 * PANEL_ROWS), third = load(weights + plain * 2 * PANEL_ROWS);
    const int32_t *a = pairs + crossed * tokens, *b = a + tokens, *c = pairs + plain * tokens;
    _mm_prefetch((const char *)(a + TOKENS_AHEAD), _MM_HINT_T0);
    _mm_prefetch((const char *)(b + TOKENS_AHEAD), _MM_HINT_T0);
    if (plain != NO_PAIR) _mm_prefetch((const char *)(c + TOKENS_AHEAD), _MM_HINT_T0);
    for (size_t t = 0; t < tokens; t++) {
        __m512i left = load_pair(a + t), right = load_pair(b + t);
        add_words(&left, first);
        add_words(&right, second);
        if (plain != NO_PAIR) multiply_pair(&sum[t], third, c + t);
        multiply_words(&sum[t], left, right);
    }
}

/* One sum a token stays in a register. `tokens` is known when this is compiled. */
INLINE void multiply_group(const int16_t *weights, const float *scales, const int32_t *pairs, const float *token_scales,
                           size_t blocks, size_t tokens, float *y) {
    for (size_t b = 0; b < blocks; b++, token_scales += tokens) {
        __m512i sum[GROUP], begin = load(weights + PAIRS * 2 * PANEL_ROWS);
        const int32_t *token_sums = pairs + PAIRS * tokens;
        for (size_t t = 0; t < tokens; t++) sum[t] = _mm512_sub_epi32(begin, _mm512_set1_epi32(token_sums[t]));
        for (size_t half = 0; half < 2; half++, weights += PAIRS * PANEL_ROWS, pairs += PAIRS / 2 * tokens) {
            multiply_columns(sum, weights, pairs, 0, 6, tokens);
            multiply_columns(sum, weights, pairs, 2, 7, tokens);
            multiply_columns(sum, weights, pairs, 4, NO_PAIR, tokens);
        }
        weights += 2 * PANEL_ROWS;
        pairs += tokens;
        __m512 row_scales = _mm512_load_ps(scales + b * PANEL_ROWS);
        for (size_t t = 0; t < tokens; t++) {
            float *at = y + t * PANEL_ROWS;
            __m512 scale = _mm512_mul_ps(row_scales, _mm512_set1_ps(token_scales[t]));
            _mm512_storeu_ps(at, _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum[t]), scale, _mm512_loadu_ps(at)));
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
    case 6: multiply_group(weights, scales, pairs, token_scales, blocks, 6, y); break;
    case 7: multiply_group(weights, scales, pairs, token_scales, blocks, 7, y); break;
    case 8: multiply_group(weights, scales, pairs, token_scales, blocks, 8, y); break;
    case 9: multiply_group(weights, scales, pairs, token_scales, blocks, 9, y); break;
    case 10: multiply_group(weights, scales, pairs, token_scales, blocks, 10, y); break;
    case 11: multiply_group(weights, scales, pairs, token_scales, blocks, 11, y); break;
    default: multiply_group(weights, scales, pairs, token_scales, blocks, GROUP, y); break;
    }
}

/* ---- rounding ---- */

static void round_row(const float *x, size_t cols, activation_row out) {
    for (size_t b = 0; b < cols / 32; b++, x += 32) {
        __m512 first = _mm512_loadu_ps(x), second = _mm512_loadu_ps(x + 16);
        /* Magnitudes compare as their bits do, NaN above all. */
        uint32_t bits = _mm512_reduce_max_epu32(
            _mm512_max_epu32(_mm512_castps_si512(_mm512_abs_ps(first)), _mm512_castps_si512(_mm512_abs_ps(second))));
        float most;
        memcpy(&most, &bits, sizeof most);
        bool usable = most >= 1e-30f && most < INFINITY;
        out.scales[b] = most < INFINITY ? usable ? most / (float)ACTIVATION_MOST : 0.0f : NAN;
        __m512 inverse = _mm512_set1_ps(usable ? (float)ACTIVATION_MOST / most : 0.0f);
        __mmask16 keep = usable ? 0xffff : 0;
        __m512i low = _mm512_maskz_cvtps_epi32(keep, _mm512_mul_ps(first, inverse));
        __m512i high = _mm512_maskz_cvtps_epi32(keep, _mm512_mul_ps(second, inverse));
        _mm256_storeu_si256((__m256i *)(out.q + b * 32), _mm512_cvtepi32_epi16(low));
        _mm256_storeu_si256((__m256i *)(out.q + b * 32 + 16), _mm512_cvtepi32_epi16(high));
    }
    integer_split(cols, TOGETHER, out);
}

const integer_kernels integer_avx512 = {.round = round_row,
                                        .together = TOGETHER,
                                        .panel = {panel_mxfp4, panel_q8_0},
                                        .unpack = {unpack_mxfp4, unpack_q8_0},
                                        .multiply = multiply,
                                        .group = GROUP,
                                        .order = PACKED_CROSSED,
                                        .few = PANEL_TOKENS};

#endif
