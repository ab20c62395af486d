#include "engine/generate.h"

#include <errno.h>
#include <stdlib.h>

#include "base/cancel.h"
#include "base/clock.h"
#include "base/mem.h"

static gptoss_status dump_logits(const generate_request *r, const float *logits, uint32_t rows, gptoss_error *err) {
    if (!r->dump || fwrite(logits, sizeof *logits * r->n_vocab, rows, r->dump) == rows) return GPTOSS_OK;
    return error_set_errno(err, GPTOSS_IO, errno, "cannot write the logits");
}

static uint32_t wave_size(const generate_request *r, uint32_t at) {
    return r->n_prompt - at < r->chunk ? r->n_prompt - at : r->chunk;
}

/* Keeps the pipeline full until the whole prompt went in, and collects every wave. wave: room for a chunk; *logits:
 * those of the last token. */
static gptoss_status read_prompt(pipeline *p, const generate_request *r, wave_token *wave, float **logits,
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
            wave_of_run(r->prompt + sent, count, 0, sent, rows, wave);
            TRY(pipeline_submit(p, wave, count, err));
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
    wave_token *wave;
    *result = (generate_result){0};
    TRY(mem_array(r->chunk, sizeof *wave, "prompt", &wave, err));
    gptoss_status status = read_prompt(p, r, wave, &logits, err);
    free(wave);
    result->prompt_seconds = clock_seconds() - start;
    uint32_t position = r->n_prompt;
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
        status = pipeline_submit(p, &(wave_token){.id = token, .position = position++, .logits = 1}, 1, err);
        if (status == GPTOSS_OK) status = pipeline_collect(p, &logits, err);
        if (status == GPTOSS_OK) status = dump_logits(r, logits, 1, err);
    }
    result->seconds = clock_seconds() - start;
    return status;
}
