#include "engine/layout.h"

#include "base/plural.h"
#include <stdio.h>
#include <string.h>

void layout_grid(const placement *p, char *text, size_t size) {
    snprintf(text, size, "%u stage%s x %u shard%s", p->stages, plural(p->stages), p->shards, plural(p->shards));
}

/* Appends "experts 8 to 15", or "expert 8", or "no experts", with a comma behind what is there. */
static void add_range(char *text, size_t size, const char *one, plan_range range) {
    size_t at = strlen(text);
    const char *between = at > 0 ? ", " : "";
    if (range.begin == range.end)
        snprintf(text + at, size - at, "%sno %ss", between, one);
    else if (range.end - range.begin == 1)
        snprintf(text + at, size - at, "%s%s %u", between, one, range.begin);
    else
        snprintf(text + at, size - at, "%s%ss %u to %u", between, one, range.begin, range.end - 1);
}

void layout_rank(const placement *p, int rank, char *text, size_t size) {
    const plan_rank *r = &p->rank[rank];
    text[0] = '\0';
    add_range(text, size, "layer", (plan_range){r->layer_begin, r->layer_end});
    if (p->shards == 1) return;
    add_range(text, size, "KV head", r->kv_heads);
    add_range(text, size, "expert", r->experts);
}
