#include "model/moe.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "kernels/isa.h"
#include "kernels/ops.h"
#include "model/stage_internal.h"

static uint32_t experts_used(const stage *s) { return s->weights->slice.expert_0_only ? 1 : s->hp.n_experts_used; }

static void norm_step(void *context, int worker, int workers) {
    stage *s = context;
    size_t width = s->hp.d_model;
    uint64_t begin, end;
    team_share(s->count, 1, worker, workers, &begin, &end);
    for (uint64_t t = begin; t < end; t++)
        rms_norm(s->x + t * width, s->layer->ffn_norm, width, s->hp.norm_eps, s->normed + t * width);
    stage_round(&s->rounded_normed, s->normed, begin, end);
}

/* Workers share the router's rows: it is read once, and one token keeps all of them busy. */
static void router_step(void *context, int worker, int workers) {
    stage *s = context;
    uint32_t n_experts = s->hp.n_experts;
    uint64_t begin, end;
    team_share(n_experts, 1, worker, workers, &begin, &end);
    const operand x = {.tokens = s->count,
                       .x = s->normed,
                       .stride = s->hp.d_model,
                       .rounded = s->rounded_normed.rows ? &s->rounded_normed : NULL};
    const target y = {.y = s->routing.router_logits, .stride = n_experts, .bias = s->layer->router_bias};
    matmul(&s->layer->router, (uint32_t)begin, (uint32_t)end, &x, &y, stage_scratch(s, worker));
}

static void choose_experts(stage *s) {
    routing *r = &s->routing;
    uint32_t k = experts_used(s), n_experts = s->hp.n_experts;
    for (size_t t = 0; t < s->count; t++) {
        if (s->weights->slice.expert_0_only) {
            r->chosen[t] = 0;
            r->chosen_weights[t] = 1;
        } else {
            top_k_softmax(r->router_logits + t * n_experts, n_experts, k, r->chosen + t * k, r->chosen_weights + t * k);
        }
    }
}

static bool has_expert(const stage *s, uint32_t e) {
    return e >= s->weights->slice.expert_begin && e < s->weights->slice.expert_end;
}

/* Sorts (token, expert) pairs by expert, those of experts elsewhere left out: a counting sort, stable in tokens. */
static void group_by_expert(stage *s) {
    routing *r = &s->routing;
    uint32_t k = experts_used(s), n_experts = s->hp.n_experts, pairs = s->count * k;
    memset(r->expert_begin, 0, (n_experts + 1) * sizeof *r->expert_begin);
    for (uint32_t i = 0; i < pairs; i++)
        if (has_expert(s, r->chosen[i])) r->expert_begin[r->chosen[i] + 1]++;
    for (uint32_t e = 0; e < n_experts; e++) r->expert_begin[e + 1] += r->expert_begin[e];
    for (uint32_t i = 0; i < pairs; i++) {
        if (!has_expert(s, r->chosen[i])) continue;
        uint32_t slot = r->expert_begin[r->chosen[i]]++;
        r->slot_token[slot] = i / k;
        r->slot_weight[slot] = r->chosen_weights[i];
    }
    /* Filling moved each beginning to its end, which is the next one's beginning. */
    memmove(r->expert_begin + 1, r->expert_begin, n_experts * sizeof *r->expert_begin);
    r->expert_begin[0] = 0;
}

/* Packs a worker's share of all slots, expert by expert; slot i is row index ? index[i] : i of a. */
static void pack_slots(stage *s, const activations *a, const uint32_t *index, uint64_t begin, uint64_t end) {
    const routing *r = &s->routing;
    for (uint32_t e = 0; e < s->hp.n_experts; e++) {
        uint32_t first = r->expert_begin[e], last = r->expert_begin[e + 1];
        packed_tokens packed = stage_packed(s, a, first, last - first);
        uint64_t from = begin > first ? begin : first, to = end < last ? end : last;
        if (!packed.tokens || from >= to) continue;
        if (index)
            packed_write(&packed, a, index + first, 0, from - first, to - first);
        else
            packed_write(&packed, a, NULL, first, from - first, to - first);
    }
}

static uint32_t slot_count(const stage *s) { return s->routing.expert_begin[s->hp.n_experts]; }

static void pack_step(void *context, int worker, int workers) {
    stage *s = context;
    uint64_t begin, end;
    team_share(slot_count(s), 1, worker, workers, &begin, &end);
    pack_slots(s, &s->rounded_normed, s->routing.slot_token, begin, end);
}

