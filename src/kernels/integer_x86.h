/* integer_x86.h: what the AVX2 and AVX-512 kernels of integer.h share. For files compiled with AVX2, FMA and F16C. */
#ifndef KERNELS_INTEGER_X86_H
#define KERNELS_INTEGER_X86_H

#if defined(__AVX2__) && defined(__FMA__) && defined(__F16C__)

#include <immintrin.h>

#include "kernels/integer.h"

#define INLINE static inline __attribute__((always_inline))

enum { FP4_BYTES = 17, Q8_BYTES = 34, LINE = 64 };

INLINE size_t block_size(integer_format format) { return format == INTEGER_MXFP4 ? FP4_BYTES : Q8_BYTES; }

/* Into the second cache: the first is full of what is being worked on, and waits for few lines at a time. Reading
 * ahead past the end of the weights does no harm. */
INLINE void prefetch_far(const uint8_t *at, size_t bytes) {
    for (size_t i = 0; i < bytes; i += LINE) _mm_prefetch((const char *)at + i, _MM_HINT_T1);
}

#endif
#endif
