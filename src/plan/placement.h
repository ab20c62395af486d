/* placement.h: which part of the model goes to which rank. A pure function of the nodes, the model and the goal.
 *
 * Ranks form a grid: rank = stage * shards + shard. A stage is consecutive layers; the ranks of a stage, its shards,
 * hold the same layers and split their KV heads and experts. Each rank is a node. */
#ifndef PLAN_PLACEMENT_H
#define PLAN_PLACEMENT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

/* A layer, in bytes. */
typedef struct plan_layer {
    uint64_t held; /* weights that its rank must have room for */
    uint64_t read; /* weights that a token makes it read */
    uint64_t kv;   /* keys and values of all sequences */
} plan_layer;

typedef struct plan_model {
    uint32_t n_layers;
    plan_layer *layers;                      /* [n_layers] */
    uint64_t embedding, output;              /* bytes; the output is read for every token */
    uint32_t n_kv_heads, n_experts, n_vocab; /* what shards split */
    uint64_t own;                            /* of every rank: buffers, the program itself */
} plan_model;

typedef struct plan_node {
    uint64_t memory;                 /* bytes that it can give to all this */
    double read_rate;                /* bytes of weights a second; > 0 */
    uint32_t layer_begin, layer_end; /* what it can have: all, or what its slice file holds */
    bool embedding, output;          /* the same */
} plan_node;

/* One with all files and all memory in the world, as fast as any other such. */
plan_node plan_node_default(void);

typedef enum plan_goal {
    PLAN_FOR_THROUGHPUT, /* the slowest node is as fast as can be; then as below */
    PLAN_FOR_LATENCY,    /* one token passes all nodes as fast as can be; then as above */
    PLAN_FOR_ANYTHING    /* whether there is a cut at all */
} plan_goal;

/* "latency" or "throughput"; false for other names. */
bool plan_goal_by_name(const char *name, plan_goal *out);

/* From `begin` up to, but without, `end`; equal: nothing. */
typedef struct plan_range {
    uint32_t begin, end;
} plan_range;

typedef struct plan_rank {
    uint32_t layer_begin, layer_end;
    plan_range kv_heads, experts;           /* of each of these layers */
    plan_range embedding_rows, output_rows; /* rows of these matrices: tokens of the vocabulary */
    uint64_t weights, kv;                   /* bytes */
    uint64_t nanoseconds;                   /* for one token */
} plan_rank;

typedef struct placement {
    uint32_t stages, shards;
    plan_rank *rank; /* [stages * shards], a stage's shards beside each other; owned */
} placement;

/* What is asked of a placement. */
typedef struct plan_wish {
    uint32_t stages, shards; /* 0: whatever is best */
    plan_goal goal;
} plan_wish;

/* Deals layers [0, n_layers) to nodes [0, n) in order, at least one to each; the first also gets the embedding, the
 * last the output. Of cuts as good as each other those are taken that read prompts fastest, and of these one that gives
 * later nodes fewer layers. GPTOSS_MISUSE: more nodes than layers, or a grid that
 * they cannot form.
 * GPTOSS_BAD_INPUT: not with the files they have, whatever their memory. GPTOSS_NO_MEMORY: their memory is too small;
 * advise (forecast.h) knows more. */
gptoss_status placement_find(const plan_model *m, const plan_node *nodes, uint32_t n, const plan_wish *wish,
                             placement *out, gptoss_error *err);
void placement_free(placement *p); /* and empties it */

/* Bytes that node `index` of n would hold with layers [begin, end). */
uint64_t placement_need(const plan_model *m, uint32_t index, uint32_t n, uint32_t begin, uint32_t end);

#endif
