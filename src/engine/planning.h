/* planning.h: what is asked of a placement for a model at work, so that `plan` and the engine come to the same. */
#ifndef ENGINE_PLANNING_H
#define ENGINE_PLANNING_H

#include "model/hparams.h"
#include "model/kv_cache.h"
#include "plan/placement.h"

typedef struct planning {
    uint32_t ranks, stages, shards; /* the grid's; 0: chosen */
    plan_goal goal;
    uint32_t sequences; /* at once; 0: one */
    uint32_t positions; /* of each; 0: 4096, at most as many as the model was made for */
    uint32_t chunk;     /* tokens of a prompt a wave; 0: the usual ones */
    kv_type kv_type;
} planning;

plan_wish planning_wish(const planning *p, const hparams *hp);
kv_room planning_room(const planning *p, const hparams *hp);

/* Tokens of a prompt to read at a time: as many as fill the products of all experts in one stage, fewer in several,
 * which then work on different parts of it. */
uint32_t planning_chunk(uint32_t stages);

#endif
