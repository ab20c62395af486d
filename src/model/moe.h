/* moe.h: the mixture-of-experts half of a layer. */
#ifndef MODEL_MOE_H
#define MODEL_MOE_H

#include "model/stage.h"

gptoss_status moe_open(stage *s, gptoss_error *err); /* sizes the buffers in s->routing */
void moe_close(stage *s);

/* x += the weighted sum of the chosen experts' answers to rms_norm(x), for the stage's current layer and tokens. Each
 * token's experts are added in ascending order of their numbers, whatever other tokens are in the batch. */
void moe_run(stage *s);

#endif
