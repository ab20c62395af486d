#include "model/attention.h"

#include <math.h>
#include <stdlib.h>

#include "base/mem.h"
#include "kernels/ops.h"
#include "model/stage_internal.h"

/* The query heads of one token that share a key-value head, over the positions [begin, end) they see. Heads are counted
 * from the first of the slice. */
typedef struct item {
    uint32_t token, kv_head;
    uint32_t begin, end;
} item;

static uint32_t group_of(const stage *s) { return s->hp.n_heads / s->hp.n_kv_heads; }

static item item_at(const stage *s, uint32_t token, uint32_t head) {
    uint32_t last = s->wave->tokens[token].position, window = s->hp.window;
    bool cut = hparams_is_windowed(s->layer_number) && last >= window;
    return (item){token, head, cut ? last + 1 - window : 0, last + 1};
}

static kv_head head_of(const stage *s, uint32_t token, uint32_t head) {
    return kv_cache_head(&s->kv, s->kv_layer, s->wave, s->wave->tokens[token].run, head);
}

/* ---- rotating and storing ---- */

void attention_begin(stage *s) {
    attention *a = &s->attention;
    uint32_t half_dim = s->hp.head_dim / 2;
    for (size_t t = 0; t < s->count; t++)
        rope_angles(a->frequencies, half_dim, s->wave->tokens[t].position, a->magnitude, a->cosines + t * half_dim,
                    a->sines + t * half_dim);
}

static void rope_and_store_step(void *context, int worker, int workers) {
    stage *s = context;
    const attention *a = &s->attention;
    uint32_t n_kv_heads = s->n_kv_heads, dim = s->hp.head_dim, group = group_of(s);
    uint64_t begin, end;
    team_share((uint64_t)s->count * n_kv_heads, 1, worker, workers, &begin, &end);
    for (uint64_t i = begin; i < end; i++) { /* one key-value head of one token, and its query heads */
        uint64_t t = i / n_kv_heads;
        const float *cosines = a->cosines + t * (dim / 2), *sines = a->sines + t * (dim / 2);
        kv_head kv = head_of(s, (uint32_t)t, (uint32_t)(i % n_kv_heads));
        rope_apply(s->q + i * group * dim, group, dim, cosines, sines);
        rope_apply(s->k + i * dim, 1, dim, cosines, sines);
        kv_head_store(&kv, s->wave->tokens[t].position, s->k + i * dim, s->v + i * dim);
    }
}

/* ---- attending ----
 *
 * The positions that all items see, item after item, are shared equally between workers, in whole pieces: a worker
 * takes the pieces that begin in its share. So many workers share a long sequence, and none waits for those that got
 * the tokens that see most. Items that lie in two or more shares leave their pieces, and the worker in whose share they
 * begin merges these in a second step. */

static attend_query query_of(const stage *s, const item *i) {
    uint32_t group = group_of(s), head = i->kv_head * group;
    return (attend_query){.q = s->q + ((size_t)i->token * s->n_heads + head) * s->hp.head_dim,
                          .sinks = s->layer->sinks + head,
                          .heads = group,
                          .scale = s->attention.scale};
}

static float *result_of(const stage *s, const item *i) {
    return s->attended + ((size_t)i->token * s->n_heads + i->kv_head * group_of(s)) * s->hp.head_dim;
}

static float *scratch_of(const attention *a, int worker) { return a->scratch + (size_t)worker * a->scratch_size; }

static float *piece_at(const attention *a, int worker, uint32_t n) {
    return a->pieces + ((size_t)worker * a->most_pieces + n) * a->state_size;
}

/* Where the last piece of an item begins, counted from the first position that it sees. */
static uint64_t last_piece(const item *i) {
    uint32_t start = (i->end - 1) / ATTEND_PIECE * ATTEND_PIECE;
    return start > i->begin ? start - i->begin : 0;
}

static void attend_whole(stage *s, int worker, const item *i) {
    attend_query query = query_of(s, i);
    kv_head kv = head_of(s, i->token, i->kv_head);
    attend(&query, &kv, i->begin, i->end, scratch_of(&s->attention, worker), result_of(s, i));
}

/* Computes the pieces of an item that begin at its positions [from, to), counted as above, into the worker's pieces
 * from number `into` on; returns how many. */
static uint32_t attend_part(stage *s, int worker, const item *i, uint64_t from, uint64_t to, uint32_t into) {
    const attention *a = &s->attention;
    attend_query query = query_of(s, i);
    kv_head kv = head_of(s, i->token, i->kv_head);
    uint32_t count = 0;
    for (uint32_t p = i->begin, next; p < i->end && p - i->begin < to; p = next) {
        next = (p / ATTEND_PIECE + 1) * ATTEND_PIECE;
        if (next > i->end) next = i->end;
        if (p - i->begin < from) continue;
        attend_piece(&query, &kv, p, next, scratch_of(a, worker), piece_at(a, worker, into + count));
        count++;
    }
    return count;
}

