/* generate.h: one request alone, from prompt to answer. Runs on rank 0. */
#ifndef ENGINE_GENERATE_H
#define ENGINE_GENERATE_H

#include <stdbool.h>
#include <stdio.h>

#include "cluster/pipeline.h"
#include "engine/prefix_cache.h"
#include "engine/sampler.h"

typedef struct generate_request {
    const uint32_t *prompt;  /* borrowed; every token < n_vocab */
    uint32_t n_prompt;       /* at least 1 */
    uint32_t max_tokens;     /* n_prompt + max_tokens must fit the stages' positions */
    uint32_t chunk;          /* tokens a wave, at most the pipeline's */
    const uint32_t *borders; /* see scheduler_request, as the next two */
    uint32_t n_borders;
    uint32_t message_start;
    sampler_settings sampling;
    bool report;            /* whether on_token gets a report, with ... */
    uint32_t n_top;         /* ... as many of the likeliest tokens */
    uint32_t resume_points; /* see scheduler_config, as the next */
    const prefix_image *kept;
    prefix_snapshot *snapshot; /* or NULL: receives, after success, what the prefix cache knows then; the caller's */
    FILE *dump;                /* or NULL: receives the logits of every position run, float32 [n_vocab] each */

    void *context; /* of the calls below */
    /* Each chosen token, `step` counting from 0. Returning false ends the answer with this token. */
    bool (*on_token)(void *context, uint32_t step, uint32_t token, const sampler_report *report);
    /* `done` of n_prompt tokens were read. May be NULL. */
    void (*on_progress)(void *context, uint32_t done);
} generate_request;

typedef struct generate_result {
    uint32_t generated;    /* tokens, the last one included */
    uint32_t cached;       /* tokens of the prompt that were known */
    bool stopped;          /* on_token ended it; otherwise max_tokens did */
    double prompt_seconds; /* until the prompt was read */
    double seconds;        /* all of it */
} generate_result;

/* *result is also written, as far as it went, when the work is cancelled or fails. */
gptoss_status generate(pipeline *p, const generate_request *request, generate_result *result, gptoss_error *err);

#endif
