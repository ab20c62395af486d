/* Attention with NEON: tiles of four query heads by 16 positions or dimensions, in registers. Sums run in the order of
 * attend_portable.c. */
#include "kernels/attend_kernels.h"

#if defined(__aarch64__)
#include <arm_neon.h>
#include <math.h>
#include <string.h>

#include "kernels/exp_neon.h"

#define INLINE static inline __attribute__((always_inline))

enum { TILE_HEADS = 4, SPAN = 4 * ATTEND_BLOCK }; /* positions whose values are used by all heads while they are near */

/* 16 floats. */
enum { PARTS = 4 };
typedef struct lanes {
    float32x4_t of[PARTS];
} lanes;

INLINE lanes load_floats(const void *at) {
    lanes x;
    for (size_t i = 0; i < PARTS; i++) x.of[i] = vreinterpretq_f32_u8(vld1q_u8((const uint8_t *)at + 16 * i));
    return x;
}

INLINE void store(float *at, lanes x) {
    for (size_t i = 0; i < PARTS; i++) vst1q_f32(at + 4 * i, x.of[i]);
}

INLINE lanes all_lanes(float x) {
    lanes y;
    for (size_t i = 0; i < PARTS; i++) y.of[i] = vdupq_n_f32(x);
    return y;
}

INLINE lanes multiply(lanes a, lanes b) {
    for (size_t i = 0; i < PARTS; i++) a.of[i] = vmulq_f32(a.of[i], b.of[i]);
    return a;
}

/* *sum += x * y */
INLINE void add_product(lanes *sum, float x, lanes y) {
    for (size_t i = 0; i < PARTS; i++) sum->of[i] = vfmaq_n_f32(sum->of[i], y.of[i], x);
}

INLINE int16x8_t load_eight(const uint8_t *at) { return vreinterpretq_s16_u8(vld1q_u8(at)); }

INLINE lanes from_halves(int16x8_t first, int16x8_t second) {
    float16x8_t a = vreinterpretq_f16_s16(first), b = vreinterpretq_f16_s16(second);
    return (lanes){
        {vcvt_f32_f16(vget_low_f16(a)), vcvt_high_f32_f16(a), vcvt_f32_f16(vget_low_f16(b)), vcvt_high_f32_f16(b)}};
}

INLINE lanes from_integers(int16x8_t first, int16x8_t second) {
    return (lanes){{vcvtq_f32_s32(vmovl_s16(vget_low_s16(first))), vcvtq_f32_s32(vmovl_high_s16(first)),
                    vcvtq_f32_s32(vmovl_s16(vget_low_s16(second))), vcvtq_f32_s32(vmovl_high_s16(second))}};
}

/* Numbers [index, index + 16) of an array. */
INLINE lanes load(kv_type type, const uint8_t *base, size_t index) {
    const uint8_t *at = base + index * attend_number_bytes(type);
    if (type == KV_F32) return load_floats(at);
    if (type == KV_F16) return from_halves(load_eight(at), load_eight(at + 16));
    if (type == KV_I16) return from_integers(load_eight(at), load_eight(at + 16));
    int8x16_t bytes = vreinterpretq_s8_u8(vld1q_u8(at));
    return from_integers(vmovl_s8(vget_low_s8(bytes)), vmovl_high_s8(bytes));
}

/* ---- scores ---- */

INLINE void score_tile(kv_type type, uint32_t heads, const uint8_t *keys, uint32_t dim, const float *q, lanes scale,
                       float *scores) {
    lanes sum[TILE_HEADS];
    for (uint32_t h = 0; h < heads; h++) sum[h] = all_lanes(0);
    for (uint32_t i = 0; i < dim; i++) {
        lanes k = load(type, keys, (size_t)i * ATTEND_BLOCK);
        for (uint32_t h = 0; h < heads; h++) add_product(&sum[h], q[h * dim + i], k);
    }
    for (uint32_t h = 0; h < heads; h++) store(scores + h * ATTEND_PIECE, multiply(sum[h], scale));
}

INLINE void score_all(kv_type type, const attend_query *query, const kv_head *kv, uint32_t begin, uint32_t end,
                      float *scores) {
    uint32_t dim = kv->head_dim, heads = query->heads;
    lanes scale = all_lanes(query->scale);
    for (uint32_t p = begin / ATTEND_BLOCK * ATTEND_BLOCK; p < end; p += ATTEND_BLOCK) {
        const uint8_t *keys = attend_block(kv, kv->keys, p);
        if (attend_has_scales(type)) scale = multiply(all_lanes(query->scale), load_floats(attend_scales(kv, keys)));
        for (uint32_t h = 0; h < heads; h += TILE_HEADS) {
            const float *q = query->q + (size_t)h * dim;
            float *at = scores + (size_t)h * ATTEND_PIECE + p % ATTEND_PIECE;
            switch (heads - h) {
            case 1: score_tile(type, 1, keys, dim, q, scale, at); break;
            case 2: score_tile(type, 2, keys, dim, q, scale, at); break;
            case 3: score_tile(type, 3, keys, dim, q, scale, at); break;
            default: score_tile(type, TILE_HEADS, keys, dim, q, scale, at); break;
            }
        }
    }
}

static void score(const attend_query *query, const kv_head *kv, uint32_t begin, uint32_t end, float *scores) {
    switch (kv->type) {
    case KV_F32: score_all(KV_F32, query, kv, begin, end, scores); break;
    case KV_F16: score_all(KV_F16, query, kv, begin, end, scores); break;
    case KV_Q8_0: score_all(KV_Q8_0, query, kv, begin, end, scores); break;
    default: score_all(KV_I16, query, kv, begin, end, scores); break;
    }
}

/* ---- weights ---- */