static void gate_up_step(void *context, int worker, int workers) {
    stage *s = context;
    const routing *r = &s->routing;
    uint64_t begin, end;
    size_t ff = s->hp.d_ff;
    team_share(ff, MATMUL_GRAIN, worker, workers, &begin, &end);
    for (uint32_t e = 0; e < s->hp.n_experts; e++) {
        uint32_t slot = r->expert_begin[e], slots = r->expert_begin[e + 1] - slot;
        if (slots == 0) continue;
        packed_tokens packed;
        operand x = stage_operand(s, &s->rounded_normed, s->normed, slot, slots, &packed);
        x.index = r->slot_token + slot;
        const expert_bank *banks[] = {&s->layer->gate, &s->layer->up};
        float *results[] = {r->gate + slot * ff, r->up + slot * ff};
        for (int i = 0; i < 2; i++) {
            matrix w = expert_matrix(banks[i], e);
            matmul(&w, (uint32_t)begin, (uint32_t)end, &x,
                   &(target){.y = results[i], .stride = ff, .bias = expert_bias(banks[i], e)},
                   stage_scratch(s, worker));
        }
        for (uint32_t i = slot; i < slot + slots; i++)
            swiglu_clamped(r->gate + i * ff + begin, r->up + i * ff + begin, end - begin, r->gate + i * ff + begin);
    }
}

static void round_hidden_step(void *context, int worker, int workers) {
    stage *s = context;
    routing *r = &s->routing;
    uint64_t begin, end;
    team_share(slot_count(s), 1, worker, workers, &begin, &end);
    stage_round(&r->hidden, r->gate, begin, end);
    pack_slots(s, &r->hidden, NULL, begin, end);
}

/* A worker's rows of the residual stream are its own, so it can add to them as soon as its products are there. */
static void down_step(void *context, int worker, int workers) {
    stage *s = context;
    const routing *r = &s->routing;
    uint64_t begin, end;
    size_t width = s->hp.d_model;
    team_share(width, MATMUL_GRAIN, worker, workers, &begin, &end);
    for (size_t t = 0; t < s->count && !stage_keeps_stream(s); t++)
        memset(s->x + t * width + begin, 0, (end - begin) * sizeof *s->x);
    for (uint32_t e = 0; e < s->hp.n_experts; e++) {
        uint32_t slot = r->expert_begin[e], slots = r->expert_begin[e + 1] - slot;
        if (slots == 0) continue;
        packed_tokens packed;
        operand x = stage_operand(s, &r->hidden, r->gate, slot, slots, &packed);
        x.first = slot;
        matrix w = expert_matrix(&s->layer->down, e);
        const target y = {.y = s->x,
                          .stride = width,
                          .index = r->slot_token + slot,
                          .bias = expert_bias(&s->layer->down, e),
                          .weights = r->slot_weight + slot,
                          .add = true};
        matmul(&w, (uint32_t)begin, (uint32_t)end, &x, &y, stage_scratch(s, worker));
    }
}

void moe_run(stage *s) {
    team_run(s->team, norm_step, s);
    if (!s->weights->slice.expert_0_only) team_run(s->team, router_step, s);
    choose_experts(s);
    group_by_expert(s);
    if (slot_count(s) > 0) {
        if (s->count > 1 && s->rounded_normed.rows) team_run(s->team, pack_step, s);
        team_run(s->team, gate_up_step, s);
        if (s->routing.hidden.rows) team_run(s->team, round_hidden_step, s);
    }
    team_run(s->team, down_step, s);
    stage_sum(s, s->x, s->count);
}

uint32_t moe_most_slots(const hparams *hp, const slice *what) {
    uint32_t held = what->expert_end - what->expert_begin, used = what->expert_0_only ? 1 : hp->n_experts_used;
    return held < used ? held : used;
}

gptoss_status moe_open(stage *s, gptoss_error *err) {
    routing *r = &s->routing;
    const hparams *hp = &s->hp;
    size_t pairs = (size_t)s->chunk * experts_used(s), slots = (size_t)s->chunk * r->most_slots;
    TRY(mem_array(pairs, sizeof *r->chosen, "routing", &r->chosen, err));
    TRY(mem_array(pairs, sizeof *r->chosen_weights, "routing", &r->chosen_weights, err));
    TRY(mem_array(slots, sizeof *r->slot_token, "routing", &r->slot_token, err));
    TRY(mem_array(slots, sizeof *r->slot_weight, "routing", &r->slot_weight, err));
    TRY(mem_array(hp->n_experts + 1, sizeof *r->expert_begin, "routing", &r->expert_begin, err));
    TRY(mem_array_aligned(s->chunk, hp->n_experts * sizeof(float), "routing", &r->router_logits, err));
    TRY(mem_array_aligned(slots, hp->d_ff * sizeof(float), "activations", &r->gate, err));
    TRY(mem_array_aligned(slots, hp->d_ff * sizeof(float), "activations", &r->up, err));
    r->hidden.cols = hp->d_ff;
    if (isa_used() == ISA_REFERENCE || hp->d_ff % ACTIVATION_BLOCK) return GPTOSS_OK;
    return activations_open(slots, hp->d_ff, &r->hidden, err);
}

void moe_close(stage *s) {
    routing *r = &s->routing;
    void *buffers[] = {r->chosen,       r->chosen_weights, r->slot_token, r->slot_weight,
                       r->expert_begin, r->router_logits,  r->gate,       r->up};
    for (size_t i = 0; i < sizeof buffers / sizeof *buffers; i++) free(buffers[i]);
    activations_close(&r->hidden);
}
