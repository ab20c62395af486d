#include "kernels/matmul.h"

#include "kernels/dequant.h"

/* Rows expanded to float32 at a time: enough to reuse each token's activations from the nearest cache. */
enum { TILE_ROWS = 8, LANES = 16 };

size_t matmul_scratch(size_t cols) { return TILE_ROWS * cols; }

float dot_f32(const float *a, const float *b, size_t count) {
    /* Independent lanes let the compiler use vectors of any width up to 16 without changing the order of additions. */
    float lane[LANES] = {0};
    size_t i = 0;
    for (; i + LANES <= count; i += LANES)
        for (size_t l = 0; l < LANES; l++) lane[l] += a[i + l] * b[i + l];
    for (size_t l = 0; i < count; i++, l++) lane[l] += a[i] * b[i];
    for (size_t width = LANES / 2; width > 0; width /= 2)
        for (size_t l = 0; l < width; l++) lane[l] += lane[l + width];
    return lane[0];
}

void matmul(const matrix *w, uint32_t row_begin, uint32_t row_end, const float *x, size_t x_stride,
            const uint32_t *x_index, size_t tokens, const float *bias, float *y, size_t y_stride, float *scratch) {
    dequant_row *dequant = dequant_for(w->type);
    size_t cols = w->cols;
    for (uint32_t tile = row_begin; tile < row_end; tile += TILE_ROWS) {
        uint32_t rows = row_end - tile < TILE_ROWS ? row_end - tile : TILE_ROWS;
        for (uint32_t r = 0; r < rows; r++) dequant(w->data + (tile + r) * w->row_bytes, cols, scratch + r * cols);
        for (size_t t = 0; t < tokens; t++) {
            const float *xt = x + (x_index ? x_index[t] : t) * x_stride;
            float *yt = y + t * y_stride + tile;
            for (uint32_t r = 0; r < rows; r++)
                yt[r] = dot_f32(scratch + r * cols, xt, cols) + (bias ? bias[tile + r] : 0.0f);
        }
    }
}
