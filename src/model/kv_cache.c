#include "model/kv_cache.h"

#include <stdlib.h>

#include "base/mem.h"

enum { CACHE_LINE = 64, FULL_PAGE_BITS = 8, WINDOW_PAGE_BITS = 6 };

static uint32_t page_bits(uint32_t layer) { return hparams_is_windowed(layer) ? WINDOW_PAGE_BITS : FULL_PAGE_BITS; }

static uint32_t ring_pages(const hparams *hp, uint32_t layer, const kv_room *room) {
    uint32_t page = 1u << page_bits(layer);
    uint64_t all = ((uint64_t)room->positions + page - 1) / page;
    if (!hparams_is_windowed(layer)) return (uint32_t)all;
    uint64_t needed = (uint64_t)hp->window + room->chunk - 1;
    uint64_t pages = (needed + page - 2) / page + 1; /* that any `needed` positions in a row touch */
    return (uint32_t)(pages < all ? pages : all);
}

static kv_type layer_type(uint32_t layer, const kv_room *room) {
    return room->type == KV_DEFAULT && hparams_is_windowed(layer) ? KV_F32 : kv_type_used(room->type);
}

/* Not mem_array_aligned, which would touch pages that a short sequence never reaches. */
static gptoss_status allocate(size_t rings, size_t ring_bytes, void **memory, uint8_t **aligned, gptoss_error *err) {
    /* Rings are whole cache lines but for odd head sizes; one more, at least a line long, is room to shift all. */
    size_t line = ring_bytes < CACHE_LINE ? CACHE_LINE : ring_bytes;
    TRY(mem_array(rings + 1, line, "KV cache; a smaller --max-kv needs less", memory, err));
    uintptr_t past = (uintptr_t)*memory % CACHE_LINE;
    *aligned = (uint8_t *)*memory + (past ? CACHE_LINE - past : 0);
    return GPTOSS_OK;
}

static size_t page_bytes(kv_type type, uint32_t head_dim, uint32_t bits) {
    return kv_head_bytes(type, head_dim, (1u << bits) / ATTEND_BLOCK);
}

/* Page i of a sequence's ring, again and again over all its positions. */
static gptoss_status fill_table(kv_layer *layer, const kv_room *room, gptoss_error *err) {
    layer->table_size = ((room->positions - 1) >> layer->page_bits) + 1;
    TRY(mem_array((size_t)room->sequences * layer->table_size, sizeof *layer->table, "KV cache", &layer->table, err));
    for (uint32_t s = 0; s < room->sequences; s++)
        for (uint32_t i = 0; i < layer->table_size; i++)
            layer->table[(size_t)s * layer->table_size + i] = s * layer->pages + i % layer->pages;
    return GPTOSS_OK;
}

gptoss_status kv_cache_open(const hparams *hp, uint32_t layer_begin, uint32_t layer_end, const kv_room *room,
                            kv_cache *out, gptoss_error *err) {
    kv_cache cache = {.n_layers = layer_end - layer_begin, .n_kv_heads = hp->n_kv_heads, .head_dim = hp->head_dim};
    gptoss_status status = mem_array(cache.n_layers, sizeof *cache.layers, "KV cache", &cache.layers, err);
    size_t rings = (size_t)room->sequences * hp->n_kv_heads;
    for (uint32_t i = 0; i < cache.n_layers && status == GPTOSS_OK; i++) {
        kv_layer *layer = &cache.layers[i];
        layer->page_bits = page_bits(layer_begin + i);
        layer->pages = ring_pages(hp, layer_begin + i, room);
        layer->type = layer_type(layer_begin + i, room);
        size_t bytes = layer->pages * page_bytes(layer->type, hp->head_dim, layer->page_bits);
        status = fill_table(layer, room, err);
        if (status == GPTOSS_OK) status = allocate(rings, bytes, &layer->keys_memory, &layer->keys, err);
        if (status == GPTOSS_OK) status = allocate(rings, bytes, &layer->values_memory, &layer->values, err);
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
        free(cache->layers[i].table);
        free(cache->layers[i].keys_memory);
        free(cache->layers[i].values_memory);
    }
    free(cache->layers);
    *cache = (kv_cache){0};
}

uint64_t kv_cache_bytes(const hparams *hp, uint32_t layer_begin, uint32_t layer_end, const kv_room *room) {
    uint64_t bytes = 0;
    for (uint32_t layer = layer_begin; layer < layer_end; layer++)
        bytes += ring_pages(hp, layer, room) * page_bytes(layer_type(layer, room), hp->head_dim, page_bits(layer));
    return bytes * 2 * room->sequences * hp->n_kv_heads;
}

kv_head kv_cache_head(const kv_cache *cache, const kv_layer *layer, uint32_t sequence, uint32_t head) {
    size_t bytes = page_bytes(layer->type, cache->head_dim, layer->page_bits), at = head * bytes;
    return (kv_head){.type = layer->type,
                     .head_dim = cache->head_dim,
                     .page_bits = layer->page_bits,
                     .pages = layer->table + (size_t)sequence * layer->table_size,
                     .stride = cache->n_kv_heads * bytes,
                     .keys = layer->keys + at,
                     .values = layer->values + at};
}
