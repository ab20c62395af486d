/* deal.h: the KV heads and experts of a stage's layers dealt to its shards. */
#ifndef PLAN_DEAL_H
#define PLAN_DEAL_H

#include "plan/placement.h"

enum { DEAL_MOST = 1024 }; /* shards, parts of the heads */

/* A shard, and what the stage's layers would take of it. */
typedef struct deal_shard {
    uint64_t common, head, expert; /* nanoseconds a token: in any case, for a part of the heads, for an expert */
    uint64_t room;                 /* bytes for heads and experts */
    plan_range heads, experts;     /* what it can have of them */
} deal_shard;

/* A shard's time is common + heads * head for attention, experts * expert for the rest; all wait for the slowest in
 * each, so that the stage's time is the largest of the first plus the largest of the second. */
typedef struct deal_problem {
    uint32_t shards, heads, experts;   /* heads: parts that cannot be cut; shards <= heads <= DEAL_MOST */
    uint64_t head_bytes, expert_bytes; /* of one, in all layers of the stage */
    const deal_shard *shard;           /* [shards] */
} deal_problem;

typedef struct deal_part {
    plan_range heads, experts;
} deal_part;

/* The least time of the stage; UINT64_MAX when there is none up to `limit`. Every shard has a head and an expert, but
 * that a single expert is shard 0's. */
uint64_t deal_time(const deal_problem *p, uint64_t limit);

/* part[shards] of a dealing that takes deal_time; the rest of the shards behind each one is as even as can be. False
 * when there is none. */
bool deal_take(const deal_problem *p, deal_part *part);

#endif
