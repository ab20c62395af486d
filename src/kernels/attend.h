/* attend.h: attention of one token's query heads that share a key-value head, over a cache laid out for it.
 *
 * With a learned sink in the denominator (a logit without a value), for each query head
 *
 *     s_p = scale * q . k_p;  out = sum_p exp(s_p - m) v_p / (sum_p exp(s_p - m) + exp(sink - m)),  m = max(s, sink)
 *
 * Positions are taken in pieces of ATTEND_PIECE, at fixed places. Each piece gives its own m, sum and mixture, and
 * these are merged from the first to the last, beginning with the sink. So threads can share a long sequence: they
 * compute pieces, and one merges. Within a piece a score is one chain of fused multiply-adds along the head, a mixture
 * one along the positions, and sums are made in 16 lanes. Results therefore have the same bits for any sharing and on
 * any instruction set, plain C included (which is slow on a processor without fused multiply-adds). */
#ifndef KERNELS_ATTEND_H
#define KERNELS_ATTEND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { ATTEND_BLOCK = 16, ATTEND_PIECE = 256 }; /* positions */

/* How a number of the cache is kept. KV_I16: a vector of a position as 16-bit integers with one float32 scale,
 * largest magnitude / 32767. As small as binary16, and for vectors whose largest number is up to some 20 times the
 * usual one more exact, which shows in tokens whose routing to experts is nearly a tie. KV_Q8_0: the same in 8 bits,
 * largest magnitude / 127; half the size. */
typedef enum kv_type { KV_DEFAULT, KV_I16, KV_F16, KV_F32, KV_Q8_0, KV_TYPES } kv_type;

/* KV_DEFAULT becomes what suits the instruction set in use: f32 for the reference, i16 otherwise. */
kv_type kv_type_used(kv_type wanted);
const char *kv_type_name(kv_type type);               /* "i16", "f16", "f32", "q8_0" */
bool kv_type_by_name(const char *name, kv_type *out); /* knows these */

/* Keys and values of one key-value head of one sequence, in pages of 1 << page_bits positions that lie anywhere in a
 * pool: position p is in page pages[(p >> page_bits) - first_page]. A page is one or more blocks of ATTEND_BLOCK
 * positions. A block of keys is [head_dim][ATTEND_BLOCK], so that the scores of a block need no sums across a vector; a
 * block of values is [ATTEND_BLOCK][head_dim]. Behind either, for KV_I16 and KV_Q8_0, are float [ATTEND_BLOCK] scales.
 * Long caches are read fastest from pages of at least ATTEND_PIECE positions. Borrowed. */
typedef struct kv_head {
    kv_type type; /* not KV_DEFAULT */
    uint32_t head_dim;
    uint32_t page_bits;     /* 4 or more */
    uint32_t first_page;    /* of the sequence, that pages[0] is the place of */
    const uint32_t *pages;  /* numbers in the pool */
    size_t stride;          /* bytes from a page to the next in the pool */
    uint8_t *keys, *values; /* this head's part of page 0 of the pool; on a cache line each, for speed */
} kv_head;

/* Bytes of the keys, or the values, of that many blocks of a head. */
size_t kv_head_bytes(kv_type type, uint32_t head_dim, uint32_t blocks);

/* Stores key[head_dim] and value[head_dim] of one position. Different positions may be stored at the same time. NaN and
 * infinity stay such, for KV_I16 and KV_Q8_0 as a NaN scale. */
void kv_head_store(const kv_head *kv, uint32_t position, const float *key, const float *value);

/* The query heads of one token. */
typedef struct attend_query {
    const float *q;     /* [heads][head_dim] */
    const float *sinks; /* [heads] */
    uint32_t heads;     /* at least 1 */
    float scale;
} attend_query;

/* What attention over some positions has come to: floats [heads] m, [heads] sum, [heads][head_dim] mixture. */
size_t attend_state_size(uint32_t heads, uint32_t head_dim);
/* Floats of scratch for attend() and attend_piece(). */
size_t attend_scratch_size(uint32_t heads, uint32_t head_dim);

/* out[heads][head_dim] over positions [begin, end), which the pages hold; begin <= end. scratch: the calling thread's
 * own. All of it, in one call. */
void attend(const attend_query *query, const kv_head *kv, uint32_t begin, uint32_t end, float *scratch, float *out);

/* The same in steps: begin with the sink; compute pieces [begin, end), begin < end, none of them reaching over a
 * multiple of ATTEND_PIECE; merge them in ascending order; finish. */
void attend_begin(const attend_query *query, uint32_t head_dim, float *state);
void attend_piece(const attend_query *query, const kv_head *kv, uint32_t begin, uint32_t end, float *scratch,
                  float *piece);
void attend_merge(uint32_t heads, uint32_t head_dim, const float *piece, float *state);
void attend_finish(uint32_t heads, uint32_t head_dim, const float *state, float *out);

#endif
