/* kv_pool.h: which pages of the KV pool are whose. Rank 0 decides for all ranks; the pages themselves, and what is in
 * them, are the stages' (model/kv_cache.h). */
#ifndef ENGINE_KV_POOL_H
#define ENGINE_KV_POOL_H

#include <stdbool.h>

#include "base/error.h"
#include "model/kv_paging.h"

typedef struct kv_pool kv_pool;

/* Who may refer to a page, any number of each at a time. It is free when nobody does. */
typedef enum kv_holder {
    KV_RUNNING, /* sequences at work */
    KV_CACHED,  /* resume points of the prefix cache */
    KV_HOLDERS
} kv_holder;

gptoss_status kv_pool_open(const kv_paging *paging, kv_pool **out, gptoss_error *err);
void kv_pool_close(kv_pool *pool); /* NULL is fine */

/* Makes a free page a running sequence's; a new pool gives page 0, 1, and so on. False when none is free. */
bool kv_pool_take(kv_pool *pool, kv_kind kind, uint32_t *page);

/* One more, or one fewer, refers to a page that somebody has. */
void kv_pool_share(kv_pool *pool, kv_kind kind, uint32_t page, kv_holder holder);
void kv_pool_release(kv_pool *pool, kv_kind kind, uint32_t page, kv_holder holder);

uint32_t kv_pool_pages(const kv_pool *pool, kv_kind kind);
uint32_t kv_pool_free(const kv_pool *pool, kv_kind kind);
uint32_t kv_pool_running(const kv_pool *pool, kv_kind kind); /* pages that running sequences have, cached or not */

/* How many refer to a page. */
uint32_t kv_pool_holders(const kv_pool *pool, kv_kind kind, uint32_t page, kv_holder holder);

/* Whether its own books agree: every page is free or somebody's, once. The text says what is wrong. */
bool kv_pool_check(const kv_pool *pool, gptoss_error *err);

#endif