static void attend_step(void *context, int worker, int workers) {
    stage *s = context;
    attention_share *share = &s->attention.shares[worker];
    uint64_t per_head = 0, at = 0, from, to;
    for (uint32_t t = 0; t < s->count; t++) per_head += item_at(s, t, 0).end - item_at(s, t, 0).begin;
    team_share(per_head * s->n_kv_heads, 1, worker, workers, &from, &to);
    *share = (attention_share){0};
    for (uint32_t n = 0; n < s->count * s->n_kv_heads && at < to; n++) {
        item i = item_at(s, n % s->count, n / s->count);
        uint64_t last = at + last_piece(&i);
        if (at >= from) {
            share->begins = true;
            share->open = last >= to;
            share->token = i.token;
            share->kv_head = i.kv_head;
            if (share->open)
                share->head = attend_part(s, worker, &i, 0, to - at, share->tail);
            else
                attend_whole(s, worker, &i);
        } else if (last >= from) {
            share->tail = attend_part(s, worker, &i, from - at, to - at, 0);
        }
        at += i.end - i.begin;
    }
}

static void merge_pieces(const stage *s, int worker, uint32_t begin, uint32_t end, float *state) {
    for (uint32_t n = begin; n < end; n++)
        attend_merge(group_of(s), s->hp.head_dim, piece_at(&s->attention, worker, n), state);
}

static void merge_step(void *context, int worker, int workers) {
    stage *s = context;
    const attention_share *shares = s->attention.shares, *mine = &shares[worker];
    float *state = s->attention.states + (size_t)worker * s->attention.state_size;
    if (!mine->open) return;
    item i = item_at(s, mine->token, mine->kv_head);
    attend_query query = query_of(s, &i);
    attend_begin(&query, s->hp.head_dim, state);
    merge_pieces(s, worker, mine->tail, mine->tail + mine->head, state);
    for (int next = worker + 1; next < workers; next++) {
        merge_pieces(s, next, 0, shares[next].tail, state);
        if (shares[next].begins) break;
    }
    attend_finish(query.heads, s->hp.head_dim, state, result_of(s, &i));
}

void attention_run(stage *s) {
    team_run(s->team, rope_and_store_step, s);
    team_run(s->team, attend_step, s);
    bool open = false;
    for (int worker = 0; worker < team_size(s->team); worker++) open |= s->attention.shares[worker].open;
    if (open) team_run(s->team, merge_step, s);
}

/* ---- buffers ---- */

gptoss_status attention_open(stage *s, gptoss_error *err) {
    attention *a = &s->attention;
    const hparams *hp = &s->hp;
    size_t workers = (size_t)team_size(s->team), angles = hp->head_dim / 2 * sizeof(float);
    a->scale = 1.0f / sqrtf((float)hp->head_dim);
    a->magnitude = rope_magnitude(hp->rope_factor);
    a->scratch_size = (attend_scratch_size(group_of(s), hp->head_dim) + 15) / 16 * 16;
    a->state_size = attend_state_size(group_of(s), hp->head_dim);
    /* Of one item that began before a worker's share and one that goes on behind it. */
    a->most_pieces = workers == 1 ? 0 : 2 * (s->room.positions / ATTEND_PIECE + 1);
    TRY(mem_array(hp->head_dim / 2, sizeof *a->frequencies, "attention", &a->frequencies, err));
    rope_frequencies(hp->head_dim, hp->rope_base, hp->rope_factor, hp->rope_original_context, a->frequencies);
    TRY(mem_array_aligned(s->chunk, angles, "attention", &a->cosines, err));
    TRY(mem_array_aligned(s->chunk, angles, "attention", &a->sines, err));
    TRY(mem_array_aligned(workers, a->scratch_size * sizeof(float), "attention", &a->scratch, err));
    TRY(mem_array(workers, a->state_size * sizeof(float), "attention", &a->states, err));
    TRY(mem_array(workers, sizeof *a->shares, "attention", &a->shares, err));
    /* Not mem_array_aligned: touched only as far as sequences come. */
    return mem_array(workers * a->most_pieces, a->state_size * sizeof(float), "attention", &a->pieces, err);
}

void attention_close(stage *s) {
    attention *a = &s->attention;
    void *buffers[] = {a->frequencies, a->cosines, a->sines, a->scratch, a->states, a->shares, a->pieces};
    for (size_t i = 0; i < sizeof buffers / sizeof *buffers; i++) free(buffers[i]);
}
