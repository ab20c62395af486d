/* AVX-512 with VNNI: a panel's sixteen rows are the sixteen lanes of a register. */
#include "kernels/integer.h"

#if defined(__x86_64__)

#include <math.h>
#include <stdbool.h>

#include "kernels/integer_avx512.h"

enum { GROUP = 12 };
enum { TOKENS_AHEAD = 512 }; /* pairs to prefetch ahead: a few hundred cycles of work */

INLINE __m512i load(const void *at) { return _mm512_loadu_si512(at); }

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

/* Scales are collected that many blocks before they are needed: what was just stored byte by byte cannot be loaded as a
 * vector without waiting. */
enum { SCALES_AHEAD = 8, SCALES_KEPT = 2 * SCALES_AHEAD };

/* 16 bytes of each row, `offset` behind the place, turned so that word i of row r is lane r of out[i]. */
INLINE void transpose_words(const panel_place *p, size_t offset, __m512i out[4]) {
    __m512i v[4]; /* v[j]: rows j, 4 + j, 8 + j, 12 + j */
#pragma GCC unroll 4
    for (size_t j = 0; j < 4; j++)
        v[j] = four_rows(place_of(p, j) + offset, place_of(p, 4 + j) + offset, place_of(p, 8 + j) + offset,
                         place_of(p, 12 + j) + offset);
    __m512i low01 = _mm512_unpacklo_epi32(v[0], v[1]), low23 = _mm512_unpacklo_epi32(v[2], v[3]);
    __m512i high01 = _mm512_unpackhi_epi32(v[0], v[1]), high23 = _mm512_unpackhi_epi32(v[2], v[3]);
    out[0] = _mm512_unpacklo_epi64(low01, low23);
    out[1] = _mm512_unpackhi_epi64(low01, low23);
    out[2] = _mm512_unpacklo_epi64(high01, high23);
    out[3] = _mm512_unpackhi_epi64(high01, high23);
}

/* ---- a few tokens ---- */

enum { Q8_BIAS = 128, BLOCK_WORDS = ACTIVATION_BLOCK / 4 };

/* A block of each row as it is in memory: for MXFP4 raw[0..4), for Q8_0 all. */
INLINE void load_block(integer_format format, const panel_place *p, __m512i raw[BLOCK_WORDS]) {
    transpose_words(p, format == INTEGER_MXFP4 ? 1 : 2, raw);
    if (format == INTEGER_Q8_0) transpose_words(p, 18, raw + 4);
}

/* Twice the weights plus FP4_BIAS, or the weights plus Q8_BIAS, which are unsigned, as dpbusd wants its first operand:
 * four columns of each row in a register. */
INLINE void bias_block(integer_format format, const __m512i raw[BLOCK_WORDS], __m512i words[BLOCK_WORDS]) {
    const __m128i biased = _mm_setr_epi8(12, 13, 14, 15, 16, 18, 20, 24, 12, 11, 10, 9, 8, 6, 4, 0);
#pragma GCC unroll 8
    for (size_t i = 0; i < BLOCK_WORDS; i++) {
        if (format == INTEGER_Q8_0)
            words[i] = _mm512_xor_si512(raw[i], _mm512_set1_epi8(-128));
        else
            words[i] = look_up(biased, i < 4 ? low_nibbles(raw[i]) : high_nibbles(raw[i - 4]));
    }
}

/* sum += w * four digits of one token. */
INLINE void multiply_digits(__m512i *sum, __m512i w, const int8_t *digits) {
    __asm__("vpdpbusd %2%{1to16%}, %1, %0" : "+v"(*sum) : "v"(w), "m"(*(const int32_t *)(const void *)digits));
}

/* Block b's sums of w * q, less `bias`. Four sums, since each waits for its last multiplication. */
INLINE __m512i multiply_block(const __m512i words[BLOCK_WORDS], activation_row x, size_t b, int32_t bias) {
    const int8_t *high = x.high + b * ACTIVATION_BLOCK, *low = x.low + b * ACTIVATION_BLOCK;
    __m512i h0 = _mm512_setzero_si512(), h1 = h0, l0 = _mm512_set1_epi32(-bias), l1 = h0;
#pragma GCC unroll 4
    for (size_t i = 0; i < BLOCK_WORDS / 2; i++) {
        multiply_digits(&h0, words[i], high + 4 * i);
        multiply_digits(&l0, words[i], low + 4 * i);
        multiply_digits(&h1, words[4 + i], high + 16 + 4 * i);
        multiply_digits(&l1, words[4 + i], low + 16 + 4 * i);
    }
    return _mm512_add_epi32(_mm512_slli_epi32(_mm512_add_epi32(h0, h1), 8), _mm512_add_epi32(l0, l1));
}

