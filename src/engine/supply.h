/* supply.h: weights for ranks that do not have the model's file. Private to src/engine. */
#ifndef ENGINE_SUPPLY_H
#define ENGINE_SUPPLY_H

#include "engine/engine.h"

/* Collective. Ranks without a file (e->file is NULL) learn of the model from the first that has one. GPTOSS_BAD_INPUT
 * when there is none, or when files are not of one model. */
gptoss_status supply_learn(engine *e, gptoss_error *err);

/* Collective, when layers are dealt. Ranks without a file get their slice from one that has it, or find it in their
 * cache, and open it. */
gptoss_status supply_fetch(engine *e, gptoss_error *err);

#endif
