#include "kernels/ops.h"

#include <math.h>

#include "kernels/exp.h"
#include "kernels/isa.h"
#include "kernels/matmul.h"
#include "kernels/ops_kernels.h"

static const double PI = 3.14159265358979323846;

void rms_norm(const float *x, const float *weight, size_t count, float eps, float *y) {
    float mean = dot_f32(x, x, count) / (float)count;
    float scale = 1.0f / sqrtf(mean + eps);
    for (size_t i = 0; i < count; i++) y[i] = x[i] * scale * weight[i];
}

void rope_frequencies(uint32_t dim, double base, double factor, double original_context, double *out) {
    /* The dimension whose wave turns `turns` times over the original context. */
    double low = dim * log(original_context / (2 * PI * 32)) / (2 * log(base));
    double high = dim * log(original_context / (2 * PI * 1)) / (2 * log(base));
    for (uint32_t j = 0; j < dim / 2; j++) {
        double freq = pow(base, -2.0 * j / dim);
        double ramp = (j - low) / (high - low);
        ramp = ramp < 0 ? 0 : ramp > 1 ? 1 : ramp;
        if (factor == 1) ramp = 0;
        out[j] = freq / factor * ramp + freq * (1 - ramp);
    }
}

float rope_magnitude(double factor) { return factor > 1 ? (float)(1 + 0.1 * log(factor)) : 1.0f; }

void rope_angles(const double *frequencies, uint32_t half_dim, uint32_t position, float magnitude, float *cosines,
                 float *sines) {
    for (uint32_t j = 0; j < half_dim; j++) {
        double angle = position * frequencies[j];
        cosines[j] = magnitude * (float)cos(angle);
        sines[j] = magnitude * (float)sin(angle);
    }
}

void rope_apply(float *x, uint32_t heads, uint32_t dim, const float *cosines, const float *sines) {
    uint32_t half_dim = dim / 2;
    for (uint32_t h = 0; h < heads; h++, x += dim) {
        for (uint32_t j = 0; j < half_dim; j++) {
            float a = x[j], b = x[j + half_dim];
            x[j] = a * cosines[j] - b * sines[j];
            x[j + half_dim] = b * cosines[j] + a * sines[j];
        }
    }
}

void top_k_softmax(const float *logits, uint32_t count, uint32_t k, uint32_t *chosen, float *weights) {
    for (uint32_t n = 0; n < k; n++) weights[n] = -INFINITY;
    uint32_t kept = 0;
    bool damaged = false;
    for (uint32_t i = 0; i < count; i++) {
        float value = isnan(logits[i]) ? -INFINITY : logits[i];
        damaged |= !(logits[i] < INFINITY);
        if (kept == k && !(value > weights[k - 1])) continue;
        uint32_t at = kept < k ? kept++ : k - 1;
        for (; at > 0 && value > weights[at - 1]; at--) {
            weights[at] = weights[at - 1];
            chosen[at] = chosen[at - 1];
        }
        weights[at] = value;
        chosen[at] = i;
    }
    float max = weights[0], sum = 0;
    for (uint32_t n = 0; n < k; n++) {
        weights[n] = damaged ? NAN : expf(weights[n] - max);
        sum += weights[n];
    }
    for (uint32_t n = 0; n < k; n++) weights[n] /= sum;
}

void swiglu_clamped(const float *gate, const float *up, size_t count, float *h) {
    size_t i = 0;
#if defined(__x86_64__)
    if (isa_has_avx2(isa_used())) i = swiglu_avx2(gate, up, count, h);
#elif defined(__aarch64__)
    if (isa_used() == ISA_NEON) i = swiglu_neon(gate, up, count, h);
#endif
    for (; i < count; i++) {
        float g = gate[i] > 7.0f ? 7.0f : gate[i];
        float u = up[i] > 7.0f ? 7.0f : up[i] < -7.0f ? -7.0f : up[i];
        h[i] = g / (1.0f + exp_f32(-1.702f * g)) * (u + 1.0f);
    }
}
