#include "kernels/matmul.h"

#include <string.h>

#include "kernels/dequant.h"
#include "kernels/dot.h"
#include "kernels/integer.h"
#include "kernels/isa.h"

/* Rows expanded to float32 at a time: enough to reuse each token's activations from the nearest cache. */
enum { FLOAT_ROWS = 8 };

enum { PANELS = 2 }; /* at a time, at most */

/* A group of few tokens may take the room of PANEL_ROWS. */
static size_t rows_of_sums(size_t tokens) { return (tokens + PANEL_ROWS - 1) / PANEL_ROWS * PANEL_ROWS; }

size_t matmul_scratch(size_t cols, size_t tokens) {
    size_t in_float = FLOAT_ROWS * cols;
    size_t in_chunks = PANELS * (CHUNK_FLOATS + CHUNK_SCALES + PANEL_ROWS * rows_of_sums(tokens));
    return in_float > in_chunks ? in_float : in_chunks;
}

float dot_f32(const float *a, const float *b, size_t count) {
#if defined(__x86_64__)
    if (isa_has_avx2(isa_used())) return dot_f32_avx2(a, b, count);
#endif
    return dot_lanes(a, b, count);
}

static size_t row_of(const operand *x, size_t t) { return x->first + (x->index ? x->index[t] : t); }

/* Where row `row` of token t goes. */
static float *place(const target *to, size_t t, uint32_t row) {
    return to->y + (to->index ? to->index[t] : t) * to->stride + row;
}

/* Rows [row, row + count) of token t. */
static void deliver(const target *to, size_t t, uint32_t row, uint32_t count, const float *products) {
    float *y = place(to, t, row);
    float weight = to->weights ? to->weights[t] : 1.0f;
    for (uint32_t r = 0; r < count; r++) {
        float value = (products[r] + (to->bias ? to->bias[row + r] : 0.0f)) * weight;
        y[r] = to->add ? y[r] + value : value;
    }
}

static void multiply_in_float(const matrix *w, uint32_t row_begin, uint32_t row_end, const operand *x, const target *y,
                              float *scratch) {
    dequant_row *dequant = dequant_for(w->type);
    size_t cols = w->cols;
    for (uint32_t tile = row_begin; tile < row_end; tile += FLOAT_ROWS) {
        uint32_t rows = row_end - tile < FLOAT_ROWS ? row_end - tile : FLOAT_ROWS;
        for (uint32_t r = 0; r < rows; r++) dequant(w->data + (tile + r) * w->row_bytes, cols, scratch + r * cols);
        for (size_t t = 0; t < x->tokens; t++) {
            float products[FLOAT_ROWS];
            for (uint32_t r = 0; r < rows; r++)
                products[r] = dot_f32(scratch + r * cols, x->x + row_of(x, t) * x->stride, cols);
            deliver(y, t, tile, rows, products);
        }
    }
}

static void multiply_rows(const matrix *w, integer_format format, uint32_t row, uint32_t row_end, const operand *x,
                          const target *y) {
    for (; row < row_end; row++) {
        for (size_t t = 0; t < x->tokens; t++) {
            activation_row tokens = activations_row(x->rounded, row_of(x, t));
            float product = integer_dot(format, w->data + row * w->row_bytes, w->cols, tokens);
            deliver(y, t, row, 1, &product);
        }
    }
}

/* Few tokens: a panel is multiplied with some at a time, and is in the nearest caches when the next come. */
static void multiply_panels(const matrix *w, integer_format format, uint32_t row, uint32_t row_end, const operand *x,
                            const target *y) {
    integer_panel *panel = integer_kernels_used()->panel[format];
    for (; row < row_end; row += PANEL_ROWS) {
        for (size_t t = 0, count; t < x->tokens; t += count) {
            activation_row tokens[PANEL_TOKENS];
            float products[PANEL_TOKENS * PANEL_ROWS];
            count = x->tokens - t < PANEL_TOKENS ? x->tokens - t : PANEL_TOKENS;
            for (size_t i = 0; i < count; i++) tokens[i] = activations_row(x->rounded, row_of(x, t + i));
            panel(w->data + row * w->row_bytes, w->row_bytes, w->cols, tokens, count, products);
            for (size_t i = 0; i < count; i++) deliver(y, t + i, row, PANEL_ROWS, products + i * PANEL_ROWS);
        }
    }
}

/* What a thread works on: some panels of rows, and tokens [first, first + tokens). */
typedef struct unpacked {
    const packed_tokens *packed;
    size_t panels, first, tokens;
    int16_t *weights;
    float *scales, *sums[PANELS]; /* [tokens][PANEL_ROWS] each, or turned */
} unpacked;

