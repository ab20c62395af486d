#include "text/mask_cache.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

gptoss_status mask_cache_open(mask_cache *c, size_t capacity, size_t words, gptoss_error *err) {
    mask_cache cache = {.words = words, .capacity = capacity};
    TRY(mem_array(capacity, sizeof *cache.keys, "token masks", &cache.keys, err));
    gptoss_status status = mem_array(capacity, sizeof *cache.masks, "token masks", &cache.masks, err);
    if (status != GPTOSS_OK) {
        free(cache.keys);
        return status;
    }
    *c = cache;
    pthread_mutex_init(&c->lock, NULL);
    return GPTOSS_OK;
}

void mask_cache_close(mask_cache *c) {
    if (c->keys) pthread_mutex_destroy(&c->lock);
    for (size_t i = 0; i < c->count; i++) free(c->masks[i]);
    free(c->keys);
    free(c->masks);
    *c = (mask_cache){.words = 0};
}

static size_t find(const mask_cache *c, uint64_t key) {
    size_t i = 0;
    while (i < c->count && c->keys[i] != key) i++;
    return i;
}

bool mask_cache_find(mask_cache *c, uint64_t key, uint64_t *mask) {
    pthread_mutex_lock(&c->lock);
    size_t at = find(c, key);
    bool found = at < c->count;
    for (size_t i = 0; found && i < c->words; i++) mask[i] |= c->masks[at][i];
    pthread_mutex_unlock(&c->lock);
    return found;
}

void mask_cache_add(mask_cache *c, uint64_t key, const uint64_t *mask) {
    pthread_mutex_lock(&c->lock);
    size_t at = find(c, key);
    if (at == c->count && c->count < c->capacity) {
        if (mem_array(c->words, sizeof **c->masks, "token masks", &c->masks[at], NULL) == GPTOSS_OK) c->count++;
    } else if (at == c->count) {
        at = c->next++ % c->capacity;
    }
    if (at < c->count) {
        c->keys[at] = key;
        memcpy(c->masks[at], mask, c->words * sizeof *mask);
    }
    pthread_mutex_unlock(&c->lock);
}
