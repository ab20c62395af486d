/* POST /v1/chat/completions and /apply-template: from a conversation to the model's next turn, or to its prompt. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/mem.h"
#include "serve/chat_answer.h"
#include "serve/chat_request.h"
#include "serve/reply.h"
#include "serve/routes.h"
#include "serve/sse.h"

static const double SILENCE_SECONDS = 10; /* then a comment goes down the stream */

/* One request, from its body to the last byte of the answer. */
typedef struct chat {
    server *server;
    chat_request request;
    tokens prompt;
    constraint *constraint;
    reply reply;
    chat_heading heading;
    chat_usage usage;
    uint32_t ended;
    chat_choice *choices; /* [n] of an answer that comes whole */
    size_t *calls;        /* [n] of one that comes in chunks */
    buffer *out;          /* where its chunks go */
    bool begun;
} chat;

static void chat_close(void *context) {
    chat *c = context;
    uint32_t n = c->request.options.n;
    reply_close(&c->reply);
    constraint_close(c->constraint);
    for (uint32_t i = 0; c->choices && i < n; i++) chat_choice_free(&c->choices[i]);
    free(c->choices);
    free(c->calls);
    tokens_free(&c->prompt);
    chat_request_free(&c->request);
    free(c);
}

/* ---- what the model writes ---- */

static gptoss_status collect_letter(void *context, const letter *l, gptoss_error *err) {
    chat *c = context;
    return chat_choice_add(&c->choices[l->sender], l, c->server->model.tokenizer, c->request.n_top, err);
}

static gptoss_status collect_end(void *context, uint32_t sender, const turn_end *end, gptoss_error *err) {
    chat *c = context;
    (void)err;
    c->choices[sender].finish = end->finish;
    chat_usage_add(&c->usage, end, c->ended++ > 0);
    return GPTOSS_OK;
}

static gptoss_status stream_letter(void *context, const letter *l, gptoss_error *err) {
    chat *c = context;
    return chat_chunk_letter(&c->heading, l, &c->calls[l->sender], c->server->model.tokenizer, c->request.n_top, c->out,
                             err);
}

static gptoss_status stream_end(void *context, uint32_t sender, const turn_end *end, gptoss_error *err) {
    chat *c = context;
    chat_usage_add(&c->usage, end, c->ended++ > 0);
    return chat_chunk_finish(&c->heading, sender, end->finish, c->out, err);
}

/* ---- from the request to the turns ---- */

static gptoss_status render(chat *c, failure *why) {
    const server_model *m = &c->server->model;
    return harmony_render(m->harmony, &c->request.prompt, &c->prompt, &why->error);
}

/* Otherwise an answer that is too long is cut off where it is. */
static bool must_fit(const constraint_rules *rules) {
    bool must_call = rules->choice == CONSTRAINT_REQUIRED || rules->choice == CONSTRAINT_NAMED;
    return rules->json || rules->schema || must_call;
}

/* Without wishes of the request, rules are there to keep headers well formed. */
static gptoss_status open_constraint(chat *c, uint32_t max_tokens, failure *why) {
    const constraint_rules *rules = &c->request.rules;
    const server_model *m = &c->server->model;
    bool wanted = rules->json || rules->schema || rules->choice != CONSTRAINT_AUTO || !rules->parallel;
    if (!wanted && c->server->config.free_headers) return GPTOSS_OK;
    gptoss_status status = constraint_open(m->harmony, m->masks, rules, &c->constraint, &why->error);
    if (status != GPTOSS_OK) {
        bool theirs = status == GPTOSS_BAD_INPUT || status == GPTOSS_MISUSE;
        snprintf(why->param, sizeof why->param, "%s", theirs ? rules->schema ? "response_format" : "tools" : "");
        return status;
    }
    uint64_t least = constraint_least(c->constraint);
    if (must_fit(rules) && least > max_tokens)
        return failure_field(
            why, "max_tokens",
            "the answer may have %u tokens, but needs room for %llu to have the form that was asked for", max_tokens,
            (unsigned long long)least);
    return GPTOSS_OK;
}

static gptoss_status begin_turns(chat *c, exchange *x, failure *why) {
    const server *s = c->server;
    const answer_options *o = &c->request.options;
    uint32_t max_tokens;
    TRY(render(c, why));
    TRY(answer_options_room(o, c->prompt.count, s->model.positions, s->config.answer_tokens, &max_tokens, why));
    TRY(open_constraint(c, max_tokens, why));
    turn_plan plan = {.prompt = c->prompt.ids,
                      .n_prompt = (uint32_t)c->prompt.count,
                      .max_tokens = max_tokens,
                      .sampling = o->sampling,
                      .logprobs = c->request.logprobs,
                      .n_top = c->request.n_top,
                      .stops = o->stops,
                      .stop_count = o->stop_count,
                      .tokenizer = s->model.tokenizer,
                      .harmony = s->model.harmony,
                      .functions = c->request.functions,
                      .function_count = c->request.prompt.function_count,
                      .constraint = c->constraint,
                      .must_fit = must_fit(&c->request.rules)};
    reply_reader whole = {c, collect_letter, collect_end}, chunks = {c, stream_letter, stream_end};
    TRY(mem_array(o->n, sizeof *c->choices, "an answer", &c->choices, &why->error));
    TRY(mem_array(o->n, sizeof *c->calls, "an answer", &c->calls, &why->error));
    TRY(reply_open(x, o->n, o->stream ? chunks : whole, &c->reply, why));
    for (uint32_t i = 0; i < o->n; i++, plan.sampling.seed++) TRY(reply_begin(&c->reply, &plan, why));
    return GPTOSS_OK;
}

