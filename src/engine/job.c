#include "engine/job.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/plural.h"

static gptoss_status check_request(const scheduler_request *r, const wave_limits *limits, gptoss_error *err) {
    if (r->n_prompt < 1) return error_set(err, GPTOSS_MISUSE, "the prompt is empty");
    if (!r->on_end || (r->max_tokens > 0 && !r->on_token))
        return error_set(err, GPTOSS_MISUSE, "nobody listens to the request");
    if ((uint64_t)r->n_prompt + r->max_tokens > limits->positions)
        return error_set(err, GPTOSS_MISUSE,
                         "%u token%s of prompt and %u of answer are more than the %u position%s of a sequence",
                         r->n_prompt, plural(r->n_prompt), r->max_tokens, limits->positions, plural(limits->positions));
    for (uint32_t i = 0; i < r->n_prompt; i++)
        if (r->prompt[i] >= limits->n_vocab)
            return error_set(err, GPTOSS_MISUSE, "token %u of the prompt is %u, but the vocabulary ends at %u", i,
                             r->prompt[i], limits->n_vocab - 1);
    if (r->n_borders > SCHEDULER_BORDERS)
        return error_set(err, GPTOSS_MISUSE, "%u borders are more than %d", r->n_borders, SCHEDULER_BORDERS);
    for (uint32_t i = 0; i < r->n_borders; i++)
        if (r->borders[i] < 1 || r->borders[i] >= r->n_prompt)
            return error_set(err, GPTOSS_MISUSE, "a border at %u is not within the prompt of %u tokens", r->borders[i],
                             r->n_prompt);
    return GPTOSS_OK;
}

uint32_t job_most_positions(const job *j) {
    return j->n_prompt + (j->request.max_tokens > 0 ? j->request.max_tokens - 1 : 0);
}

static gptoss_status fill(job *j, const scheduler_request *r, const wave_limits *limits, gptoss_error *err) {
    TRY(mem_array((size_t)r->n_prompt + r->max_tokens, sizeof *j->tokens, "a request", &j->tokens, err));
    memcpy(j->tokens, r->prompt, r->n_prompt * sizeof *r->prompt);
    TRY(sequence_open(limits, &j->sequence, err));
    if (r->max_tokens == 0) return GPTOSS_OK;
    TRY(sampler_open(&r->sampling, limits->n_vocab, &j->sampler, err));
    sampler_see_prompt(j->sampler, r->prompt, r->n_prompt);
    j->report.n_top = r->n_top < limits->n_vocab ? r->n_top : limits->n_vocab;
    return mem_array(j->report.n_top, sizeof *j->report.top, "a request", &j->report.top, err);
}

/* Whoever shares much of a long prompt, but ends elsewhere, has a part of it to read again: at most a quarter of the
 * prompt, or a few hundred tokens. The places are the same in prompts of other lengths. */
static uint32_t stride_of(uint32_t n_prompt) {
    uint32_t stride = 1024;
    while (n_prompt / stride > JOB_STRIDES) stride *= 2;
    return stride;
}

static void set_marks(job *j, const scheduler_request *r) {
    uint32_t stride = stride_of(r->n_prompt);
    for (uint32_t i = 0; i < r->n_borders; i++) j->marks[j->n_marks++] = r->borders[i];
    for (uint32_t at = stride; at < r->n_prompt; at += stride) j->marks[j->n_marks++] = at;
    j->marks[j->n_marks++] = r->n_prompt - 1; /* not all of it: so the same prompt again finds it, too */
}

gptoss_status job_open(const scheduler_request *r, const wave_limits *limits, job **out, gptoss_error *err) {
    job *j;
    TRY(check_request(r, limits, err));
    TRY(mem_array(1, sizeof *j, "a request", &j, err));
    *j = (job){.request = *r, .n_prompt = r->n_prompt, .n_tokens = r->n_prompt, .submitted = clock_seconds()};
    j->full_pages = kv_paging_stored(&limits->paging, KV_FULL, 0, job_most_positions(j)).end;
    j->cached = !r->not_cached && !r->on_logits;
    if (j->cached) set_marks(j, r);
    gptoss_status status = fill(j, r, limits, err);
    if (status != GPTOSS_OK) {
        job_close(j);
        return status;
    }
    *out = j;
    return GPTOSS_OK;
}

void job_close(job *j) {
    if (!j) return;
    free(j->tokens);
    free(j->report.top);
    sampler_close(j->sampler);
    sequence_close(&j->sequence);
    free(j);
}

