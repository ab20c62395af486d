#include "runs.h"

#include "support.h"

void runs_open(const wave_limits *limits, runs *out) {
    wave_limits room = *limits; /* for some that are to be refused, too */
    room.chunk += 8;
    room.positions += 64;
    *out = (runs){.limits = *limits};
    assert_ok(wave_open(&room, &out->wave, err));
    for (kv_kind kind = 0; kind < KV_KINDS; kind++) {
        uint32_t count = kv_paging_stored(&limits->paging, kind, room.positions - 1, 1).end, *pages;
        pages = malloc((size_t)limits->runs * count * sizeof *pages);
        for (uint32_t s = 0; s < limits->runs; s++)
            for (uint32_t i = 0; i < count; i++)
                pages[s * count + i] = kv_paging_own(&limits->paging, kind, limits->positions, limits->chunk, s, i);
        out->pages[kind] = pages;
        out->of_sequence[kind] = count;
    }
}

void runs_close(runs *r) {
    wave_close(&r->wave);
    for (kv_kind kind = 0; kind < KV_KINDS; kind++) free(r->pages[kind]);
}

void runs_add(runs *r, uint32_t sequence, const uint32_t *ids, uint32_t count, uint32_t position, uint32_t rows) {
    wave_place place = {0};
    if (count == 0) return;
    for (kv_kind kind = 0; kind < KV_KINDS; kind++)
        place.pages[kind] = r->pages[kind] + sequence * r->of_sequence[kind];
    wave_add_run(&r->wave, &r->limits, ids, count, position, rows, (logits_wish){.kind = LOGITS_ALL}, &place);
}

const wave *runs_one(runs *r, const uint32_t *ids, uint32_t count, uint32_t position, uint32_t rows) {
    wave_clear(&r->wave);
    runs_add(r, 0, ids, count, position, rows);
    return &r->wave;
}
