#include "exp_vector.h"

#include "kernels/exp_avx2.h"
#include "kernels/exp_neon.h"

#if defined(__AVX2__)
void exp_vector(const float *x, float *y) { _mm256_storeu_ps(y, exp_avx2(_mm256_loadu_ps(x))); }
#elif defined(__aarch64__)
void exp_vector(const float *x, float *y) {
    for (int i = 0; i < 8; i += 4) vst1q_f32(y + i, exp_neon(vld1q_f32(x + i)));
}
#else
void exp_vector(const float *x, float *y) {
    for (int i = 0; i < 8; i++) y[i] = exp_f32(x[i]);
}
#endif
