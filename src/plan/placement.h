/* placement.h: which part of the model goes to which rank. A pure function of the nodes, the model and the goal.
 *
 * Ranks form a grid: rank = stage * shards + shard. A stage is consecutive layers; the ranks of a stage, its shards,
 * hold the same layers and split their KV heads and experts. The first stage splits the embedding, all ranks the
 * output. Each rank is a node. */
#ifndef PLAN_PLACEMENT_H
#define PLAN_PLACEMENT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

/* From `begin` up to, but without, `end`; equal: nothing. */
typedef struct plan_range {
    uint32_t begin, end;
} plan_range;

/* A layer, in bytes. */
typedef struct plan_layer {
    uint64_t common; /* weights that every shard holds and reads: norms, router, biases */
    uint64_t heads;  /* weights of attention, of all heads together; all are read for every token */
    uint64_t expert; /* weights of one expert */
    uint64_t kv;     /* keys and values of all sequences and heads */
} plan_layer;

typedef struct plan_model {
    uint32_t n_layers;
    plan_layer *layers;                 /* [n_layers] */
    uint32_t n_kv_heads, kv_head_step;  /* heads are dealt in multiples of the step, which divides their number */
    uint32_t n_experts, n_experts_used; /* one: the fallback, shard 0 alone has it */
    uint32_t n_vocab, row_step;         /* rows of embedding and output, dealt in multiples of the step */
    uint64_t embedding_row, output_row; /* bytes; the output is read for every token */
    uint64_t own;                       /* of every rank: buffers, the program itself */
} plan_model;

typedef struct plan_link {
    double latency;   /* seconds, one way */
    double bandwidth; /* bytes a second */
} plan_link;

typedef struct plan_node {
    uint64_t memory;                                                   /* bytes that it can give to all this */
    double read_rate;                                                  /* bytes of weights a second; > 0 */
    double layer_seconds;                                              /* that a layer takes beside reading */
    double wake_seconds;                                               /* until it goes on when a message has come */
    plan_link link;                                                    /* to the next node; the last one's to node 0 */
    plan_range layers, kv_heads, experts, embedding_rows, output_rows; /* it can have: all, or what its slice holds */
} plan_node;

/* One with all files and all memory in the world, as fast as any other such, beside its neighbours. */
plan_node plan_node_default(void);

typedef enum plan_goal {
    PLAN_FOR_THROUGHPUT, /* the slowest node is as fast as can be; then as below */
    PLAN_FOR_LATENCY,    /* one token passes all nodes as fast as can be; then as above */
    PLAN_FOR_ANYTHING    /* whether there is a placement at all */
} plan_goal;

/* "latency" or "throughput"; false for other names. */
bool plan_goal_by_name(const char *name, plan_goal *out);

/* What goes over the links. */
typedef struct plan_traffic {
    uint64_t hop_bytes;    /* of one token, from stage to stage */
    uint64_t result_bytes; /* of one token, from each rank with rows of the output to rank 0 */
    uint32_t streams;      /* sequences at once */
} plan_traffic;

/* What is asked of a placement. */
typedef struct plan_wish {
    uint32_t stages, shards; /* 0: what the forecast finds best for the goal */
    plan_goal goal;
    plan_traffic traffic; /* for that choice */
} plan_wish;

typedef struct plan_rank {
    uint32_t layer_begin, layer_end;
    plan_range kv_heads, experts;           /* of each of these layers */
    plan_range embedding_rows, output_rows; /* rows of these matrices: tokens of the vocabulary */
    uint64_t weights, kv;                   /* bytes */
    uint64_t nanoseconds;                   /* of its own work for one token, when experts are chosen evenly */
} plan_rank;

typedef struct placement {
    uint32_t stages, shards;
    plan_rank *rank; /* [stages * shards], a stage's shards beside each other; owned */
} placement;

/* Makes a grid of nodes [0, n), in their order. A stage has at least one layer, a shard at least one step of the heads
 * and one expert. In a given grid layers, heads and experts are dealt by speed and memory, and rows where memory and
 * time are left; of cuts into stages as good as each other those are taken that read prompts fastest, and of these one
 * that gives later stages fewer layers. Of several grids the one with fewer shards is taken unless another one is
 * predicted to be 2 % faster. GPTOSS_MISUSE: no such grid. GPTOSS_BAD_INPUT: not with the files that the nodes have,
 * whatever their memory. GPTOSS_NO_MEMORY: their memory is too small; advise (plan/advice.h) knows more. */
gptoss_status placement_find(const plan_model *m, const plan_node *nodes, uint32_t n, const plan_wish *wish,
                             placement *out, gptoss_error *err);
void placement_free(placement *p); /* and empties it */

/* Shards that a stage of the model can have, at most. */
uint32_t placement_most_shards(const plan_model *m);

/* Bytes of all weights, each counted once. */
uint64_t placement_weights(const plan_model *m);

#endif
