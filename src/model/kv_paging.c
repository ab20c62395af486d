#include "model/kv_paging.h"

kv_span kv_paging_seen(const kv_paging *p, kv_kind kind, uint32_t position, uint32_t count) {
    kv_span span = kv_paging_stored(p, kind, position, count);
    uint32_t first = kind == KV_WINDOW && position >= p->window ? position + 1 - p->window : 0;
    span.begin = first >> p->page_bits[kind];
    return span;
}

kv_span kv_paging_stored(const kv_paging *p, kv_kind kind, uint32_t position, uint32_t count) {
    uint32_t bits = p->page_bits[kind];
    return (kv_span){position >> bits, ((position + count - 1) >> bits) + 1};
}

uint32_t kv_paging_most(const kv_paging *p, kv_kind kind, uint32_t positions, uint32_t chunk) {
    uint32_t bits = p->page_bits[kind], all = ((positions - 1) >> bits) + 1;
    if (kind == KV_FULL) return all;
    uint64_t seen = (uint64_t)p->window + chunk - 1;         /* positions in a row */
    uint64_t most = ((seen + (1u << bits) - 2) >> bits) + 1; /* pages that they touch at the worst phase */
    return most < all ? (uint32_t)most : all;
}

uint32_t kv_paging_own(const kv_paging *p, kv_kind kind, uint32_t positions, uint32_t chunk, uint32_t sequence,
                       uint32_t i) {
    uint32_t most = kv_paging_most(p, kind, positions, chunk);
    return sequence * most + i % most;
}
