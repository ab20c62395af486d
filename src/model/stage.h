/* stage.h: consecutive layers of the model, or a shard of them, at work on the waves of many sequences. */
#ifndef MODEL_STAGE_H
#define MODEL_STAGE_H

#include "base/team.h"
#include "model/kv_cache.h"
#include "model/wave.h"
#include "model/weights.h"

typedef struct stage stage;

/* The shards of a stage: each has its own slice of the same layers and takes the same waves in the same order. */
typedef struct stage_peers {
    uint32_t shard, shards; /* this one, of how many */
    /* x[count] becomes ((x of shard 0 + x of shard 1) + ...), equal bits on all shards, which all call it as often,
     * with the same counts; but one that gives up on a wave calls it no more until the next. Not called when shards is
     * 1. */
    void (*sum)(void *context, float *x, size_t count);
    void *context;
} stage_peers;

/* w, t and what peers->context points to stay the caller's and must outlive the stage. peers NULL: it is alone. */
gptoss_status stage_open(const hparams *hp, const weights *w, team *t, const kv_room *room, const stage_peers *peers,
                         stage **out, gptoss_error *err);
void stage_close(stage *s); /* NULL is fine */

wave_limits stage_limits(const stage *s); /* of the waves that it takes */

/* Its keys and values; borrowed. Pages may be changed while no wave that sees or stores in them is under way. */
const kv_cache *stage_kv(const stage *s);

/* x[i][d_model] = the embedding of tokens[i], i < count. On all shards of a stage whose slices have all rows of the
 * embedding between them; every id < n_vocab. */
void stage_embed(stage *s, const wave_token *tokens, uint32_t count, float *x);

/* Runs x[tokens][d_model], the residual stream of a wave's tokens, through the stage's layers in place, reading and
 * extending the pages of its runs. w is valid within stage_limits(); of what its tokens see, all before themselves was
 * stored in these pages by earlier waves (or those their pages are copied from). A token's result does not depend on
 * the other runs in its wave, on how its own sequence was cut into waves, nor on which pages it has. Behind
 * the model's last layer only the rows of tokens that want logits have a meaning. Returns GPTOSS_CANCELLED, with x and
 * the pages stored in unusable, soon after cancel_request(). */
gptoss_status stage_forward(stage *s, const wave *w, float *x);

/* logits[count][output_end - output_begin] of x[count][d_model], count <= chunk: those of the output rows that the
 * slice has, at least one. x is not changed. */
void stage_logits(stage *s, const float *x, uint32_t count, float *logits);

/* The shortlist of logits[output rows of the slice], a row that stage_logits made. */
void stage_shortlist(stage *s, const float *logits, shortlist_wish wish, shortlist *out);

/* Seconds spent so far. */
typedef struct stage_times {
    double attention, experts; /* the halves of stage_forward */
    double output;             /* stage_logits, stage_shortlist */
} stage_times;

stage_times stage_spent(const stage *s);

/* To study many stages on few cores: from now on stage_forward and stage_logits do not compute but sleep, each call for
 * as long as its part of `pace` says, and what they should write means nothing. Shards then meet in a single sum, at
 * the end of stage_forward. NULL: they compute again. */
void stage_simulate(stage *s, const stage_times *pace);

#endif
