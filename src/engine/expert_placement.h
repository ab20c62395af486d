/* expert_placement.h: a file that says which shard has which experts.
 *
 *   {"shards": ["0-19", "20-31"]}                          the same in every stage
 *   {"ranks": ["0-19", "20-31", "0-15", "16-31"]}          each rank its own, stage by stage
 *
 * The ranges of a stage's shards follow each other, from expert 0 to the last one. Private to src/engine. */
#ifndef ENGINE_EXPERT_PLACEMENT_H
#define ENGINE_EXPERT_PLACEMENT_H

#include <stddef.h>

#include "plan/placement.h"

/* `text` need not end in NUL. experts: [stages * shards]. GPTOSS_BAD_INPUT tells which entry is wrong, and how. */
gptoss_status expert_placement_parse(const char *text, size_t size, uint32_t stages, uint32_t shards,
                                     uint32_t n_experts, plan_range *experts, gptoss_error *err);

/* The same of a file, whose name stands in front of the error. */
gptoss_status expert_placement_read(const char *path, uint32_t stages, uint32_t shards, uint32_t n_experts,
                                    plan_range *experts, gptoss_error *err);

#endif
