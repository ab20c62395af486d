/* pipeline.h: the stages of all ranks as one machine that takes tokens in at rank 0 and gives logits back there.
 *
 * A wave is tokens of one or more sequences on their way through the stages (model/wave.h), each of which may be split
 * between shards (cluster/grid.h); its logits are the work of all ranks again. Rank 0 submits waves and collects their
 * results in the same order; up to pipeline_depth() of them travel at once, each stage working on another. Any of them
 * may hold tokens of the same sequence, in order. All stages work on them in that order, so pages that a wave reads may
 * be given to another sequence in any later one. */
#ifndef CLUSTER_PIPELINE_H
#define CLUSTER_PIPELINE_H

#include "cluster/cluster.h"
#include "cluster/figures.h"
#include "cluster/group.h"
#include "cluster/row.h"
#include "cluster/trace.h"
#include "model/stage.h"

typedef struct pipeline pipeline;

typedef struct pipeline_config {
    grid grid;                     /* of this rank */
    group *group;                  /* of its stage, whose sums are its group_sum; borrowed */
    uint32_t logits_rows;          /* logits wanted of a wave, at most; 1 to the stages' chunk */
    const uint32_t *output_begins; /* [ranks + 1], copied: rank r's stage computes logits [r's, the next one's) */
    uint64_t first_wave;           /* the number that waves are counted from */
} pipeline_config;

/* Collective, with equal config but for the grid's stage and shard, and equal stage_limits(), on every rank. `s` is
 * this rank's and stays the caller's. */
gptoss_status pipeline_open(const cluster *c, const hparams *hp, stage *s, const pipeline_config *config,
                            pipeline **out, gptoss_error *err);
void pipeline_close(pipeline *p); /* NULL is fine */

/* Waves that can be under way; one more may be submitted only after a pipeline_collect. */
uint32_t pipeline_depth(const pipeline *p);

/* Waves that answers are best spread over, at most pipeline_depth(): one for each stage to work on. More would only
 * make each smaller, and every stage reads its weights for each of them. */
uint32_t pipeline_spread(const pipeline *p);

wave_limits pipeline_wave_limits(const pipeline *p); /* of the waves that it takes */
uint32_t pipeline_logits_rows(const pipeline *p);    /* see pipeline_config */

int pipeline_ranks(const pipeline *p);

/* Rank 0: [pipeline_ranks()], its own as they are, those of others as they were when they sent the result that came
 * last, and all 0 before that; ranks that compute no logits never send any. Borrowed; changed by pipeline_submit and
 * pipeline_collect. */
const rank_figures *pipeline_figures(const pipeline *p);

/* Tells the trace of this rank's work on waves from now on; borrowed, NULL: no more. */
void pipeline_use_trace(pipeline *p, trace *t);

/* Rank 0: sends a wave, valid within pipeline_wave_limits(), off; see stage_forward. It is copied. */
gptoss_status pipeline_submit(pipeline *p, const wave *w, gptoss_error *err);

/* Rank 0: waits for the oldest wave under way. *rows: one for each of its tokens that wanted logits, in their order;
 * borrowed until the next call, as are the logits, which are side by side where several rows of a wave have them.
 * GPTOSS_CANCELLED when a stage gave up on it. */
gptoss_status pipeline_collect(pipeline *p, const logits_row **rows, gptoss_error *err);

/* Rank 0: all logits of row `row` of the wave that was collected last, [n_vocab], writable, borrowed until the next
 * call of another function. Ranks that have a part of them send it between two pieces of their work. */
gptoss_status pipeline_fetch(pipeline *p, uint32_t row, float **logits, gptoss_error *err);

/* Rank 0: collects what is under way and tells every other rank to return from pipeline_work. When they have called it
 * again, more waves may be submitted. */
void pipeline_stop(pipeline *p);

/* Other ranks: works on waves until rank 0 stops the pipeline. */
gptoss_status pipeline_work(pipeline *p, gptoss_error *err);

#endif
