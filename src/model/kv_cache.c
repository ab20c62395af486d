#include "model/kv_cache.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

static uint32_t layer_capacity(const hparams *hp, uint32_t layer, const kv_room *room) {
    uint64_t needed = hparams_is_windowed(layer) ? (uint64_t)hp->window + room->chunk - 1 : room->positions;
    return needed < room->positions ? (uint32_t)needed : room->positions;
}

gptoss_status kv_cache_open(const hparams *hp, uint32_t layer_begin, uint32_t layer_end, const kv_room *room,
                            kv_cache *out, gptoss_error *err) {
    kv_cache cache = {.n_layers = layer_end - layer_begin, .stride = (size_t)hp->n_kv_heads * hp->head_dim};
    gptoss_status status = mem_array(cache.n_layers, sizeof *cache.layers, "KV cache", &cache.layers, err);
    for (uint32_t i = 0; i < cache.n_layers && status == GPTOSS_OK; i++) {
        kv_layer *layer = &cache.layers[i];
        layer->capacity = layer_capacity(hp, layer_begin + i, room);
        /* Not mem_array_aligned, which would touch pages that a short sequence never reaches. */
        size_t row = cache.stride * sizeof(float), rows = (size_t)room->sequences * layer->capacity;
        status = mem_array(rows, row, "KV cache; a smaller --max-kv needs less", &layer->keys, err);
        if (status == GPTOSS_OK)
            status = mem_array(rows, row, "KV cache; a smaller --max-kv needs less", &layer->values, err);
    }
    if (status != GPTOSS_OK) {
        kv_cache_close(&cache);
        return status;
    }
    *out = cache;
    return GPTOSS_OK;
}

void kv_cache_close(kv_cache *cache) {
    for (uint32_t i = 0; cache->layers && i < cache->n_layers; i++) {
        free(cache->layers[i].keys);
        free(cache->layers[i].values);
    }
    free(cache->layers);
    *cache = (kv_cache){0};
}

uint64_t kv_cache_bytes(const hparams *hp, uint32_t layer_begin, uint32_t layer_end, const kv_room *room) {
    uint64_t rows = 0;
    for (uint32_t layer = layer_begin; layer < layer_end; layer++) rows += layer_capacity(hp, layer, room);
    return rows * room->sequences * 2 * hp->n_kv_heads * hp->head_dim * sizeof(float);
}

void kv_cache_store(kv_layer *layer, size_t stride, uint32_t sequence, uint32_t position, const float *keys,
                    const float *values) {
    size_t row = ((size_t)sequence * layer->capacity + position % layer->capacity) * stride;
    memcpy(layer->keys + row, keys, stride * sizeof *keys);
    memcpy(layer->values + row, values, stride * sizeof *values);
}

kv_view kv_cache_keys(const kv_layer *layer, size_t stride, uint32_t sequence) {
    return (kv_view){layer->keys + (size_t)sequence * layer->capacity * stride, stride, layer->capacity};
}

kv_view kv_cache_values(const kv_layer *layer, size_t stride, uint32_t sequence) {
    return (kv_view){layer->values + (size_t)sequence * layer->capacity * stride, stride, layer->capacity};
}
