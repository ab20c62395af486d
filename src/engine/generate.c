#include "engine/generate.h"

#include <errno.h>

#include "engine/scheduler.h"

/* The one request of a scheduler of its own. */
typedef struct monologue {
    const generate_request *request;
    uint32_t n_vocab;
    scheduler *scheduler;
    uint64_t id;
    generate_result *result;
    gptoss_status status; /* of what went wrong in a call */
    gptoss_error *err;
} monologue;

static bool on_token(void *context, const scheduler_token *t) {
    const monologue *m = context;
    return m->request->on_token(m->request->context, t->step, t->token, t->report);
}

static void on_progress(void *context, uint32_t done) {
    const monologue *m = context;
    if (m->request->on_progress) m->request->on_progress(m->request->context, done);
}

static void dump_logits(void *context, uint32_t position, uint32_t rows, const float *logits) {
    monologue *m = context;
    (void)position;
    if (m->status != GPTOSS_OK || fwrite(logits, sizeof *logits * m->n_vocab, rows, m->request->dump) == rows) return;
    m->status = error_set_errno(m->err, GPTOSS_IO, errno, "cannot write the logits");
    scheduler_cancel(m->scheduler, m->id);
}

static void on_end(void *context, const scheduler_result *r) {
    monologue *m = context;
    *m->result = (generate_result){.generated = r->generated,
                                   .cached = r->cached_tokens,
                                   .stopped = r->end == SCHEDULER_STOPPED,
                                   .prompt_seconds = r->prompt_seconds,
                                   .seconds = r->prompt_seconds + r->generation_seconds};
    if (r->end != SCHEDULER_FAILED || m->status != GPTOSS_OK) return;
    m->status = r->error.status;
    if (m->err) *m->err = r->error;
}

gptoss_status generate(pipeline *p, const generate_request *request, generate_result *result, gptoss_error *err) {
    monologue m = {.request = request,
                   .n_vocab = pipeline_wave_limits(p).n_vocab,
                   .result = result,
                   .err = err,
                   .status = GPTOSS_OK};
    const scheduler_config config = {
        .waiting = 1, .chunk = request->chunk, .resume_points = request->resume_points, .kept = request->kept};
    const scheduler_request r = {.prompt = request->prompt,
                                 .n_prompt = request->n_prompt,
                                 .max_tokens = request->max_tokens,
                                 .sampling = request->sampling,
                                 .borders = request->borders,
                                 .n_borders = request->n_borders,
                                 .message_start = request->message_start,
                                 .report = request->report,
                                 .n_top = request->n_top,
                                 .context = &m,
                                 .on_token = on_token,
                                 .on_progress = on_progress,
                                 .on_logits = request->dump ? dump_logits : NULL,
                                 .on_end = on_end};
    *result = (generate_result){0};
    TRY(scheduler_open(p, &config, &m.scheduler, err));
    gptoss_status status = scheduler_submit(m.scheduler, &r, &m.id, err);
    scheduler_finish(m.scheduler);
    if (status == GPTOSS_OK) status = scheduler_run(m.scheduler, err);
    if (status == GPTOSS_OK && m.status == GPTOSS_OK && request->snapshot)
        status = scheduler_snapshot(m.scheduler, request->snapshot, err);
    scheduler_close(m.scheduler);
    return status == GPTOSS_OK ? m.status : status;
}
