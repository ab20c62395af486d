#include "engine/generate.h"

#include <errno.h>
#include <stdlib.h>

#include "base/cancel.h"
#include "base/clock.h"
#include "base/mem.h"
#include "engine/sequence.h"

static gptoss_status dump_logits(const generate_request *r, const float *logits, uint32_t rows, gptoss_error *err) {
    if (!r->dump || fwrite(logits, sizeof *logits * r->n_vocab, rows, r->dump) == rows) return GPTOSS_OK;
    return error_set_errno(err, GPTOSS_IO, errno, "cannot write the logits");
}

static uint32_t wave_size(const generate_request *r, uint32_t at) {
    return r->n_prompt - at < r->chunk ? r->n_prompt - at : r->chunk;
}

/* The sequence, and the wave it travels in. */
typedef struct journey {
    wave_limits limits;
    kv_pool *pool;
    sequence sequence;
    wave wave;
} journey;

static void journey_close(journey *j) {
    wave_close(&j->wave);
    sequence_close(&j->sequence);
    kv_pool_close(j->pool);
}

static gptoss_status journey_open(const pipeline *p, journey *out, gptoss_error *err) {
    *out = (journey){.limits = pipeline_wave_limits(p)};
    TRY(kv_pool_open(&out->limits.paging, &out->pool, err));
    TRY(sequence_open(&out->limits, &out->sequence, err));
    return wave_open(&out->limits, &out->wave, err);
}

static gptoss_status send_tokens(pipeline *p, journey *j, const uint32_t *ids, uint32_t count, uint32_t rows,
                                 gptoss_error *err) {
    if (!sequence_extend(&j->sequence, &j->limits, j->pool, count, (kv_reclaim){0}))
        return error_set(err, GPTOSS_INTERNAL, "no KV pages for %u tokens", count);
    wave_clear(&j->wave);
    sequence_add_run(&j->sequence, &j->limits, &j->wave, ids, count, rows);
    TRY(pipeline_submit(p, &j->wave, err));
    sequence_advance(&j->sequence, &j->limits, j->pool, count);
    return GPTOSS_OK;
}

/* Keeps the pipeline full until the whole prompt went in, and collects every wave. *logits: those of the last token. */
static gptoss_status read_prompt(pipeline *p, const generate_request *r, journey *j, float **logits,
                                 gptoss_error *err) {
    uint32_t sent = 0, done = 0;
    while (done < r->n_prompt) {
        uint32_t under_way = (sent - done + r->chunk - 1) / r->chunk;
        if (sent < r->n_prompt && under_way < pipeline_depth(p)) {
            if (cancel_requested())
                return error_set(err, GPTOSS_CANCELLED, "interrupted while reading the prompt, at token %u of %u", sent,
                                 r->n_prompt);
            uint32_t count = wave_size(r, sent);
            uint32_t rows = r->dump ? count : sent + count == r->n_prompt ? 1 : 0;
            TRY(send_tokens(p, j, r->prompt + sent, count, rows, err));
            sent += count;
        } else {
            uint32_t count = wave_size(r, done);
            TRY(pipeline_collect(p, logits, err));
            if (r->dump) {
                TRY(dump_logits(r, *logits, count, err));
                *logits += (size_t)(count - 1) * r->n_vocab;
            }
            done += count;
            if (r->on_progress) r->on_progress(r->context, done);
        }
    }
    return GPTOSS_OK;
}

gptoss_status generate(pipeline *p, const generate_request *request, generate_result *result, gptoss_error *err) {
    const generate_request *r = request;
    double start = clock_seconds();
    float *logits = NULL;
    journey j;
    *result = (generate_result){0};
    gptoss_status status = journey_open(p, &j, err);
    if (status == GPTOSS_OK) status = read_prompt(p, r, &j, &logits, err);
    result->prompt_seconds = clock_seconds() - start;
    while (status == GPTOSS_OK && result->generated < r->max_tokens) {
        uint32_t token;
        if (cancel_requested()) {
            status = error_set(err, GPTOSS_CANCELLED, "interrupted after %u tokens of the answer", result->generated);
            break;
        }
        status = sampler_next(r->sampler, logits, &token, r->report, err);
        if (status != GPTOSS_OK) break;
        uint32_t step = result->generated++;
        if (!r->on_token(r->context, step, token)) {
            result->stopped = true;
            break;
        }
        if (result->generated == r->max_tokens) break;
        status = send_tokens(p, &j, &token, 1, 1, err);
        if (status == GPTOSS_OK) status = pipeline_collect(p, &logits, err);
        if (status == GPTOSS_OK) status = dump_logits(r, logits, 1, err);
    }
    journey_close(&j);
    result->seconds = clock_seconds() - start;
    return status;
}