/* One chunk of columns. */
static void multiply_chunk(const unpacked *work, integer_format format, size_t block, size_t blocks) {
    const integer_kernels *kernels = integer_kernels_used();
    const packed_tokens *p = work->packed;
    for (size_t t = 0; t < work->tokens; t += p->group) {
        size_t tokens = work->tokens - t < p->group ? work->tokens - t : p->group;
        const int32_t *pairs = p->pairs + packed_pairs_at(p, block, blocks, work->first + t);
        const float *scales = p->scales + packed_scales_at(p, block, blocks, work->first + t);
        float *sums = work->sums[0] + t * PANEL_ROWS;
        if (work->panels == 1)
            kernels->multiply[format](work->weights, work->scales, pairs, scales, blocks, tokens, sums);
        else
            kernels->multiply_two[format](work->weights, work->scales, pairs, scales, blocks, tokens, sums,
                                          work->sums[1] + t * PANEL_ROWS);
    }
}

/* Rows [row, row + panels * PANEL_ROWS), a chunk of columns after the other. */
static void multiply_columns(const unpacked *work, const matrix *w, integer_format format, uint32_t row) {
    integer_unpack *unpack = integer_kernels_used()->unpack[format];
    size_t all_blocks = w->cols / ACTIVATION_BLOCK, panel_bytes = PANEL_ROWS * w->row_bytes;
    for (size_t block = 0; block < all_blocks; block += PACK_BLOCKS) {
        size_t end = all_blocks - block < PACK_BLOCKS ? all_blocks : block + PACK_BLOCKS;
        for (size_t i = 0; i < work->panels; i++) {
            const uint8_t *at = w->data + row * w->row_bytes + i * panel_bytes;
            const uint8_t *ahead = at + work->panels * panel_bytes + PANEL_ROWS * block * (w->row_bytes / all_blocks);
            unpack(at, w->row_bytes, block, end, work->weights + i * CHUNK_WEIGHTS, work->scales + i * CHUNK_SCALES,
                   ahead);
        }
        multiply_chunk(work, format, block, end - block);
    }
}

static void deliver_sums(const unpacked *work, uint32_t row, const target *y) {
    const integer_kernels *kernels = integer_kernels_used();
    for (uint32_t i = 0; i < work->panels; i++) {
        float *sums = work->sums[i];
        for (size_t t = 0; kernels->turn && t < work->tokens; t += work->packed->group)
            kernels->turn(sums + t * PANEL_ROWS);
        for (size_t t = 0; t < work->tokens; t++)
            deliver(y, work->first + t, row + i * PANEL_ROWS, PANEL_ROWS, sums + t * PANEL_ROWS);
    }
}

/* Many tokens: panels are unpacked a chunk of columns at a time and multiplied with all tokens of a span. */
static void multiply_unpacked(const matrix *w, integer_format format, uint32_t row_begin, uint32_t row_end,
                              const operand *x, const target *y, float *scratch) {
    const integer_kernels *kernels = integer_kernels_used();
    const packed_tokens *p = x->packed;
    unpacked work = {.packed = p, .weights = (int16_t *)(void *)scratch, .scales = scratch + PANELS * CHUNK_FLOATS};
    size_t span = p->tokens;
    if (kernels->span_bytes) {
        size_t groups = kernels->span_bytes / (p->group * packed_words(w->cols) * sizeof *p->pairs);
        span = (groups ? groups : 1) * p->group;
    }
    work.sums[0] = work.scales + PANELS * CHUNK_SCALES;
    work.sums[1] = work.sums[0] + PANEL_ROWS * rows_of_sums(p->tokens);
    if (kernels->begin) kernels->begin(p->tokens % p->group);
    for (; work.first < p->tokens; work.first += work.tokens) {
        work.tokens = p->tokens - work.first < span ? p->tokens - work.first : span;
        for (uint32_t row = row_begin; row < row_end; row += (uint32_t)work.panels * PANEL_ROWS) {
            work.panels = kernels->multiply_two[format] && row_end - row >= PANELS * PANEL_ROWS ? PANELS : 1;
            for (size_t i = 0; i < work.panels; i++)
                memset(work.sums[i], 0, PANEL_ROWS * rows_of_sums(work.tokens) * sizeof *work.sums[i]);
            /* Results lie too far apart for the processor to foresee where the next one goes. */
            for (size_t t = 0; t < work.tokens; t++) __builtin_prefetch(place(y, work.first + t, row), 1, 2);
            multiply_columns(&work, w, format, row);
            deliver_sums(&work, row, y);
        }
    }
    if (kernels->end) kernels->end();
}

void matmul(const matrix *w, uint32_t row_begin, uint32_t row_end, const operand *x, const target *y, float *scratch) {
    integer_format format;
    if (!x->rounded || !integer_format_of(w->type, &format)) {
        multiply_in_float(w, row_begin, row_end, x, y, scratch);
        return;
    }
    uint32_t whole = row_begin + (row_end - row_begin) / PANEL_ROWS * PANEL_ROWS;
    if (x->packed)
        multiply_unpacked(w, format, row_begin, whole, x, y, scratch);
    else
        multiply_panels(w, format, row_begin, whole, x, y);
    multiply_rows(w, format, whole, row_end, x, y);
}
