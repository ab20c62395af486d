/* integer_avx512.h: what the AVX-512 and AMX kernels of integer.h share. The inline functions are for files compiled
 * with AVX-512 F, BW, DQ and VL. */
#ifndef KERNELS_INTEGER_AVX512_H
#define KERNELS_INTEGER_AVX512_H

#if defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512DQ__) && defined(__AVX512VL__)

#include <string.h>

#include "kernels/integer_x86.h"

/* See integer_kernels. */
integer_panel integer_avx512_mxfp4, integer_avx512_q8_0;
void integer_avx512_round(const float *x, size_t cols, activation_row out);

INLINE __m128i load_16(const uint8_t *at) { return _mm_loadu_si128((const __m128i *)at); }

/* Where a block of each of a panel's rows is: row 4 i + j at four[i] + j * row_bytes, which an instruction can address
 * with few registers. */
typedef struct panel_place {
    const uint8_t *four[PANEL_ROWS / 4];
    size_t row_bytes, three_rows;
} panel_place;

/* Hides how the pointers came about: compilers that know work out sixteen of them, and spill most. */
INLINE void place_forget(panel_place *p) {
    __asm__("" : "+r"(p->four[0]), "+r"(p->four[1]), "+r"(p->four[2]), "+r"(p->four[3]), "+r"(p->three_rows));
}

INLINE panel_place place_begin(const uint8_t *rows, size_t row_bytes) {
    panel_place p = {
        {rows, rows + 4 * row_bytes, rows + 8 * row_bytes, rows + 12 * row_bytes}, row_bytes, 3 * row_bytes};
    place_forget(&p);
    return p;
}

INLINE void place_advance(panel_place *p, size_t bytes) {
    for (size_t i = 0; i < PANEL_ROWS / 4; i++) p->four[i] += bytes;
    place_forget(p);
}

INLINE const uint8_t *place_of(const panel_place *p, size_t row) {
    return p->four[row / 4] + (row % 4 == 3 ? p->three_rows : row % 4 * p->row_bytes);
}

/* A block's scales of all rows, side by side. */
typedef union block_scales {
    uint8_t exponents[PANEL_ROWS];
    uint16_t halves[PANEL_ROWS];
} block_scales;

INLINE void collect_scales(integer_format format, const panel_place *p, size_t offset, block_scales *out) {
#pragma GCC unroll 16
    for (size_t r = 0; r < PANEL_ROWS; r++) {
        const uint8_t *scale = place_of(p, r) + offset;
        if (format == INTEGER_MXFP4)
            out->exponents[r] = *scale;
        else
            memcpy(&out->halves[r], scale, sizeof out->halves[r]);
    }
}

INLINE __m512 load_scales(integer_format format, const block_scales *s) {
    if (format == INTEGER_Q8_0) return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)s->halves));
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu8_epi32(load_16(s->exponents)), 23));
}

#endif
#endif
