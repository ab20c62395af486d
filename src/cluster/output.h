/* output.h: the logits of waves that went through all layers, each rank computing those of its rows of the output
 * matrix. Private to src/cluster.
 *
 * The source, the last stage's first shard, offers a wave's rows as a job to all ranks that have a part in it, and to
 * rank 0. All take jobs in the order of waves; rank 0 puts the parts together. */
#ifndef CLUSTER_OUTPUT_H
#define CLUSTER_OUTPUT_H

#include "cluster/cluster.h"
#include "cluster/message.h"
#include "model/stage.h"

typedef struct output output;

typedef struct output_config {
    cluster cluster;
    int source;             /* the rank that offers jobs */
    uint32_t depth;         /* waves under way */
    uint32_t rows;          /* of a job, at most */
    size_t d_model;         /* floats of a row */
    const uint32_t *begins; /* borrowed: rank r computes logits [begins[r], begins[r + 1]) */
} output_config;

/* What a rank other than 0 waits for in its loop (link_wait_any), from OUTPUT_JOB on: */
enum { OUTPUT_JOB, OUTPUT_RESULTS, OUTPUT_REQUESTS = OUTPUT_RESULTS + 2 };

/* requests: [OUTPUT_REQUESTS], borrowed. */
gptoss_status output_open(const output_config *config, stage *s, MPI_Request *requests, output **out,
                          gptoss_error *err);
void output_close(output *o); /* NULL is fine */

/* The source: a wave is through all layers, or was given up. What is needed of the message is copied. */
void output_offer(output *o, wave_header *message);

/* Rank 0: the logits of the oldest wave that was not collected yet; see pipeline_collect. `asked` is its header as it
 * was sent off. */
gptoss_status output_collect(output *o, const wave_header *asked, float **logits, gptoss_error *err);

/* ---- other ranks, in their loop ---- */

/* Asks for the next job if there is room for its result. */
void output_listen(output *o);

/* Does the job of `bytes` bytes that has come for OUTPUT_JOB. */
gptoss_status output_serve(output *o, size_t bytes, gptoss_error *err);

/* The source does the oldest job of its own that is left and has room for its result; false: there is none. */
bool output_serve_own(output *o);

/* Seconds spent waiting for other ranks so far. */
double output_waited(const output *o);

#endif
