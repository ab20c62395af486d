/* moe.h: the mixture-of-experts half of a layer. */
#ifndef MODEL_MOE_H
#define MODEL_MOE_H

#include "model/stage.h"

/* (token, expert) pairs of one token, at most, that a slice works on. */
uint32_t moe_most_slots(const hparams *hp, const slice *what);

gptoss_status moe_open(stage *s, gptoss_error *err); /* sizes the buffers in s->routing */
void moe_close(stage *s);

/* x += the weighted sum of the chosen experts' answers to rms_norm(x), for the stage's current layer and tokens. Each
 * token's experts are added in ascending order of their numbers, whatever other tokens are in the batch; of several
 * shards each adds its own, and then their sums are added. */
void moe_run(stage *s);

#endif
