/* bench_gantt.h: the beginning of what ranks did while `bench` measured, as a drawing: a row a rank, time to the right,
 * a colour a wave. */
#ifndef CLI_BENCH_GANTT_H
#define CLI_BENCH_GANTT_H

#include <stdio.h>

#include "cluster/trace.h"

/* Collective. Draws the first spans of all ranks to `to`, on rank 0, up to the moment from which on some rank's are too
 * many; `path` is its name, for errors. */
gptoss_status bench_gantt_write(const cluster *c, trace *t, FILE *to, const char *path, gptoss_error *err);

#endif
