#include "engine/prefix_cache.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

typedef struct point {
    uint32_t *tokens; /* owned; NULL: the place is empty */
    uint32_t positions;
    kv_span spans[KV_KINDS];   /* of the sequence's pages */
    uint32_t *pages[KV_KINDS]; /* owned; [end - begin] */
    uint64_t used;             /* when it was last of use */
} point;

struct prefix_cache {
    wave_limits limits;
    kv_pool *pool;
    point *points; /* [most] */
    uint32_t most, count;
    uint64_t now, evictions;
};

gptoss_status prefix_cache_open(const wave_limits *limits, kv_pool *pool, uint32_t points, prefix_cache **out,
                                gptoss_error *err) {
    prefix_cache *c;
    TRY(mem_array(1, sizeof *c, "prefix cache", &c, err));
    *c = (prefix_cache){.limits = *limits, .pool = pool, .most = points};
    gptoss_status status = mem_array(points, sizeof *c->points, "prefix cache", &c->points, err);
    if (status != GPTOSS_OK) {
        free(c);
        return status;
    }
    *out = c;
    return GPTOSS_OK;
}

static void free_point(point *p) {
    free(p->tokens);
    for (kv_kind kind = 0; kind < KV_KINDS; kind++) free(p->pages[kind]);
    *p = (point){0};
}

static void forget(prefix_cache *c, point *p) {
    for (kv_kind kind = 0; kind < KV_KINDS; kind++)
        for (uint32_t i = 0; i < p->spans[kind].end - p->spans[kind].begin; i++)
            kv_pool_release(c->pool, kind, p->pages[kind][i], KV_CACHED);
    free_point(p);
    c->count--;
}

void prefix_cache_close(prefix_cache *c) {
    if (!c) return;
    for (uint32_t i = 0; i < c->most; i++)
        if (c->points[i].tokens) forget(c, &c->points[i]);
    free(c->points);
    free(c);
}

/* ---- finding ---- */

static uint32_t common_length(const uint32_t *a, const uint32_t *b, uint32_t count) {
    uint32_t length = 0;
    while (length < count && a[length] == b[length]) length++;
    return length;
}

prefix_match prefix_cache_find(prefix_cache *c, const uint32_t *tokens, uint32_t count) {
    prefix_match match = {0};
    for (uint32_t i = 0; i < c->most; i++) {
        const point *p = &c->points[i];
        if (!p->tokens) continue;
        uint32_t shared = common_length(p->tokens, tokens, p->positions < count - 1 ? p->positions : count - 1);
        if (shared > match.shared) match.shared = shared;
        if (shared < p->positions || shared <= match.positions) continue;
        match.positions = shared;
        match.point = i;
    }
    return match;
}

uint32_t prefix_cache_awakened(const prefix_cache *c, prefix_match match) {
    const point *p = &c->points[match.point];
    uint32_t count = 0;
    if (match.positions == 0) return 0;
    for (uint32_t i = 0; i < p->spans[KV_FULL].end; i++)
        count += kv_pool_holders(c->pool, KV_FULL, p->pages[KV_FULL][i], KV_RUNNING) == 0;
    return count;
}

bool prefix_cache_resume(prefix_cache *c, prefix_match match, sequence *s) {
    point *p = &c->points[match.point];
    p->used = ++c->now;
    const wave_place place = {{p->pages[KV_FULL], p->pages[KV_WINDOW]},
                              {p->spans[KV_FULL].begin, p->spans[KV_WINDOW].begin}};
    return sequence_resume(s, &c->limits, c->pool, p->positions, &place, (kv_reclaim){prefix_cache_reclaim, c});
}

/* ---- remembering ---- */

static point *least_recent(prefix_cache *c) {
    point *least = NULL;
    for (uint32_t i = 0; i < c->most; i++)
        if (c->points[i].tokens && (!least || c->points[i].used < least->used)) least = &c->points[i];
    return least;
}

static bool evict(prefix_cache *c) {
    point *least = least_recent(c);
    if (!least) return false;
    forget(c, least);
    c->evictions++;
    return true;
}

