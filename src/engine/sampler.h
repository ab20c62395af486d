/* sampler.h: from logits, or a shortlist of them, to the next token. The same logits, settings, seed and history give
 * the same token anywhere. */
#ifndef ENGINE_SAMPLER_H
#define ENGINE_SAMPLER_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "model/wave.h"

typedef struct logit_bias {
    uint32_t token;
    float bias; /* added to the token's logit */
} logit_bias;

typedef struct sampler_settings {
    double temperature; /* 0: greedy */
    uint32_t top_k;     /* keep the k likeliest tokens; 0: all */
    double top_p;       /* then the fewest likeliest tokens whose probabilities sum to top_p; 1: all */
    double min_p;       /* then those at least min_p times as likely as the likeliest; 0: all */
    uint64_t seed;
    double
        repetition_penalty; /* divides positive, multiplies negative logits of tokens seen; 1: off (arXiv 1909.05858) */
    double frequency_penalty; /* times a generated token's count, subtracted from its logit */
    double presence_penalty;  /* subtracted once from the logit of each token generated before */
    const logit_bias *biases; /* borrowed */
    size_t n_biases;
} sampler_settings;

sampler_settings sampler_defaults(void); /* greedy, nothing changed */

/* What the distribution looked like before anything was changed: softmax of the model's own logits. */
typedef struct sampler_candidate {
    uint32_t token;
    float logprob; /* natural logarithm */
} sampler_candidate;

typedef struct sampler_report {
    double entropy;         /* nats */
    float logprob;          /* of the token that was chosen */
    sampler_candidate *top; /* the caller's array of n_top, filled with the likeliest, descending, as far as there are
                               any; may be NULL */
    uint32_t n_top;
} sampler_report;

typedef struct sampler sampler;

/* GPTOSS_MISUSE when a biased token is not below n_vocab. */
gptoss_status sampler_check(const sampler_settings *settings, uint32_t n_vocab, gptoss_error *err);

/* Of settings that pass sampler_check. They are copied, the biases too. */
gptoss_status sampler_open(const sampler_settings *settings, uint32_t n_vocab, sampler **out, gptoss_error *err);
void sampler_close(sampler *s); /* NULL is fine */

/* Tokens of the prompt count for the repetition penalty. Every token < n_vocab. */
void sampler_see_prompt(sampler *s, const uint32_t *tokens, size_t count);

/* What is wanted of the logits of its next token. report: also for sampler_describe. All are when penalties or biases
 * change them, so that a shortlist does not help. */
logits_wish sampler_wish(const sampler *s, const sampler_report *report);

/* The same of a list that is made of logits at hand. */
shortlist_wish sampler_list_wish(const sampler *s, const sampler_report *report);

#define SAMPLER_NEEDS_LOGITS UINT32_MAX /* no token's number */

/* Chooses the next token. Most are chosen by the shortlist of the logits; where it does not tell enough, and
 * logits[n_vocab] are not given but NULL, *token becomes SAMPLER_NEEDS_LOGITS, nothing changes, and the call is to be
 * made again with them. The token is the same whether or not they are given at once. A logit of minus infinity forbids
 * its token. GPTOSS_BAD_INPUT when all are, or one is NaN or plus infinity: the weights must be damaged. */
gptoss_status sampler_next(sampler *s, const shortlist *likeliest, const float *logits, uint32_t *token,
                           gptoss_error *err);

/* Counts a token as generated. */
void sampler_take(sampler *s, uint32_t token);

/* Fills a report. With logits NULL, `chosen` is in the list, and report->n_top <= SHORTLIST_MOST. */
void sampler_describe(const sampler *s, const shortlist *likeliest, const float *logits, uint32_t chosen,
                      sampler_report *report);

#endif
