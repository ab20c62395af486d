/* dequant.h: quantized rows to float32, exactly (up to float32's own rounding of products of scales). */
#ifndef KERNELS_DEQUANT_H
#define KERNELS_DEQUANT_H

#include <stddef.h>

#include "gguf/types.h"
#include "kernels/formats.h"

/* out[count] = the `count` weights encoded at `row`.
 * row: gguf_row_bytes(type, count) bytes, any alignment; count: a multiple of the type's block size.
 * out: `count` floats, natural alignment, not overlapping row. */
typedef void dequant_row(const void *row, size_t count, float *out);

/* The function for a type, or NULL when weights of this type cannot be computed with. */
dequant_row *dequant_for(gguf_type type);

float half_to_float(half h);
half half_from_float(float f);  /* to nearest, ties to even; from 65520 on infinity; NaN stays NaN */
float e8m0_to_float(uint8_t e); /* 2^(e - 127); 255 is NaN */

#endif
