#include "serve/turn.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "text/harmony_borders.h"

turn_logprob turn_read_logprob(const letter *l) {
    turn_logprob p;
    memcpy(&p, l->data, sizeof p);
    return p;
}

static gptoss_status put(turn *t, turn_letter kind, const void *data, size_t size, gptoss_error *err) {
    return mailbox_put(t->mailbox, kind, t->sender, data, size, err);
}

/* ---- text ---- */

/* For its reader, who makes JSON of it, a NUL would be the end. */
static gptoss_status put_text(turn *t, turn_letter kind, const char *text, size_t size, gptoss_error *err) {
    buffer whole = {0};
    if (size == 0 || !memchr(text, '\0', size)) return put(t, kind, text, size, err);
    gptoss_status status = utf8_repair_text(text, size, &whole, err);
    if (status == GPTOSS_OK) status = put(t, kind, whole.data, whole.size, err);
    buffer_free(&whole);
    return status;
}

static gptoss_status put_fresh(turn *t, gptoss_error *err) {
    return t->fresh.size > 0 ? put_text(t, TURN_CONTENT, t->fresh.data, t->fresh.size, err) : GPTOSS_OK;
}

static gptoss_status add_content(turn *t, const char *text, size_t size, gptoss_error *err) {
    buffer_clear(&t->fresh);
    TRY(stop_strings_add(&t->stops, text, size, &t->fresh, err));
    return put_fresh(t, err);
}

/* Text that was held back as the possible beginning of a stop string, once nothing can go on with it. */
static gptoss_status release_beginning(turn *t, gptoss_error *err) {
    buffer_clear(&t->fresh);
    TRY(stop_strings_end(&t->stops, &t->fresh, err));
    return put_fresh(t, err);
}

static gptoss_status begin_message(turn *t, const harmony_event *e, gptoss_error *err) {
    if (t->stops.hit) return GPTOSS_OK;
    if (t->plan.by_message) {
        TRY(release_beginning(t, err));
        TRY(put(t, TURN_MESSAGE, NULL, 0, err));
    }
    if (e->kind != HARMONY_TOOL_CALL) return GPTOSS_OK;
    TRY(release_beginning(t, err));
    const char *name = harmony_function_name(e->recipient);
    return put(t, TURN_CALL, name, strlen(name), err);
}

static gptoss_status on_event(void *context, const harmony_event *e, gptoss_error *err) {
    turn *t = context;
    bool joins = e->joins && !t->plan.by_message;
    if (e->type != HARMONY_EVENT_TEXT) {
        t->is_open = e->type == HARMONY_EVENT_BEGIN;
        t->open = e->kind;
        return t->is_open ? begin_message(t, e, err) : GPTOSS_OK;
    }
    if (t->stops.hit) return GPTOSS_OK;
    switch (e->kind) {
    case HARMONY_TOOL_CALL: return put_text(t, TURN_ARGUMENTS, e->text, e->size, err);
    case HARMONY_REASONING:
        if (joins) TRY(put(t, TURN_REASONING, "\n", 1, err));
        return put_text(t, TURN_REASONING, e->text, e->size, err);
    default:
        if (joins) TRY(add_content(t, "\n", 1, err));
        return add_content(t, e->text, e->size, err);
    }
}

static gptoss_status add_raw(turn *t, uint32_t token, gptoss_error *err) {
    size_t size;
    buffer whole = {0};
    const char *bytes = tokenizer_bytes(t->plan.tokenizer, token, &size);
    gptoss_status status = utf8_stream_add(&t->raw, bytes, size, &whole, err);
    if (status == GPTOSS_OK) status = add_content(t, whole.data, whole.size, err);
    buffer_free(&whole);
    return status;
}

static gptoss_status put_report(turn *t, turn_letter kind, const scheduler_token *token, uint32_t n_top,
                                gptoss_error *err) {
    const sampler_report *r = token->report;
    turn_logprob l = {.chosen = {token->token, r->logprob}, .entropy = r->entropy};
    l.n_top = r->n_top < n_top ? r->n_top : n_top;
    if (l.n_top > 0) memcpy(l.top, r->top, l.n_top * sizeof *l.top);
    return put(t, kind, &l, sizeof l, err);
}