/* ---- choosing ---- */

static sampler_report *report_of(job *j) { return j->request.report ? &j->report : NULL; }

/* Logits that are changed in any case are no longer those that a shortlist tells of. */
static bool edits_first(const scheduler_request *r) { return r->edit_logits && !r->allows; }

logits_wish job_wish(job *j) {
    const scheduler_request *r = &j->request;
    if (r->on_logits || edits_first(r)) return (logits_wish){.kind = LOGITS_ALL};
    return sampler_wish(j->sampler, report_of(j));
}

/* What a token is chosen by. */
typedef struct choice {
    pipeline *pipeline;
    uint32_t row, n_vocab;
    float *logits; /* NULL until fetched */
    const shortlist *list;
} choice;

static gptoss_status fetch(choice *c, gptoss_error *err) {
    return c->logits ? GPTOSS_OK : pipeline_fetch(c->pipeline, c->row, &c->logits, err);
}

static gptoss_status edit(const job *j, choice *c, gptoss_error *err) {
    TRY(fetch(c, err));
    j->request.edit_logits(j->request.context, c->logits);
    for (uint32_t i = 0; i < c->n_vocab; i++)
        if (c->logits[i] != -INFINITY) return GPTOSS_OK;
    return error_set(err, GPTOSS_BAD_INPUT, "the constraint allows no token after %u tokens of the answer",
                     j->n_tokens - j->n_prompt);
}

static void make_list(job *j, choice *c, shortlist *made) {
    shortlist_make(c->logits, 0, c->n_vocab, sampler_list_wish(j->sampler, report_of(j)), made);
    c->list = made;
}

static gptoss_status choose(job *j, choice *c, uint32_t *token, gptoss_error *err) {
    TRY(sampler_next(j->sampler, c->list, c->logits, token, err));
    if (*token != SAMPLER_NEEDS_LOGITS) return GPTOSS_OK;
    TRY(fetch(c, err));
    return sampler_next(j->sampler, c->list, c->logits, token, err);
}

/* Another one for a token that was refused. */
static gptoss_status choose_again(job *j, choice *c, uint32_t *token, gptoss_error *err) {
    choice edited = *c;
    shortlist made;
    TRY(edit(j, &edited, err));
    make_list(j, &edited, &made);
    c->logits = edited.logits;
    return choose(j, &edited, token, err);
}

gptoss_status job_choose(job *j, pipeline *p, uint32_t index, const logits_row *row, bool *ended, scheduler_end *end,
                         gptoss_error *err) {
    const scheduler_request *r = &j->request;
    choice c = {.pipeline = p, .row = index, .logits = row->logits, .list = row->list};
    c.n_vocab = pipeline_wave_limits(p).n_vocab;
    shortlist made;
    uint32_t token, step = j->n_tokens - j->n_prompt, n_top = j->report.n_top;
    if (edits_first(r)) TRY(edit(j, &c, err));
    if (!c.list || edits_first(r)) make_list(j, &c, &made);
    TRY(choose(j, &c, &token, err));
    if (r->allows && !r->allows(r->context, token)) TRY(choose_again(j, &c, &token, err));
    if (r->report) sampler_describe(j->sampler, c.list, c.logits, token, &j->report);
    sampler_take(j->sampler, token);
    j->tokens[j->n_tokens++] = token;
    bool go_on = r->on_token(r->context, &(scheduler_token){step, token, report_of(j)});
    j->report.n_top = n_top; /* as many as there are of n_top were told */
    *ended = !go_on || step + 1 == r->max_tokens;
    *end = go_on ? SCHEDULER_LENGTH : SCHEDULER_STOPPED;
    return GPTOSS_OK;
}

/* ---- its end ---- */

void job_end(job *j, scheduler_end end, const gptoss_error *why) {
    double now = clock_seconds();
    scheduler_result result = {
        .end = end, .prompt_tokens = j->n_prompt, .cached_tokens = j->known, .generated = j->n_tokens - j->n_prompt};
    if (end == SCHEDULER_FAILED && why) result.error = *why;
    result.queued_seconds = (j->admitted > 0 ? j->admitted : now) - j->submitted;
    if (j->admitted > 0) result.prompt_seconds = (j->read > 0 ? j->read : now) - j->admitted;
    if (j->read > 0) result.generation_seconds = now - j->read;
    j->request.on_end(j->request.context, &result);
    job_close(j);
}
