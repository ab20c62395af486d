/* attend_kernels.h: the parts of attend.h that exist once for each instruction set; every one gives the same bits. */
#ifndef KERNELS_ATTEND_KERNELS_H
#define KERNELS_ATTEND_KERNELS_H

#include "kernels/attend.h"

/* Where the block that holds a position begins, in bytes from kv->keys and from kv->values. */
static inline size_t attend_offset(const kv_head *kv, uint32_t position) {
    uint32_t page = kv->pages[(position >> kv->page_bits) - kv->first_page];
    uint32_t block = (position & ((1u << kv->page_bits) - 1)) / ATTEND_BLOCK;
    return page * kv->stride + kv_head_bytes(kv->type, kv->head_dim, block);
}

/* The block that holds a position; base: kv->keys or kv->values. */
static inline const uint8_t *attend_block(const kv_head *kv, const uint8_t *base, uint32_t position) {
    return base + attend_offset(kv, position);
}

/* Whether vectors are kept as whole numbers with a scale. */
static inline bool attend_has_scales(kv_type type) { return type == KV_I16 || type == KV_Q8_0; }

static inline size_t attend_number_bytes(kv_type type) { return type == KV_F32 ? 4 : type == KV_Q8_0 ? 1 : 2; }

/* The scales of a block, of a type that has them. */
static inline const uint8_t *attend_scales(const kv_head *kv, const uint8_t *block) {
    return block + (size_t)ATTEND_BLOCK * kv->head_dim * attend_number_bytes(kv->type);
}

/* Scores and weights have rows of ATTEND_PIECE, one a query head; position p is at p % ATTEND_PIECE. [begin, end) are
 * positions of one piece. */
typedef struct attend_kernels {
    /* scores[h][p] = scale * q_h . k_p, for all positions p of the blocks that hold [begin, end): the sum of products
     * times the scale, which was multiplied by the key's if it has one */
    void (*score)(const attend_query *query, const kv_head *kv, uint32_t begin, uint32_t end, float *scores);
    /* Replaces row[p] by exp(row[p] - *max), *max being the largest; by 0 outside [begin, end) in the same blocks.
     * Returns the sum. */
    float (*weigh)(float *row, uint32_t begin, uint32_t end, float *max);
    /* mixture[h] = sum over p of weights[h][p] * v_p; the weights are first multiplied by the values' scales, if they
     * have any, in place */
    void (*mix)(float *weights, uint32_t heads, const kv_head *kv, uint32_t begin, uint32_t end, float *mixture);
    /* to[i] = fmaf(from[i], b, to[i] * a) */
    void (*blend)(float *to, float a, const float *from, float b, uint32_t count);
    uint32_t multiple; /* head sizes must be one of this */
} attend_kernels;

extern const attend_kernels attend_portable;
extern const attend_kernels attend_avx2; /* on x86-64 only */
extern const attend_kernels attend_neon; /* on arm64 only */

#endif
