#include "engine/prefix_image.h"

#include <stdlib.h>

void prefix_image_free(prefix_image *image) {
    free(image->words);
    *image = (prefix_image){0};
}

static bool all_below(const uint32_t *numbers, size_t count, uint32_t bound) {
    for (size_t i = 0; i < count; i++)
        if (numbers[i] >= bound) return false;
    return true;
}

bool prefix_image_next(const prefix_image *image, const wave_limits *limits, size_t *at, image_point *out) {
    if (*at >= image->n_words) return false;
    uint32_t *words = image->words + *at;
    size_t left = image->n_words - *at - 1;
    image_point p = {.positions = words[0], .tokens = words + 1};
    if (p.positions < 1 || p.positions > limits->positions || p.positions > left) return false;
    if (!all_below(p.tokens, p.positions, limits->n_vocab)) return false;
    size_t size = p.positions;
    for (kv_kind kind = 0; kind < KV_KINDS; kind++) {
        kv_span span = sequence_resumed_span(limits, kind, p.positions);
        uint32_t count = span.end - span.begin;
        if (count > left - size) return false;
        p.spans[kind] = span;
        p.pages[kind] = words + 1 + size;
        size += count;
        if (!all_below(p.pages[kind], count, image->pages[kind])) return false;
    }
    *at += 1 + size;
    *out = p;
    return true;
}

bool prefix_image_is_valid(const prefix_image *image, const wave_limits *limits) {
    image_point p;
    size_t at = 0;
    while (prefix_image_next(image, limits, &at, &p)) continue;
    return at == image->n_words;
}

static uint32_t new_pages(const image_point *p, kv_kind kind, const int32_t *slots) {
    uint32_t count = 0;
    for (uint32_t i = 0; i < p->spans[kind].end - p->spans[kind].begin; i++)
        count += slots[p->pages[kind][i]] == PAGE_LEFT_OUT;
    return count;
}

static void renumber(image_point *p, kv_kind kind, int32_t *slots, uint32_t *used) {
    for (uint32_t i = 0; i < p->spans[kind].end - p->spans[kind].begin; i++) {
        int32_t *slot = &slots[p->pages[kind][i]];
        if (*slot == PAGE_LEFT_OUT) *slot = (int32_t)(*used)++;
        p->pages[kind][i] = (uint32_t)*slot;
    }
}

void prefix_image_fit(prefix_image *image, const wave_limits *limits, int32_t *slots[KV_KINDS]) {
    image_point p;
    uint32_t used[KV_KINDS] = {0};
    size_t at = 0, end = 0;
    for (kv_kind kind = 0; kind < KV_KINDS; kind++)
        for (uint32_t i = 0; i < image->pages[kind]; i++) slots[kind][i] = PAGE_LEFT_OUT;
    while (prefix_image_next(image, limits, &at, &p)) {
        bool fits = true;
        for (kv_kind kind = 0; kind < KV_KINDS; kind++)
            fits = fits && new_pages(&p, kind, slots[kind]) <= limits->paging.pages[kind] - used[kind];
        if (!fits) break;
        for (kv_kind kind = 0; kind < KV_KINDS; kind++) renumber(&p, kind, slots[kind], &used[kind]);
        end = at;
    }
    image->n_words = end;
    for (kv_kind kind = 0; kind < KV_KINDS; kind++) image->pages[kind] = used[kind];
}
