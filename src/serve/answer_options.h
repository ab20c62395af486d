/* answer_options.h: what requests for answers have in common: how to sample, when to stop, how to be told. */
#ifndef SERVE_ANSWER_OPTIONS_H
#define SERVE_ANSWER_OPTIONS_H

#include <stdbool.h>

#include "engine/sampler.h"
#include "serve/json_input.h"

enum { ANSWER_CHOICES = 16, ANSWER_STOPS = 16, ANSWER_STOP_BYTES = 1000 };

typedef struct answer_options {
    sampler_settings sampling;
    bool has_seed;
    logit_bias *biases; /* owned; sampling points to it */
    const char **stops; /* owned array of texts borrowed from the body */
    size_t stop_count;
    uint32_t n;          /* 1 to ANSWER_CHOICES */
    uint32_t max_tokens; /* 0: not given */
    bool stream, include_usage;
    bool telemetry;        /* entropy of each token, and ... */
    uint32_t n_candidates; /* ... the likeliest ones, at most TURN_TOP */
    uint32_t positions;    /* "max_kv": of prompt and answer together, at most; 0: not given */
} answer_options;

/* Reads them from a body, which must stay. n_vocab: tokens that may be biased. *out must be freed after a failure, too.
 * Temperature is 1 unless given, as the models were made for; without a seed each request gets one of its own. */
gptoss_status answer_options_read(const cJSON *body, uint32_t n_vocab, answer_options *out, failure *why);
void answer_options_free(answer_options *o);

/* Tokens that the answer may have: what was asked for, or `usual`, cut at the end of the context. 422 when the prompt
 * leaves no room, or not as much as was asked for, within `positions` or what the request itself set; it names
 * `prompt_field` or `length_field`. */
gptoss_status answer_options_room(const answer_options *o, size_t prompt_tokens, uint32_t positions, uint32_t usual,
                                  const char *prompt_field, const char *length_field, uint32_t *out, failure *why);

#endif
