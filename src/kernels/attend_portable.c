/* Attention in plain C: the definition of what the other kernels compute, in the same order, and so in the same bits.
 */
#include <math.h>
#include <string.h>

#include "kernels/attend_kernels.h"
#include "kernels/dequant.h"
#include "kernels/exp.h"

static float float_at(const uint8_t *base, size_t index) {
    float f;
    memcpy(&f, base + index * sizeof f, sizeof f);
    return f;
}

static float number_at(kv_type type, const uint8_t *base, size_t index) {
    if (type == KV_F32) return float_at(base, index);
    if (type == KV_F16) {
        half h;
        memcpy(&h, base + index * sizeof h, sizeof h);
        return half_to_float(h);
    }
    if (type == KV_Q8_0) return (float)(int8_t)base[index];
    int16_t n;
    memcpy(&n, base + index * sizeof n, sizeof n);
    return n;
}

static void score(const attend_query *query, const kv_head *kv, uint32_t begin, uint32_t end, float *scores) {
    uint32_t dim = kv->head_dim;
    for (uint32_t p = begin / ATTEND_BLOCK * ATTEND_BLOCK; p < end; p += ATTEND_BLOCK) {
        const uint8_t *keys = attend_block(kv, kv->keys, p);
        float *at = scores + p % ATTEND_PIECE, k[ATTEND_BLOCK], scale[ATTEND_BLOCK];
        for (uint32_t h = 0; h < query->heads; h++) memset(at + h * ATTEND_PIECE, 0, ATTEND_BLOCK * sizeof *at);
        for (uint32_t i = 0; i < dim; i++) {
            for (uint32_t l = 0; l < ATTEND_BLOCK; l++) k[l] = number_at(kv->type, keys, (size_t)i * ATTEND_BLOCK + l);
            for (uint32_t h = 0; h < query->heads; h++) {
                float q = query->q[h * dim + i], *sums = at + h * ATTEND_PIECE;
                for (uint32_t l = 0; l < ATTEND_BLOCK; l++) sums[l] = fmaf(q, k[l], sums[l]);
            }
        }
        for (uint32_t l = 0; l < ATTEND_BLOCK; l++)
            scale[l] = attend_has_scales(kv->type) ? query->scale * float_at(attend_scales(kv, keys), l) : query->scale;
        for (uint32_t h = 0; h < query->heads; h++)
            for (uint32_t l = 0; l < ATTEND_BLOCK; l++) at[h * ATTEND_PIECE + l] *= scale[l];
    }
}

static float weigh(float *row, uint32_t begin, uint32_t end, float *max) {
    uint32_t first = begin % ATTEND_PIECE, last = first + (end - begin);
    float largest = -INFINITY, lane[ATTEND_BLOCK] = {0};
    for (uint32_t i = first; i < last; i++) largest = row[i] > largest ? row[i] : largest;
    for (uint32_t i = first / ATTEND_BLOCK * ATTEND_BLOCK; i < first; i++) row[i] = 0;
    for (uint32_t i = last; i % ATTEND_BLOCK; i++) row[i] = 0;
    for (uint32_t i = first; i < last; i++) {
        row[i] = exp_f32(row[i] - largest);
        lane[i % ATTEND_BLOCK] += row[i];
    }
    for (uint32_t width = ATTEND_BLOCK / 2; width > 0; width /= 2)
        for (uint32_t l = 0; l < width; l++) lane[l] += lane[l + width];
    *max = largest;
    return lane[0];
}

static void mix(float *weights, uint32_t heads, const kv_head *kv, uint32_t begin, uint32_t end, float *mixture) {
    uint32_t dim = kv->head_dim;
    memset(mixture, 0, (size_t)heads * dim * sizeof *mixture);
    for (uint32_t p = begin; p < end; p++) {
        const uint8_t *values = attend_block(kv, kv->values, p);
        float *w = weights + p % ATTEND_PIECE, scale = 1;
        if (attend_has_scales(kv->type)) scale = float_at(attend_scales(kv, values), p % ATTEND_BLOCK);
        for (uint32_t h = 0; h < heads; h++) w[(size_t)h * ATTEND_PIECE] *= scale;
        for (uint32_t i = 0; i < dim; i++) {
            float v = number_at(kv->type, values, (size_t)(p % ATTEND_BLOCK) * dim + i);
            for (uint32_t h = 0; h < heads; h++) {
                float *sum = &mixture[(size_t)h * dim + i];
                *sum = fmaf(w[(size_t)h * ATTEND_PIECE], v, *sum);
            }
        }
    }
}

static void blend(float *to, float a, const float *from, float b, uint32_t count) {
    for (uint32_t i = 0; i < count; i++) to[i] = fmaf(from[i], b, to[i] * a);
}

const attend_kernels attend_portable = {score, weigh, mix, blend, 1};
