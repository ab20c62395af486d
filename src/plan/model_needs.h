/* model_needs.h: what a model asks of the nodes that run it. */
#ifndef PLAN_MODEL_NEEDS_H
#define PLAN_MODEL_NEEDS_H

#include "model/extent.h"
#include "model/kv_cache.h"
#include "plan/placement.h"

/* Of the first n_layers layers, with KV caches as `room` says. *out is released with model_needs_free. */
gptoss_status model_needs(const model_sizes *sizes, const hparams *hp, uint32_t n_layers, bool expert_0_only,
                          const kv_room *room, plan_model *out, gptoss_error *err);
void model_needs_free(plan_model *m); /* and empties it */

/* The cut that stages x shards equal ranks get when they have memory enough: what `slice` writes and `run` expects. */
gptoss_status placement_among_equals(const model_sizes *sizes, const hparams *hp, uint32_t n_layers, bool expert_0_only,
                                     uint32_t stages, uint32_t shards, placement *out, gptoss_error *err);

#endif
