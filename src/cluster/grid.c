#include "cluster/grid.h"

grid grid_of(int rank, uint32_t stages, uint32_t shards) {
    return (grid){stages, shards, (uint32_t)rank / shards, (uint32_t)rank % shards};
}

int grid_rank(const grid *g, uint32_t stage, uint32_t shard) { return (int)(stage * g->shards + shard); }
