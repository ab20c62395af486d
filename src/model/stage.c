/* One stage's arithmetic, step by step as the model is defined:
 *
 *     x += o(attention(rope(q), rope(k), v) of rms_norm(x))
 *     x += sum over the chosen experts of weight * expert(rms_norm(x))
 *
 * Each step is one function that the whole team runs, sharing rows, heads or tokens.
 *
 * Shards of a stage have the same x. Shard 0 adds what its heads and experts come to, in place; in the others what
 * theirs come to takes the place of x. The sum of all shards' x is then the same as if one had done it all, but for
 * the order of additions. */
#include "model/stage.h"

#include <stdlib.h>
#include <string.h>

#include "base/cancel.h"
#include "base/clock.h"
#include "base/mem.h"
#include "kernels/dequant.h"
#include "kernels/integer.h"
#include "kernels/isa.h"
#include "kernels/ops.h"
#include "model/attention.h"
#include "model/moe.h"
#include "model/stage_internal.h"

/* ---- shards ---- */

bool stage_keeps_stream(const stage *s) { return s->peers.shard == 0; }

void stage_sum(const stage *s, float *x, size_t tokens) {
    if (s->peers.shards > 1) s->peers.sum(s->peers.context, x, tokens * s->hp.d_model);
}

/* ---- rounding ---- */

void stage_round(activations *a, const float *x, uint64_t begin, uint64_t end) {
    if (!a->rows) return;
    for (uint64_t t = begin; t < end; t++) activations_round(a, t, x + t * a->cols);
}

packed_tokens stage_packed(const stage *s, const activations *a, size_t first, size_t tokens) {
    const integer_kernels *kernels = integer_kernels_used();
    if (tokens <= kernels->few || kernels->group == 0 || !a->rows) return (packed_tokens){0};
    return packed_room(tokens, a->cols, s->packed.pairs + first * packed_words(a->cols),
                       s->packed.scales + first * (a->cols / ACTIVATION_BLOCK));
}

operand stage_operand(const stage *s, const activations *a, const float *x, size_t first, size_t tokens,
                      packed_tokens *packed) {
    *packed = stage_packed(s, a, first, tokens);
    return (operand){.tokens = tokens,
                     .x = x,
                     .stride = a->cols,
                     .rounded = a->rows ? a : NULL,
                     .packed = packed->tokens ? packed : NULL};
}

/* A worker's tokens: whole groups where they are packed, so that no two workers write to one group. */
static void token_share(const stage *s, const activations *a, int worker, int workers, uint64_t *begin, uint64_t *end) {
    packed_tokens packed = stage_packed(s, a, 0, s->count);
    team_share(s->count, packed.tokens ? packed.group : 1, worker, workers, begin, end);
}

/* Rounds a worker's share of x[count][a->cols] and packs it for the products that follow. */
static void round_tokens(stage *s, activations *a, const float *x, int worker, int workers) {
    packed_tokens packed = stage_packed(s, a, 0, s->count);
    uint64_t begin, end;
    token_share(s, a, worker, workers, &begin, &end);
    stage_round(a, x, begin, end);
    if (packed.tokens) packed_write(&packed, a, NULL, 0, begin, end);
}

/* ---- attention ---- */

static void norm_step(void *context, int worker, int workers) {
    stage *s = context;
    uint64_t begin, end;
    size_t width = s->hp.d_model;
    token_share(s, &s->rounded_normed, worker, workers, &begin, &end);
    for (uint64_t t = begin; t < end; t++)
        rms_norm(s->x + t * width, s->layer->attn_norm, width, s->hp.norm_eps, s->normed + t * width);
    round_tokens(s, &s->rounded_normed, s->normed, worker, workers);
}

static void project(stage *s, const matrix *w, const float *bias, float *y, int worker, int workers) {
    packed_tokens packed;
    uint64_t begin, end;
    team_share(w->rows, MATMUL_GRAIN, worker, workers, &begin, &end);
    operand x = stage_operand(s, &s->rounded_normed, s->normed, 0, s->count, &packed);
    matmul(w, (uint32_t)begin, (uint32_t)end, &x, &(target){.y = y, .stride = w->rows, .bias = bias},
           stage_scratch(s, worker));
}

