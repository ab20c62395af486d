#include "reference.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/dequant.h"

static double *rows_of(size_t count) { return calloc(count, sizeof(double)); }

/* y = W x + bias */
static void multiply(matrix w, const float *bias, const double *x, double *y) {
    float *row = malloc(w.cols * sizeof *row);
    for (uint32_t r = 0; r < w.rows; r++) {
        dequant_for(w.type)(w.data + r * w.row_bytes, w.cols, row);
        y[r] = bias ? bias[r] : 0;
        for (uint32_t c = 0; c < w.cols; c++) y[r] += (double)row[c] * x[c];
    }
    free(row);
}

static void norm(const hparams *hp, const float *weight, const double *x, double *y) {
    double mean = 0;
    for (uint32_t i = 0; i < hp->d_model; i++) mean += x[i] * x[i] / hp->d_model;
    for (uint32_t i = 0; i < hp->d_model; i++) y[i] = x[i] / sqrt(mean + hp->norm_eps) * weight[i];
}

static void rotate(const hparams *hp, double *x, uint32_t heads, size_t position) {
    double d = hp->head_dim, pi = acos(-1), magnitude = hp->rope_factor > 1 ? 1 + 0.1 * log(hp->rope_factor) : 1;
    double low = d * log(hp->rope_original_context / (64 * pi)) / (2 * log(hp->rope_base));
    double high = d * log(hp->rope_original_context / (2 * pi)) / (2 * log(hp->rope_base));
    for (uint32_t h = 0; h < heads; h++, x += hp->head_dim) {
        for (uint32_t j = 0; j < hp->head_dim / 2; j++) {
            double freq = pow(hp->rope_base, -2.0 * j / d), ramp = fmin(1, fmax(0, (j - low) / (high - low)));
            double angle = (double)position * (freq / hp->rope_factor * ramp + freq * (1 - ramp));
            double a = x[j], b = x[j + hp->head_dim / 2];
            x[j] = magnitude * (a * cos(angle) - b * sin(angle));
            x[j + hp->head_dim / 2] = magnitude * (b * cos(angle) + a * sin(angle));
        }
    }
}

static void attention(const hparams *hp, const layer_weights *l, bool windowed, double *x, size_t count) {
    size_t width = hp->d_model, q_width = (size_t)hp->n_heads * hp->head_dim,
           kv_width = (size_t)hp->n_kv_heads * hp->head_dim;
    double *normed = rows_of(width), *q = rows_of(count * q_width), *k = rows_of(count * kv_width);
    double *v = rows_of(count * kv_width), *mixed = rows_of(q_width), *scores = rows_of(count);
    for (size_t t = 0; t < count; t++) {
        norm(hp, l->attn_norm, x + t * width, normed);
        multiply(l->q, l->q_bias, normed, q + t * q_width);
        multiply(l->k, l->k_bias, normed, k + t * kv_width);
        multiply(l->v, l->v_bias, normed, v + t * kv_width);
        rotate(hp, q + t * q_width, hp->n_heads, t);
        rotate(hp, k + t * kv_width, hp->n_kv_heads, t);
    }
    for (size_t t = 0; t < count; t++) {
        memset(mixed, 0, q_width * sizeof *mixed);
        size_t first = windowed && t >= hp->window ? t + 1 - hp->window : 0;
        for (uint32_t h = 0; h < hp->n_heads; h++) {
            size_t kv_at = h / (hp->n_heads / hp->n_kv_heads) * hp->head_dim;
            double sum = exp(l->sinks[h]);
            for (size_t p = first; p <= t; p++) {
                double dot = 0;
                for (uint32_t i = 0; i < hp->head_dim; i++)
                    dot += q[t * q_width + h * hp->head_dim + i] * k[p * kv_width + kv_at + i];
                sum += scores[p] = exp(dot / sqrt(hp->head_dim));
            }
            for (size_t p = first; p <= t; p++)
                for (uint32_t i = 0; i < hp->head_dim; i++)
                    mixed[h * hp->head_dim + i] += scores[p] / sum * v[p * kv_width + kv_at + i];
        }
        multiply(l->o, l->o_bias, mixed, normed);
        for (size_t i = 0; i < width; i++) x[t * width + i] += normed[i];
    }
    double *all[] = {normed, q, k, v, mixed, scores};
    for (size_t i = 0; i < 6; i++) free(all[i]);
}

