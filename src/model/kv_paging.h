/* kv_paging.h: keys and values are kept in pages of a pool: how large they are, and which of them positions need.
 *
 * There are two kinds of pages. One page number of a kind stands for the same positions in all layers of that kind, on
 * all ranks. */
#ifndef MODEL_KV_PAGING_H
#define MODEL_KV_PAGING_H

#include <stdint.h>

typedef enum kv_kind {
    KV_FULL,   /* of layers that see all positions */
    KV_WINDOW, /* of layers that see the last few */
    KV_KINDS
} kv_kind;

typedef struct kv_paging {
    uint32_t window;              /* positions that windowed layers see, the current one included */
    uint32_t page_bits[KV_KINDS]; /* a page holds 1 << page_bits positions; 4 to 16 */
    uint32_t pages[KV_KINDS];     /* in the pool */
} kv_paging;

/* The pages [begin, end) of a sequence, counted from its first. */
typedef struct kv_span {
    uint32_t begin, end;
} kv_span;

/* Those that hold what tokens at positions [position, position + count) see, themselves included. count >= 1;
 * position + count <= 2^31. */
kv_span kv_paging_seen(const kv_paging *p, kv_kind kind, uint32_t position, uint32_t count);

/* Those that these tokens are stored in. */
kv_span kv_paging_stored(const kv_paging *p, kv_kind kind, uint32_t position, uint32_t count);

/* The most pages that up to `chunk` tokens anywhere in a sequence of up to `positions` see. Both at least 1. */
uint32_t kv_paging_most(const kv_paging *p, kv_kind kind, uint32_t positions, uint32_t chunk);

/* For sequences that share nothing: the number of page i of one of them, in a pool with room for as many as can be at
 * work. A window's pages are used again and again. */
uint32_t kv_paging_own(const kv_paging *p, kv_kind kind, uint32_t positions, uint32_t chunk, uint32_t sequence,
                       uint32_t i);

#endif
