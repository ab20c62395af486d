/* types.h: tensor element types by their numbers in GGUF files, with block sizes (ggml's definitions). */
#ifndef GGUF_TYPES_H
#define GGUF_TYPES_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

typedef uint32_t gguf_type; /* the raw number in the file; may be one that is not listed here */

enum {
    TYPE_F32 = 0,
    TYPE_F16 = 1,
    TYPE_Q4_0 = 2,
    TYPE_Q4_1 = 3,
    TYPE_Q5_0 = 6,
    TYPE_Q5_1 = 7,
    TYPE_Q8_0 = 8,
    TYPE_Q8_1 = 9,
    TYPE_Q2_K = 10,
    TYPE_Q3_K = 11,
    TYPE_Q4_K = 12,
    TYPE_Q5_K = 13,
    TYPE_Q6_K = 14,
    TYPE_Q8_K = 15,
    TYPE_IQ2_XXS = 16,
    TYPE_IQ2_XS = 17,
    TYPE_IQ3_XXS = 18,
    TYPE_IQ1_S = 19,
    TYPE_IQ4_NL = 20,
    TYPE_IQ3_S = 21,
    TYPE_IQ2_S = 22,
    TYPE_IQ4_XS = 23,
    TYPE_I8 = 24,
    TYPE_I16 = 25,
    TYPE_I32 = 26,
    TYPE_I64 = 27,
    TYPE_F64 = 28,
    TYPE_IQ1_M = 29,
    TYPE_BF16 = 30,
    TYPE_TQ1_0 = 34,
    TYPE_TQ2_0 = 35,
    TYPE_MXFP4 = 39,
    TYPE_NVFP4 = 40
};

typedef struct type_traits {
    const char *name;        /* "Q8_0" */
    uint32_t block_elements; /* elements per block, along a row */
    uint32_t block_bytes;
} type_traits;

/* NULL for a number that ggml has not defined. */
const type_traits *gguf_type_traits(gguf_type type);

/* By name, any case ("mxfp4"); false when there is none. */
bool gguf_type_by_name(const char *name, gguf_type *out);

/* Bytes of a row of `elements`; GPTOSS_BAD_INPUT when the type is unknown or the row is not whole blocks. */
gptoss_status gguf_row_bytes(gguf_type type, uint64_t elements, uint64_t *out, gptoss_error *err);

#endif