static gptoss_status put_logprob(turn *t, const scheduler_token *token, gptoss_error *err) {
    return put_report(t, TURN_LOGPROB, token, t->plan.n_top, err);
}

/* ---- calls of the scheduler ---- */

static bool in_mask(const turn *t, uint32_t token) {
    return token / 64 < t->mask_words && token_mask_has(t->mask, token);
}

/* The rules are followed as far as they go: a model that could break them is never the reason to fail. */
static bool allows(void *context, uint32_t token) {
    turn *t = context;
    gptoss_error err;
    if (!constraint_runs_short(t->constraint) && constraint_allows(t->constraint, token)) return true;
    if (constraint_mask(t->constraint, t->mask, &err) != GPTOSS_OK || in_mask(t, token)) return true;
    if (constraint_runs_short(t->constraint)) {
        /* Whether the model would go on, and may not for lack of tokens alone. */
        constraint_mask_unlimited(t->constraint, t->mask, &err);
        t->cut_short |= in_mask(t, token);
        constraint_mask(t->constraint, t->mask, &err);
    }
    return false;
}

/* For a token that was not allowed: the mask is there. */
static void edit_logits(void *context, float *logits) {
    const turn *t = context;
    for (uint32_t i = 0; i < t->n_vocab; i++)
        if (!in_mask(t, i)) logits[i] = -INFINITY;
}

static gptoss_status take(turn *t, const scheduler_token *token, bool *go_on, gptoss_error *err) {
    const tokenizer *text = t->plan.tokenizer;
    if (t->constraint) {
        gptoss_error ignored;
        constraint_accept(t->constraint, token->token, &ignored);
    }
    if (token->step == 0) t->first_token = clock_seconds();
    if (token->report) t->logprob += (double)token->report->logprob;
    if (t->plan.telemetry) TRY(put_report(t, TURN_TELEMETRY, token, t->plan.n_candidates, err));
    if (!t->parser) {
        bool over = tokenizer_ends_text(text, token->token);
        if (!over && t->plan.logprobs) TRY(put_logprob(t, token, err));
        if (!over) TRY(add_raw(t, token->token, err));
        *go_on = !over && !t->stops.hit;
        return GPTOSS_OK;
    }
    bool was_content = t->is_open && t->open == HARMONY_CONTENT;
    bool was_reasoning = t->is_open && t->open == HARMONY_REASONING;
    TRY(harmony_parser_feed(t->parser, token->token, err));
    bool special = tokenizer_is_special(text, token->token);
    if (t->plan.logprobs && was_content && !special) TRY(put_logprob(t, token, err));
    t->reasoning_tokens += was_reasoning;
    *go_on = !harmony_parser_done(t->parser) && !t->stops.hit;
    return GPTOSS_OK;
}

static void on_progress(void *context, uint32_t done) {
    turn *t = context;
    (void)done;
    if (t->working || t->error.status != GPTOSS_OK) return;
    t->working = true;
    put(t, TURN_WORK, NULL, 0, &t->error);
}

static bool on_token(void *context, const scheduler_token *token) {
    turn *t = context;
    bool go_on = false;
    if (t->error.status != GPTOSS_OK || take(t, token, &go_on, &t->error) != GPTOSS_OK) return false;
    return go_on;
}

/* A client that reads slower than the model writes makes this turn wait, and no other. */
static bool has_room(void *context) { return !mailbox_is_full(((turn *)context)->mailbox); }

/* Text that waited for more to come. */
static gptoss_status release_held_text(turn *t, gptoss_error *err) {
    if (t->stops.hit) return GPTOSS_OK;
    if (t->parser) {
        TRY(harmony_parser_finish(t->parser, err));
    } else {
        buffer tail = {0};
        gptoss_status status = utf8_stream_end(&t->raw, &tail, err);
        if (status == GPTOSS_OK) status = add_content(t, tail.data, tail.size, err);
        buffer_free(&tail);
        TRY(status);
    }
    return t->stops.hit ? GPTOSS_OK : release_beginning(t, err);
}

