/* stage.h: consecutive layers of the model at work on the waves of many sequences. Knows nothing of other ranks. */
#ifndef MODEL_STAGE_H
#define MODEL_STAGE_H

#include "base/team.h"
#include "model/kv_cache.h"
#include "model/wave.h"
#include "model/weights.h"

typedef struct stage stage;

/* w and t stay the caller's and must outlive the stage. */
gptoss_status stage_open(const hparams *hp, const weights *w, team *t, const kv_room *room, stage **out,
                         gptoss_error *err);
void stage_close(stage *s); /* NULL is fine */

wave_limits stage_limits(const stage *s); /* of the waves that it takes */

/* x[i][d_model] = the embedding of tokens[i], i < count. Only on a slice with the embedding; every id < n_vocab. */
void stage_embed(stage *s, const wave_token *tokens, uint32_t count, float *x);

/* Runs x[count][d_model], the residual stream of tokens[count], through the stage's layers in place, reading and
 * extending the KV cache. tokens is a valid wave within stage_limits(); of each of its sequences all earlier positions
 * were run before; a sequence that starts again at position 0 forgets what it was. A token's result does not depend on
 * the other sequences in its wave, nor on how its own was cut into waves. Behind the model's last layer only the rows
 * of tokens that want logits have a meaning. Returns GPTOSS_CANCELLED, with x and the cache unusable, soon after
 * cancel_request(). */
gptoss_status stage_forward(stage *s, const wave_token *tokens, uint32_t count, float *x);

/* logits[count][n_vocab] of x[count][d_model], count <= chunk. Only on a slice with the output; x is not changed. */
void stage_logits(stage *s, const float *x, uint32_t count, float *logits);

/* Seconds spent so far. */
typedef struct stage_times {
    double attention, experts; /* the halves of stage_forward */
    double output;             /* stage_logits */
} stage_times;

stage_times stage_spent(const stage *s);

#endif
