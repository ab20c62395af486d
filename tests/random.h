/* random.h: numbers for tests that look random and are the same on every machine and run. */
#ifndef TESTS_RANDOM_H
#define TESTS_RANDOM_H

#include <stdint.h>

/* Marsaglia's xorshift with a multiplier; *state is the seed, not 0. */
static inline uint64_t random_bits(uint64_t *state) {
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return *state * 2685821657736338717u;
}

/* 0 to limit - 1 */
static inline uint64_t random_below(uint64_t *state, uint64_t limit) { return (random_bits(state) >> 11) % limit; }

/* from [-1, 1) */
static inline float random_float(uint64_t *state) { return (float)((double)(random_bits(state) >> 11) * 0x1p-52 - 1); }

static inline void random_floats(uint64_t *state, float *out, uint64_t count) {
    for (uint64_t i = 0; i < count; i++) out[i] = random_float(state);
}

#endif
