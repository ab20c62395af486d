#include "engine/sequence.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

gptoss_status sequence_open(const wave_limits *limits, sequence *out, gptoss_error *err) {
    sequence s = {0};
    for (kv_kind kind = 0; kind < KV_KINDS; kind++) {
        uint32_t most = kv_paging_most(&limits->paging, kind, limits->positions, limits->chunk);
        gptoss_status status = mem_array(most, sizeof *s.pages[kind], "KV pages", &s.pages[kind], err);
        if (status != GPTOSS_OK) {
            sequence_close(&s);
            return status;
        }
    }
    *out = s;
    return GPTOSS_OK;
}

void sequence_close(sequence *s) {
    for (kv_kind kind = 0; kind < KV_KINDS; kind++) free(s->pages[kind]);
    *s = (sequence){0};
}

bool sequence_extend(sequence *s, const wave_limits *limits, kv_pool *pool, uint32_t count, kv_reclaim reclaim) {
    for (kv_kind kind = 0; kind < KV_KINDS; kind++) {
        uint32_t end = kv_paging_stored(&limits->paging, kind, s->position, count).end;
        while (s->first[kind] + s->count[kind] < end) {
            uint32_t *page = &s->pages[kind][s->count[kind]];
            while (!kv_pool_take(pool, kind, page))
                if (!reclaim.reclaim || !reclaim.reclaim(reclaim.context, kind)) return false;
            s->count[kind]++;
        }
    }
    return true;
}

void sequence_add_run(const sequence *s, const wave_limits *limits, wave *w, const uint32_t *ids, uint32_t count,
                      uint32_t logits_rows, logits_wish wish) {
    wave_place place;
    for (kv_kind kind = 0; kind < KV_KINDS; kind++) {
        place.pages[kind] = s->pages[kind];
        place.first[kind] = s->first[kind];
        if (!s->copies[kind]) continue;
        uint32_t to = kv_paging_stored(&limits->paging, kind, s->position, count).begin - s->first[kind];
        wave_add_copy(w, kind, s->source[kind], s->pages[kind][to]);
    }
    wave_add_run(w, limits, ids, count, s->position, logits_rows, wish, &place);
}

static void drop_first(sequence *s, kv_pool *pool, kv_kind kind, uint32_t count) {
    for (uint32_t i = 0; i < count; i++) kv_pool_release(pool, kind, s->pages[kind][i], KV_RUNNING);
    s->first[kind] += count;
    s->count[kind] -= count;
    memmove(s->pages[kind], s->pages[kind] + count, s->count[kind] * sizeof *s->pages[kind]);
}

static void drop_source(sequence *s, kv_pool *pool, kv_kind kind) {
    if (s->copies[kind]) kv_pool_release(pool, kind, s->source[kind], KV_RUNNING);
    s->copies[kind] = false;
}

void sequence_advance(sequence *s, const wave_limits *limits, kv_pool *pool, uint32_t count) {
    s->position += count;
    for (kv_kind kind = 0; kind < KV_KINDS; kind++) {
        drop_source(s, pool, kind);
        uint32_t needed = kv_paging_seen(&limits->paging, kind, s->position, 1).begin, first = s->first[kind];
        if (needed > first) drop_first(s, pool, kind, needed - first);
    }
}

kv_span sequence_resumed_span(const wave_limits *limits, kv_kind kind, uint32_t position) {
    return (kv_span){kv_paging_seen(&limits->paging, kind, position, 1).begin,
                     kv_paging_stored(&limits->paging, kind, position - 1, 1).end};
}

bool sequence_resume(sequence *s, const wave_limits *limits, kv_pool *pool, uint32_t position, const wave_place *place,
                     kv_reclaim reclaim) {
    bool partial[KV_KINDS];
    for (kv_kind kind = 0; kind < KV_KINDS; kind++) { /* all before any page is taken, which might forget the place */
        kv_span span = sequence_resumed_span(limits, kind, position);
        partial[kind] = span.end > span.begin && position % (1u << limits->paging.page_bits[kind]) != 0;
        s->first[kind] = span.begin;
        s->count[kind] = span.end - span.begin;
        for (uint32_t i = 0; i < s->count[kind]; i++) {
            s->pages[kind][i] = place->pages[kind][span.begin - place->first[kind] + i];
            kv_pool_share(pool, kind, s->pages[kind][i], KV_RUNNING);
        }
        if (!partial[kind]) continue;
        s->copies[kind] = true;
        s->source[kind] = s->pages[kind][--s->count[kind]];
    }
    s->position = position;
    for (kv_kind kind = 0; kind < KV_KINDS; kind++) {
        if (!partial[kind]) continue;
        while (!kv_pool_take(pool, kind, &s->pages[kind][s->count[kind]]))
            if (!reclaim.reclaim || !reclaim.reclaim(reclaim.context, kind)) {
                sequence_clear(s, pool);
                return false;
            }
        s->count[kind]++;
    }
    return true;
}

void sequence_clear(sequence *s, kv_pool *pool) {
    for (kv_kind kind = 0; kind < KV_KINDS; kind++) {
        drop_source(s, pool, kind);
        drop_first(s, pool, kind, s->count[kind]);
        s->first[kind] = 0;
    }
    s->position = 0;
}