static void expert(const hparams *hp, const layer_weights *l, uint32_t e, double weight, const double *normed,
                   double *x) {
    double *gate = rows_of(hp->d_ff), *up = rows_of(hp->d_ff), *down = rows_of(hp->d_model);
    multiply(expert_matrix(&l->gate, e), expert_bias(&l->gate, e), normed, gate);
    multiply(expert_matrix(&l->up, e), expert_bias(&l->up, e), normed, up);
    for (uint32_t i = 0; i < hp->d_ff; i++) {
        double g = fmin(gate[i], 7), u = fmax(-7, fmin(up[i], 7));
        gate[i] = g / (1 + exp(-1.702 * g)) * (u + 1);
    }
    multiply(expert_matrix(&l->down, e), expert_bias(&l->down, e), gate, down);
    for (uint32_t i = 0; i < hp->d_model; i++) x[i] += weight * down[i];
    free(gate);
    free(up);
    free(down);
}

static void experts(const hparams *hp, const layer_weights *l, bool expert_0_only, double *x) {
    double *normed = rows_of(hp->d_model), *logits = rows_of(hp->n_experts), *sum_of = rows_of(hp->d_model);
    norm(hp, l->ffn_norm, x, normed);
    multiply(l->router, l->router_bias, normed, logits);
    double total = 0, largest[64];
    uint32_t chosen[64], used = expert_0_only ? 1 : hp->n_experts_used;
    for (uint32_t n = 0; n < used; n++) {
        chosen[n] = 0;
        for (uint32_t e = 0; e < hp->n_experts; e++)
            if (logits[e] > logits[chosen[n]]) chosen[n] = e;
        largest[n] = logits[chosen[n]];
        logits[chosen[n]] = -INFINITY;
        total += exp(largest[n]);
    }
    for (uint32_t n = 0; n < used; n++)
        expert(hp, l, expert_0_only ? 0 : chosen[n], expert_0_only ? 1 : exp(largest[n]) / total, normed, sum_of);
    for (uint32_t i = 0; i < hp->d_model; i++) x[i] += sum_of[i];
    free(normed);
    free(logits);
    free(sum_of);
}

void reference_logits(const hparams *hp, const weights *w, uint32_t n_layers, bool expert_0_only,
                      const uint32_t *tokens, size_t count, float *logits) {
    size_t width = hp->d_model;
    double *x = rows_of(count * width), *normed = rows_of(width), *row = rows_of(hp->n_vocab);
    float *embedding = malloc(width * sizeof *embedding);
    for (size_t t = 0; t < count; t++) {
        dequant_for(w->embedding.type)(w->embedding.data + tokens[t] * w->embedding.row_bytes, width, embedding);
        for (size_t i = 0; i < width; i++) x[t * width + i] = embedding[i];
    }
    for (uint32_t layer = 0; layer < n_layers; layer++) {
        attention(hp, &w->layers[layer], layer % 2 == 0, x, count);
        for (size_t t = 0; t < count; t++) experts(hp, &w->layers[layer], expert_0_only, x + t * width);
    }
    for (size_t t = 0; t < count; t++) {
        norm(hp, w->output_norm, x + t * width, normed);
        multiply(w->output, NULL, normed, row);
        for (uint32_t i = 0; i < hp->n_vocab; i++) logits[t * hp->n_vocab + i] = (float)row[i];
    }
    free(x);
    free(normed);
    free(row);
    free(embedding);
}
