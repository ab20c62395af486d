/* vocab_map.h: from byte strings to numbers: which id has the token with these bytes. */
#ifndef GGUF_VOCAB_MAP_H
#define GGUF_VOCAB_MAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

/* Keys are borrowed and must outlive the map. Reading from several threads at once is safe. Hashes are seeded afresh
 * for each map, so no file can be made to collide. */
typedef struct vocab_map {
    struct vocab_map_slot *slots;
    size_t mask, used, capacity;
    uint64_t seed;
} vocab_map;

/* An empty map for at most `capacity` keys. Release with vocab_map_close. */
gptoss_status vocab_map_open(vocab_map *map, size_t capacity, gptoss_error *err);
void vocab_map_close(vocab_map *map); /* a zeroed map is fine */

/* Adds a key that is not there yet and returns true. If it is there, *existing (may be NULL) becomes its value and
 * nothing changes; when `capacity` keys are there already, nothing changes either. Both return false. */
bool vocab_map_add(vocab_map *map, const void *key, uint32_t size, uint32_t value, uint32_t *existing);

/* False, and *value untouched, when the key is not there. */
bool vocab_map_find(const vocab_map *map, const void *key, size_t size, uint32_t *value);

/* Random bits for seeds, and a 64-bit hash of two words; for tables with keys of other kinds. */
uint64_t vocab_map_seed(void);
static inline uint64_t vocab_map_mix(uint64_t a, uint64_t b) {
    __extension__ typedef unsigned __int128 wide;
    wide product = (wide)(a ^ 0x9E3779B97F4A7C15u) * (b ^ 0xD1B54A32D192ED03u);
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

#endif
