/* Attention with AVX2, FMA and F16C: tiles of four query heads by 16 positions or dimensions, in registers. Sums run in
 * the order of attend_portable.c. */
#include "kernels/attend_kernels.h"

#if defined(__AVX2__) && defined(__FMA__) && defined(__F16C__)
#include <math.h>
#include <string.h>

#include "kernels/exp_avx2.h"

#define INLINE static inline __attribute__((always_inline))

enum { TILE_HEADS = 4, SPAN = 4 * ATTEND_BLOCK }; /* positions whose values are used by all heads while they are near */

INLINE __m256 load_floats(const uint8_t *p) { return _mm256_loadu_ps((const float *)(const void *)p); }

/* Numbers [index, index + 8) of an array. */
INLINE __m256 load(kv_type type, const uint8_t *base, size_t index) {
    if (type == KV_F32) return load_floats(base + index * 4);
    if (type == KV_Q8_0)
        return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)(base + index))));
    __m128i eight = _mm_loadu_si128((const __m128i *)(const void *)(base + index * 2));
    return type == KV_F16 ? _mm256_cvtph_ps(eight) : _mm256_cvtepi32_ps(_mm256_cvtepi16_epi32(eight));
}

/* ---- scores ---- */

INLINE void score_tile(kv_type type, uint32_t heads, const uint8_t *keys, uint32_t dim, const float *q,
                       __m256 scale_low, __m256 scale_high, float *scores) {
    __m256 low[TILE_HEADS], high[TILE_HEADS];
    for (uint32_t h = 0; h < heads; h++) low[h] = high[h] = _mm256_setzero_ps();
    for (uint32_t i = 0; i < dim; i++) {
        __m256 k_low = load(type, keys, (size_t)i * ATTEND_BLOCK),
               k_high = load(type, keys, (size_t)i * ATTEND_BLOCK + 8);
        for (uint32_t h = 0; h < heads; h++) {
            __m256 one = _mm256_broadcast_ss(q + h * dim + i);
            low[h] = _mm256_fmadd_ps(one, k_low, low[h]);
            high[h] = _mm256_fmadd_ps(one, k_high, high[h]);
        }
    }
    for (uint32_t h = 0; h < heads; h++) {
        _mm256_storeu_ps(scores + h * ATTEND_PIECE, _mm256_mul_ps(low[h], scale_low));
        _mm256_storeu_ps(scores + h * ATTEND_PIECE + 8, _mm256_mul_ps(high[h], scale_high));
    }
}

