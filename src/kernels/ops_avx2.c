/* Operations of ops.h with AVX2 and FMA, with the same bits. */
#include "kernels/ops_kernels.h"

#if defined(__AVX2__) && defined(__FMA__)
#include "kernels/exp_avx2.h"

size_t swiglu_avx2(const float *gate, const float *up, size_t count, float *h) {
    const __m256 seven = _mm256_set1_ps(7), minus_seven = _mm256_set1_ps(-7), one = _mm256_set1_ps(1);
    size_t i = 0;
    for (; i + 8 <= count; i += 8) { /* of two numbers one of which is NaN, min and max take the second */
        __m256 g = _mm256_min_ps(seven, _mm256_loadu_ps(gate + i));
        __m256 u = _mm256_max_ps(minus_seven, _mm256_min_ps(seven, _mm256_loadu_ps(up + i)));
        __m256 power = exp_avx2(_mm256_mul_ps(g, _mm256_set1_ps(-1.702f)));
        __m256 gated = _mm256_div_ps(g, _mm256_add_ps(one, power));
        _mm256_storeu_ps(h + i, _mm256_mul_ps(gated, _mm256_add_ps(u, one)));
    }
    return i;
}

#endif