static void qkv_step(void *context, int worker, int workers) {
    stage *s = context;
    const layer_weights *l = s->layer;
    project(s, &l->q, l->q_bias, s->q, worker, workers);
    project(s, &l->k, l->k_bias, s->k, worker, workers);
    project(s, &l->v, l->v_bias, s->v, worker, workers);
}

static void round_attended_step(void *context, int worker, int workers) {
    stage *s = context;
    round_tokens(s, &s->rounded_attended, s->attended, worker, workers);
}

static void output_projection_step(void *context, int worker, int workers) {
    stage *s = context;
    const matrix *o = &s->layer->o;
    packed_tokens packed;
    uint64_t begin, end;
    team_share(o->rows, MATMUL_GRAIN, worker, workers, &begin, &end);
    bool keeps = stage_keeps_stream(s);
    operand x = stage_operand(s, &s->rounded_attended, s->attended, 0, s->count, &packed);
    const target y = {.y = s->x, .stride = s->hp.d_model, .bias = keeps ? s->layer->o_bias : NULL, .add = keeps};
    matmul(o, (uint32_t)begin, (uint32_t)end, &x, &y, stage_scratch(s, worker));
}

static void run_attention(stage *s) {
    team_run(s->team, norm_step, s);
    team_run(s->team, qkv_step, s);
    attention_run(s);
    if (s->rounded_attended.rows) team_run(s->team, round_attended_step, s);
    team_run(s->team, output_projection_step, s);
    stage_sum(s, s->x, s->count);
}

/* ---- the stage ---- */

/* Of tokens whose logits nobody wants, the last layer only leaves keys and values: rows of x that want logits take part
 * in the experts' work, side by side, and go back to their places. */
static void run_last_experts(stage *s) {
    uint32_t count = s->count, kept = 0;
    size_t width = s->hp.d_model;
    for (uint32_t t = 0; t < count; t++) {
        if (s->wave->tokens[t].logits.kind == LOGITS_NONE) continue;
        if (kept != t) memcpy(s->x + kept * width, s->x + t * width, width * sizeof *s->x);
        kept++;
    }
    s->count = kept;
    if (kept > 0) moe_run(s);
    s->count = count;
    for (uint32_t t = count; t-- > 0;) {
        if (s->wave->tokens[t].logits.kind == LOGITS_NONE) continue;
        kept--;
        if (kept != t) memcpy(s->x + t * width, s->x + kept * width, width * sizeof *s->x);
    }
}

static void run_layer(stage *s, bool last) {
    double start = clock_seconds();
    run_attention(s);
    double middle = clock_seconds();
    if (last)
        run_last_experts(s);
    else
        moe_run(s);
    s->spent.attention += middle - start;
    s->spent.experts += clock_seconds() - middle;
}

/* Sleeps instead of working. Returns how long that took. */
static double pretend(double seconds) {
    double start = clock_seconds();
    while (clock_seconds() < start + seconds && !cancel_requested()) clock_sleep_until(start + seconds);
    return clock_seconds() - start;
}

/* Where shards work they meet in sums: one at the end keeps them in step, so that all hear of a wave that one gives up,
 * and none is left waiting. */
static gptoss_status pretend_forward(stage *s, float *x) {
    double took = pretend(s->pace.attention + s->pace.experts);
    s->spent.attention += s->pace.attention;
    s->spent.experts += took - s->pace.attention;
    if (cancel_requested()) return GPTOSS_CANCELLED;
    stage_sum(s, x, 1);
    return GPTOSS_OK;
}

void stage_simulate(stage *s, const stage_times *pace) {
    s->simulated = pace != NULL;
    if (pace) s->pace = *pace;
}