static point *find_same(prefix_cache *c, const uint32_t *tokens, uint32_t positions) {
    for (uint32_t i = 0; i < c->most; i++) {
        point *p = &c->points[i];
        if (p->tokens && p->positions == positions && memcmp(p->tokens, tokens, positions * sizeof *tokens) == 0)
            return p;
    }
    return NULL;
}

static point *empty_place(prefix_cache *c) {
    if (c->count == c->most) evict(c);
    for (uint32_t i = 0; i < c->most; i++)
        if (!c->points[i].tokens) return &c->points[i];
    return NULL;
}

static gptoss_status fill_point(const prefix_cache *c, const uint32_t *tokens, uint32_t positions,
                                const wave_place *place, point *out) {
    point p = {.positions = positions};
    gptoss_status status = mem_array(positions, sizeof *p.tokens, "prefix cache", &p.tokens, NULL);
    for (kv_kind kind = 0; kind < KV_KINDS && status == GPTOSS_OK; kind++) {
        kv_span span = sequence_resumed_span(&c->limits, kind, positions);
        uint32_t count = span.end - span.begin;
        p.spans[kind] = span;
        status = mem_array(count, sizeof *p.pages[kind], "prefix cache", &p.pages[kind], NULL);
        if (status == GPTOSS_OK)
            memcpy(p.pages[kind], place->pages[kind] + (span.begin - place->first[kind]),
                   count * sizeof *p.pages[kind]);
    }
    if (status != GPTOSS_OK) {
        free_point(&p);
        return status;
    }
    memcpy(p.tokens, tokens, positions * sizeof *tokens);
    *out = p;
    return GPTOSS_OK;
}

static void add(prefix_cache *c, const uint32_t *tokens, uint32_t positions, const wave_place *place) {
    point *same = find_same(c, tokens, positions), p;
    if (same) same->used = ++c->now;
    if (same || c->most == 0 || fill_point(c, tokens, positions, place, &p) != GPTOSS_OK) return;
    for (kv_kind kind = 0; kind < KV_KINDS; kind++) /* before another point that has them is forgotten */
        for (uint32_t i = 0; i < p.spans[kind].end - p.spans[kind].begin; i++)
            kv_pool_share(c->pool, kind, p.pages[kind][i], KV_CACHED);
    p.used = ++c->now;
    *empty_place(c) = p;
    c->count++;
}

void prefix_cache_add(prefix_cache *c, const uint32_t *tokens, uint32_t positions, const sequence *s) {
    const wave_place place = {{s->pages[KV_FULL], s->pages[KV_WINDOW]}, {s->first[KV_FULL], s->first[KV_WINDOW]}};
    add(c, tokens, positions, &place);
}

void prefix_cache_touch(prefix_cache *c, const uint32_t *tokens, uint32_t positions) {
    point *same = find_same(c, tokens, positions);
    if (same) same->used = ++c->now;
}

bool prefix_cache_reclaim(void *cache, kv_kind kind) {
    prefix_cache *c = cache;
    while (kv_pool_free(c->pool, kind) == 0)
        if (!evict(c)) return false;
    return true;
}

uint32_t prefix_cache_points(const prefix_cache *c) { return c->count; }

uint64_t prefix_cache_evictions(const prefix_cache *c) { return c->evictions; }

void prefix_cache_count(const prefix_cache *c, uint32_t *counts[KV_KINDS]) {
    for (uint32_t i = 0; i < c->most; i++)
        for (kv_kind kind = 0; kind < KV_KINDS && c->points[i].tokens; kind++)
            for (uint32_t n = 0; n < c->points[i].spans[kind].end - c->points[i].spans[kind].begin; n++)
                counts[kind][c->points[i].pages[kind][n]]++;
}

/* ---- to be kept, and back ---- */

static int later_first(const void *a, const void *b) {
    uint64_t x = (*(const point *const *)a)->used, y = (*(const point *const *)b)->used;
    return (x < y) - (x > y);
}

static size_t words_of(const point *p) {
    size_t words = 1 + (size_t)p->positions;
    for (kv_kind kind = 0; kind < KV_KINDS; kind++) words += p->spans[kind].end - p->spans[kind].begin;
    return words;
}

