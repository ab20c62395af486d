/* bench_options.h: what the command line of `bench` asks for. */
#ifndef CLI_BENCH_OPTIONS_H
#define CLI_BENCH_OPTIONS_H

#include "cli/engine_options.h"
#include "cli/options.h"
#include "engine/bench.h"

typedef struct bench_options {
    engine_options engine;                /* its lists are swept too */
    option_counts prompt, depth, streams; /* each of them swept */
    uint64_t gen, reps, seed;
    const char *plot;     /* an SVG file to write, or NULL */
    const char *trace;    /* a file to write, *.svg or JSON, or NULL */
    const char *simulate; /* or NULL */
    bench_pace pace;      /* what it says */
    bool json, csv;
} bench_options;

/* Collective: all ranks get the same status. argv[0] is the subcommand. environment_gguf: the value of
 * GPT_OSS_GGUF_PATH or NULL. GPTOSS_MISUSE names the flag, or where a file named by --config says it. */
gptoss_status bench_options_parse(const cluster *c, int argc, char **argv, const char *environment_gguf,
                                  bench_options *out, gptoss_error *err);
void bench_options_free(bench_options *o);
void bench_options_print_help(void);

uint64_t bench_options_rows(const bench_options *o); /* that are to be measured */

/* The largest of a list; 0 for an empty one. */
uint64_t bench_options_largest(const option_counts *list);

#endif
