/* sequence.h: one sequence's place in the KV pool: which pages hold its positions, and how it grows from wave to wave.
 *
 * Each time a run of its tokens goes off: sequence_extend, sequence_add_run, then, when the wave was submitted,
 * sequence_advance, which gives back the window's pages that no later token sees. */
#ifndef ENGINE_SEQUENCE_H
#define ENGINE_SEQUENCE_H

#include "engine/kv_pool.h"
#include "model/wave.h"

typedef struct sequence {
    uint32_t position;         /* of the next token: as many are in its pages, or under way to them */
    uint32_t *pages[KV_KINDS]; /* owned; [count] numbers ... */
    uint32_t first[KV_KINDS];  /* ... of its pages from this one on */
    uint32_t count[KV_KINDS];
    bool copies[KV_KINDS];     /* its last page is still to become a copy of ... */
    uint32_t source[KV_KINDS]; /* ... this one, which it holds until then */
} sequence;

/* What is done when no page of a kind is free. */
typedef struct kv_reclaim {
    bool (*reclaim)(void *context, kv_kind kind); /* false: nothing more can be; NULL: nothing ever */
    void *context;
} kv_reclaim;

/* An empty sequence with room for limits->positions. */
gptoss_status sequence_open(const wave_limits *limits, sequence *out, gptoss_error *err);
void sequence_close(sequence *s); /* which holds no pages; a zeroed one is fine */

/* Takes the pages that the next `count` tokens are stored in. False when there are not enough, with those taken that
 * there were. */
bool sequence_extend(sequence *s, const wave_limits *limits, kv_pool *pool, uint32_t count, kv_reclaim reclaim);

/* Adds the next tokens, whose pages it has, to a wave; see wave_add_run. */
void sequence_add_run(const sequence *s, const wave_limits *limits, wave *w, const uint32_t *ids, uint32_t count,
                      uint32_t logits_rows, logits_wish wish);

/* The wave with these `count` tokens was submitted. */
void sequence_advance(sequence *s, const wave_limits *limits, kv_pool *pool, uint32_t count);

/* The pages that a sequence needs to go on at a position > 0. */
kv_span sequence_resumed_span(const wave_limits *limits, kv_kind kind, uint32_t position);

/* Makes an empty sequence go on at `position` > 0, sharing the pages of a place that holds sequence_resumed_span of
 * both kinds; of one that is not full it gets a copy. False when there is no page for that; the sequence is empty then.
 */
bool sequence_resume(sequence *s, const wave_limits *limits, kv_pool *pool, uint32_t position, const wave_place *place,
                     kv_reclaim reclaim);

/* Gives all pages back; the sequence is as if new. */
void sequence_clear(sequence *s, kv_pool *pool);

#endif
