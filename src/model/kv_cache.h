/* kv_cache.h: keys and values of the layers of one stage: a pool of pages that sequences share. */
#ifndef MODEL_KV_CACHE_H
#define MODEL_KV_CACHE_H

#include "kernels/attend.h"
#include "model/hparams.h"
#include "model/wave.h"

/* What a cache has room for. */
typedef struct kv_room {
    uint32_t sequences;       /* in a wave, at most */
    uint32_t positions;       /* of the longest sequence */
    uint32_t chunk;           /* tokens in a wave, at most */
    kv_type type;             /* KV_DEFAULT: of full layers; windowed ones, which cost little, are then kept in f32 */
    uint32_t pages[KV_KINDS]; /* in the pool; 0: as many as that many sequences can need */
    uint32_t page_bits[KV_KINDS]; /* see kv_paging; 0: what serves attention best */
    uint32_t kv_heads;            /* of each layer; 0: all that the model has */
} kv_room;

/* Its pages, with what was left to choose. */
kv_paging kv_room_paging(const hparams *hp, const kv_room *room);

/* Keys and values of a layer, each [pages][n_kv_heads] pages of a head (kernels/attend.h). Memory is touched, and so
 * used, only as pages are stored in. */
typedef struct kv_layer {
    kv_kind kind;
    kv_type type; /* not KV_DEFAULT */
    uint8_t *keys, *values;
    void *keys_memory, *values_memory; /* owned; the above, on a cache line, are inside */
} kv_layer;

typedef struct kv_cache {
    kv_layer *layers; /* [layer_end - layer_begin] */
    uint32_t n_layers, n_kv_heads, head_dim;
    kv_paging paging;
} kv_cache;

gptoss_status kv_cache_open(const hparams *hp, uint32_t layer_begin, uint32_t layer_end, const kv_room *room,
                            kv_cache *out, gptoss_error *err);
void kv_cache_close(kv_cache *cache); /* and empties it */

/* Bytes that kv_cache_open reserves. */
uint64_t kv_cache_bytes(const hparams *hp, uint32_t layer_begin, uint32_t layer_end, const kv_room *room);

/* Bytes of one page of a kind in these layers. */
uint64_t kv_cache_page_bytes(const hparams *hp, uint32_t layer_begin, uint32_t layer_end, const kv_room *room,
                             kv_kind kind);

/* One head of the sequence of a valid wave's run. */
kv_head kv_cache_head(const kv_cache *cache, const kv_layer *layer, const wave *w, uint32_t run, uint32_t head);

/* Copies a page of a kind, in all layers of the kind one behind the other, to or from bytes[kv_cache_page_bytes]. */
void kv_cache_take_page(const kv_cache *cache, kv_kind kind, uint32_t page, uint8_t *bytes);
void kv_cache_put_page(const kv_cache *cache, kv_kind kind, uint32_t page, const uint8_t *bytes);

/* Does what a valid wave's copies say, in all layers. */
void kv_cache_copy(const kv_cache *cache, const wave *w);

#endif