/* An integer_panel; `tokens` is known when this is compiled. Rows are read side by side, which processors do not
 * foresee: the panel behind this one is prefetched meanwhile, in the order of memory. Blocks are loaded one ahead, so
 * that the next one's transposition fills the time that multiplications wait for each other. */
INLINE void lanes_run(integer_format format, const uint8_t *rows, size_t row_bytes, size_t cols,
                      const activation_row *x, size_t tokens, float *y) {
    bool fp4 = format == INTEGER_MXFP4;
    size_t blocks = cols / ACTIVATION_BLOCK, bytes = block_size(format);
    const uint8_t *ahead = rows + PANEL_ROWS * row_bytes;
    panel_place p = place_begin(rows, row_bytes);
    block_scales scales[SCALES_KEPT];
    __m512i raw[BLOCK_WORDS], words[BLOCK_WORDS];
    __m512 sum[PANEL_TOKENS];
    for (size_t t = 0; t < tokens; t++) sum[t] = _mm512_setzero_ps();
    for (size_t b = 0; b < blocks && b < SCALES_AHEAD; b++) collect_scales(format, &p, b * bytes, &scales[b]);
    load_block(format, &p, raw);
    for (size_t b = 0; b < blocks; b++, ahead += PANEL_ROWS * bytes) {
        if (b + SCALES_AHEAD < blocks)
            collect_scales(format, &p, SCALES_AHEAD * bytes, &scales[(b + SCALES_AHEAD) % SCALES_KEPT]);
        prefetch_far(ahead, PANEL_ROWS * bytes);
        bias_block(format, raw, words);
        place_advance(&p, b + 1 < blocks ? bytes : 0);
        load_block(format, &p, raw);
        __m512 row_scales = load_scales(format, &scales[b % SCALES_KEPT]);
        for (size_t t = 0; t < tokens; t++) {
            __m512i products = multiply_block(words, x[t], b, (fp4 ? FP4_BIAS : Q8_BIAS) * x[t].sums[b]);
            __m512 scale = _mm512_mul_ps(row_scales, _mm512_set1_ps(x[t].scales[b]));
            sum[t] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(products), scale, sum[t]);
        }
    }
    for (size_t t = 0; t < tokens; t++) /* what was summed for MXFP4 is twice the weights */
        _mm512_storeu_ps(y + t * PANEL_ROWS, fp4 ? _mm512_mul_ps(sum[t], _mm512_set1_ps(0.5f)) : sum[t]);
}

INLINE void lanes_run_some(integer_format format, const uint8_t *rows, size_t row_bytes, size_t cols,
                           const activation_row *x, size_t tokens, float *y) {
    switch (tokens) {
    case 1: lanes_run(format, rows, row_bytes, cols, x, 1, y); break;
    case 2: lanes_run(format, rows, row_bytes, cols, x, 2, y); break;
    case 3: lanes_run(format, rows, row_bytes, cols, x, 3, y); break;
    case 4: lanes_run(format, rows, row_bytes, cols, x, 4, y); break;
    case 5: lanes_run(format, rows, row_bytes, cols, x, 5, y); break;
    case 6: lanes_run(format, rows, row_bytes, cols, x, 6, y); break;
    case 7: lanes_run(format, rows, row_bytes, cols, x, 7, y); break;
    default: lanes_run(format, rows, row_bytes, cols, x, PANEL_TOKENS, y); break;
    }
}

void integer_avx512_mxfp4(const uint8_t *rows, size_t row_bytes, size_t cols, const activation_row *x, size_t tokens,
                        float *y) {
    lanes_run_some(INTEGER_MXFP4, rows, row_bytes, cols, x, tokens, y);
}