gptoss_status stage_forward(stage *s, const wave *w, float *x) {
    if (s->simulated) return pretend_forward(s, x);
    s->x = x;
    s->wave = w;
    s->count = w->n_tokens;
    kv_cache_copy(&s->kv, w);
    attention_begin(s);
    for (uint32_t i = 0; i < s->kv.n_layers; i++) {
        if (cancel_requested()) return GPTOSS_CANCELLED;
        s->layer = &s->weights->layers[i];
        s->kv_layer = &s->kv.layers[i];
        s->layer_number = s->weights->slice.layer_begin + i;
        run_layer(s, s->weights->slice.last && i + 1 == s->kv.n_layers);
    }
    return GPTOSS_OK;
}

void stage_embed(stage *s, const wave_token *tokens, uint32_t count, float *x) {
    const matrix *e = &s->weights->embedding;
    const slice *has = &s->weights->slice;
    dequant_row *dequant = dequant_for(e->type);
    size_t width = s->hp.d_model;
    for (uint32_t t = 0; t < count; t++) {
        uint32_t id = tokens[t].id;
        if (id >= has->embedding_begin && id < has->embedding_end)
            dequant(e->data + (id - has->embedding_begin) * e->row_bytes, width, x + t * width);
        else
            memset(x + t * width, 0, width * sizeof *x);
    }
    stage_sum(s, x, count);
}

typedef struct logits_work {
    stage *s;
    float *logits;
} logits_work;

static void logits_step(void *context, int worker, int workers) {
    logits_work *work = context;
    stage *s = work->s;
    const matrix *output = &s->weights->output;
    packed_tokens packed;
    uint64_t begin, end;
    team_share(output->rows, MATMUL_GRAIN, worker, workers, &begin, &end);
    operand x = stage_operand(s, &s->rounded_normed, s->normed, 0, s->count, &packed);
    matmul(output, (uint32_t)begin, (uint32_t)end, &x, &(target){.y = work->logits, .stride = output->rows},
           stage_scratch(s, worker));
}

void stage_logits(stage *s, const float *x, uint32_t count, float *logits) {
    size_t width = s->hp.d_model;
    double start = clock_seconds();
    if (s->simulated) {
        memset(logits, 0, (size_t)count * s->weights->output.rows * sizeof *logits);
        s->spent.output += pretend(s->pace.output);
        return;
    }
    s->count = count;
    for (size_t t = 0; t < count; t++)
        rms_norm(x + t * width, s->weights->output_norm, width, s->hp.norm_eps, s->normed + t * width);
    round_tokens(s, &s->rounded_normed, s->normed, 0, 1);
    team_run(s->team, logits_step, &(logits_work){s, logits});
    s->spent.output += clock_seconds() - start;
}

typedef struct shortlist_work {
    stage *s;
    const float *logits;
    shortlist_wish wish;
} shortlist_work;

static void shortlist_step(void *context, int worker, int workers) {
    const shortlist_work *work = context;
    uint64_t begin, end;
    team_share(work->s->weights->output.rows, 1, worker, workers, &begin, &end);
    shortlist_make(work->logits + begin, work->s->weights->slice.output_begin + (uint32_t)begin,
                   (uint32_t)(end - begin), work->wish, &work->s->shortlists[worker]);
}

void stage_shortlist(stage *s, const float *logits, shortlist_wish wish, shortlist *out) {
    double start = clock_seconds();
    team_run(s->team, shortlist_step, &(shortlist_work){s, logits, wish});
    *out = s->shortlists[0];
    for (int worker = 1; worker < team_size(s->team); worker++) shortlist_merge(out, &s->shortlists[worker], wish);
    s->spent.output += clock_seconds() - start;
}

stage_times stage_spent(const stage *s) { return s->spent; }

const kv_cache *stage_kv(const stage *s) { return &s->kv; }

wave_limits stage_limits(const stage *s) {
    return (wave_limits){s->chunk, s->hp.n_vocab, s->room.sequences, s->room.positions, s->kv.paging};
}

float *stage_scratch(const stage *s, int worker) { return s->scratch + (size_t)worker * s->scratch_size; }

static size_t larger(size_t a, size_t b) { return a > b ? a : b; }

