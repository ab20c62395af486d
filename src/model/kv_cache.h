/* kv_cache.h: keys and values of the layers of one stage, for a fixed number of sequences. */
#ifndef MODEL_KV_CACHE_H
#define MODEL_KV_CACHE_H

#include "kernels/attend.h"
#include "model/hparams.h"

/* What a cache has room for. */
typedef struct kv_room {
    uint32_t sequences;
    uint32_t positions; /* of the longest sequence */
    uint32_t chunk;     /* the most tokens stored before the first of them is attended from */
    kv_type type;       /* KV_DEFAULT: of full layers; windowed ones, which cost little, are then kept in f32 */
} kv_room;

/* Keys and values of a layer, each [sequences] rings of pages of all heads (kernels/attend.h). A windowed layer keeps
 * window + chunk - 1 positions, what the first token of a chunk still sees while its last is stored, and as many more
 * as whole pages at any phase need. The others keep all; memory is touched, and so used, only as far as a sequence has
 * come. */
typedef struct kv_layer {
    uint8_t *keys, *values;
    void *keys_memory, *values_memory; /* owned; the above, on a cache line, are inside */
    uint32_t pages, page_bits;         /* of a ring */
    uint32_t *table, table_size;       /* owned; [sequences][table_size]: the page of every position's page */
    kv_type type;                      /* not KV_DEFAULT */
} kv_layer;

typedef struct kv_cache {
    kv_layer *layers; /* [layer_end - layer_begin] */
    uint32_t n_layers, n_kv_heads, head_dim;
} kv_cache;

gptoss_status kv_cache_open(const hparams *hp, uint32_t layer_begin, uint32_t layer_end, const kv_room *room,
                            kv_cache *out, gptoss_error *err);
void kv_cache_close(kv_cache *cache); /* and empties it */

/* Bytes that kv_cache_open reserves. */
uint64_t kv_cache_bytes(const hparams *hp, uint32_t layer_begin, uint32_t layer_end, const kv_room *room);

/* One head of one sequence. */
kv_head kv_cache_head(const kv_cache *cache, const kv_layer *layer, uint32_t sequence, uint32_t head);

#endif
