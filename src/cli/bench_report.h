/* bench_report.h: what `bench` measured, as a table, JSON, comma-separated values or a picture. */
#ifndef CLI_BENCH_REPORT_H
#define CLI_BENCH_REPORT_H

#include <stdio.h>

#include "base/buffer.h"
#include "cli/bench_options.h"
#include "engine/bench.h"

/* One kind of work, measured `reps` times. */
typedef struct bench_row {
    bool generate;           /* tokens generated; otherwise a prompt read */
    uint32_t tokens;         /* of the prompt, or steps of generation */
    uint32_t depth, streams; /* streams is 1 for a prompt */
    uint32_t threads, chunk;
    double read_bytes;  /* a second: the memory's speed with these threads */
    double *speeds;     /* [reps] owned: tokens a second, of all streams together; ascending */
    bench_times *ranks; /* [ranks] owned: seconds a token, the mean of all repetitions */
} bench_row;

typedef struct bench_report {
    const bench_options *options;
    uint32_t n_layers;
    int ranks;
    uint32_t stages; /* of ranks / stages shards each */
    char grid[64];   /* in words */
    const char *isa; /* of rank 0 */
    uint64_t bytes_per_token;
    double start_seconds; /* from the start of rank 0's process until all ranks were ready */
    bench_row *rows;      /* owned */
    size_t count;
} bench_report;

void bench_report_free(bench_report *r);

double bench_row_median(const bench_row *row, size_t reps);

/* The part of the memory's speed that reading weights once a token takes up; NAN where several tokens share a read. */
double bench_row_share(const bench_report *r, const bench_row *row);

/* To standard output. The table grows by a row as soon as that was measured. */
void bench_report_print_head(const bench_report *r);
void bench_report_print_row(const bench_report *r, const bench_row *row);
void bench_report_print_csv(const bench_report *r);
gptoss_status bench_report_print_json(const bench_report *r, gptoss_error *err);

/* Appends a picture: speed against depth, and against streams where several were asked for. */
gptoss_status bench_report_draw(const bench_report *r, buffer *out, gptoss_error *err);

#endif
