/* dot.h: the one order of additions of float32 dot products, to be compiled for several instruction sets. */
#ifndef KERNELS_DOT_H
#define KERNELS_DOT_H

#include <stddef.h>

enum { DOT_LANES = 16 };

/* sum of a[i] * b[i]. Independent lanes let the compiler use vectors of any width up to 16 without changing the order
 * of additions. */
static inline float dot_lanes(const float *a, const float *b, size_t count) {
    float lane[DOT_LANES] = {0};
    size_t i = 0;
    for (; i + DOT_LANES <= count; i += DOT_LANES)
        for (size_t l = 0; l < DOT_LANES; l++) lane[l] += a[i + l] * b[i + l];
    for (size_t l = 0; i < count; i++, l++) lane[l] += a[i] * b[i];
    for (size_t width = DOT_LANES / 2; width > 0; width /= 2)
        for (size_t l = 0; l < width; l++) lane[l] += lane[l + width];
    return lane[0];
}

#if defined(__x86_64__)
float dot_f32_avx2(const float *a, const float *b, size_t count);
#endif

#endif
