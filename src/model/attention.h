/* attention.h: what happens in a layer between the products that make q, k and v and the one that takes the result. */
#ifndef MODEL_ATTENTION_H
#define MODEL_ATTENTION_H

#include "model/stage.h"

gptoss_status attention_open(stage *s, gptoss_error *err); /* sizes the buffers in s->attention */
void attention_close(stage *s);

/* Once a wave, when s->wave is set: the angles of its positions. */
void attention_begin(stage *s);

/* For the stage's current layer: rotates s->q and s->k, stores keys and values, and fills s->attended. */
void attention_run(stage *s);

#endif
