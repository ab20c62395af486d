/* exp.h: e^x in float32 by operations that every instruction set has, so that plain C and vectors give the same bits.
 * exp_avx2.h is the same for 8 numbers.
 *
 *     n = round(x / ln 2),  r = x - n ln 2 (ln 2 in two parts),  e^x = 2^n (1 + r + r^2 (C0 + C1 r + ... + C4 r^4))
 *
 * The C are a fit to (e^r - 1 - r) / r^2 on |r| <= ln 2 / 2, to 1.1e-8 of e^r. Every step is one fused multiply-add. */
#ifndef KERNELS_EXP_H
#define KERNELS_EXP_H

#include <math.h>
#include <stdint.h>
#include <string.h>

#define EXP_LOWEST (-104.0f) /* from here down e^x rounds to 0 */
#define EXP_HIGHEST 89.0f    /* from here up to infinity */
#define EXP_LOG2E 0x1.715476p+0f
#define EXP_LN2_HIGH 0x1.63p-1f
#define EXP_LN2_LOW (-0x1.bd0106p-13f)
#define EXP_ROUNDER 0x1.8p+23f /* numbers added to it are rounded to whole ones, in its lowest bits */
#define EXP_C0 0x1p-1f
#define EXP_C1 0x1.5554dcp-3f
#define EXP_C2 0x1.55551ap-5f
#define EXP_C3 0x1.120ba2p-7f
#define EXP_C4 0x1.6d113cp-10f

static inline float exp_power_of_2(uint32_t n) { /* -126 <= n <= 127 */
    uint32_t bits = (n + 127) << 23;
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

/* At most 1 ulp off; 0 far below, infinity far above, NaN of NaN; exp_f32(0) is 1. */
static inline float exp_f32(float x) {
    x = x < EXP_LOWEST ? EXP_LOWEST : x > EXP_HIGHEST ? EXP_HIGHEST : x; /* keeps NaN */
    float rounded = fmaf(x, EXP_LOG2E, EXP_ROUNDER), n = rounded - EXP_ROUNDER;
    float r = fmaf(n, -EXP_LN2_LOW, fmaf(n, -EXP_LN2_HIGH, x));
    float p = fmaf(EXP_C4, r, EXP_C3);
    p = fmaf(p, r, EXP_C2);
    p = fmaf(p, r, EXP_C1);
    p = fmaf(p, r, EXP_C0);
    p = fmaf(p, r, 1.0f);
    p = fmaf(p, r, 1.0f);
    /* In two steps, since 2^n alone may be out of range where the result is not. */
    int32_t whole;
    float rounder = EXP_ROUNDER;
    uint32_t bits, base;
    memcpy(&bits, &rounded, sizeof bits);
    memcpy(&base, &rounder, sizeof base);
    whole = (int32_t)(bits - base);
    int32_t first = whole >> 1;
    return p * exp_power_of_2((uint32_t)first) * exp_power_of_2((uint32_t)whole - (uint32_t)first);
}

#endif
