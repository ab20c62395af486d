#include "model/kv_cache.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

enum { CACHE_LINE = 64, FULL_PAGE_BITS = 8, WINDOW_PAGE_BITS = 6 };
_Static_assert(1 << FULL_PAGE_BITS >= ATTEND_PIECE, "long caches are read fastest so");

kv_paging kv_room_paging(const hparams *hp, const kv_room *room) {
    const uint32_t *bits = room->page_bits;
    kv_paging p = {.window = hp->window,
                   .page_bits = {bits[KV_FULL] ? bits[KV_FULL] : FULL_PAGE_BITS,
                                 bits[KV_WINDOW] ? bits[KV_WINDOW] : WINDOW_PAGE_BITS}};
    for (kv_kind kind = 0; kind < KV_KINDS; kind++)
        p.pages[kind] = room->pages[kind] ? room->pages[kind]
                                          : room->sequences * kv_paging_most(&p, kind, room->positions, room->chunk);
    return p;
}

static uint32_t heads_of(const hparams *hp, const kv_room *room) {
    return room->kv_heads ? room->kv_heads : hp->n_kv_heads;
}

static kv_kind layer_kind(uint32_t layer) { return hparams_is_windowed(layer) ? KV_WINDOW : KV_FULL; }

static kv_type kind_type(kv_kind kind, const kv_room *room) {
    return room->type == KV_DEFAULT && kind == KV_WINDOW ? KV_F32 : kv_type_used(room->type);
}

/* Bytes of the keys, or of the values, of one head in a page. */
static size_t head_bytes(const kv_paging *p, kv_kind kind, kv_type type, uint32_t head_dim) {
    return kv_head_bytes(type, head_dim, (1u << p->page_bits[kind]) / ATTEND_BLOCK);
}

/* Not mem_array_aligned, which would touch pages that nobody uses. */
static gptoss_status allocate(size_t pages, size_t page_bytes, void **memory, uint8_t **aligned, gptoss_error *err) {
    /* One page more, at least a line long, is room to shift all to a cache line. */
    size_t bytes = page_bytes < CACHE_LINE ? CACHE_LINE : page_bytes;
    TRY(mem_array(pages + 1, bytes, "KV cache; a smaller --max-kv needs less", memory, err));
    uintptr_t past = (uintptr_t)*memory % CACHE_LINE;
    *aligned = (uint8_t *)*memory + (past ? CACHE_LINE - past : 0);
    return GPTOSS_OK;
}

gptoss_status kv_cache_open(const hparams *hp, uint32_t layer_begin, uint32_t layer_end, const kv_room *room,
                            kv_cache *out, gptoss_error *err) {
    kv_cache cache = {.n_layers = layer_end - layer_begin,
                      .n_kv_heads = heads_of(hp, room),
                      .head_dim = hp->head_dim,
                      .paging = kv_room_paging(hp, room)};
    gptoss_status status = mem_array(cache.n_layers, sizeof *cache.layers, "KV cache", &cache.layers, err);
    for (uint32_t i = 0; i < cache.n_layers && status == GPTOSS_OK; i++) {
        kv_layer *layer = &cache.layers[i];
        layer->kind = layer_kind(layer_begin + i);
        layer->type = kind_type(layer->kind, room);
        size_t pages = cache.paging.pages[layer->kind],
               bytes = cache.n_kv_heads * head_bytes(&cache.paging, layer->kind, layer->type, hp->head_dim);
        status = allocate(pages, bytes, &layer->keys_memory, &layer->keys, err);
        if (status == GPTOSS_OK) status = allocate(pages, bytes, &layer->values_memory, &layer->values, err);
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
        free(cache->layers[i].keys_memory);
        free(cache->layers[i].values_memory);
    }
    free(cache->layers);
    *cache = (kv_cache){0};
}

uint64_t kv_cache_page_bytes(const hparams *hp, uint32_t layer_begin, uint32_t layer_end, const kv_room *room,
                             kv_kind kind) {
    kv_paging p = kv_room_paging(hp, room);
    uint64_t layers = 0;
    for (uint32_t layer = layer_begin; layer < layer_end; layer++) layers += layer_kind(layer) == kind;
    return layers * 2 * heads_of(hp, room) * head_bytes(&p, kind, kind_type(kind, room), hp->head_dim);
}

uint64_t kv_cache_bytes(const hparams *hp, uint32_t layer_begin, uint32_t layer_end, const kv_room *room) {
    kv_paging p = kv_room_paging(hp, room);
    uint64_t bytes = 0;
    for (kv_kind kind = 0; kind < KV_KINDS; kind++)
        bytes += p.pages[kind] * kv_cache_page_bytes(hp, layer_begin, layer_end, room, kind);
    return bytes;
}

kv_head kv_cache_head(const kv_cache *cache, const kv_layer *layer, const wave *w, uint32_t run, uint32_t head) {
    const wave_run *r = &w->runs[run];
    size_t bytes = head_bytes(&cache->paging, layer->kind, layer->type, cache->head_dim);
    return (kv_head){.type = layer->type,
                     .head_dim = cache->head_dim,
                     .page_bits = cache->paging.page_bits[layer->kind],
                     .first_page = layer->kind == KV_WINDOW ? r->window_first : 0,
                     .pages = w->pages + r->pages[layer->kind],
                     .stride = cache->n_kv_heads * bytes,
                     .keys = layer->keys + head * bytes,
                     .values = layer->values + head * bytes};
}

static size_t layer_page_bytes(const kv_cache *cache, const kv_layer *layer) {
    return cache->n_kv_heads * head_bytes(&cache->paging, layer->kind, layer->type, cache->head_dim);
}

void kv_cache_take_page(const kv_cache *cache, kv_kind kind, uint32_t page, uint8_t *bytes) {
    for (uint32_t i = 0; i < cache->n_layers; i++) {
        const kv_layer *layer = &cache->layers[i];
        size_t size = layer_page_bytes(cache, layer);
        if (layer->kind != kind) continue;
        memcpy(bytes, layer->keys + page * size, size);
        memcpy(bytes + size, layer->values + page * size, size);
        bytes += 2 * size;
    }
}

void kv_cache_put_page(const kv_cache *cache, kv_kind kind, uint32_t page, const uint8_t *bytes) {
    for (uint32_t i = 0; i < cache->n_layers; i++) {
        const kv_layer *layer = &cache->layers[i];
        size_t size = layer_page_bytes(cache, layer);
        if (layer->kind != kind) continue;
        memcpy(layer->keys + page * size, bytes, size);
        memcpy(layer->values + page * size, bytes + size, size);
        bytes += 2 * size;
    }
}

void kv_cache_copy(const kv_cache *cache, const wave *w) {
    for (uint32_t i = 0; i < cache->n_layers && w->n_copies > 0; i++) {
        const kv_layer *layer = &cache->layers[i];
        size_t bytes = layer_page_bytes(cache, layer);
        for (uint32_t c = 0; c < w->n_copies; c++) {
            const wave_copy *copy = &w->copies[c];
            if (copy->kind != (uint32_t)layer->kind) continue;
            memcpy(layer->keys + copy->to * bytes, layer->keys + copy->from * bytes, bytes);
            memcpy(layer->values + copy->to * bytes, layer->values + copy->from * bytes, bytes);
        }
    }
}
