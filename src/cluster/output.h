/* output.h: the logits of waves that went through all layers, each rank computing those of its rows of the output
 * matrix. Private to src/cluster.
 *
 * The source, the last stage's first shard, offers a wave's rows as a job to all ranks that have a part in it, and to
 * rank 0. All take jobs in the order of waves; rank 0 puts the parts together. Shortlists are all that comes back,
 * unless a row of the wave wants all logits; ranks keep them until as many waves have followed as may be under way, and
 * rank 0 fetches those of single rows. */
#ifndef CLUSTER_OUTPUT_H
#define CLUSTER_OUTPUT_H

#include "cluster/cluster.h"
#include "cluster/message.h"
#include "cluster/row.h"
#include "cluster/trace.h"
#include "model/stage.h"

typedef struct output output;

typedef struct output_config {
    cluster cluster;
    int source;             /* the rank that offers jobs */
    uint32_t depth;         /* waves under way */
    uint32_t rows;          /* of a job, at most */
    size_t d_model;         /* floats of a row */
    const uint32_t *begins; /* borrowed: rank r computes logits [begins[r], begins[r + 1]) */
    rank_figures *figures;  /* borrowed: [ranks]; this rank's are added to and, on rank 0, the others' set */
} output_config;

/* What a rank other than 0 waits for in its loop (link_wait_any), from OUTPUT_JOB on: */
enum { OUTPUT_JOB, OUTPUT_FETCH, OUTPUT_REQUESTS };

/* requests: [OUTPUT_REQUESTS], borrowed. */
gptoss_status output_open(const output_config *config, stage *s, MPI_Request *requests, output **out,
                          gptoss_error *err);
void output_close(output *o); /* NULL is fine */

void output_use_trace(output *o, trace *t); /* see pipeline_use_trace */

/* The source: a wave is through all layers, or was given up. What is needed of the message is copied. */
void output_offer(output *o, wave_header *message);

/* Rank 0: the rows of the oldest wave that was not collected yet; see pipeline_collect. `asked` is its message as it
 * was sent off. */
gptoss_status output_collect(output *o, wave_header *asked, const logits_row **rows, gptoss_error *err);

/* Rank 0: see pipeline_fetch. */
gptoss_status output_fetch(output *o, uint32_t row, float **logits, gptoss_error *err);

/* ---- other ranks, in their loop ---- */

/* Asks for the next job, and what is to be fetched. */
void output_listen(output *o);

/* Does what came with `bytes` bytes for OUTPUT_JOB or OUTPUT_FETCH. */
gptoss_status output_serve(output *o, int which, size_t bytes, gptoss_error *err);

/* The source does the oldest job of its own that is left; false: there is none. */
bool output_serve_own(output *o);

/* No more will come; waits, if `whole`, until what was sent has been taken. */
void output_end(output *o, bool whole);

#endif
