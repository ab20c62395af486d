/* AMX: products with many tokens in tiles of 16 rows, 16 tokens and 32 columns; few tokens as with AVX-512.
 *
 * Tiles multiply 8-bit integers, or numbers of the bfloat16 format with sums in float32. An activation is two signed
 * digits, 256 h + l, which are bfloat16 numbers exactly, as are weights. Every sum of products of a block's weights in
 * MXFP4, times two, with such digits is an integer below 2^24, as 32 * 12 * ACTIVATION_MOST is, and so exact: one sum
 * of 64 products is what the integer sum would be as a float32. Those of Q8_0 are larger: one sum of products with
 * 256 h and one with l are exact, and their sum is rounded as the integer would be. */
#include "kernels/integer.h"

#if defined(GPTOSS_AMX)

#include "kernels/integer_avx512.h"

enum { GROUP = 16, BLOCK_HALVES = ACTIVATION_BLOCK * PANEL_ROWS, TILE = 16 * 16 };

INLINE __m512 load(const float *at) { return _mm512_load_ps(at); }

/* ---- tiles ---- */

/* A row of weights a row; a pair of columns a row of tokens; a row of weights a row of sums. A group of fewer than
 * GROUP tokens has its own tiles, so that no more than one configuration is needed. Names are macros since the
 * intrinsics want numbers. */
#define WEIGHTS 0
#define WEIGHTS_2 1
#define TOKENS 2
#define SUMS 3
#define SUMS_2 4
#define REST_TOKENS 5
#define REST_SUMS 6
#define REST_SUMS_2 7

typedef struct tile_configuration {
    uint8_t palette, start_row, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
} tile_configuration;

static void begin(size_t rest) {
    tile_configuration c __attribute__((aligned(LINE))) = {.palette = 1};
    for (size_t i = 0; i < 8; i++) {
        c.rows[i] = 16;
        c.row_bytes[i] = (uint16_t)(i < REST_TOKENS || rest == 0 ? LINE : rest * sizeof(float));
    }
    __asm__ volatile("ldtilecfg %0" : : "m"(c)); /* the intrinsic of some compilers reads only the beginning of it */
}

static void end(void) { _tile_release(); }

/* ---- packing ---- */

/* Of 16 columns the even ones, then the odd ones. */
INLINE __m256i in_order(__m256i bytes) {
    return _mm256_shuffle_epi8(
        bytes, _mm256_broadcastsi128_si256(_mm_setr_epi8(0, 2, 4, 6, 8, 10, 12, 14, 1, 3, 5, 7, 9, 11, 13, 15)));
}

/* `times` 32 bytes as bfloat16 numbers. */
INLINE __m512i halves_of(__m256i bytes, float times) {
    __m512 first = _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm256_castsi256_si128(bytes)));
    __m512 second = _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm256_extracti128_si256(bytes, 1)));
    __m512i upper = _mm512_set_epi16(63, 61, 59, 57, 55, 53, 51, 49, 47, 45, 43, 41, 39, 37, 35, 33, 31, 29, 27, 25, 23,
                                     21, 19, 17, 15, 13, 11, 9, 7, 5, 3, 1);
    if (times != 1) {
        first = _mm512_mul_ps(first, _mm512_set1_ps(times));
        second = _mm512_mul_ps(second, _mm512_set1_ps(times));
    }
    return _mm512_permutex2var_epi16(_mm512_castps_si512(first), upper, _mm512_castps_si512(second));
}

static void pack(activation_row row, size_t block, size_t blocks, size_t lane, size_t width, int32_t *group) {
    const __m512i places = _mm512_mullo_epi32(_mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15),
                                              _mm512_set1_epi32((int)width));
    int32_t *to = group + lane;
    for (size_t b = block; b < block + blocks; b++, to += 2 * PAIRS * width) {
        __m256i high = _mm256_loadu_si256((const __m256i *)(row.high + b * ACTIVATION_BLOCK));
        __m256i low = _mm256_loadu_si256((const __m256i *)(row.low + b * ACTIVATION_BLOCK));
        _mm512_i32scatter_epi32(to, places, halves_of(in_order(high), 256), 4);
        _mm512_i32scatter_epi32(to + PAIRS * width, places, halves_of(in_order(low), 1), 4);
    }
}