static gptoss_status open_rounding(stage *s, size_t heads, gptoss_error *err) {
    const hparams *hp = &s->hp;
    size_t chunk = s->chunk, slots = chunk * s->routing.most_slots;
    s->rounded_normed.cols = hp->d_model;
    s->rounded_attended.cols = heads;
    if (isa_used() == ISA_REFERENCE) return GPTOSS_OK;
    /* A width that is no multiple of 32 belongs to no quantized matrix. */
    if (hp->d_model % ACTIVATION_BLOCK == 0) TRY(activations_open(chunk, hp->d_model, &s->rounded_normed, err));
    if (heads % ACTIVATION_BLOCK == 0) TRY(activations_open(chunk, heads, &s->rounded_attended, err));
    size_t numbers = larger(chunk * larger(hp->d_model, heads), slots * larger(hp->d_model, hp->d_ff));
    TRY(mem_array_aligned(packed_words(numbers) + 1, sizeof *s->packed.pairs, "activations", &s->packed.pairs, err));
    return mem_array_aligned(numbers / ACTIVATION_BLOCK + 1, sizeof *s->packed.scales, "activations", &s->packed.scales,
                             err);
}

/* Sizes fit: every width was checked against the tensors of a file, chunk and positions against the flags. */
static gptoss_status open_buffers(stage *s, gptoss_error *err) {
    const hparams *hp = &s->hp;
    size_t chunk = s->chunk, heads = (size_t)s->n_heads * hp->head_dim, workers = (size_t)team_size(s->team);
    size_t kv_heads = (size_t)s->n_kv_heads * hp->head_dim;
    size_t widest = larger(larger(hp->d_model, heads), hp->d_ff);
    size_t most_tokens = chunk * larger(s->routing.most_slots, 1);
    s->scratch_size = (matmul_scratch(widest, most_tokens) + 15) / 16 * 16;
    const struct {
        float **target;
        size_t rows, row;
    } buffers[] = {
        {&s->normed, chunk, hp->d_model}, {&s->q, chunk, heads},        {&s->k, chunk, kv_heads},
        {&s->v, chunk, kv_heads},         {&s->attended, chunk, heads}, {&s->scratch, workers, s->scratch_size},
    };
    for (size_t i = 0; i < sizeof buffers / sizeof *buffers; i++)
        TRY(mem_array_aligned(buffers[i].rows, buffers[i].row * sizeof(float), "activations", buffers[i].target, err));
    TRY(open_rounding(s, heads, err));
    TRY(mem_array(workers, sizeof *s->shortlists, "shortlists", &s->shortlists, err));
    TRY(attention_open(s, err));
    return moe_open(s, err);
}

gptoss_status stage_open(const hparams *hp, const weights *w, team *t, const kv_room *room, const stage_peers *peers,
                         stage **out, gptoss_error *err) {
    stage *s;
    TRY(mem_array(1, sizeof *s, "stage", &s, err));
    s->hp = *hp;
    s->weights = w;
    s->team = t;
    s->peers = peers ? *peers : (stage_peers){.shards = 1};
    s->room = *room;
    s->chunk = room->chunk;
    s->n_kv_heads = s->room.kv_heads = w->slice.kv_head_end - w->slice.kv_head_begin;
    s->n_heads = s->n_kv_heads * (hp->n_heads / hp->n_kv_heads);
    s->routing.most_slots = moe_most_slots(hp, &w->slice);
    gptoss_status status = kv_cache_open(hp, w->slice.layer_begin, w->slice.layer_end, &s->room, &s->kv, err);
    if (status == GPTOSS_OK) status = open_buffers(s, err);
    if (status != GPTOSS_OK) {
        stage_close(s);
        return status;
    }
    *out = s;
    return GPTOSS_OK;
}

void stage_close(stage *s) {
    if (!s) return;
    attention_close(s);
    moe_close(s);
    float *buffers[] = {s->normed, s->q, s->k, s->v, s->attended, s->scratch};
    for (size_t i = 0; i < sizeof buffers / sizeof *buffers; i++) free(buffers[i]);
    activations_close(&s->rounded_normed);
    activations_close(&s->rounded_attended);
    free(s->shortlists);
    free(s->packed.pairs);
    free(s->packed.scales);
    kv_cache_close(&s->kv);
    free(s);
}
