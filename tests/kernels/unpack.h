/* unpack.h: the block formats a second time, independently of src/kernels: each block is read byte by byte from its
 * front, and every byte's bits are handed to the weights they belong to. */
#ifndef TESTS_KERNELS_UNPACK_H
#define TESTS_KERNELS_UNPACK_H

#include <stddef.h>
#include <stdint.h>

#include "gguf/types.h"

/* One format. `unpack` writes the weights of the block at `block` to `out` and returns the bytes it read. */
typedef struct block_format {
    gguf_type type;
    size_t weights, bytes;
    size_t halves[2]; /* where the block keeps binary16 numbers; SIZE_MAX for none */
    size_t (*unpack)(const uint8_t *block, float *out);
} block_format;

extern const block_format block_formats[];
extern const size_t block_format_count;

/* binary16 and E8M0 by their definitions, in double precision. */
double unpack_half(unsigned bits);
double unpack_e8m0(unsigned bits);

#endif