void integer_avx512_q8_0(const uint8_t *rows, size_t row_bytes, size_t cols, const activation_row *x, size_t tokens,
                       float *y) {
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

enum { PAIR_WEIGHTS = 2 * PANEL_ROWS, BLOCK_WEIGHTS = CROSSED_WORDS * PAIR_WEIGHTS }; /* in int16 */

INLINE bool is_crossed(size_t word) { return word % 4 < CROSSED / 4; }

/* Bytes 0 2 1 3 of every word: even bytes are then columns 0 and 1, odd ones columns 2 and 3. */
INLINE __m512i swap_middle(__m512i words) {
    return _mm512_shuffle_epi8(
        words, _mm512_broadcast_i32x4(_mm_setr_epi8(0, 2, 1, 3, 4, 6, 5, 7, 8, 10, 9, 11, 12, 14, 13, 15)));
}

/* Stores the four columns that are word i of a block: the even and the odd bytes of what load_block found, whose middle
 * bytes are swapped where it is not crossed. Returns sum + what the end of the block is the negative of. */
INLINE __m512i store_word(int16_t *weights, size_t i, __m512i even, __m512i odd, __m512i sum) {
    int16_t *at = weights + i * 2 * PAIR_WEIGHTS;
    _mm512_store_si512(at, is_crossed(i) ? odd : even);
    _mm512_store_si512(at + PAIR_WEIGHTS, is_crossed(i) ? even : odd);
    return is_crossed(i) ? _mm512_dpwssd_epi32(sum, odd, even) : sum;
}

INLINE void unpack_block(integer_format format, const __m512i raw[BLOCK_WORDS], int16_t *weights) {
    __m512i sum = _mm512_setzero_si512();
    const __m512i doubled = _mm512_broadcast_i32x8(
        _mm256_setr_epi16(0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12)); /* looked up with five bits */
#pragma GCC unroll 8
    for (size_t i = 0; i < BLOCK_WORDS; i++) {
        bool q8 = format == INTEGER_Q8_0;
        __m512i bytes = raw[q8 ? i : i % 4], even, odd;
        if (!is_crossed(i)) bytes = swap_middle(bytes);
        if (q8) {
            even = _mm512_srai_epi16(_mm512_slli_epi16(bytes, 8), 8);
            odd = _mm512_srai_epi16(bytes, 8);
        } else {
            even = _mm512_permutexvar_epi16(i < 4 ? bytes : _mm512_srli_epi16(bytes, 4), doubled);
            odd = _mm512_permutexvar_epi16(_mm512_srli_epi16(bytes, i < 4 ? 8 : 12), doubled);
        }
        sum = store_word(weights, i, even, odd, sum);
    }
    _mm512_store_si512(weights + BLOCK_WORDS * 2 * PAIR_WEIGHTS, _mm512_sub_epi32(_mm512_setzero_si512(), sum));
}

INLINE void unpack(integer_format format, const uint8_t *rows, size_t row_bytes, size_t begin, size_t end,
                   int16_t *weights, float *scales, const uint8_t *ahead) {
    size_t bytes = block_size(format);
    panel_place p = place_begin(rows + begin * bytes, row_bytes);
    block_scales collected[PACK_BLOCKS];
    for (size_t b = begin; b < end; b++) collect_scales(format, &p, (b - begin) * bytes, &collected[b - begin]);
    for (size_t b = begin; b < end; b++, weights += BLOCK_WEIGHTS, ahead += PANEL_ROWS * bytes) {
        __m512i raw[BLOCK_WORDS];
        prefetch_far(ahead, PANEL_ROWS * bytes);
        load_block(format, &p, raw);
        place_advance(&p, bytes);
        unpack_block(format, raw, weights);
        __m512 row_scales = load_scales(format, &collected[b - begin]);
        if (format == INTEGER_MXFP4) row_scales = _mm512_mul_ps(row_scales, _mm512_set1_ps(0.5f));
        _mm512_store_ps(scales + (b - begin) * PANEL_ROWS, row_scales);
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

void integer_avx512_round(const float *x, size_t cols, activation_row out) {
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
    integer_split(cols, 1, out);
}

const integer_kernels integer_avx512 = {.round = integer_avx512_round,
                                        .together = 1,
                                        .panel = {integer_avx512_mxfp4, integer_avx512_q8_0},
                                        .unpack = {unpack_mxfp4, unpack_q8_0},
                                        .multiply = {multiply, multiply},
                                        .group = GROUP,
                                        .order = PACKED_CROSSED,
                                        .few = PANEL_TOKENS};

#endif
