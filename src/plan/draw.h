/* draw.h: how unevenly chosen experts fall on shards. */
#ifndef PLAN_DRAW_H
#define PLAN_DRAW_H

#include <stdint.h>

#include "base/error.h"

/* *out: the expected maximum over t < shards of seconds[t] * C[t], when `draws` of all experts are drawn without
 * replacement, each as likely as the other, and C[t] of them are among the experts[t] of shard t:
 *
 *   E max = sum over v of v * (F(v) - F(v-)),  F(v) = P(seconds[t] * C[t] <= v for all t),
 *
 * v running through all products; C is multivariate hypergeometric, that is, independent binomials C[t] of experts[t]
 * trials given that their sum is `draws`. draws <= sum of experts; shards >= 1. */
gptoss_status draw_expected_most(const uint32_t *experts, const double *seconds, uint32_t shards, uint32_t draws,
                                 double *out, gptoss_error *err);

/* The same for the experts that at least one of `tokens` tokens chooses, `used` of all each: some
 * n * (1 - (1 - used/n)^tokens) of the n experts. */
gptoss_status draw_expected_work(const uint32_t *experts, const double *seconds, uint32_t shards, uint32_t used,
                                 double tokens, double *out, gptoss_error *err);

#endif
