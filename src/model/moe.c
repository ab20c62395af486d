#include "model/moe.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "kernels/ops.h"
#include "model/stage_internal.h"

enum { ROW_GRAIN = 8 };

static uint32_t experts_used(const stage *s) { return s->weights->slice.expert_0_only ? 1 : s->hp.n_experts_used; }

static void route_step(void *context, int worker, int workers) {
    stage *s = context;
    const hparams *hp = &s->hp;
    const layer_weights *l = s->layer;
    routing *r = &s->routing;
    uint32_t k = experts_used(s);
    uint64_t begin, end;
    team_share(s->count, 1, worker, workers, &begin, &end);
    for (uint64_t t = begin; t < end; t++) {
        float *normed = s->normed + t * hp->d_model, *logits = r->router_logits + t * hp->n_experts;
        rms_norm(s->x + t * hp->d_model, l->ffn_norm, hp->d_model, hp->norm_eps, normed);
        if (s->weights->slice.expert_0_only) {
            r->chosen[t] = 0;
            r->chosen_weights[t] = 1;
            continue;
        }
        matmul(&l->router, 0, hp->n_experts, normed, hp->d_model, NULL, 1, l->router_bias, logits, hp->n_experts,
               stage_scratch(s, worker));
        top_k_softmax(logits, hp->n_experts, k, r->chosen + t * k, r->chosen_weights + t * k);
    }
}

/* Sorts (token, expert) pairs by expert: a counting sort, stable in tokens. */
static void group_by_expert(stage *s) {
    routing *r = &s->routing;
    uint32_t k = experts_used(s), n_experts = s->hp.n_experts, pairs = s->count * k;
    memset(r->expert_begin, 0, (n_experts + 1) * sizeof *r->expert_begin);
    for (uint32_t i = 0; i < pairs; i++) r->expert_begin[r->chosen[i] + 1]++;
    for (uint32_t e = 0; e < n_experts; e++) r->expert_begin[e + 1] += r->expert_begin[e];
    for (uint32_t i = 0; i < pairs; i++) {
        uint32_t slot = r->expert_begin[r->chosen[i]]++;
        r->slot_token[slot] = i / k;
        r->slot_weight[slot] = r->chosen_weights[i];
    }
    /* Filling moved each beginning to its end, which is the next one's beginning. */
    memmove(r->expert_begin + 1, r->expert_begin, n_experts * sizeof *r->expert_begin);
    r->expert_begin[0] = 0;
}

static void gate_up_step(void *context, int worker, int workers) {
    stage *s = context;
    const routing *r = &s->routing;
    uint64_t begin, end;
    size_t ff = s->hp.d_ff;
    team_share(ff, ROW_GRAIN, worker, workers, &begin, &end);
    for (uint32_t e = 0; e < s->hp.n_experts; e++) {
        uint32_t slot = r->expert_begin[e], slots = r->expert_begin[e + 1] - slot;
        if (slots == 0) continue;
        const expert_bank *banks[] = {&s->layer->gate, &s->layer->up};
        float *targets[] = {r->gate + slot * ff, r->up + slot * ff};
        for (int i = 0; i < 2; i++) {
            matrix w = expert_matrix(banks[i], e);
            matmul(&w, (uint32_t)begin, (uint32_t)end, s->normed, s->hp.d_model, r->slot_token + slot, slots,
                   banks[i]->bias + e * ff, targets[i], ff, stage_scratch(s, worker));
        }
        for (uint32_t i = slot; i < slot + slots; i++)
            swiglu_clamped(r->gate + i * ff + begin, r->up + i * ff + begin, end - begin, r->gate + i * ff + begin);
    }
}

/* A worker's rows of the residual stream are its own, so it can add to them as soon as its products are there. */
static void down_step(void *context, int worker, int workers) {
    stage *s = context;
    const routing *r = &s->routing;
    uint64_t begin, end;
    size_t width = s->hp.d_model, ff = s->hp.d_ff;
    team_share(width, ROW_GRAIN, worker, workers, &begin, &end);
    for (uint32_t e = 0; e < s->hp.n_experts; e++) {
        uint32_t slot = r->expert_begin[e], slots = r->expert_begin[e + 1] - slot;
        if (slots == 0) continue;
        matrix w = expert_matrix(&s->layer->down, e);
        matmul(&w, (uint32_t)begin, (uint32_t)end, r->gate + slot * ff, ff, NULL, slots,
               s->layer->down.bias + e * width, r->down + slot * width, width, stage_scratch(s, worker));
        for (uint32_t i = slot; i < slot + slots; i++) {
            float *x = s->x + r->slot_token[i] * width;
            for (uint64_t row = begin; row < end; row++) x[row] += r->slot_weight[i] * r->down[i * width + row];
        }
    }
}

void moe_run(stage *s) {
    team_run(s->team, route_step, s);
    group_by_expert(s);
    team_run(s->team, gate_up_step, s);
    team_run(s->team, down_step, s);
}

gptoss_status moe_open(stage *s, gptoss_error *err) {
    routing *r = &s->routing;
    const hparams *hp = &s->hp;
    size_t slots = (size_t)s->chunk * experts_used(s);
    TRY(mem_array(slots, sizeof *r->chosen, "routing", &r->chosen, err));
    TRY(mem_array(slots, sizeof *r->chosen_weights, "routing", &r->chosen_weights, err));
    TRY(mem_array(slots, sizeof *r->slot_token, "routing", &r->slot_token, err));
    TRY(mem_array(slots, sizeof *r->slot_weight, "routing", &r->slot_weight, err));
    TRY(mem_array(hp->n_experts + 1, sizeof *r->expert_begin, "routing", &r->expert_begin, err));
    TRY(mem_array_aligned(s->chunk, hp->n_experts * sizeof(float), "routing", &r->router_logits, err));
    TRY(mem_array_aligned(slots, hp->d_ff * sizeof(float), "activations", &r->gate, err));
    TRY(mem_array_aligned(slots, hp->d_ff * sizeof(float), "activations", &r->up, err));
    return mem_array_aligned(slots, hp->d_model * sizeof(float), "activations", &r->down, err);
}

void moe_close(stage *s) {
    routing *r = &s->routing;
    void *buffers[] = {r->chosen,        r->chosen_weights, r->slot_token, r->slot_weight, r->expert_begin,
                       r->router_logits, r->gate,           r->up,         r->down};
    for (size_t i = 0; i < sizeof buffers / sizeof *buffers; i++) free(buffers[i]);
}
