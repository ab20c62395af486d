/* chooser.h: a sampler and the logits it chooses by, as the scheduler uses it, for tests. */
#ifndef TESTS_ENGINE_CHOOSER_H
#define TESTS_ENGINE_CHOOSER_H

#include "engine/sampler.h"

enum { REAL_VOCABULARY = 201088 };

/* A sampler; the others below take the one that was opened last. */
sampler *chooser_open(sampler_settings settings, uint32_t n_vocab);

/* Chooses a token by a shortlist, and by all logits where that is not enough; takes and reports it. report may be NULL.
 */
gptoss_status chooser_try(sampler *s, const float *logits, uint32_t *token, sampler_report *report, gptoss_error *err);
uint32_t chooser_next(sampler *s, const float *logits, sampler_report *report); /* it must go well */

/* Sums of 12 uniform numbers: nearly normal, as logits are. The caller frees them. */
float *chooser_logits(uint64_t *seed, uint32_t count, float deviation);

#endif
