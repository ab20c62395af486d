/* bench.h: measures an engine at work: prompts, generation, and the memory under both.
 *
 * All functions are collective but bench_close: every rank calls them with the same arguments, rank 0 drives the
 * pipeline and gets the results. After a failure nothing more may be measured. Prompts are random tokens, the same for
 * the same seed and the same calls. */
#ifndef ENGINE_BENCH_H
#define ENGINE_BENCH_H

#include "engine/engine.h"

typedef struct bench bench;

typedef enum bench_phase {
    BENCH_ATTENTION,
    BENCH_EXPERTS,
    BENCH_OUTPUT,   /* logits, on the last rank */
    BENCH_WAITING,  /* for other ranks to send something */
    BENCH_TRANSFER, /* waiting for what was sent */
    BENCH_OTHER,    /* embedding, choosing tokens, handing waves on */
    BENCH_PHASES
} bench_phase;

/* What one rank did while a measurement ran; the phases sum up to `seconds`, which is rank 0's, but for rounding. */
typedef struct bench_times {
    double seconds;
    double phases[BENCH_PHASES];
} bench_times;

/* How stages work: they compute, or sleep to show what as many machines would do. */
typedef struct bench_pace {
    bool simulated;
    double seconds; /* that each stage sleeps for a wave; 0: what it takes for one, measured */
} bench_pace;

/* e was started with room for `streams` sequences and as many rows of logits; it stays the caller's. */
gptoss_status bench_open(engine *e, uint64_t seed, bench **out, gptoss_error *err);
void bench_close(bench *b); /* NULL is fine */

/* Reads random tokens into sequences [0, streams) until each holds at least `depth`. */
gptoss_status bench_fill(bench *b, uint32_t depth, uint32_t streams, gptoss_error *err);

/* Reads a prompt of `tokens` random tokens at positions [depth, depth + tokens) of sequence 0, until its last logits
 * are there. times: [ranks] on rank 0, else not used. */
gptoss_status bench_prompt(bench *b, uint32_t depth, uint32_t tokens, bench_times *times, gptoss_error *err);

/* `steps` steps of generation from position `depth` on, in each a token of each of sequences [0, streams). Their tokens
 * are divided between as many waves as can be under way. The likeliest token is chosen each time, and a random one
 * taken instead, so that experts are called on evenly. */
gptoss_status bench_generate(bench *b, uint32_t depth, uint32_t streams, uint32_t steps, bench_times *times,
                             gptoss_error *err);

/* Stages work at that pace from now on. Where it is to be measured, each stage takes as long as it does now for a wave
 * of one token at `depth` (generate), or of `tokens` tokens of a prompt there, at most a chunk, no other under way. */
gptoss_status bench_set_pace(bench *b, const bench_pace *pace, bool generate, uint32_t depth, uint32_t tokens,
                             gptoss_error *err);

/* Adds what bench_prompt and bench_generate do from now on to the trace; borrowed, NULL: no more. */
void bench_use_trace(bench *b, trace *t);

/* *bytes_per_second: of all ranks together, each reading up to 1 GiB of its mapped weights with its whole team, all at
 * the same time; the best of several rounds. On rank 0. */
gptoss_status bench_read_memory(bench *b, double *bytes_per_second, gptoss_error *err);

#endif
