/* kv_cache.h: keys and values of the layers of one stage, for a fixed number of sequences. */
#ifndef MODEL_KV_CACHE_H
#define MODEL_KV_CACHE_H

#include "kernels/ops.h"
#include "model/hparams.h"

/* What a cache has room for. */
typedef struct kv_room {
    uint32_t sequences;
    uint32_t positions; /* of the longest sequence */
    uint32_t chunk;     /* the most tokens stored before the first of them is attended from */
} kv_room;

/* Per layer two arrays [sequences][capacity][kv_heads * head_dim] of float32; position p is at row p % capacity.
 * Windowed layers keep window + chunk - 1 positions: what the first token of a chunk still sees while its last is
 * stored. The others keep `positions`; their memory is touched, and so used, only as far as a sequence has come. */
typedef struct kv_layer {
    float *keys, *values; /* owned */
    uint32_t capacity;
} kv_layer;

typedef struct kv_cache {
    kv_layer *layers; /* [layer_end - layer_begin] */
    uint32_t n_layers;
    size_t stride; /* floats in a row */
} kv_cache;

gptoss_status kv_cache_open(const hparams *hp, uint32_t layer_begin, uint32_t layer_end, const kv_room *room,
                            kv_cache *out, gptoss_error *err);
void kv_cache_close(kv_cache *cache); /* and empties it */

/* Bytes that kv_cache_open would reserve. */
uint64_t kv_cache_bytes(const hparams *hp, uint32_t layer_begin, uint32_t layer_end, const kv_room *room);

/* Stores the keys and values of one position: kv_heads * head_dim floats each. */
void kv_cache_store(kv_layer *layer, size_t stride, uint32_t sequence, uint32_t position, const float *keys,
                    const float *values);

/* Those of one sequence, all heads. */
kv_view kv_cache_keys(const kv_layer *layer, size_t stride, uint32_t sequence);
kv_view kv_cache_values(const kv_layer *layer, size_t stride, uint32_t sequence);

#endif