static const char *finish_reason(const turn *t, scheduler_end end) {
    if (t->stops.hit) return "stop";
    if (t->cut_short) return "length"; /* brought to a valid end, but not to the model's own */
    if (end == SCHEDULER_LENGTH) return t->parser ? harmony_finish_name(harmony_parser_result(t->parser)) : "length";
    return t->parser ? harmony_finish_name(harmony_parser_result(t->parser)) : "stop";
}

static void on_end(void *context, const scheduler_result *r) {
    turn *t = context;
    gptoss_error *err = &t->error;
    if (r->end == SCHEDULER_FAILED && err->status == GPTOSS_OK) *err = r->error;
    if (r->end == SCHEDULER_CANCELLED && err->status == GPTOSS_OK)
        error_set(err, GPTOSS_CANCELLED, "the answer was given up, since the server is stopping");
    if (err->status == GPTOSS_OK) release_held_text(t, err);
    t->end = (turn_end){.prompt_tokens = r->prompt_tokens,
                        .cached_tokens = r->cached_tokens,
                        .answer_tokens = r->generated,
                        .reasoning_tokens = t->reasoning_tokens,
                        .first_token_seconds = t->first_token > 0 ? t->first_token - t->submitted : 0,
                        .seconds = clock_seconds() - t->submitted,
                        .logprob = t->logprob,
                        .failed = err->status != GPTOSS_OK,
                        .error = *err};
    t->end.finish = t->end.failed ? "stop" : finish_reason(t, r->end);
    if (t->parser) t->end.recoveries = *harmony_parser_recoveries(t->parser);
    mailbox_end(t->mailbox, t->sender); /* from here on *t is its reader's */
}

/* ---- beginning and end ---- */

static gptoss_status prepare(turn *t, const token_mask *masks, gptoss_error *err) {
    const turn_plan *plan = &t->plan;
    t->stops = (stop_strings){.items = plan->stops, .count = plan->stop_count};
    if (plan->harmony) {
        TRY(harmony_parser_open(plan->harmony, on_event, t, &t->parser, err));
        harmony_parser_offer(t->parser, plan->functions, plan->function_count);
    }
    if (!plan->constraint) return GPTOSS_OK;
    TRY(constraint_clone(plan->constraint, &t->constraint, err));
    if (plan->must_fit) constraint_limit(t->constraint, plan->max_tokens);
    t->mask_words = (uint32_t)masks->words;
    return mem_array(masks->words, sizeof *t->mask, "a token mask", &t->mask, err);
}

gptoss_status turn_begin(const turn_plan *plan, const token_mask *masks, scheduler *s, uint32_t n_vocab, mailbox *m,
                         uint32_t sender, turn *out, gptoss_error *err) {
    *out = (turn){.plan = *plan, .mailbox = m, .sender = sender, .scheduler = s, .n_vocab = n_vocab};
    gptoss_status status = prepare(out, masks, err);
    const harmony_borders borders = harmony_borders_find(plan->tokenizer, plan->prompt, plan->n_prompt);
    const scheduler_request request = {.prompt = plan->prompt,
                                       .n_prompt = plan->n_prompt,
                                       .max_tokens = plan->max_tokens,
                                       .sampling = plan->sampling,
                                       .report = plan->scored || plan->logprobs || plan->telemetry,
                                       .n_top = plan->n_top > plan->n_candidates ? plan->n_top : plan->n_candidates,
                                       .not_cached = plan->not_cached,
                                       .borders = borders.positions,
                                       .n_borders = borders.count,
                                       .message_start = borders.start,
                                       .context = out,
                                       .allows = out->constraint ? allows : NULL,
                                       .edit_logits = out->constraint ? edit_logits : NULL,
                                       .has_room = has_room,
                                       .on_token = on_token,
                                       .on_progress = plan->by_message ? on_progress : NULL,
                                       .on_end = on_end};
    out->submitted = clock_seconds();
    if (status == GPTOSS_OK) status = scheduler_submit(s, &request, &out->id, err);
    if (status != GPTOSS_OK) turn_close(out);
    return status;
}

void turn_cancel(turn *t) { scheduler_cancel(t->scheduler, t->id); }

void turn_close(turn *t) {
    harmony_parser_close(t->parser);
    constraint_close(t->constraint);
    free(t->mask);
    stop_strings_free(&t->stops);
    buffer_free(&t->fresh);
}
