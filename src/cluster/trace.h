/* trace.h: what a rank did when, to be seen beside what the others did. */
#ifndef CLUSTER_TRACE_H
#define CLUSTER_TRACE_H

#include "cluster/cluster.h"

typedef struct trace trace;

typedef enum trace_kind {
    TRACE_LAYERS,   /* a wave in this rank's stage */
    TRACE_OUTPUT,   /* logits */
    TRACE_WAIT,     /* for others to send something */
    TRACE_TRANSFER, /* for something that was sent */
    TRACE_KINDS
} trace_kind;

const char *trace_kind_name(uint32_t kind); /* "layers"; kind < TRACE_KINDS */

/* Spans of a rank do not overlap, and come in order. Also their form in messages. */
typedef struct trace_span {
    double begin, end; /* seconds, by link_now() */
    uint32_t kind;     /* trace_kind */
    uint32_t wave;     /* its number; of a wait, that of the work behind it */
    uint32_t tokens, sequences;
} trace_span;

/* capacity: spans to keep, the same on all ranks, at most 2^25; what comes when there is no more room is counted only.
 */
gptoss_status trace_open(size_t capacity, trace **out, gptoss_error *err);
void trace_close(trace *t); /* NULL is fine */

/* Spans are added from trace_start on until trace_stop. One trace records at a time. */
void trace_start(trace *t);
void trace_stop(trace *t);

/* Work on a wave, from trace_begin until trace_end; t may be NULL. Waits in the midst of it are taken out. */
void trace_begin(trace *t, trace_kind kind, uint32_t wave, uint32_t tokens, uint32_t sequences);
void trace_end(trace *t);

/* Collective. Rank 0 is given the spans of all ranks, one rank after the other, none twice; `spans` is valid during the
 * call, `lost` the number of those that had no room. All traces are empty then. */
typedef void trace_take(void *context, int rank, const trace_span *spans, size_t count, uint64_t lost);
gptoss_status trace_collect(const cluster *c, trace *t, trace_take *take, void *context, gptoss_error *err);

#endif
