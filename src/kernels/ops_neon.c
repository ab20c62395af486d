/* Operations of ops.h with NEON, with the same bits. */
#include "kernels/ops_kernels.h"

#if defined(__aarch64__)
#include "kernels/exp_neon.h"

size_t swiglu_neon(const float *gate, const float *up, size_t count, float *h) {
    const float32x4_t seven = vdupq_n_f32(7), minus_seven = vdupq_n_f32(-7), one = vdupq_n_f32(1);
    size_t i = 0;
    for (; i + 4 <= count; i += 4) { /* min and max keep NaN */
        float32x4_t g = vminq_f32(vld1q_f32(gate + i), seven);
        float32x4_t u = vmaxq_f32(vminq_f32(vld1q_f32(up + i), seven), minus_seven);
        float32x4_t power = exp_neon(vmulq_n_f32(g, -1.702f));
        float32x4_t gated = vdivq_f32(g, vaddq_f32(one, power));
        vst1q_f32(h + i, vmulq_f32(gated, vaddq_f32(u, one)));
    }
    return i;
}

#endif
