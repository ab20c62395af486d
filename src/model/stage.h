/* stage.h: consecutive layers of the model at work on one sequence. Knows nothing of other ranks. */
#ifndef MODEL_STAGE_H
#define MODEL_STAGE_H

#include "base/team.h"
#include "model/kv_cache.h"
#include "model/weights.h"

typedef struct stage stage;

/* w and t stay the caller's and must outlive the stage. positions: the longest sequence; chunk: the most tokens a call
 * of stage_forward brings. */
gptoss_status stage_open(const hparams *hp, const weights *w, team *t, uint32_t positions, uint32_t chunk, stage **out,
                         gptoss_error *err);
void stage_close(stage *s); /* NULL is fine */

uint32_t stage_positions(const stage *s); /* as given to stage_open */

/* x[i][d_model] = the embedding of tokens[i], i < count. Only on a slice with the embedding; every token < n_vocab. */
void stage_embed(stage *s, const uint32_t *tokens, uint32_t count, float *x);

/* Runs x[count][d_model], the residual stream of positions [position, position + count), through the stage's layers in
 * place, reading and extending the KV cache. 1 <= count <= chunk; position + count <= positions; all earlier positions
 * were run before. Returns GPTOSS_CANCELLED, with x and the cache unusable, soon after cancel_request(). */
gptoss_status stage_forward(stage *s, uint32_t position, uint32_t count, float *x);

/* logits[count][n_vocab] of x[count][d_model], count <= chunk. Only on a slice with the output; x is not changed. */
void stage_logits(stage *s, const float *x, uint32_t count, float *logits);

#endif