/* lane[l] += lane[l + width], as in plain C, down to one. */
INLINE float sum_lanes(lanes x) {
    float32x4_t four = vaddq_f32(vaddq_f32(x.of[0], x.of[2]), vaddq_f32(x.of[1], x.of[3]));
    return vaddv_f32(vadd_f32(vget_low_f32(four), vget_high_f32(four)));
}

static float weigh(float *row, uint32_t begin, uint32_t end, float *max) {
    uint32_t first = begin % ATTEND_PIECE, last = first + (end - begin), from = first / ATTEND_BLOCK * ATTEND_BLOCK;
    for (uint32_t i = from; i < first; i++) row[i] = -INFINITY;
    for (uint32_t i = last; i % ATTEND_BLOCK; i++) row[i] = -INFINITY;
    lanes most = all_lanes(-INFINITY), sum = all_lanes(0);
    for (uint32_t i = from; i < last; i += ATTEND_BLOCK) { /* of a number and a NaN the number, as with > */
        lanes x = load_floats(row + i);
        for (size_t n = 0; n < PARTS; n++) most.of[n] = vmaxnmq_f32(most.of[n], x.of[n]);
    }
    *max = vmaxnmvq_f32(vmaxnmq_f32(vmaxnmq_f32(most.of[0], most.of[1]), vmaxnmq_f32(most.of[2], most.of[3])));
    for (uint32_t i = from; i < last; i += ATTEND_BLOCK) {
        lanes x = load_floats(row + i);
        for (size_t n = 0; n < PARTS; n++) {
            x.of[n] = exp_neon(vsubq_f32(x.of[n], vdupq_n_f32(*max)));
            sum.of[n] = vaddq_f32(sum.of[n], x.of[n]);
        }
        store(row + i, x);
    }
    return sum_lanes(sum);
}

/* ---- mixtures ---- */

/* Adds positions [begin, end) to 16 dimensions of some heads. */
INLINE void mix_tile(kv_type type, uint32_t heads, const float *weights, const kv_head *kv, uint32_t begin,
                     uint32_t end, uint32_t i, float *mixture) {
    lanes sum[TILE_HEADS];
    uint32_t dim = kv->head_dim;
    for (uint32_t h = 0; h < heads; h++) sum[h] = load_floats(mixture + h * dim + i);
    for (uint32_t p = begin, next; p < end; p = next) {
        const uint8_t *values = attend_block(kv, kv->values, p);
        next = (p / ATTEND_BLOCK + 1) * ATTEND_BLOCK;
        if (next > end) next = end;
        for (uint32_t n = p; n < next; n++) {
            lanes v = load(type, values, (size_t)(n % ATTEND_BLOCK) * dim + i);
            for (uint32_t h = 0; h < heads; h++) add_product(&sum[h], weights[h * ATTEND_PIECE + n % ATTEND_PIECE], v);
        }
    }
    for (uint32_t h = 0; h < heads; h++) store(mixture + h * dim + i, sum[h]);
}

INLINE void mix_span(kv_type type, const float *weights, uint32_t heads, const kv_head *kv, uint32_t begin,
                     uint32_t end, float *mixture) {
    uint32_t dim = kv->head_dim;
    for (uint32_t i = 0; i < dim; i += 16) {
        for (uint32_t h = 0; h < heads; h += TILE_HEADS) {
            const float *w = weights + (size_t)h * ATTEND_PIECE;
            float *to = mixture + (size_t)h * dim;
            switch (heads - h) {
            case 1: mix_tile(type, 1, w, kv, begin, end, i, to); break;
            case 2: mix_tile(type, 2, w, kv, begin, end, i, to); break;
            case 3: mix_tile(type, 3, w, kv, begin, end, i, to); break;
            default: mix_tile(type, TILE_HEADS, w, kv, begin, end, i, to); break;
            }
        }
    }
}

/* weights[h][p] *= the scale of v_p, for all positions of the blocks that hold [begin, end). */
static void scale_weights(float *weights, uint32_t heads, const kv_head *kv, uint32_t begin, uint32_t end) {
    for (uint32_t p = begin / ATTEND_BLOCK * ATTEND_BLOCK; p < end; p += ATTEND_BLOCK) {
        lanes scales = load_floats(attend_scales(kv, attend_block(kv, kv->values, p)));
        for (uint32_t h = 0; h < heads; h++) {
            float *w = weights + (size_t)h * ATTEND_PIECE + p % ATTEND_PIECE;
            store(w, multiply(load_floats(w), scales));
        }
    }
}

static void mix(float *weights, uint32_t heads, const kv_head *kv, uint32_t begin, uint32_t end, float *mixture) {
    memset(mixture, 0, (size_t)heads * kv->head_dim * sizeof *mixture);
    if (attend_has_scales(kv->type)) scale_weights(weights, heads, kv, begin, end);
    for (uint32_t next; begin < end; begin = next) {
        next = (begin / SPAN + 1) * SPAN;
        if (next > end) next = end;
        switch (kv->type) {
        case KV_F32: mix_span(KV_F32, weights, heads, kv, begin, next, mixture); break;
        case KV_F16: mix_span(KV_F16, weights, heads, kv, begin, next, mixture); break;
        case KV_Q8_0: mix_span(KV_Q8_0, weights, heads, kv, begin, next, mixture); break;
        default: mix_span(KV_I16, weights, heads, kv, begin, next, mixture); break;
        }
    }
}

/* ---- the rest ---- */

static void blend(float *to, float a, const float *from, float b, uint32_t count) {
    for (uint32_t i = 0; i < count; i += 4)
        vst1q_f32(to + i, vfmaq_n_f32(vmulq_n_f32(vld1q_f32(to + i), a), vld1q_f32(from + i), b));
}

const attend_kernels attend_neon = {score, weigh, mix, blend, 16};

#endif
