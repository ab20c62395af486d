/* integer_x86.h: what the AVX2 and AVX-512 kernels of integer.h share. For files compiled with AVX2, FMA and F16C.
 *
 * A panel is multiplied with few tokens in two passes. The first goes through its rows one after the other, as they lie
 * in memory, and leaves the integer sum of every block: processors fetch ahead of one stream of addresses by
 * themselves, and reach the full speed of memory only then. The second turns rows of sums into lanes of float vectors,
 * and adds them up in the order that integer.h promises. */
#ifndef KERNELS_INTEGER_X86_H
#define KERNELS_INTEGER_X86_H

#if defined(__AVX2__) && defined(__FMA__) && defined(__F16C__)

#include <immintrin.h>
#include <stdbool.h>
#include <string.h>

#include "kernels/integer.h"

#define INLINE static inline __attribute__((always_inline))

enum { FP4_BYTES = 17, Q8_BYTES = 34, LINE = 64 };

/* Bytes of weights to ask for ahead of those being multiplied: some microseconds of work, a fraction of a second-level
 * cache. Processors that fetch ahead by themselves do not go far enough. */
enum { WEIGHTS_AHEAD = 16 << 10 };

/* Into the second cache: the first is full of what is being worked on, and waits for few lines at a time. Reading
 * ahead past the end of the weights does no harm. */
INLINE void prefetch_far(const uint8_t *at, size_t bytes) {
    for (size_t i = 0; i < bytes; i += LINE) _mm_prefetch((const char *)at + i, _MM_HINT_T1);
}

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

INLINE void fp4_collect_scales(const uint8_t *row, size_t blocks, uint8_t exponents[][PANEL_ROWS], size_t r) {
#pragma GCC unroll 8
    for (size_t b = 0; b < blocks; b++) exponents[b][r] = row[b * FP4_BYTES];
}

INLINE void q8_collect_scales(const uint8_t *row, size_t blocks, uint16_t halves[][PANEL_ROWS], size_t r) {
#pragma GCC unroll 8
    for (size_t b = 0; b < blocks; b++) memcpy(&halves[b][r], row + b * Q8_BYTES, sizeof(uint16_t));
}

/* The scales of `blocks` <= PANEL_SPAN blocks of all rows. */
INLINE void panel_collect(integer_format format, const uint8_t *rows, size_t row_bytes, size_t blocks,
                          panel_blocks *p) {
    for (size_t r = 0; r < PANEL_ROWS; r++, rows += row_bytes) {
        if (format == INTEGER_MXFP4)
            fp4_collect_scales(rows, blocks, p->scales.exponents, r);
        else
            q8_collect_scales(rows, blocks, p->scales.halves, r);
    }
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
    size_t all = cols / ACTIVATION_BLOCK, block_bytes = format == INTEGER_MXFP4 ? FP4_BYTES : Q8_BYTES;
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

#endif
#endif
