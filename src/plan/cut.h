/* cut.h: layers cut into stages, each dealt to its shards. */
#ifndef PLAN_CUT_H
#define PLAN_CUT_H

#include "plan/placement.h"

typedef struct cut_problem {
    const plan_model *model;
    const plan_node *nodes; /* [stages * shards] */
    uint32_t stages, shards;
    plan_goal goal;
    const uint64_t *reserve; /* [stages * shards]: bytes that are left free beside layers */
    const uint64_t *output;  /* [stages * shards]: nanoseconds for rows of the output */
    uint64_t first;          /* bytes that the ranks of the first stage together leave free */
} cut_problem;

typedef enum cut_result { CUT_FOUND, CUT_NO_MEMORY, CUT_NO_FILES, CUT_FAILED } cut_result;

/* Fills in layers, KV heads, experts, kv and, of these, weights and nanoseconds of rank[stages * shards]. */
cut_result cut_find(const cut_problem *p, plan_rank *rank, gptoss_error *err);

/* Nanoseconds for reading bytes; rounded, so that equal parts come to equal sums. */
uint64_t cut_nanoseconds(double bytes, double rate);

#endif
