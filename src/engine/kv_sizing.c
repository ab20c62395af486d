#include "engine/kv_sizing.h"

#include "base/plural.h"
#include "plan/machine.h"

uint64_t kv_usual_memory(int local_ranks) { return machine_memory("") / 4 / (uint64_t)local_ranks; }

static uint64_t window_pages(const kv_paging *p, const kv_demand *d) {
    const kv_room *r = &d->room;
    uint64_t of_sequence = kv_paging_most(p, KV_WINDOW, r->positions, r->chunk);
    if (d->resume_points == 0) return r->sequences * of_sequence;
    /* A sequence that goes on behind a resume point holds the page that it copies, too. A point needs what the next
     * token sees beside itself. */
    uint64_t of_point = kv_paging_most(p, KV_WINDOW, r->positions, 0);
    return r->sequences * (of_sequence + 1) + d->resume_points * of_point;
}

gptoss_status kv_sizing(const hparams *hp, uint32_t layer_begin, uint32_t layer_end, const kv_demand *d,
                        uint32_t pages[KV_KINDS], gptoss_error *err) {
    kv_paging p = kv_room_paging(hp, &d->room);
    uint64_t window = d->room.pages[KV_WINDOW] ? d->room.pages[KV_WINDOW] : window_pages(&p, d);
    uint64_t full = p.pages[KV_FULL];
    uint64_t window_bytes = window * kv_cache_page_bytes(hp, layer_begin, layer_end, &d->room, KV_WINDOW);
    uint64_t page_bytes = kv_cache_page_bytes(hp, layer_begin, layer_end, &d->room, KV_FULL);
    if (d->memory > 0 && d->memory < window_bytes + page_bytes)
        return error_set(
            err, GPTOSS_MISUSE,
            "--kv-memory is %.1f MB, but the windowed layers of %u sequence%s and %u resume point%s take %.1f "
            "MB, and a page of the others %.1f MB; give more, or ask for fewer sequences",
            (double)d->memory / 1e6, d->room.sequences, plural(d->room.sequences), d->resume_points,
            plural(d->resume_points), (double)window_bytes / 1e6, (double)page_bytes / 1e6);
    if (d->memory > 0 && page_bytes > 0 && d->room.pages[KV_FULL] == 0) full = (d->memory - window_bytes) / page_bytes;
    if (window > INT32_MAX || full > INT32_MAX)
        return error_set(err, GPTOSS_MISUSE, "a KV cache of %llu pages is too large",
                         (unsigned long long)(window > full ? window : full));
    pages[KV_FULL] = (uint32_t)full;
    pages[KV_WINDOW] = (uint32_t)window;
    return GPTOSS_OK;
}
