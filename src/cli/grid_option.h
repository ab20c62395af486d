/* grid_option.h: --stages P --shards T --expert-placement FILE. */
#ifndef CLI_GRID_OPTION_H
#define CLI_GRID_OPTION_H

#include <stdint.h>

#include "base/error.h"

typedef struct grid_option {
    uint64_t stages, shards;      /* 0: not given */
    const char *expert_placement; /* or NULL */
} grid_option;

/* Where one of the two is given, the other follows from the number of ranks; where neither is, both stay 0, and the
 * engine chooses. GPTOSS_MISUSE, with what would fit, when they do not come to that many ranks. */
gptoss_status grid_option_settle(grid_option *o, int ranks, gptoss_error *err);

#endif
