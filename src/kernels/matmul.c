#include "kernels/matmul.h"

#include <string.h>

#include "kernels/dequant.h"
#include "kernels/dot.h"
#include "kernels/integer.h"
#include "kernels/isa.h"

/* Rows expanded to float32 at a time: enough to reuse each token's activations from the nearest cache. */
enum { FLOAT_ROWS = 8 };

/* A panel's share of a chunk: int16 weights and float scales, in floats of scratch. */
enum { CHUNK_WEIGHTS = PACK_BLOCKS * CROSSED_WORDS * PANEL_ROWS, CHUNK_SCALES = PACK_BLOCKS * PANEL_ROWS };

size_t matmul_scratch(size_t cols, size_t tokens) {
    size_t in_float = FLOAT_ROWS * cols, in_chunks = CHUNK_WEIGHTS + CHUNK_SCALES + PANEL_ROWS * tokens;
    return in_float > in_chunks ? in_float : in_chunks;
}

float dot_f32(const float *a, const float *b, size_t count) {
#if defined(__x86_64__)
    if (isa_used() == ISA_AVX2 || isa_used() == ISA_AVX512) return dot_f32_avx2(a, b, count);
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

typedef struct unpacked {
    int16_t *weights;
    float *scales, *sums; /* [tokens][PANEL_ROWS] */
} unpacked;

/* One chunk of columns of a panel times all tokens. */
static void multiply_chunk(const packed_tokens *p, const unpacked *work, size_t block, size_t blocks) {
    integer_multiply *multiply = integer_kernels_used()->multiply;
    for (size_t t = 0; t < p->tokens; t += p->group) {
        size_t tokens = p->tokens - t < p->group ? p->tokens - t : p->group;
        multiply(work->weights, work->scales, p->pairs + packed_pairs_at(p, block, blocks, t),
                 p->scales + packed_scales_at(p, block, blocks, t), blocks, tokens, work->sums + t * PANEL_ROWS);
    }
}

/* Many tokens: a panel is unpacked a chunk of columns at a time and multiplied with all of them. */
static void multiply_unpacked(const matrix *w, integer_format format, uint32_t row, uint32_t row_end, const operand *x,
                              const target *y, float *scratch) {
    integer_unpack *unpack = integer_kernels_used()->unpack[format];
    const packed_tokens *p = x->packed;
    unpacked work = {(int16_t *)(void *)scratch, scratch + CHUNK_WEIGHTS, scratch + CHUNK_WEIGHTS + CHUNK_SCALES};
    size_t all_blocks = w->cols / ACTIVATION_BLOCK;
    for (; row < row_end; row += PANEL_ROWS) {
        memset(work.sums, 0, p->tokens * PANEL_ROWS * sizeof *work.sums);
        /* Results lie too far apart for the processor to foresee where the next one goes. */
        for (size_t t = 0; t < p->tokens; t++) __builtin_prefetch(place(y, t, row), 1, 2);
        for (size_t block = 0; block < all_blocks; block += PACK_BLOCKS) {
            size_t end = all_blocks - block < PACK_BLOCKS ? all_blocks : block + PACK_BLOCKS;
            const uint8_t *at = w->data + row * w->row_bytes;
            const uint8_t *ahead = at + PANEL_ROWS * (w->row_bytes + block * (w->row_bytes / all_blocks));
            unpack(at, w->row_bytes, block, end, work.weights, work.scales, ahead);
            multiply_chunk(p, &work, block, end - block);
        }
        for (size_t t = 0; t < p->tokens; t++) deliver(y, t, row, PANEL_ROWS, work.sums + t * PANEL_ROWS);
    }
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
