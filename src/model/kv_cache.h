/* kv_cache.h: keys and values of the layers of one stage, for one sequence. */
#ifndef MODEL_KV_CACHE_H
#define MODEL_KV_CACHE_H

#include "kernels/ops.h"
#include "model/hparams.h"

/* Per layer two arrays [capacity][kv_heads * head_dim] of float32; position p is at row p % capacity. Windowed layers
 * keep window + chunk - 1 positions: what the first token of a chunk still sees while its last is stored. The others
 * keep `positions`; their memory is touched, and so used, only as far as the sequence has come. */
typedef struct kv_layer {
    float *keys, *values; /* owned */
    uint32_t capacity;
} kv_layer;

typedef struct kv_cache {
    kv_layer *layers; /* [layer_end - layer_begin] */
    uint32_t n_layers;
    size_t stride; /* floats in a row */
} kv_cache;

/* positions: the longest sequence; chunk: the most tokens stored before the first of them is attended from. */
gptoss_status kv_cache_open(const hparams *hp, uint32_t layer_begin, uint32_t layer_end, uint32_t positions,
                            uint32_t chunk, kv_cache *out, gptoss_error *err);
void kv_cache_close(kv_cache *cache); /* and empties it */

/* Bytes that kv_cache_open would reserve. */
uint64_t kv_cache_bytes(const hparams *hp, uint32_t layer_begin, uint32_t layer_end, uint32_t positions,
                        uint32_t chunk);

/* Stores the keys and values of one position: kv_heads * head_dim floats each. */
void kv_cache_store(kv_layer *layer, size_t stride, uint32_t position, const float *keys, const float *values);

#endif
