/* random_blocks.h: tensor data that is random but valid: every block decodes to finite weights of a wanted size. */
#ifndef GGUF_RANDOM_BLOCKS_H
#define GGUF_RANDOM_BLOCKS_H

#include <stddef.h>

#include "gguf/types.h"

/* How to make weights of one type and distribution: scales that the blocks draw from. */
typedef struct random_blocks {
    gguf_type type;
    float center, step;    /* F32: center + step * random int32_t */
    uint16_t values[4096]; /* F16, BF16: the weights drawn from; for the others, scales (the first 256) ... */
    uint16_t minima[256];  /* ... and the offsets that belong to them */
    uint8_t exponent;      /* MXFP4: the smaller of two scales ... */
    unsigned larger;       /* ... of which this many in 256 are one larger */
} random_blocks;

/* False for a type that cannot be made. */
bool random_blocks_supports(gguf_type type);

/* The kinds of weights to draw: mean `center` (only F32 can have another than 0) and standard deviation `deviation`,
 * which is best within 1e-3 to 10. The type must be supported. */
void random_blocks_init(random_blocks *r, gguf_type type, double center, double deviation);

/* Fills out[bytes], whole blocks; the same seed gives the same bytes. Safe from several threads at once. */
void random_blocks_fill(const random_blocks *r, uint64_t seed, void *out, size_t bytes);

/* A 64-bit hash whose values for successive inputs look random (Steele, Lea and Flood's SplitMix64, its output step).
 */
static inline uint64_t random_blocks_mix(uint64_t x) {
    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9u;
    x = (x ^ x >> 27) * 0x94D049BB133111EBu;
    return x ^ x >> 31;
}

#endif
