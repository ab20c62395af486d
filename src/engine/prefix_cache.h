/* prefix_cache.h: beginnings of sequences whose keys and values are still in the pool, for others that begin the same.
 *
 * A resume point is a sequence of tokens with the pages that a sequence needs to go on behind them: all of full layers,
 * those of the last window of windowed ones. Points share pages with each other and with sequences at work; of two
 * points in one conversation only what is new costs memory. The point that was of use least recently goes first when
 * pages are needed. */
#ifndef ENGINE_PREFIX_CACHE_H
#define ENGINE_PREFIX_CACHE_H

#include "engine/prefix_image.h"
#include "engine/sequence.h"

typedef struct prefix_cache prefix_cache;

/* For up to `points` resume points, possibly none. pool stays the caller's. */
gptoss_status prefix_cache_open(const wave_limits *limits, kv_pool *pool, uint32_t points, prefix_cache **out,
                                gptoss_error *err);
void prefix_cache_close(prefix_cache *c); /* and gives its pages back; NULL is fine */

/* What the cache knows of a prompt. */
typedef struct prefix_match {
    uint32_t positions; /* of the longest resume point that the prompt begins with; 0: there is none */
    uint32_t shared;    /* tokens that it shares with any point's, from its beginning on; not all can be resumed from */
    uint32_t point;     /* that resume point */
} prefix_match;

/* At least the last of tokens[count] is left to be run, so that there are logits. */
prefix_match prefix_cache_find(prefix_cache *c, const uint32_t *tokens, uint32_t count);

/* Full pages that resuming there would make a running sequence's which are nobody's that runs now. */
uint32_t prefix_cache_awakened(const prefix_cache *c, prefix_match match);

/* Makes an empty sequence begin where the match ends; the point is in use. False when there is no page for the copy of
 * one that is not full: the sequence is empty again then. */
bool prefix_cache_resume(prefix_cache *c, prefix_match match, sequence *s);

/* Remembers the first `positions` >= 1 tokens of a sequence, which has all pages of the point and stores, or has under
 * way, that many. Without memory for it nothing happens. */
void prefix_cache_add(prefix_cache *c, const uint32_t *tokens, uint32_t positions, const sequence *s);

/* The point of these tokens, if there is one, is of use. */
void prefix_cache_touch(prefix_cache *c, const uint32_t *tokens, uint32_t positions);

/* Forgets points until a page of the kind is free; false when none is left. A kv_reclaim of a prefix_cache. */
bool prefix_cache_reclaim(void *cache, kv_kind kind);

/* All its points, and where their pages are in the pool. */
typedef struct prefix_snapshot {
    prefix_image image;
    uint32_t *sources[KV_KINDS]; /* owned; [image.pages]: pages of the pool */
} prefix_snapshot;

gptoss_status prefix_cache_snapshot(const prefix_cache *c, prefix_snapshot *out, gptoss_error *err);
void prefix_snapshot_free(prefix_snapshot *s); /* and empties it */

/* Remembers the points of a valid image, whose pages are the pool's of the same numbers. Cache and pool are new. */
gptoss_status prefix_cache_fill(prefix_cache *c, const prefix_image *image, gptoss_error *err);

uint32_t prefix_cache_points(const prefix_cache *c);
uint64_t prefix_cache_evictions(const prefix_cache *c); /* points forgotten so far for want of room */

/* Adds to counts[kind][page], for all pages, how many points hold it. */
void prefix_cache_count(const prefix_cache *c, uint32_t *counts[KV_KINDS]);

#endif
