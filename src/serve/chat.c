/* POST /v1/chat/completions and /apply-template: from a conversation to the model's next turn, or to its prompt. */
#include <stdlib.h>
#include <time.h>

#include "base/mem.h"
#include "serve/chat_answer.h"
#include "serve/chat_request.h"
#include "serve/chat_turn.h"
#include "serve/reply.h"
#include "serve/routes.h"
#include "serve/sse.h"

static const double SILENCE_SECONDS = 10; /* then a comment goes down the stream */

/* One request, from its body to the last byte of the answer. */
typedef struct chat {
    server *server;
    chat_request request;
    chat_turn turn;
    reply reply;
    chat_heading heading;
    chat_usage usage;
    chat_choice *choices; /* [n] of an answer that comes whole */
    chat_flow *flows;     /* [n] of one that comes in chunks */
    buffer *out;          /* where its chunks go */
    bool begun;
} chat;

static void chat_close(void *context) {
    chat *c = context;
    uint32_t n = c->request.options.n;
    reply_close(&c->reply);
    for (uint32_t i = 0; c->choices && i < n; i++) chat_choice_free(&c->choices[i]);
    free(c->choices);
    for (uint32_t i = 0; c->flows && i < n; i++) buffer_free(&c->flows[i].held);
    free(c->flows);
    chat_turn_free(&c->turn);
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
    chat_usage_add(&c->usage, end, sender > 0);
    return GPTOSS_OK;
}

static gptoss_status stream_letter(void *context, const letter *l, gptoss_error *err) {
    chat *c = context;
    return chat_chunk_letter(&c->heading, l, &c->flows[l->sender], c->server->model.tokenizer, c->out, err);
}

static gptoss_status stream_end(void *context, uint32_t sender, const turn_end *end, gptoss_error *err) {
    chat *c = context;
    chat_usage_add(&c->usage, end, sender > 0);
    return chat_chunk_finish(&c->heading, sender, &c->flows[sender], end->finish, c->out, err);
}

/* ---- from the request to the turns ---- */

static gptoss_status begin_turns(chat *c, exchange *x, failure *why) {
    const answer_options *o = &c->request.options;
    TRY(chat_turn_plan(c->server, &c->request, &c->turn, why));
    turn_plan plan = c->turn.plan;
    reply_reader whole = {c, collect_letter, collect_end}, chunks = {c, stream_letter, stream_end};
    TRY(mem_array(o->n, sizeof *c->choices, "an answer", &c->choices, &why->error));
    TRY(mem_array(o->n, sizeof *c->flows, "an answer", &c->flows, &why->error));
    for (uint32_t i = 0; i < o->n; i++)
        c->flows[i] = (chat_flow){.logprobs = c->request.logprobs, .n_top = c->request.n_top};
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
    if (status == GPTOSS_OK) status = models_check_engine(x->server, body, why);
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
    cJSON *list;
    (void)rest;
    TRY(json_input_parse(&x->body, &body, why));
    gptoss_status status = chat_request_read(body, tokenizer_count(x->server->model.tokenizer), &r, why);
    if (status == GPTOSS_OK) status = harmony_render(x->server->model.harmony, &r.prompt, &ids, &why->error);
    if (status == GPTOSS_OK) status = harmony_render_text(&r.prompt, &text, &why->error);
    if (status == GPTOSS_OK) status = json_list_of_numbers(ids.ids, ids.count, &list, &why->error);
    tokens_free(&ids);
    if (status == GPTOSS_OK) {
        cJSON *whole = cJSON_CreateObject();
        cJSON_AddStringToObject(whole, "prompt", text.data);
        cJSON_AddItemToObject(whole, "tokens", list);
        status = exchange_answer_json(x, 200, whole, why);
    }
    buffer_free(&text);
    chat_request_free(&r);
    return status;
}
