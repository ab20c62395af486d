/* formats.h: the block layouts of quantized tensors, byte for byte as they stand in a GGUF file (ggml's definitions;
 * for MXFP4 the OCP Microscaling Formats specification 1.0). Blocks run along a row. All members are bytes, so that a
 * pointer to a block needs no alignment; 16-bit members are little-endian. */
#ifndef KERNELS_FORMATS_H
#define KERNELS_FORMATS_H

#include <stdint.h>

/* A block a line, to be read beside its formula. */
/* clang-format off */

typedef struct half { uint8_t bytes[2]; } half; /* IEEE binary16 */

/* 32 weights: d * (q - 8); the low nibble of qs[j] is weight j, the high nibble weight j + 16 (so in all nibble types) */
typedef struct block_q4_0 { half d; uint8_t qs[16]; } block_q4_0;
/* d * q + m */
typedef struct block_q4_1 { half d, m; uint8_t qs[16]; } block_q4_1;
/* d * (q - 16); bit j of qh is the fifth bit of weight j */
typedef struct block_q5_0 { half d; uint8_t qh[4], qs[16]; } block_q5_0;
/* d * q + m */
typedef struct block_q5_1 { half d, m; uint8_t qh[4], qs[16]; } block_q5_1;
/* d * qs[j] */
typedef struct block_q8_0 { half d; int8_t qs[32]; } block_q8_0;
/* d * iq4_values[q] */
typedef struct block_iq4_nl { half d; uint8_t qs[16]; } block_iq4_nl;
/* fp4[q] * 2^(e - 127) */
typedef struct block_mxfp4 { uint8_t e, qs[16]; } block_mxfp4;

/* 256 weights in 16 groups of 16: d * (scale & 15) * q - dmin * (scale >> 4), q of 2 bits */
typedef struct block_q2_k { uint8_t scales[16], qs[64]; half d, dmin; } block_q2_k;
/* 16 groups of 16: d * (scale - 32) * (q - 4), q of 2 bits in qs and one in hmask, scales of 6 bits packed in 12 bytes */
typedef struct block_q3_k { uint8_t hmask[32], qs[64], scales[12]; half d; } block_q3_k;
/* 8 groups of 32: d * scale * q - dmin * min, scales and mins of 6 bits packed in 12 bytes */
typedef struct block_q4_k { half d, dmin; uint8_t scales[12], qs[128]; } block_q4_k;
/* the same with a fifth bit of each weight in qh */
typedef struct block_q5_k { half d, dmin; uint8_t scales[12], qh[32], qs[128]; } block_q5_k;
/* 16 groups of 16: d * scale * (q - 32), q of 4 bits in ql and 2 in qh */
typedef struct block_q6_k { uint8_t ql[128], qh[64]; int8_t scales[16]; half d; } block_q6_k;
/* 8 groups of 32: d * (scale - 32) * iq4_values[q], scales of 4 bits in scales_l and 2 in scales_h */
typedef struct block_iq4_xs { half d; uint8_t scales_h[2], scales_l[4], qs[128]; } block_iq4_xs;

/* clang-format on */

_Static_assert(sizeof(block_q4_0) == 18, "Q4_0 block");
_Static_assert(sizeof(block_q4_1) == 20, "Q4_1 block");
_Static_assert(sizeof(block_q5_0) == 22, "Q5_0 block");
_Static_assert(sizeof(block_q5_1) == 24, "Q5_1 block");
_Static_assert(sizeof(block_q8_0) == 34, "Q8_0 block");
_Static_assert(sizeof(block_iq4_nl) == 18, "IQ4_NL block");
_Static_assert(sizeof(block_mxfp4) == 17, "MXFP4 block");
_Static_assert(sizeof(block_q2_k) == 84, "Q2_K block");
_Static_assert(sizeof(block_q3_k) == 110, "Q3_K block");
_Static_assert(sizeof(block_q4_k) == 144, "Q4_K block");
_Static_assert(sizeof(block_q5_k) == 176, "Q5_K block");
_Static_assert(sizeof(block_q6_k) == 210, "Q6_K block");
_Static_assert(sizeof(block_iq4_xs) == 136, "IQ4_XS block");

#endif