INLINE void score_all(kv_type type, const attend_query *query, const kv_head *kv, uint32_t begin, uint32_t end,
                      float *scores) {
    uint32_t dim = kv->head_dim, heads = query->heads;
    __m256 scale = _mm256_set1_ps(query->scale), low = scale, high = scale;
    for (uint32_t p = begin / ATTEND_BLOCK * ATTEND_BLOCK; p < end; p += ATTEND_BLOCK) {
        const uint8_t *keys = attend_block(kv, kv->keys, p);
        if (attend_has_scales(type)) {
            low = _mm256_mul_ps(scale, load_floats(attend_scales(kv, keys)));
            high = _mm256_mul_ps(scale, load_floats(attend_scales(kv, keys) + 32));
        }
        for (uint32_t h = 0; h < heads; h += TILE_HEADS) {
            const float *q = query->q + (size_t)h * dim;
            float *at = scores + (size_t)h * ATTEND_PIECE + p % ATTEND_PIECE;
            switch (heads - h) {
            case 1: score_tile(type, 1, keys, dim, q, low, high, at); break;
            case 2: score_tile(type, 2, keys, dim, q, low, high, at); break;
            case 3: score_tile(type, 3, keys, dim, q, low, high, at); break;
            default: score_tile(type, TILE_HEADS, keys, dim, q, low, high, at); break;
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
INLINE float sum_lanes(__m256 low, __m256 high) {
    __m256 eight = _mm256_add_ps(low, high);
    __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}

INLINE float largest_lane(__m256 x) {
    __m128 four = _mm_max_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
    __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)));
}

static float weigh(float *row, uint32_t begin, uint32_t end, float *max) {
    uint32_t first = begin % ATTEND_PIECE, last = first + (end - begin), from = first / ATTEND_BLOCK * ATTEND_BLOCK;
    for (uint32_t i = from; i < first; i++) row[i] = -INFINITY;
    for (uint32_t i = last; i % ATTEND_BLOCK; i++) row[i] = -INFINITY;
    __m256 most = _mm256_set1_ps(-INFINITY), low = _mm256_setzero_ps(), high = _mm256_setzero_ps();
    for (uint32_t i = from; i < last; i += ATTEND_BLOCK) { /* NaN leaves the second, as > does */
        most = _mm256_max_ps(_mm256_loadu_ps(row + i), most);
        most = _mm256_max_ps(_mm256_loadu_ps(row + i + 8), most);
    }
    *max = largest_lane(most);
    most = _mm256_set1_ps(*max);
    for (uint32_t i = from; i < last; i += ATTEND_BLOCK) {
        __m256 a = exp_avx2(_mm256_sub_ps(_mm256_loadu_ps(row + i), most));
        __m256 b = exp_avx2(_mm256_sub_ps(_mm256_loadu_ps(row + i + 8), most));
        _mm256_storeu_ps(row + i, a);
        _mm256_storeu_ps(row + i + 8, b);
        low = _mm256_add_ps(low, a);
        high = _mm256_add_ps(high, b);
    }
    return sum_lanes(low, high);
}

/* ---- mixtures ---- */

/* Adds positions [begin, end) of one block to 16 dimensions of some heads. */
INLINE void mix_tile(kv_type type, uint32_t heads, const float *weights, const kv_head *kv, uint32_t begin,
                     uint32_t end, uint32_t i, float *mixture) {
    __m256 low[TILE_HEADS], high[TILE_HEADS];
    uint32_t dim = kv->head_dim;
    for (uint32_t h = 0; h < heads; h++) {
        low[h] = _mm256_loadu_ps(mixture + h * dim + i);
        high[h] = _mm256_loadu_ps(mixture + h * dim + i + 8);
    }
    for (uint32_t p = begin, next; p < end; p = next) {
        const uint8_t *values = attend_block(kv, kv->values, p);
        next = (p / ATTEND_BLOCK + 1) * ATTEND_BLOCK;
        if (next > end) next = end;
        for (uint32_t n = p; n < next; n++) {
            size_t at = (size_t)(n % ATTEND_BLOCK) * dim + i;
            __m256 v_low = load(type, values, at), v_high = load(type, values, at + 8);
            for (uint32_t h = 0; h < heads; h++) {
                __m256 one = _mm256_broadcast_ss(weights + h * ATTEND_PIECE + n % ATTEND_PIECE);
                low[h] = _mm256_fmadd_ps(one, v_low, low[h]);
                high[h] = _mm256_fmadd_ps(one, v_high, high[h]);
            }
        }
    }
    for (uint32_t h = 0; h < heads; h++) {
        _mm256_storeu_ps(mixture + h * dim + i, low[h]);
        _mm256_storeu_ps(mixture + h * dim + i + 8, high[h]);
    }
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
        const uint8_t *scales = attend_scales(kv, attend_block(kv, kv->values, p));
        __m256 low = load_floats(scales), high = load_floats(scales + 32);
        for (uint32_t h = 0; h < heads; h++) {
            float *w = weights + (size_t)h * ATTEND_PIECE + p % ATTEND_PIECE;
            _mm256_storeu_ps(w, _mm256_mul_ps(_mm256_loadu_ps(w), low));
            _mm256_storeu_ps(w + 8, _mm256_mul_ps(_mm256_loadu_ps(w + 8), high));
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
    __m256 as = _mm256_set1_ps(a), bs = _mm256_set1_ps(b);
    for (uint32_t i = 0; i < count; i += 8) {
        __m256 scaled = _mm256_mul_ps(_mm256_loadu_ps(to + i), as);
        _mm256_storeu_ps(to + i, _mm256_fmadd_ps(_mm256_loadu_ps(from + i), bs, scaled));
    }
}

const attend_kernels attend_avx2 = {score, weigh, mix, blend, 16};

#endif
