/* exp_avx2.h: exp_f32 of exp.h for 8 numbers, with the same bits. For files compiled with AVX2 and FMA. */
#ifndef KERNELS_EXP_AVX2_H
#define KERNELS_EXP_AVX2_H

#if defined(__AVX2__) && defined(__FMA__)
#include <immintrin.h>

#include "kernels/exp.h"

static inline __m256 exp_power_of_2_avx2(__m256i n) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(n, _mm256_set1_epi32(127)), 23));
}

static inline __m256 exp_avx2(__m256 x) {
    x = _mm256_max_ps(_mm256_set1_ps(EXP_LOWEST), x); /* of two numbers one of which is NaN, the second is taken */
    x = _mm256_min_ps(_mm256_set1_ps(EXP_HIGHEST), x);
    __m256 rounder = _mm256_set1_ps(EXP_ROUNDER), one = _mm256_set1_ps(1);
    __m256 rounded = _mm256_fmadd_ps(x, _mm256_set1_ps(EXP_LOG2E), rounder), n = _mm256_sub_ps(rounded, rounder);
    __m256 r = _mm256_fmadd_ps(n, _mm256_set1_ps(-EXP_LN2_HIGH), x);
    r = _mm256_fmadd_ps(n, _mm256_set1_ps(-EXP_LN2_LOW), r);
    __m256 p = _mm256_fmadd_ps(_mm256_set1_ps(EXP_C4), r, _mm256_set1_ps(EXP_C3));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(EXP_C2));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(EXP_C1));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(EXP_C0));
    p = _mm256_fmadd_ps(p, r, one);
    p = _mm256_fmadd_ps(p, r, one);
    __m256i whole = _mm256_sub_epi32(_mm256_castps_si256(rounded), _mm256_castps_si256(rounder));
    __m256i first = _mm256_srai_epi32(whole, 1);
    p = _mm256_mul_ps(p, exp_power_of_2_avx2(first));
    return _mm256_mul_ps(p, exp_power_of_2_avx2(_mm256_sub_epi32(whole, first)));
}

#endif
#endif
