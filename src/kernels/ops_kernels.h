/* ops_kernels.h: the parts of ops.h that exist for single instruction sets; every one gives the same bits as ops.c. */
#ifndef KERNELS_OPS_KERNELS_H
#define KERNELS_OPS_KERNELS_H

#include <stddef.h>

/* swiglu_clamped of the first numbers, in whole vectors; returns how many. */
size_t swiglu_avx2(const float *gate, const float *up, size_t count, float *h); /* on x86-64 only */
size_t swiglu_neon(const float *gate, const float *up, size_t count, float *h); /* on arm64 only */

#endif
