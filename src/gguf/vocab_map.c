#include "gguf/vocab_map.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/clock.h"
#include "base/mem.h"

struct vocab_map_slot {
    const void *key; /* NULL: free */
    uint32_t size, value;
};

uint64_t vocab_map_seed(void) {
    uint64_t seed;
    if (getrandom(&seed, sizeof seed, GRND_NONBLOCK) == (ssize_t)sizeof seed) return seed;
    double now = clock_seconds();
    memcpy(&seed, &now, sizeof seed);
    return vocab_map_mix(seed, (uintptr_t)&seed);
}

gptoss_status vocab_map_open(vocab_map *map, size_t capacity, gptoss_error *err) {
    size_t slots = 16;
    while (slots / 2 < capacity && slots <= SIZE_MAX / 4) slots *= 2; /* at most half full */
    vocab_map made = {.mask = slots - 1, .capacity = capacity, .seed = vocab_map_seed()};
    TRY(mem_array(slots, sizeof *made.slots, "vocabulary index", &made.slots, err));
    *map = made;
    return GPTOSS_OK;
}

void vocab_map_close(vocab_map *map) {
    free(map->slots);
    *map = (vocab_map){0};
}

static uint64_t hash(const vocab_map *map, const void *key, size_t size) {
    const uint8_t *p = key;
    uint64_t h = map->seed ^ size, word;
    size_t left = size;
    for (; left >= 8; left -= 8, p += 8) {
        memcpy(&word, p, 8);
        h = vocab_map_mix(h, word);
    }
    word = 0;
    if (left) memcpy(&word, p, left);
    return vocab_map_mix(vocab_map_mix(h, word), map->seed);
}

/* The slot that holds the key, or the free one where it belongs. */
static struct vocab_map_slot *slot_of(const vocab_map *map, const void *key, size_t size) {
    for (size_t i = hash(map, key, size) & map->mask;; i = (i + 1) & map->mask) {
        struct vocab_map_slot *slot = &map->slots[i];
        if (!slot->key || (slot->size == size && memcmp(slot->key, key, size) == 0)) return slot;
    }
}

bool vocab_map_add(vocab_map *map, const void *key, uint32_t size, uint32_t value, uint32_t *existing) {
    struct vocab_map_slot *slot = slot_of(map, key, size);
    if (slot->key) {
        if (existing) *existing = slot->value;
        return false;
    }
    if (map->used == map->capacity) return false;
    map->used++;
    *slot = (struct vocab_map_slot){.key = key, .size = size, .value = value};
    return true;
}

bool vocab_map_find(const vocab_map *map, const void *key, size_t size, uint32_t *value) {
    const struct vocab_map_slot *slot = slot_of(map, key, size);
    if (!slot->key) return false;
    *value = slot->value;
    return true;
}
