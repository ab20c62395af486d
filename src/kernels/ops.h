/* ops.h: the float32 operations of a gpt-oss layer that are no matrix products. All pointers have natural alignment and
 * overlap only where a function says so. */
#ifndef KERNELS_OPS_H
#define KERNELS_OPS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* y[i] = x[i] / sqrt(mean(x^2) + eps) * weight[i], i < count (RMSNorm, arXiv 1910.07467). y may be x. */
void rms_norm(const float *x, const float *weight, size_t count, float eps, float *y);

/* Rotary embedding with YaRN (arXiv 2309.00071), its correction range not rounded to whole dimensions:
 *
 *     freq_j = base^(-2j/d);  corr(r) = d * ln(original_context / (2 pi r)) / (2 ln base);  low = corr(32), high =
 * corr(1) ramp_j = clamp((j - low) / (high - low), 0, 1);  out[j] = freq_j / factor * ramp_j + freq_j * (1 - ramp_j)
 *
 * out[dim / 2]: the angle in radians per position. A factor of 1 gives the plain embedding. dim is even. */
void rope_frequencies(uint32_t dim, double base, double factor, double original_context, double *out);

/* The factor 1 + 0.1 ln(factor) on cosines and sines. */
float rope_magnitude(double factor);

/* cosines[j], sines[j] = magnitude * cos, sin(position * frequencies[j]), j < half_dim; double precision, since single
 * precision would lose the angles of late positions. */
void rope_angles(const double *frequencies, uint32_t half_dim, uint32_t position, float magnitude, float *cosines,
                 float *sines);

/* Rotates each of `heads` heads of `dim` floats in place, pairing element j with j + dim / 2 (the NeoX pairing). */
void rope_apply(float *x, uint32_t heads, uint32_t dim, const float *cosines, const float *sines);

/* The k largest of logits[count], in descending order (equal ones: the lower index first), and their softmax weights:
 * chosen[k], weights[k]. 1 <= k <= count. NaN counts as smallest. When a logit is NaN or plus infinity, or all are
 * minus infinity, all weights are NaN, so that what is made with them cannot pass for a result; chosen is valid even
 * then. */
void top_k_softmax(const float *logits, uint32_t count, uint32_t k, uint32_t *chosen, float *weights);

/* h[i] = g * sigmoid(1.702 g) * (u + 1), g = min(gate[i], 7), u = clamp(up[i], -7, 7). h may be gate or up. */
void swiglu_clamped(const float *gate, const float *up, size_t count, float *h);

#endif
