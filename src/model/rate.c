#include "model/rate.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "gguf/random_blocks.h"
#include "kernels/isa.h"
#include "kernels/matmul.h"

enum { COLS = 2880, ROUNDS = 4, KINDS = 2, LAYERS = 20, LAYER_STEPS = 11 };
static const size_t BYTES = 48 << 20; /* of each kind */

typedef struct work {
    matrix weights[KINDS];
    uint8_t *data[KINDS];       /* owned */
    activations rounded, other; /* [1][COLS] */
    float *x, *y, *scratch;     /* [COLS], [rows], [workers][scratch_size] */
    size_t scratch_size;
} work;

static void multiply(void *context, int worker, int workers) {
    work *job = context;
    for (int i = 0; i < KINDS; i++) {
        uint64_t begin, end;
        team_share(job->weights[i].rows, MATMUL_GRAIN, worker, workers, &begin, &end);
        const operand x = {.tokens = 1, .x = job->x, .stride = COLS, .rounded = &job->rounded};
        const target y = {.y = job->y, .stride = job->weights[i].rows};
        matmul(&job->weights[i], (uint32_t)begin, (uint32_t)end, &x, &y,
               job->scratch + (size_t)worker * job->scratch_size);
    }
}

/* A step of a layer that has next to nothing to read: every worker gets the fewest rows that can be, and one of them
 * prepares activations for the next step. */
static void take_step(void *context, int worker, int workers) {
    work *job = context;
    (void)workers;
    if (worker == 0) activations_round(&job->other, 0, job->x);
    const operand x = {.tokens = 1, .x = job->x, .stride = COLS, .rounded = &job->rounded};
    const target y = {.y = job->y, .stride = job->weights[0].rows};
    uint32_t first = (uint32_t)worker * MATMUL_GRAIN;
    if (first + MATMUL_GRAIN > job->weights[0].rows) return;
    matmul(&job->weights[0], first, first + MATMUL_GRAIN, &x, &y, job->scratch + (size_t)worker * job->scratch_size);
}

/* Equal tiles: their values do not matter, and random ones are slow to make. */
static gptoss_status make_weights(work *job, int kind, gguf_type type, gptoss_error *err) {
    matrix *w = &job->weights[kind];
    random_blocks blocks;
    w->type = type;
    w->cols = COLS;
    TRY(gguf_row_bytes(type, COLS, &w->row_bytes, err));
    size_t tile = MATMUL_GRAIN * w->row_bytes;
    w->rows = (uint32_t)(BYTES / tile * MATMUL_GRAIN);
    TRY(mem_array(w->rows, w->row_bytes, "measuring", &job->data[kind], err));
    w->data = job->data[kind];
    random_blocks_init(&blocks, type, 0, 0.02);
    random_blocks_fill(&blocks, 1, job->data[kind], tile);
    for (size_t at = tile; at < w->rows * w->row_bytes; at += tile) memcpy(job->data[kind] + at, job->data[kind], tile);
    return GPTOSS_OK;
}

static gptoss_status prepare(work *job, size_t workers, gptoss_error *err) {
    TRY(make_weights(job, 0, TYPE_MXFP4, err));
    TRY(make_weights(job, 1, TYPE_Q8_0, err));
    job->scratch_size = (matmul_scratch(COLS, 1) + 15) / 16 * 16;
    TRY(mem_array_aligned(workers, job->scratch_size * sizeof(float), "measuring", &job->scratch, err));
    TRY(mem_array(job->weights[0].rows, sizeof(float), "measuring", &job->y, err)); /* it has more rows */
    TRY(mem_array(COLS, sizeof(float), "measuring", &job->x, err));
    for (size_t i = 0; i < COLS; i++) job->x[i] = (float)(i % 100) / 50 - 1;
    TRY(activations_open(1, COLS, &job->rounded, err));
    TRY(activations_open(1, COLS, &job->other, err));
    activations_round(&job->rounded, 0, job->x);
    return GPTOSS_OK;
}

/* Of the fastest round. */
static double time_steps(team *t, team_work *step, int steps, work *job) {
    double best = 1e9;
    for (int i = 0; i < ROUNDS; i++) {
        double start = clock_seconds();
        for (int j = 0; j < steps; j++) team_run(t, step, job);
        double seconds = clock_seconds() - start;
        if (seconds < best) best = seconds;
    }
    return best > 0 ? best : 1e-9;
}

gptoss_status rate_measure(team *t, rate_figures *out, gptoss_error *err) {
    work job = {0};
    gptoss_status status = prepare(&job, (size_t)team_size(t), err);
    if (status == GPTOSS_OK) {
        double bytes = 0;
        for (int i = 0; i < KINDS; i++) bytes += (double)job.weights[i].rows * (double)job.weights[i].row_bytes;
        *out = (rate_figures){.bytes = bytes / time_steps(t, multiply, 1, &job),
                              .layer_seconds = time_steps(t, take_step, LAYERS * LAYER_STEPS, &job) / LAYERS};
    }
    activations_close(&job.rounded);
    activations_close(&job.other);
    for (int i = 0; i < KINDS; i++) free(job.data[i]);
    free(job.scratch);
    free(job.x);
    free(job.y);
    return status;
}

const char *rate_isa(void) { return isa_name(isa_used()); }
