#include "engine/kv_pool.h"

#include <stdlib.h>

#include "base/mem.h"

/* The pages of one kind. */
typedef struct shelf {
    uint32_t pages, free, running; /* running: pages with at least one such holder */
    uint32_t *stack;               /* owned; [pages]: the free ones are the first `free` */
    uint32_t *holders[KV_HOLDERS]; /* owned; [pages] */
} shelf;

struct kv_pool {
    shelf shelves[KV_KINDS];
};

static gptoss_status open_shelf(shelf *s, uint32_t pages, gptoss_error *err) {
    s->pages = s->free = pages;
    TRY(mem_array(pages, sizeof *s->stack, "KV pages", &s->stack, err));
    for (kv_holder h = 0; h < KV_HOLDERS; h++)
        TRY(mem_array(pages, sizeof *s->holders[h], "KV pages", &s->holders[h], err));
    for (uint32_t i = 0; i < pages; i++) s->stack[i] = pages - 1 - i; /* the lowest first */
    return GPTOSS_OK;
}

gptoss_status kv_pool_open(const kv_paging *paging, kv_pool **out, gptoss_error *err) {
    kv_pool *pool;
    TRY(mem_array(1, sizeof *pool, "KV pages", &pool, err));
    gptoss_status status = GPTOSS_OK;
    for (kv_kind kind = 0; kind < KV_KINDS && status == GPTOSS_OK; kind++)
        status = open_shelf(&pool->shelves[kind], paging->pages[kind], err);
    if (status != GPTOSS_OK) {
        kv_pool_close(pool);
        return status;
    }
    *out = pool;
    return GPTOSS_OK;
}

void kv_pool_close(kv_pool *pool) {
    if (!pool) return;
    for (kv_kind kind = 0; kind < KV_KINDS; kind++) {
        free(pool->shelves[kind].stack);
        for (kv_holder h = 0; h < KV_HOLDERS; h++) free(pool->shelves[kind].holders[h]);
    }
    free(pool);
}

bool kv_pool_take(kv_pool *pool, kv_kind kind, uint32_t *page) {
    shelf *s = &pool->shelves[kind];
    if (s->free == 0) return false;
    *page = s->stack[--s->free];
    s->holders[KV_RUNNING][*page] = 1;
    s->running++;
    return true;
}

void kv_pool_share(kv_pool *pool, kv_kind kind, uint32_t page, kv_holder holder) {
    shelf *s = &pool->shelves[kind];
    if (s->holders[holder][page]++ == 0 && holder == KV_RUNNING) s->running++;
}

void kv_pool_release(kv_pool *pool, kv_kind kind, uint32_t page, kv_holder holder) {
    shelf *s = &pool->shelves[kind];
    if (--s->holders[holder][page] == 0 && holder == KV_RUNNING) s->running--;
    if (s->holders[KV_RUNNING][page] == 0 && s->holders[KV_CACHED][page] == 0) s->stack[s->free++] = page;
}

uint32_t kv_pool_pages(const kv_pool *pool, kv_kind kind) { return pool->shelves[kind].pages; }

uint32_t kv_pool_free(const kv_pool *pool, kv_kind kind) { return pool->shelves[kind].free; }

uint32_t kv_pool_running(const kv_pool *pool, kv_kind kind) { return pool->shelves[kind].running; }

uint32_t kv_pool_holders(const kv_pool *pool, kv_kind kind, uint32_t page, kv_holder holder) {
    return pool->shelves[kind].holders[holder][page];
}

static bool check_shelf(const shelf *s, kv_kind kind, gptoss_error *err) {
    uint32_t used = 0, running = 0;
    for (uint32_t i = 0; i < s->pages; i++) {
        used += s->holders[KV_RUNNING][i] > 0 || s->holders[KV_CACHED][i] > 0;
        running += s->holders[KV_RUNNING][i] > 0;
    }
    if (s->free > s->pages || used + s->free != s->pages || running != s->running) {
        error_set(err, GPTOSS_INTERNAL, "KV pages of kind %d: %u used and %u free are not %u; %u running, not %u",
                  (int)kind, used, s->free, s->pages, running, s->running);
        return false;
    }
    /* As many free ones as there are without holder: when each on the stack has none and is there once, all are. */
    for (uint32_t i = 0; i < s->free; i++) {
        uint32_t page = s->stack[i];
        bool sound = page < s->pages && s->holders[KV_RUNNING][page] == 0 && s->holders[KV_CACHED][page] == 0;
        for (uint32_t j = 0; j < i && sound; j++) sound = s->stack[j] != page;
        if (sound) continue;
        error_set(err, GPTOSS_INTERNAL, "KV pages of kind %d: page %u is free and somebody's, or free twice", (int)kind,
                  page);
        return false;
    }
    return true;
}

bool kv_pool_check(const kv_pool *pool, gptoss_error *err) {
    for (kv_kind kind = 0; kind < KV_KINDS; kind++)
        if (!check_shelf(&pool->shelves[kind], kind, err)) return false;
    return true;
}
