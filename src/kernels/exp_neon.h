/* exp_neon.h: exp_f32 of exp.h for 4 numbers, with the same bits. For arm64. */
#ifndef KERNELS_EXP_NEON_H
#define KERNELS_EXP_NEON_H

#if defined(__aarch64__)
#include <arm_neon.h>

#include "kernels/exp.h"

static inline float32x4_t exp_power_of_2_neon(int32x4_t n) {
    return vreinterpretq_f32_s32(vshlq_n_s32(vaddq_s32(n, vdupq_n_s32(127)), 23));
}

static inline float32x4_t exp_neon(float32x4_t x) {
    x = vminq_f32(vmaxq_f32(x, vdupq_n_f32(EXP_LOWEST)), vdupq_n_f32(EXP_HIGHEST)); /* keeps NaN */
    float32x4_t rounder = vdupq_n_f32(EXP_ROUNDER), one = vdupq_n_f32(1);
    float32x4_t rounded = vfmaq_f32(rounder, x, vdupq_n_f32(EXP_LOG2E)), n = vsubq_f32(rounded, rounder);
    float32x4_t r = vfmaq_f32(x, n, vdupq_n_f32(-EXP_LN2_HIGH));
    r = vfmaq_f32(r, n, vdupq_n_f32(-EXP_LN2_LOW));
    float32x4_t p = vfmaq_f32(vdupq_n_f32(EXP_C3), vdupq_n_f32(EXP_C4), r);
    p = vfmaq_f32(vdupq_n_f32(EXP_C2), p, r);
    p = vfmaq_f32(vdupq_n_f32(EXP_C1), p, r);
    p = vfmaq_f32(vdupq_n_f32(EXP_C0), p, r);
    p = vfmaq_f32(one, p, r);
    p = vfmaq_f32(one, p, r);
    int32x4_t whole = vsubq_s32(vreinterpretq_s32_f32(rounded), vreinterpretq_s32_f32(rounder));
    int32x4_t first = vshrq_n_s32(whole, 1);
    p = vmulq_f32(p, exp_power_of_2_neon(first));
    return vmulq_f32(p, exp_power_of_2_neon(vsubq_s32(whole, first)));
}

#endif
#endif
