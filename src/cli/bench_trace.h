/* bench_trace.h: what ranks did while `bench` measured, in the format of Chrome's tracing, for ui.perfetto.dev. */
#ifndef CLI_BENCH_TRACE_H
#define CLI_BENCH_TRACE_H

#include <stdio.h>

#include "cluster/trace.h"

enum { BENCH_TRACE_SPANS = 1 << 16 }; /* that a rank keeps: 2 MB */

/* Collective. Writes the spans of all ranks to `to`, on rank 0; `path` is its name, for errors. */
gptoss_status bench_trace_write(const cluster *c, trace *t, FILE *to, const char *path, gptoss_error *err);

#endif
