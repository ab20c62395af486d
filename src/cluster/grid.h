/* grid.h: ranks as a grid: stages hold layers one behind the other, the shards of a stage split its layers. */
#ifndef CLUSTER_GRID_H
#define CLUSTER_GRID_H

#include <stdint.h>

/* stages * shards is the number of ranks; this rank is `shard` of `stage`. Rank 0 is shard 0 of stage 0. */
typedef struct grid {
    uint32_t stages, shards;
    uint32_t stage, shard;
} grid;

/* That of a rank below stages * shards. */
grid grid_of(int rank, uint32_t stages, uint32_t shards);

int grid_rank(const grid *g, uint32_t stage, uint32_t shard);

#endif
