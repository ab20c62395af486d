#include <math.h>
#include <string.h>

#include "kernels/dequant.h"
#include "kernels/integer.h"

/* Twice the values of the 4-bit floats of MXFP4 (E2M1). */
static const int8_t fp4_doubled[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

/* 2^(e - 127) as a shift makes it: the smallest scale, 2^-127, counts as 0, and the reserved 255 as infinity. */
static float fp4_scale(uint8_t e) {
    uint32_t bits = (uint32_t)e << 23;
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static float dot_mxfp4(const uint8_t *row, size_t cols, activation_row x) {
    const block_mxfp4 *blocks = (const block_mxfp4 *)row;
    float sum = 0;
    for (size_t b = 0; b < cols / 32; b++) {
        const int16_t *q = x.q + b * 32;
        int32_t products = 0;
        for (int i = 0; i < 16; i++)
            products += fp4_doubled[blocks[b].qs[i] & 15] * q[i] + fp4_doubled[blocks[b].qs[i] >> 4] * q[i + 16];
        sum = fmaf((float)products, fp4_scale(blocks[b].e) * x.scales[b], sum);
    }
    return 0.5f * sum; /* exact, as in whatever place it is done */
}

static float dot_q8_0(const uint8_t *row, size_t cols, activation_row x) {
    const block_q8_0 *blocks = (const block_q8_0 *)row;
    float sum = 0;
    for (size_t b = 0; b < cols / 32; b++) {
        const int16_t *q = x.q + b * 32;
        int32_t products = 0;
        for (int i = 0; i < 32; i++) products += blocks[b].qs[i] * q[i];
        sum = fmaf((float)products, half_to_float(blocks[b].d) * x.scales[b], sum);
    }
    return sum;
}

float integer_dot(integer_format format, const uint8_t *row, size_t cols, activation_row x) {
    return format == INTEGER_MXFP4 ? dot_mxfp4(row, cols, x) : dot_q8_0(row, cols, x);
}

size_t integer_digit(size_t together, size_t c) {
    size_t block = c / 32, group = block / together, in_group = block % together;
    return (group * together * 2 + c % 32 / 16 * together + in_group) * 16 + c % 16;
}

void integer_split(size_t cols, size_t together, activation_row row) {
    size_t blocks = cols / ACTIVATION_BLOCK, whole = (blocks + together - 1) / together * together;
    if (whole > blocks) {
        size_t group = (whole - together) * ACTIVATION_BLOCK, bytes = together * ACTIVATION_BLOCK;
        memset(row.high + group, 0, bytes);
        memset(row.low + group, 0, bytes);
    }
    for (size_t b = 0; b < blocks; b++) {
        int32_t sum = 0;
        for (size_t c = b * 32; c < (b + 1) * 32; c += 16) {
            const int16_t *q = row.q + c;
            int8_t *high = row.high + integer_digit(together, c);
            int8_t *low = row.low + (high - row.high);
            for (size_t i = 0; i < 16; i++) {
                high[i] = (int8_t)((q[i] + 128) >> 8);
                low[i] = (int8_t)(q[i] - 256 * high[i]);
                sum += q[i];
            }
        }
        row.sums[b] = sum;
    }
}

static void round_block(const float *x, int16_t *q, float *scale) {
    uint32_t largest = 0; /* magnitudes compare as their bits do, NaN above all */
    for (size_t i = 0; i < 32; i++) {
        uint32_t bits;
        memcpy(&bits, x + i, sizeof bits);
        bits &= 0x7fffffff;
        if (bits > largest) largest = bits;
    }
    float most;
    memcpy(&most, &largest, sizeof most);
    bool usable = most >= 1e-30f && most < INFINITY;
    *scale = most < INFINITY ? usable ? most / (float)ACTIVATION_MOST : 0.0f : NAN;
    float inverse = usable ? (float)ACTIVATION_MOST / most : 0.0f;
    for (size_t i = 0; i < 32; i++) q[i] = usable ? (int16_t)lrintf(x[i] * inverse) : 0;
}

static void round_row(const float *x, size_t cols, activation_row out) {
    for (size_t b = 0; b < cols / 32; b++) round_block(x + b * 32, out.q + b * 32, &out.scales[b]);
    integer_split(cols, 1, out);
}

static void panel_mxfp4(const uint8_t *rows, size_t row_bytes, size_t cols, const activation_row *x, size_t tokens,
                        float *y) {
    for (size_t t = 0; t < tokens; t++, y += PANEL_ROWS)
        for (size_t r = 0; r < PANEL_ROWS; r++) y[r] = dot_mxfp4(rows + r * row_bytes, cols, x[t]);
}

static void panel_q8_0(const uint8_t *rows, size_t row_bytes, size_t cols, const activation_row *x, size_t tokens,
                       float *y) {
    for (size_t t = 0; t < tokens; t++, y += PANEL_ROWS)
        for (size_t r = 0; r < PANEL_ROWS; r++) y[r] = dot_q8_0(rows + r * row_bytes, cols, x[t]);
}

const integer_kernels integer_portable = {.round = round_row, .together = 1, .panel = {panel_mxfp4, panel_q8_0}};
