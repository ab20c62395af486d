#include "engine/layout.h"

#include <stdio.h>
#include <string.h>

void layout_grid(const placement *p, char *text, size_t size) {
    snprintf(text, size, "%u stage%s x %u shard%s", p->stages, p->stages == 1 ? "" : "s", p->shards,
             p->shards == 1 ? "" : "s");
}

/* Appends ", experts 8 to 15"; or "expert 8", or "no experts". */
static void add_range(char *text, size_t size, const char *one, plan_range range) {
    size_t at = strlen(text);
    if (range.begin == range.end)
        snprintf(text + at, size - at, ", no %ss", one);
    else if (range.end - range.begin == 1)
        snprintf(text + at, size - at, ", %s %u", one, range.begin);
    else
        snprintf(text + at, size - at, ", %ss %u to %u", one, range.begin, range.end - 1);
}

void layout_rank(const placement *p, int rank, char *text, size_t size) {
    const plan_rank *r = &p->rank[rank];
    snprintf(text, size, "layers %u to %u", r->layer_begin, r->layer_end - 1);
    if (p->shards == 1) return;
    add_range(text, size, "KV head", r->kv_heads);
    add_range(text, size, "expert", r->experts);
}
