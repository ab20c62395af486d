/* runs.h: waves of sequences that share nothing, each with pages of its own, for tests that schedule nothing. */
#ifndef TESTS_MODEL_RUNS_H
#define TESTS_MODEL_RUNS_H

#include "model/wave.h"

typedef struct runs {
    wave_limits limits;
    wave wave;
    uint32_t *pages[KV_KINDS]; /* [limits.runs][of_sequence] */
    uint32_t of_sequence[KV_KINDS];
} runs;

void runs_open(const wave_limits *limits, runs *out);
void runs_close(runs *r);

/* Adds a run, unless it is empty, of sequence 0 <= sequence < limits.runs; see wave_add_run. wave_clear(&r->wave)
 * begins another wave. Up to 8 tokens and 64 positions more than the limits allow can be asked for. */
void runs_add(runs *r, uint32_t sequence, const uint32_t *ids, uint32_t count, uint32_t position, uint32_t rows);

/* The same, as the only run of a wave. */
const wave *runs_one(runs *r, const uint32_t *ids, uint32_t count, uint32_t position, uint32_t rows);

#endif
