/* Whether there is a dealing within a limit on the time of attention and one on that of the experts is found shard by
 * shard: of all ways to deal the first heads to the first shards, the one that leaves the fewest experts serves best.
 * The limits whose sum is least are found by trying all that the first can be and bisecting for the second. */
#include "plan/deal.h"

#include <string.h>

typedef struct limits {
    uint64_t attention, experts;
} limits;

/* Heads and experts dealt to the shards before `shard`. */
typedef struct position {
    uint32_t shard, heads, experts;
} position;

static uint32_t least_experts(const deal_problem *p, uint32_t shard) { return p->experts > 1 || shard == 0; }

/* How many experts a shard may have beside so many heads; UINT32_MAX: any number. */
static uint32_t most_experts(const deal_problem *p, uint32_t shard, uint32_t heads, uint64_t limit) {
    const deal_shard *s = &p->shard[shard];
    uint64_t most = UINT32_MAX, room = s->room - heads * p->head_bytes;
    if (s->expert && limit / s->expert < most) most = limit / s->expert;
    if (p->expert_bytes && room / p->expert_bytes < most) most = room / p->expert_bytes;
    return (uint32_t)most;
}

static bool can_have_heads(const deal_problem *p, uint32_t shard, uint32_t heads, uint64_t limit) {
    const deal_shard *s = &p->shard[shard];
    if (p->head_bytes && heads > s->room / p->head_bytes) return false;
    return s->common <= limit && (!s->head || heads <= (limit - s->common) / s->head);
}

static uint32_t smaller(uint64_t a, uint32_t b) { return a < b ? (uint32_t)a : b; }

/* Whether the shards from `at` on can take all that is left. */
static bool possible(const deal_problem *p, position at, limits most) {
    /* Behind each number of heads: up to which expert the shards so far can reach; 0: not at all, else one more. */
    uint32_t far[DEAL_MOST + 1], next[DEAL_MOST + 1], near = at.experts;
    const size_t size = (p->heads + 1) * sizeof *far;
    memset(far, 0, size);
    far[at.heads] = at.experts + 1;
    for (uint32_t i = at.shard; i < p->shards; i++) {
        const deal_shard *s = &p->shard[i];
        uint32_t least = least_experts(p, i), end = smaller(s->heads.end, p->heads);
        memset(next, 0, size);
        if (least && near < s->experts.begin) near = s->experts.begin;
        for (uint32_t h = at.heads > s->heads.begin ? at.heads : s->heads.begin; h < end; h++) {
            if (far[h] <= near) continue;
            for (uint32_t to = h + 1; to <= end && can_have_heads(p, i, to - h, most.attention); to++) {
                uint32_t more = least ? most_experts(p, i, to - h, most.experts) : 0;
                uint32_t reach = far[h] - 1;
                if (least) reach = smaller(smaller((uint64_t)reach + more, p->experts), s->experts.end);
                if (more >= least && reach >= near + least && reach + 1 > next[to]) next[to] = reach + 1;
            }
        }
        near += least;
        memcpy(far, next, size);
    }
    return far[p->heads] == p->experts + 1;
}

static uint64_t least_for_experts(const deal_problem *p, position at, uint64_t attention, uint64_t high) {
    uint64_t low = 0;
    while (low < high) {
        uint64_t middle = low + (high - low) / 2;
        if (possible(p, at, (limits){attention, middle}))
            high = middle;
        else
            low = middle + 1;
    }
    return high;
}

/* The limits with the least sum below `sum` that allow a dealing and are within `most`; false: there are none. */
static bool least_limits(const deal_problem *p, position at, limits most, uint64_t sum, limits *out) {
    bool found = false;
    for (uint32_t i = at.shard; i < p->shards; i++)
        for (uint32_t h = 1; h <= p->heads - at.heads; h++) {
            uint64_t attention = p->shard[i].common + h * p->shard[i].head;
            if (attention > most.attention || attention >= sum) break;
            uint64_t high = sum - 1 - attention < most.experts ? sum - 1 - attention : most.experts;
            if (!possible(p, at, (limits){attention, high})) continue;
            *out = (limits){attention, least_for_experts(p, at, attention, high)};
            sum = out->attention + out->experts;
            found = true;
        }
    return found;
}

uint64_t deal_time(const deal_problem *p, uint64_t limit) {
    limits found, most = {limit, limit};
    if (p->shards == 1) { /* no choice, and asked for often */
        const deal_shard *s = &p->shard[0];
        uint64_t time = s->common + p->heads * s->head + p->experts * s->expert;
        uint64_t bytes = p->heads * p->head_bytes + p->experts * p->expert_bytes;
        bool has_all =
            s->heads.begin == 0 && s->heads.end >= p->heads && s->experts.begin == 0 && s->experts.end >= p->experts;
        return time <= limit && bytes <= s->room && has_all ? time : UINT64_MAX;
    }
    if (!least_limits(p, (position){0}, most, limit < UINT64_MAX ? limit + 1 : limit, &found)) return UINT64_MAX;
    return found.attention + found.experts;
}

/* What shard at.shard gets: as much as it can, first of the heads, that the others have less to do. */
static bool take_most(const deal_problem *p, position at, limits most, position *next) {
    for (uint32_t h = p->heads - at.heads; h >= 1; h--) {
        if (!can_have_heads(p, at.shard, h, most.attention)) continue;
        uint32_t more = smaller(most_experts(p, at.shard, h, most.experts), p->experts - at.experts);
        for (uint32_t e = more + 1; e-- > least_experts(p, at.shard);) {
            deal_shard self = p->shard[at.shard];
            bool has = self.heads.begin <= at.heads && at.heads + h <= self.heads.end &&
                       (e == 0 || (self.experts.begin <= at.experts && at.experts + e <= self.experts.end));
            *next = (position){at.shard + 1, at.heads + h, at.experts + e};
            if (has && possible(p, *next, most)) return true;
        }
    }
    return false;
}

bool deal_take(const deal_problem *p, deal_part *part) {
    limits most = {UINT64_MAX - 1, UINT64_MAX - 1};
    uint64_t sum = UINT64_MAX;
    for (position at = {0}, next; at.shard < p->shards; at = next) {
        if (!least_limits(p, at, most, sum, &most) || !take_most(p, at, most, &next)) return false;
        part[at.shard] = (deal_part){{at.heads, next.heads}, {at.experts, next.experts}};
        sum = UINT64_MAX;
    }
    return true;
}