/* numbers[kind][page of the pool]: 1 + its number in the image, or 0. */
static void append_point(const point *p, uint32_t *numbers[KV_KINDS], prefix_snapshot *s) {
    uint32_t *to = s->image.words + s->image.n_words;
    *to++ = p->positions;
    memcpy(to, p->tokens, p->positions * sizeof *to);
    to += p->positions;
    for (kv_kind kind = 0; kind < KV_KINDS; kind++)
        for (uint32_t i = 0; i < p->spans[kind].end - p->spans[kind].begin; i++) {
            uint32_t page = p->pages[kind][i], *number = &numbers[kind][page];
            if (*number == 0) {
                s->sources[kind][s->image.pages[kind]++] = page;
                *number = s->image.pages[kind];
            }
            *to++ = *number - 1;
        }
    s->image.n_words += words_of(p);
}

static gptoss_status take_snapshot(const prefix_cache *c, const point **order, uint32_t *numbers[KV_KINDS],
                                   prefix_snapshot *s, gptoss_error *err) {
    uint32_t count = 0;
    size_t words = 0;
    for (uint32_t i = 0; i < c->most; i++) {
        if (!c->points[i].tokens) continue;
        order[count++] = &c->points[i];
        words += words_of(&c->points[i]);
    }
    qsort(order, count, sizeof *order, later_first);
    TRY(mem_array(words, sizeof *s->image.words, "prefix cache", &s->image.words, err));
    for (kv_kind kind = 0; kind < KV_KINDS; kind++) {
        size_t pages = kv_pool_pages(c->pool, kind);
        TRY(mem_array(pages, sizeof *numbers[kind], "prefix cache", &numbers[kind], err));
        TRY(mem_array(pages, sizeof *s->sources[kind], "prefix cache", &s->sources[kind], err));
    }
    for (uint32_t i = 0; i < count; i++) append_point(order[i], numbers, s);
    return GPTOSS_OK;
}

gptoss_status prefix_cache_snapshot(const prefix_cache *c, prefix_snapshot *out, gptoss_error *err) {
    const point **order;
    uint32_t *numbers[KV_KINDS] = {0};
    *out = (prefix_snapshot){0};
    TRY(mem_array(c->most, sizeof *order, "prefix cache", &order, err));
    gptoss_status status = take_snapshot(c, order, numbers, out, err);
    for (kv_kind kind = 0; kind < KV_KINDS; kind++) free(numbers[kind]);
    free(order);
    if (status != GPTOSS_OK) prefix_snapshot_free(out);
    return status;
}

void prefix_snapshot_free(prefix_snapshot *s) {
    prefix_image_free(&s->image);
    for (kv_kind kind = 0; kind < KV_KINDS; kind++) free(s->sources[kind]);
    *s = (prefix_snapshot){0};
}

static gptoss_status take_pages(prefix_cache *c, const prefix_image *image, gptoss_error *err) {
    for (kv_kind kind = 0; kind < KV_KINDS; kind++)
        for (uint32_t i = 0, page; i < image->pages[kind]; i++)
            if (!kv_pool_take(c->pool, kind, &page) || page != i)
                return error_set(err, GPTOSS_INTERNAL, "kept pages do not fit the KV pool");
    return GPTOSS_OK;
}

gptoss_status prefix_cache_fill(prefix_cache *c, const prefix_image *image, gptoss_error *err) {
    image_point p;
    /* Points longer than sequences may be here are of no use now, but those behind them are. */
    wave_limits any = c->limits;
    any.positions = UINT32_MAX;
    TRY(take_pages(c, image, err));
    for (size_t at = 0; c->count < c->most && prefix_image_next(image, &any, &at, &p);) {
        const wave_place place = {{p.pages[KV_FULL], p.pages[KV_WINDOW]},
                                  {p.spans[KV_FULL].begin, p.spans[KV_WINDOW].begin}};
        add(c, p.tokens, p.positions, &place);
    }
    for (uint32_t i = 0; i < c->most; i++) /* they came in the opposite order */
        if (c->points[i].tokens) c->points[i].used = c->now + 1 - c->points[i].used;
    for (kv_kind kind = 0; kind < KV_KINDS; kind++)
        for (uint32_t i = 0; i < image->pages[kind]; i++) kv_pool_release(c->pool, kind, i, KV_RUNNING);
    return GPTOSS_OK;
}
