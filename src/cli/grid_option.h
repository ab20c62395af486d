/* grid_option.h: --stages P --shards T --expert-placement FILE --for GOAL. */
#ifndef CLI_GRID_OPTION_H
#define CLI_GRID_OPTION_H

#include "engine/engine.h"

typedef struct grid_option {
    uint64_t stages, shards;      /* 0: not given */
    const char *expert_placement; /* or NULL */
    const char *goal_name;        /* or NULL: nothing is chosen, there are as many stages as ranks */
    plan_goal goal;               /* what it says */
} grid_option;

/* Of the flags, for --help. */
#define GRID_OPTION_STAGES "of layers; by default one a rank"
#define GRID_OPTION_SHARDS "that split the heads and experts of each stage (1)"
#define GRID_OPTION_FOR "choose the grid and slices, as `plan` does: latency (of one sequence) or throughput"

/* --for alone, for `plan` too. text NULL: *out stays. */
gptoss_status goal_option_read(const char *text, plan_goal *out, gptoss_error *err);

/* Where one of --stages and --shards is given, the other follows from the number of ranks; where neither is, both stay
 * 0. GPTOSS_MISUSE, with what would fit, when they do not come to that many ranks, and for what else is wrong. */
gptoss_status grid_option_settle(grid_option *o, int ranks, gptoss_error *err);

/* Of a settled one. */
void grid_option_apply(const grid_option *o, engine_config *config);

/* "2 stages x 3 shards", and where they were chosen what for, into text[size]. */
void grid_option_describe(const grid_option *o, const placement *p, char *text, size_t size);

#endif