/* ---- answers ---- */

static gptoss_status answer_whole(chat *c, exchange *x, failure *why) {
    switch (reply_wait(&c->reply, why)) {
    case REPLY_COMPLETE: break;
    case REPLY_GONE: return failure_set(why, 499, NULL, NULL, "the client went away"); /* nobody will read it */
    default: return why->error.status;
    }
    const chat_request *r = &c->request;
    cJSON *whole = chat_answer_json(&c->heading, c->choices, r->options.n, r->logprobs, &c->usage);
    return exchange_answer_json(x, 200, whole, why);
}

static gptoss_status begin_stream(chat *c, buffer *out, gptoss_error *err) {
    for (uint32_t i = 0; i < c->request.options.n && !c->begun; i++) TRY(chat_chunk_begin(&c->heading, i, out, err));
    c->begun = true;
    return GPTOSS_OK;
}

static gptoss_status end_stream(const chat *c, buffer *out, gptoss_error *err) {
    if (c->request.options.include_usage) TRY(chat_chunk_usage(&c->heading, &c->usage, out, err));
    return sse_done(out, err);
}

static bool stream_more(void *context, buffer *out) {
    chat *c = context;
    failure why = {0};
    if (!c->begun) return begin_stream(c, out, &why.error) == GPTOSS_OK;
    c->out = out;
    switch (reply_step(&c->reply, SILENCE_SECONDS, &why)) {
    case REPLY_GOES_ON: return true;
    case REPLY_SILENCE: return sse_comment(out, &why.error) == GPTOSS_OK;
    case REPLY_COMPLETE: end_stream(c, out, &why.error); return false;
    case REPLY_GONE: return false;
    default: sse_data(failure_json(&why), out, &why.error); return false;
    }
}

gptoss_status route_chat(exchange *x, const char *rest, failure *why) {
    cJSON *body;
    chat *c;
    (void)rest;
    TRY(json_input_parse(&x->body, &body, why));
    if (mem_array(1, sizeof *c, "a request", &c, &why->error) != GPTOSS_OK) {
        cJSON_Delete(body);
        return GPTOSS_NO_MEMORY;
    }
    c->server = x->server;
    gptoss_status status = chat_request_read(body, tokenizer_count(x->server->model.tokenizer), &c->request, why);
    if (status == GPTOSS_OK) status = models_check(x->server, c->request.model, why);
    c->heading = (chat_heading){.model = c->request.model ? c->request.model : x->server->model.name,
                                .created = time(NULL),
                                .with_usage = c->request.options.include_usage};
    chat_answer_new_id("chatcmpl-", c->heading.id);
    if (status == GPTOSS_OK) status = begin_turns(c, x, why);
    if (status == GPTOSS_OK && c->request.options.stream) {
        const exchange_stream stream = {c, stream_more, chat_close};
        status = exchange_answer_stream(x, &stream, why);
        if (status == GPTOSS_OK) return status; /* the stream closes it */
    } else if (status == GPTOSS_OK) {
        status = answer_whole(c, x, why);
    }
    chat_close(c);
    return status;
}

gptoss_status route_apply_template(exchange *x, const char *rest, failure *why) {
    cJSON *body;
    chat_request r;
    tokens ids = {0};
    buffer text = {0};
    (void)rest;
    TRY(json_input_parse(&x->body, &body, why));
    gptoss_status status = chat_request_read(body, tokenizer_count(x->server->model.tokenizer), &r, why);
    if (status == GPTOSS_OK) status = harmony_render(x->server->model.harmony, &r.prompt, &ids, &why->error);
    if (status == GPTOSS_OK) status = harmony_render_text(&r.prompt, &text, &why->error);
    if (status == GPTOSS_OK) {
        cJSON *whole = cJSON_CreateObject(), *list = cJSON_CreateArray();
        cJSON_AddStringToObject(whole, "prompt", text.data);
        for (size_t i = 0; i < ids.count; i++) cJSON_AddItemToArray(list, cJSON_CreateNumber(ids.ids[i]));
        cJSON_AddItemToObject(whole, "tokens", list);
        status = exchange_answer_json(x, 200, whole, why);
    }
    tokens_free(&ids);
    buffer_free(&text);
    chat_request_free(&r);
    return status;
}
