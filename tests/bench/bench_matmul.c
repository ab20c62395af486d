/* bench_matmul [THREADS]: products with one token in GB/s of weights, beside a plain read of the same memory; products
 * with many tokens in GMAC/s. Shapes are those of gpt-oss: rows of 2880. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/team.h"
#include "gguf/random_blocks.h"
#include "kernels/integer.h"
#include "kernels/isa.h"
#include "kernels/matmul.h"

enum { COLS = 2880, ROUNDS = 5, MOST_TOKENS = 512 };
static const size_t MEMORY = (size_t)1 << 30; /* far beyond any cache */

typedef struct work {
    matrix w;
    operand x;
    float *y, *scratch;
    size_t scratch_size;
    uint64_t read; /* what a plain read found, so that it is not left out */
} work;

static void multiply(void *context, int worker, int workers) {
    work *job = context;
    uint64_t begin, end;
    team_share(job->w.rows, MATMUL_GRAIN, worker, workers, &begin, &end);
    const target y = {.y = job->y, .stride = job->w.rows};
    matmul(&job->w, (uint32_t)begin, (uint32_t)end, &job->x, &y, job->scratch + (size_t)worker * job->scratch_size);
}

static void read_plainly(void *context, int worker, int workers) {
    work *job = context;
    uint64_t begin, end, sums[8] = {0};
    team_share(job->w.rows * job->w.row_bytes, 64, worker, workers, &begin, &end);
    for (uint64_t at = begin; at + 64 <= end; at += 64)
        for (int i = 0; i < 8; i++) {
            uint64_t word;
            memcpy(&word, job->w.data + at + 8 * i, sizeof word);
            sums[i] ^= word;
        }
    for (int i = 0; i < 8; i++) __atomic_fetch_xor(&job->read, sums[i], __ATOMIC_RELAXED);
}

/* Seconds of the best of some rounds. */
static double best_time(team *t, team_work *function, work *job) {
    double best = 1e9;
    for (int i = 0; i < ROUNDS; i++) {
        double start = clock_seconds();
        team_run(t, function, job);
        double seconds = clock_seconds() - start;
        if (seconds < best) best = seconds;
    }
    return best;
}

static matrix make_matrix(gguf_type type, size_t bytes) {
    gptoss_error err;
    matrix w = {.type = type, .cols = COLS};
    if (gguf_row_bytes(type, COLS, &w.row_bytes, &err) != GPTOSS_OK) exit(1);
    w.rows = (uint32_t)(bytes / w.row_bytes / PANEL_ROWS * PANEL_ROWS);
    uint8_t *data = malloc(w.rows * w.row_bytes);
    random_blocks blocks;
    random_blocks_init(&blocks, type, 0, 0.02);
    if (!data) exit(1);
    for (size_t r = 0; r < w.rows; r += PANEL_ROWS) /* equal tiles: their values do not matter, and filling is slow */
        if (r == 0)
            random_blocks_fill(&blocks, 1, data, PANEL_ROWS * w.row_bytes);
        else
            memcpy(data + r * w.row_bytes, data, PANEL_ROWS * w.row_bytes);
    w.data = data;
    return w;
}

static void measure(team *t, gguf_type type, const char *name) {
    gptoss_error err;
    work job = {.w = make_matrix(type, MEMORY)};
    double bytes = (double)job.w.rows * (double)job.w.row_bytes;
    uint32_t all_rows = job.w.rows;
    float *x = malloc(MOST_TOKENS * COLS * sizeof *x);
    activations rounded;
    for (size_t i = 0; i < MOST_TOKENS * COLS; i++) x[i] = (float)(i * 2654435761u % 1000) / 500 - 1;
    if (activations_open(MOST_TOKENS, COLS, &rounded, &err) != GPTOSS_OK) exit(1);
    for (size_t i = 0; i < MOST_TOKENS; i++) activations_round(&rounded, i, x + i * COLS);
    job.scratch_size = (matmul_scratch(COLS, MOST_TOKENS) + 15) / 16 * 16;
    job.scratch = aligned_alloc(64, (size_t)team_size(t) * job.scratch_size * sizeof *job.scratch);
    job.y = malloc((size_t)all_rows * sizeof *job.y);
    size_t group = integer_kernels_used()->group;
    int32_t *pairs = aligned_alloc(64, MOST_TOKENS * packed_words(COLS) * sizeof *pairs);
    float *scales = malloc(MOST_TOKENS * COLS / ACTIVATION_BLOCK * sizeof *scales);

    printf("%-9s %-6s 1 token: read %5.1f GB/s", isa_name(isa_used()), name,
           bytes / best_time(t, read_plainly, &job) / 1e9);
    job.x = (operand){.tokens = 1, .x = x, .stride = COLS, .rounded = &rounded};
    printf(", multiply %5.1f GB/s;  GMAC/s of", bytes / best_time(t, multiply, &job) / 1e9);
    for (size_t tokens = 8; tokens <= MOST_TOKENS && group > 0; tokens *= 8) {
        const packed_tokens packed = packed_room(tokens, COLS, pairs, scales);
        job.x.tokens = tokens;
        packed_write(&packed, &rounded, NULL, 0, 0, tokens);
        job.x.packed = &packed;
        job.w.rows = all_rows / (uint32_t)tokens / PANEL_ROWS * PANEL_ROWS; /* as many results as y has room for */
        double products = (double)tokens * job.w.rows * COLS;
        printf("  %zu tokens: %.1f", tokens, products / best_time(t, multiply, &job) / 1e9);
    }
    puts("");
    activations_close(&rounded);
    free((void *)job.w.data);
    free(pairs);
    free(scales);
    free(job.scratch);
    free(job.y);
    free(x);
}

int main(int argc, char **argv) {
    gptoss_error err;
    int threads = argc > 1 ? atoi(argv[1]) : 1;
    team *t;
    if (threads < 1 || threads > 1024 || team_open(threads, &t, &err) != GPTOSS_OK) {
        fprintf(stderr, "bench_matmul wants a number of threads\n");
        return 2;
    }
    for (int which = ISA_COUNT - 1; which >= ISA_PORTABLE; which--) {
        if (!isa_available((isa)which)) continue;
        isa_use((isa)which);
        measure(t, TYPE_MXFP4, "MXFP4");
        measure(t, TYPE_Q8_0, "Q8_0");
    }
    team_close(t);
    return 0;
}
