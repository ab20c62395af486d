/* group.h: the shards of one stage, which make one vector of what each of them has a part of.
 *
 * All shards of a group call group_begin, group_sum and group_abandon in step: as often, in the same order, with the
 * same counts. What one says in place of a sum that it does not come to, the others hear in theirs. */
#ifndef CLUSTER_GROUP_H
#define CLUSTER_GROUP_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"
#include "cluster/grid.h"
#include "cluster/link.h"
#include "model/stage.h"

typedef struct group group;

/* most: floats of the longest sum. A group of one never sends anything. */
gptoss_status group_open(const grid *g, size_t most, group **out, gptoss_error *err);
void group_close(group *g); /* NULL is fine */

/* What a stage is told of the group, which must outlive it. */
stage_peers group_peers(group *g);

/* A wave begins. */
void group_begin(group *g);

/* x[count] becomes ((x of shard 0 + x of shard 1) + x of shard 2) + ..., equal bits on every shard. count >= 1. Once a
 * shard has abandoned the wave x is left as it is. */
void group_sum(group *g, float *x, size_t count);

/* This shard takes no further part in the wave's sums, and so nobody does. */
void group_abandon(group *g);

/* Whether the wave was abandoned by a shard. All of them agree when the wave has gone through the stage. */
bool group_is_abandoned(const group *g);

/* GPTOSS_PEER when another shard has sent what cannot be part of a sum; the wave was abandoned then. */
gptoss_status group_fault(const group *g, gptoss_error *err);

/* Seconds spent in group_sum and group_abandon so far, most of it waiting for other shards. */
double group_seconds(const group *g);
link_times group_waits(const group *g); /* the part of them that was waiting */

#endif
