/* Attention of one token over a long cache, every key-value head of a layer, one thread: how fast it reads, how fast it
 * multiplies.
 *
 *     bench_attend [POSITIONS [HEAD_DIM [GROUP]]]
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "kernels/attend.h"
#include "kernels/isa.h"
#include "random.h"

enum {
    PAGE_BITS = 8,
    PAGE = 1 << PAGE_BITS,
    KV_HEADS = 8,
    LAYERS = 12
}; /* as many as the 20b model has with full attention, so that caches do not help */

typedef struct shape {
    uint32_t positions, head_dim, group;
} shape;

static void *allocate(size_t bytes) {
    void *p = aligned_alloc(64, (bytes + 63) / 64 * 64);
    if (!p) exit(1);
    memset(p, 0, bytes);
    return p;
}

/* Fills all heads with the numbers of one, which is enough for a measurement. bytes: of the keys of a layer, or of its
 * values. */
static void fill(kv_head *heads, uint32_t count, uint32_t positions, size_t bytes) {
    uint64_t seed = 1;
    uint32_t dim = heads->head_dim;
    size_t in_page = kv_head_bytes(heads->type, dim, PAGE / ATTEND_BLOCK);
    float *row = allocate(2 * dim * sizeof *row);
    for (uint32_t p = 0; p < positions; p++) {
        random_floats(&seed, row, 2 * dim);
        kv_head_store(&heads[0], p, row, row + dim);
    }
    for (uint32_t i = 1; i < count; i++)
        for (size_t at = 0; at < bytes; at += heads->stride) {
            memcpy(heads[i].keys + at, heads[0].keys + at, in_page);
            memcpy(heads[i].values + at, heads[0].values + at, in_page);
        }
    free(row);
}

static double run_once(const attend_query *query, const kv_head *heads, uint32_t positions, float *scratch,
                       float *out) {
    double start = clock_seconds();
    for (uint32_t i = 0; i < LAYERS * KV_HEADS; i++) attend(query, &heads[i], 0, positions, scratch, out);
    return clock_seconds() - start;
}

/* Every head of every layer, its pages in an order without order, as they become in use. A layer's pages hold all of
 * its heads, side by side. */
static size_t lay_out(kv_type type, shape s, uint32_t *pages, kv_head *heads) {
    uint32_t count = (s.positions + PAGE - 1) / PAGE;
    size_t in_page = kv_head_bytes(type, s.head_dim, PAGE / ATTEND_BLOCK), bytes = KV_HEADS * in_page * count;
    uint64_t seed = 3;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t other = (uint32_t)random_below(&seed, i + 1);
        pages[i] = pages[other];
        pages[other] = i;
    }
    for (uint32_t l = 0; l < LAYERS; l++) {
        uint8_t *keys = allocate(bytes), *values = allocate(bytes);
        for (uint32_t h = 0; h < KV_HEADS; h++)
            heads[l * KV_HEADS + h] = (kv_head){.type = type,
                                                .head_dim = s.head_dim,
                                                .page_bits = PAGE_BITS,
                                                .pages = pages,
                                                .stride = KV_HEADS * in_page,
                                                .keys = keys + h * in_page,
                                                .values = values + h * in_page};
    }
    return count * in_page;
}

static void measure(isa which, kv_type type, shape s) {
    static uint32_t pages[(1 << 20) / PAGE];
    kv_head heads[LAYERS * KV_HEADS];
    isa_use(which);
    size_t bytes = lay_out(type, s, pages, heads);
    fill(heads, LAYERS * KV_HEADS, s.positions, bytes * KV_HEADS);
    uint64_t seed = 2;
    float *q = allocate(s.group * (s.head_dim + 1) * sizeof *q), *out = allocate(s.group * s.head_dim * sizeof *out);
    float *scratch = allocate(attend_scratch_size(s.group, s.head_dim) * sizeof *scratch);
    random_floats(&seed, q, s.group * (s.head_dim + 1));
    const attend_query query = {.q = q, .sinks = q + s.group * s.head_dim, .heads = s.group, .scale = 0.125f};

    double best = 1e9;
    for (int round = 0; round < (which == ISA_PORTABLE ? 1 : 10); round++) {
        double seconds = run_once(&query, heads, s.positions, scratch, out);
        if (seconds < best) best = seconds;
    }
    double read = 2.0 * LAYERS * KV_HEADS * (double)bytes,
           macs = 2.0 * LAYERS * KV_HEADS * s.positions * s.head_dim * s.group;
    printf("%-10s %-4s %u positions, head %u, group %u: %8.2f ms a token, %6.2f GB/s, %6.2f GMAC/s\n", isa_name(which),
           kv_type_name(type), s.positions, s.head_dim, s.group, best * 1e3, read / best / 1e9, macs / best / 1e9);
    for (uint32_t i = 0; i < LAYERS * KV_HEADS; i += KV_HEADS) {
        free(heads[i].keys);
        free(heads[i].values);
    }
    free(q);
    free(out);
    free(scratch);
}

static uint32_t number(int argc, char **argv, int i, uint32_t otherwise) {
    return i < argc ? (uint32_t)strtoul(argv[i], NULL, 10) : otherwise;
}

int main(int argc, char **argv) {
    shape s = {number(argc, argv, 1, 8000), number(argc, argv, 2, 64), number(argc, argv, 3, 8)};
    if (s.positions < 1 || s.positions > 1 << 20 || s.head_dim < 1 || s.head_dim > 1024 || s.group < 1 || s.group > 256)
        return 2;
    for (isa which = ISA_PORTABLE; which < ISA_COUNT; which++) {
        if (!isa_available(which)) continue;
        for (kv_type type = KV_I16; type < KV_TYPES; type++) measure(which, type, s);
    }
    return 0;
}