INLINE __m512i unpack_fp4(const uint8_t *block) {
    /* Twice the weights: 0, 1, 2, 3, 4, 6, 8, 12, and their negatives. Looked up with five bits. */
    const __m512i doubled = _mm512_broadcast_i32x8(
        _mm256_setr_epi16(0, 0x3f80, 0x4000, 0x4040, 0x4080, 0x40c0, 0x4100, 0x4140, (short)0x8000, (short)0xbf80,
                          (short)0xc000, (short)0xc040, (short)0xc080, (short)0xc0c0, (short)0xc100, (short)0xc140));
    const __m512i shifts = _mm512_set_epi64(0x000c000c000c000c, 0x000c000c000c000c, 0x0004000400040004,
                                            0x0004000400040004, 0x0008000800080008, 0x0008000800080008, 0, 0);
    __m512i nibbles = _mm512_srlv_epi16(_mm512_broadcast_i32x4(load_16(block + 1)), shifts);
    return _mm512_permutexvar_epi16(nibbles, doubled);
}

INLINE __m512i unpack_q8(const uint8_t *block) {
    return halves_of(in_order(_mm256_loadu_si256((const __m256i *)(block + 2))), 1);
}

/* weights[block][row][32]. */
INLINE void unpack(integer_format format, const uint8_t *rows, size_t row_bytes, size_t begin, size_t end,
                   int16_t *weights, float *scales, const uint8_t *ahead) {
    size_t bytes = block_size(format);
    panel_place p = place_begin(rows + begin * bytes, row_bytes);
    for (size_t b = begin; b < end; b++, weights += BLOCK_HALVES, scales += PANEL_ROWS, ahead += PANEL_ROWS * bytes) {
        block_scales collected;
        collect_scales(format, &p, 0, &collected);
        prefetch_far(ahead, PANEL_ROWS * bytes);
#pragma GCC unroll 16
        for (size_t r = 0; r < PANEL_ROWS; r++) {
            const uint8_t *block = place_of(&p, r);
            _mm512_store_si512(weights + r * ACTIVATION_BLOCK,
                               format == INTEGER_MXFP4 ? unpack_fp4(block) : unpack_q8(block));
        }
        place_advance(&p, bytes);
        __m512 row_scales = load_scales(format, &collected);
        if (format == INTEGER_MXFP4) row_scales = _mm512_mul_ps(row_scales, _mm512_set1_ps(0.5f));
        _mm512_store_ps(scales, row_scales);
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

/* ---- multiplying ---- */

/* Sums of a block: those of all products, or those with high digits and then those with low ones. */
#define MULTIPLY_FP4(weights, tokens, width, out, tokens_tile, sums_tile)                 \
    do {                                                                                  \
        _tile_loadd(WEIGHTS, weights, LINE);                                              \
        _tile_loadd(tokens_tile, tokens, (width) * sizeof *(tokens));                     \
        _tile_zero(sums_tile);                                                            \
        _tile_dpbf16ps(sums_tile, WEIGHTS, tokens_tile);                                  \
        _tile_loadd(tokens_tile, (tokens) + PAIRS * (width), (width) * sizeof *(tokens)); \
        _tile_dpbf16ps(sums_tile, WEIGHTS, tokens_tile);                                  \
        _tile_stored(sums_tile, out, LINE);                                               \
    } while (0)

#define MULTIPLY_TWO_FP4(weights, tokens, width, out, tokens_tile, sums_tile, sums_tile_2) \
    do {                                                                                   \
        _tile_loadd(tokens_tile, tokens, (width) * sizeof *(tokens));                      \
        _tile_loadd(WEIGHTS, weights, LINE);                                               \
        _tile_loadd(WEIGHTS_2, (weights) + CHUNK_WEIGHTS, LINE);                           \
        _tile_zero(sums_tile);                                                             \
        _tile_zero(sums_tile_2);                                                           \
        _tile_dpbf16ps(sums_tile, WEIGHTS, tokens_tile);                                   \
        _tile_dpbf16ps(sums_tile_2, WEIGHTS_2, tokens_tile);                               \
        _tile_loadd(tokens_tile, (tokens) + PAIRS * (width), (width) * sizeof *(tokens));  \
        _tile_dpbf16ps(sums_tile, WEIGHTS, tokens_tile);                                   \
        _tile_stored(sums_tile, out, LINE);                                                \
        _tile_dpbf16ps(sums_tile_2, WEIGHTS_2, tokens_tile);                               \
        _tile_stored(sums_tile_2, (out) + PACK_BLOCKS * TILE, LINE);                       \
    } while (0)

#define MULTIPLY_Q8(weights, tokens, width, out, tokens_tile, sums_tile, sums_tile_2)     \
    do {                                                                                  \
        _tile_loadd(WEIGHTS, weights, LINE);                                              \
        _tile_loadd(tokens_tile, tokens, (width) * sizeof *(tokens));                     \
        _tile_zero(sums_tile);                                                            \
        _tile_dpbf16ps(sums_tile, WEIGHTS, tokens_tile);                                  \
        _tile_loadd(tokens_tile, (tokens) + PAIRS * (width), (width) * sizeof *(tokens)); \
        _tile_stored(sums_tile, out, LINE);                                               \
        _tile_zero(sums_tile_2);                                                          \
        _tile_dpbf16ps(sums_tile_2, WEIGHTS, tokens_tile);                                \
        _tile_stored(sums_tile_2, (out) + PACK_BLOCKS * TILE, LINE);                      \
    } while (0)

/* y[row] += what a block's sums come to. */
INLINE void add_block(integer_format format, __m512 y[PANEL_ROWS], const float *sums, const float *row_scales,
                      __m512 token_scales) {
#pragma GCC unroll 16
    for (size_t r = 0; r < PANEL_ROWS; r++) {
        __m512 sum = load(sums + 16 * r);
        if (format == INTEGER_Q8_0) sum = _mm512_add_ps(sum, load(sums + PACK_BLOCKS * TILE + 16 * r));
        y[r] = _mm512_fmadd_ps(sum, _mm512_mul_ps(_mm512_set1_ps(row_scales[r]), token_scales), y[r]);
    }
}

INLINE __m512 scales_of(const float *token_scales, size_t tokens, bool whole) {
    return whole ? _mm512_loadu_ps(token_scales) : _mm512_maskz_loadu_ps((__mmask16)((1u << tokens) - 1), token_scales);
}

INLINE void load_sums(__m512 y[PANEL_ROWS], const float *from) {
#pragma GCC unroll 16
    for (size_t r = 0; r < PANEL_ROWS; r++) y[r] = load(from + GROUP * r);
}

INLINE void store_sums(const __m512 y[PANEL_ROWS], float *to) {
#pragma GCC unroll 16
    for (size_t r = 0; r < PANEL_ROWS; r++) _mm512_store_ps(to + GROUP * r, y[r]);
}

/* A block of one panel or, in MXFP4, of two. */
INLINE void multiply_block(integer_format format, size_t panels, const int16_t *weights, const int32_t *tokens,
                           size_t width, bool whole, float *out) {
    if (panels == 2 && whole)
        MULTIPLY_TWO_FP4(weights, tokens, GROUP, out, TOKENS, SUMS, SUMS_2);
    else if (panels == 2)
        MULTIPLY_TWO_FP4(weights, tokens, width, out, REST_TOKENS, REST_SUMS, REST_SUMS_2);
    else if (format == INTEGER_MXFP4 && whole)
        MULTIPLY_FP4(weights, tokens, GROUP, out, TOKENS, SUMS);
    else if (format == INTEGER_MXFP4)
        MULTIPLY_FP4(weights, tokens, width, out, REST_TOKENS, REST_SUMS);
    else if (whole)
        MULTIPLY_Q8(weights, tokens, GROUP, out, TOKENS, SUMS, SUMS_2);
    else
        MULTIPLY_Q8(weights, tokens, width, out, REST_TOKENS, REST_SUMS, REST_SUMS_2);
}

/* Tiles multiply a block while vectors add the one before; of a second panel they add all in the end. */
INLINE void multiply_group(integer_format format, size_t panels, const int16_t *weights, const float *scales,
                           const int32_t *pairs, const float *token_scales, size_t blocks, size_t tokens, bool whole,
                           float *y, float *y_2) {
    float sums[2 * PACK_BLOCKS * TILE] __attribute__((aligned(LINE)));
    __m512 total[PANEL_ROWS];
    load_sums(total, y);
    for (size_t b = 0; b <= blocks; b++) {
        float *out = sums + b * TILE;
        if (b < blocks)
            multiply_block(format, panels, weights + b * BLOCK_HALVES, pairs + b * 2 * PAIRS * tokens, tokens, whole,
                           out);
        if (b > 0)
            add_block(format, total, out - TILE, scales + (b - 1) * PANEL_ROWS,
                      scales_of(token_scales + (b - 1) * tokens, tokens, whole));
    }
    store_sums(total, y);
    if (panels == 1) return;
    load_sums(total, y_2);
    for (size_t b = 0; b < blocks; b++)
        add_block(format, total, sums + (PACK_BLOCKS + b) * TILE, scales + CHUNK_SCALES + b * PANEL_ROWS,
                  scales_of(token_scales + b * tokens, tokens, whole));
    store_sums(total, y_2);
}

/* `format` and `panels` are known when this is compiled; so is what a whole group has. */
INLINE void multiply(integer_format format, size_t panels, const int16_t *weights, const float *scales,
                     const int32_t *pairs, const float *token_scales, size_t blocks, size_t tokens, float *y,
                     float *y_2) {
    if (tokens == GROUP)
        multiply_group(format, panels, weights, scales, pairs, token_scales, blocks, GROUP, true, y, y_2);
    else
        multiply_group(format, panels, weights, scales, pairs, token_scales, blocks, tokens, false, y, y_2);
}

static void multiply_mxfp4(const int16_t *weights, const float *scales, const int32_t *pairs, const float *token_scales,
                           size_t blocks, size_t tokens, float *y) {
    multiply(INTEGER_MXFP4, 1, weights, scales, pairs, token_scales, blocks, tokens, y, NULL);
}

static void multiply_q8_0(const int16_t *weights, const float *scales, const int32_t *pairs, const float *token_scales,
                          size_t blocks, size_t tokens, float *y) {
    multiply(INTEGER_Q8_0, 1, weights, scales, pairs, token_scales, blocks, tokens, y, NULL);
}

static void multiply_two_mxfp4(const int16_t *weights, const float *scales, const int32_t *pairs,
                               const float *token_scales, size_t blocks, size_t tokens, float *y, float *y_2) {
    multiply(INTEGER_MXFP4, 2, weights, scales, pairs, token_scales, blocks, tokens, y, y_2);
}

/* Rows of 16 tokens become tokens of 16 rows. */
static void turn(float *sums) {
    __m512 a[16], b[16];
    for (size_t i = 0; i < 16; i++) a[i] = load(sums + 16 * i);
    for (size_t i = 0; i < 16; i += 2) {
        b[i] = _mm512_unpacklo_ps(a[i], a[i + 1]);
        b[i + 1] = _mm512_unpackhi_ps(a[i], a[i + 1]);
    }
    for (size_t i = 0; i < 16; i += 4)
        for (size_t j = 0; j < 2; j++) {
            __m512d first = _mm512_castps_pd(b[i + j]), second = _mm512_castps_pd(b[i + 2 + j]);
            a[i + 2 * j] = _mm512_castpd_ps(_mm512_unpacklo_pd(first, second));
            a[i + 2 * j + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(first, second));
        }
    for (size_t j = 0; j < 4; j++) /* a[4 i + j]: column j of every four, of rows 4 i to 4 i + 3 */
        for (size_t half = 0; half < 2; half++) {
            b[j + 4 * half] = _mm512_shuffle_f32x4(a[j + 8 * half], a[j + 8 * half + 4], 0x88);
            b[8 + j + 4 * half] = _mm512_shuffle_f32x4(a[j + 8 * half], a[j + 8 * half + 4], 0xdd);
        }
    for (size_t j = 0; j < 4; j++) { /* b[j]: columns j and 8 + j of rows 0 to 7; b[8 + j]: columns 4 + j, 12 + j */
        _mm512_store_ps(sums + 16 * j, _mm512_shuffle_f32x4(b[j], b[j + 4], 0x88));
        _mm512_store_ps(sums + 16 * (8 + j), _mm512_shuffle_f32x4(b[j], b[j + 4], 0xdd));
        _mm512_store_ps(sums + 16 * (4 + j), _mm512_shuffle_f32x4(b[8 + j], b[8 + j + 4], 0x88));
        _mm512_store_ps(sums + 16 * (12 + j), _mm512_shuffle_f32x4(b[8 + j], b[8 + j + 4], 0xdd));
    }
}

const integer_kernels integer_amx = {.round = integer_avx512_round,
                                     .together = 1,
                                     .panel = {integer_avx512_mxfp4, integer_avx512_q8_0},
                                     .unpack = {unpack_mxfp4, unpack_q8_0},
                                     .multiply = {multiply_mxfp4, multiply_q8_0},
                                     .multiply_two = {multiply_two_mxfp4, NULL},
                                     .begin = begin,
                                     .end = end,
                                     .turn = turn,
                                     .pack = pack,
                                     .group = GROUP,
                                     .whole_groups = true,
                                     .span_bytes = 1 << 20,
                                     .order = PACKED_BFLOAT16,
                                     .few = 10};

#endif
