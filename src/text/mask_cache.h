/* mask_cache.h: a bounded number of token masks by key; the oldest ones make room. Any thread may use it at any time.
 */
#ifndef TEXT_MASK_CACHE_H
#define TEXT_MASK_CACHE_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

typedef struct mask_cache {
    pthread_mutex_t lock;
    size_t words;    /* of a mask */
    size_t capacity; /* masks */
    size_t count, next;
    uint64_t *keys;   /* [capacity] */
    uint64_t **masks; /* [capacity], each allocated when it is first needed */
} mask_cache;

gptoss_status mask_cache_open(mask_cache *c, size_t capacity, size_t words, gptoss_error *err);
void mask_cache_close(mask_cache *c); /* a zeroed one is fine */

/* Adds the bits of the mask to mask[words]; false when it is not there. */
bool mask_cache_find(mask_cache *c, uint64_t key, uint64_t *mask);

/* Keeps a copy, if there is memory for it. */
void mask_cache_add(mask_cache *c, uint64_t key, const uint64_t *mask);

#endif
