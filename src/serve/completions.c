/* POST /v1/completions: prompts without a conversation, each wrapped into one of a single question unless it is meant
 * to be raw. */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/mem.h"
#include "base/utf8.h"
#include "serve/answer_options.h"
#include "serve/chat_answer.h"
#include "serve/reply.h"
#include "serve/routes.h"
#include "serve/sse.h"

static const double SILENCE_SECONDS = 10;

typedef struct completion_choice {
    buffer text;
    json_list tokens, token_logprobs, top_logprobs, offsets; /* if they were asked for; so is ... */
    json_list telemetry;
    size_t offset; /* characters before the next token, those of an echo among them */
    const char *finish;
    double score; /* mean log probability of its tokens, where the best are wanted */
    bool told;
} completion_choice;

typedef struct completion {
    server *server;
    cJSON *body;
    answer_options options;
    const char *model;
    bool harmony, wrapped, echo, logprobs; /* wrapped: a prompt became a conversation */
    constraint *constraint;                /* of answers to those, or NULL */
    uint32_t n_top;
    uint32_t tries;  /* answers to each prompt, of which the n best are told */
    tokens *prompts; /* [count] */
    buffer *echoes;  /* [count] texts of the prompts, for echo */
    uint32_t count;
    reply reply;
    chat_heading heading;
    chat_usage usage;
    completion_choice *choices; /* [count * tries] */
    buffer *out;                /* where chunks go */
    bool begun;
} completion;

static uint32_t choice_count(const completion *c) { return c->count * c->tries; }

static void completion_close(void *context) {
    completion *c = context;
    reply_close(&c->reply);
    constraint_close(c->constraint);
    for (uint32_t i = 0; c->choices && i < choice_count(c); i++) {
        completion_choice *k = &c->choices[i];
        buffer_free(&k->text);
        json_list_free(&k->tokens);
        json_list_free(&k->token_logprobs);
        json_list_free(&k->top_logprobs);
        json_list_free(&k->offsets);
        json_list_free(&k->telemetry);
    }
    for (uint32_t i = 0; c->prompts && i < c->count; i++) tokens_free(&c->prompts[i]);
    for (uint32_t i = 0; c->echoes && i < c->count; i++) buffer_free(&c->echoes[i]);
    free(c->choices);
    free(c->prompts);
    free(c->echoes);
    answer_options_free(&c->options);
    cJSON_Delete(c->body);
    free(c);
}

/* ---- prompts ---- */

static gptoss_status wrap(completion *c, const char *text, tokens *out, failure *why) {
    char date[11];
    time_t now = time(NULL);
    struct tm local;
    localtime_r(&now, &local);
    strftime(date, sizeof date, "%Y-%m-%d", &local);
    const harmony_message user = {.role = HARMONY_USER, .text = text, .size = strlen(text)};
    c->wrapped = true;
    const harmony_prompt prompt = {.date = date, .effort = HARMONY_MEDIUM, .messages = &user, .message_count = 1};
    return harmony_render(c->server->model.harmony, &prompt, out, &why->error);
}

static gptoss_status read_text_prompt(completion *c, uint32_t at, const char *text, failure *why) {
    if (!text[0]) return failure_field(why, "prompt", "prompt is empty");
    TRY(buffer_append_text(&c->echoes[at], text, &why->error));
    if (c->harmony) return wrap(c, text, &c->prompts[at], why);
    return tokenizer_encode(c->server->model.tokenizer, text, strlen(text), &c->prompts[at], &why->error);
}

/* Ids are used as they are: nothing is wrapped around them. */
static gptoss_status read_id_prompt(completion *c, uint32_t at, const cJSON *ids, failure *why) {
    const tokenizer *t = c->server->model.tokenizer;
    buffer bytes = {0};
    gptoss_status status = GPTOSS_OK;
    for (const cJSON *item = ids->child; item && status == GPTOSS_OK; item = item->next) {
        double value = cJSON_IsNumber(item) ? item->valuedouble : -1;
        uint32_t id = value >= 0 && value < tokenizer_count(t) ? (uint32_t)value : UINT32_MAX;
        if (id != value)
            status = failure_field(why, "prompt", "prompt must hold token ids from 0 to %u", tokenizer_count(t) - 1);
        else
            status = tokens_add(&c->prompts[at], id, &why->error);
        if (status == GPTOSS_OK) status = tokenizer_decode(t, &id, 1, &bytes, &why->error);
    }
    if (status == GPTOSS_OK && bytes.size > 0)
        status = utf8_repair_text(bytes.data, bytes.size, &c->echoes[at], &why->error);
    buffer_free(&bytes);
    return status;
}

static gptoss_status read_prompts(completion *c, failure *why) {
    const cJSON *prompt = json_input_get(c->body, "prompt");
    const char *mixed = "prompt must hold either texts or token ids, not both";
    if (!prompt) return failure_field(why, "prompt", "prompt is missing");
    bool list = cJSON_IsArray(prompt) && prompt->child && !cJSON_IsNumber(prompt->child); /* of prompts */
    int count = list ? cJSON_GetArraySize(prompt) : 1;
    if (count > REPLY_TURNS || (uint32_t)count * c->tries > REPLY_TURNS)
        return failure_field(why, "prompt", "%d prompts with %u answers each make more than %d answers", count,
                             c->tries, REPLY_TURNS);
    TRY(mem_array((size_t)count, sizeof *c->prompts, "prompts", &c->prompts, &why->error));
    c->count = (uint32_t)count;
    TRY(mem_array((size_t)count, sizeof *c->echoes, "prompts", &c->echoes, &why->error));
    uint32_t at = 0;
    for (const cJSON *item = list ? prompt->child : prompt; item && at < c->count; item = item->next, at++) {
        if (cJSON_IsString(item) && at > 0 && c->harmony && !c->wrapped)
            return failure_field(why, "prompt", "%s", mixed);
        if (cJSON_IsString(item))
            TRY(read_text_prompt(c, at, item->valuestring, why));
        else if (cJSON_IsArray(item) && item->child && c->wrapped)
            return failure_field(why, "prompt", "%s", mixed);
        else if (cJSON_IsArray(item) && item->child)
            TRY(read_id_prompt(c, at, item, why));
        else
            return failure_field(why, "prompt",
                                 "prompt must be a string, token ids, or an array of these, none of them empty");
    }
    return GPTOSS_OK;
}

static gptoss_status read_best_of(completion *c, failure *why) {
    int64_t best_of = c->options.n;
    TRY(json_input_integer(c->body, "", "best_of", 1, ANSWER_CHOICES, &best_of, why));
    if (best_of < c->options.n)
        return failure_field(why, "best_of", "best_of is %d, but of so many answers n %u cannot be the best",
                             (int)best_of, c->options.n);
    if (best_of > c->options.n && c->options.stream)
        return failure_field(why, "best_of", "best_of cannot be streamed: the best are known at the end alone");
    c->tries = (uint32_t)best_of;
    return GPTOSS_OK;
}

static gptoss_status read_request(completion *c, failure *why) {
    int64_t top = -1;
    const cJSON *body = c->body;
    c->harmony = !c->server->config.no_harmony;
    TRY(json_input_string(body, "", "model", &c->model, why));
    TRY(answer_options_read(body, tokenizer_count(c->server->model.tokenizer), &c->options, why));
    TRY(json_input_bool(body, "", "harmony", &c->harmony, why));
    TRY(json_input_bool(body, "", "echo", &c->echo, why));
    TRY(json_input_integer(body, "", "logprobs", 0, TURN_TOP, &top, why));
    TRY(read_best_of(c, why));
    if (json_input_get(body, "suffix"))
        return failure_field(why, "suffix", "suffix is not supported: the model was not made to fill gaps");
    c->logprobs = top >= 0;
    c->n_top = top > 0 ? (uint32_t)top : 0;
    TRY(models_check(c->server, c->model, why));
    TRY(models_check_engine(c->server, body, why));
    return read_prompts(c, why);
}

/* ---- what the model writes ---- */

/* Adds a candidate, unless there is one of the same text. */
static void add_likely(cJSON *top, const cJSON *candidate) {
    const char *token = cJSON_GetStringValue(cJSON_GetObjectItem(candidate, "token"));
    if (!cJSON_GetObjectItemCaseSensitive(top, token))
        cJSON_AddNumberToObject(top, token, cJSON_GetNumberValue(cJSON_GetObjectItem(candidate, "logprob")));
}

static gptoss_status add_logprob(completion *c, completion_choice *k, const letter *l, gptoss_error *err) {
    turn_logprob p = turn_read_logprob(l);
    cJSON *whole = chat_logprob_json(c->server->model.tokenizer, &p, c->n_top);
    cJSON *top = cJSON_CreateObject(), *item;
    cJSON_ArrayForEach(item, cJSON_GetObjectItem(whole, "top_logprobs")) add_likely(top, item);
    add_likely(top, whole); /* what was chosen is always there */
    gptoss_status status = json_list_add(&k->offsets, cJSON_CreateNumber((double)k->offset), err);
    k->offset += utf8_count(cJSON_GetStringValue(cJSON_GetObjectItem(whole, "token")));
    if (status == GPTOSS_OK) status = json_list_add(&k->tokens, cJSON_DetachItemFromObject(whole, "token"), err);
    if (status == GPTOSS_OK)
        status = json_list_add(&k->token_logprobs, cJSON_DetachItemFromObject(whole, "logprob"), err);
    cJSON_Delete(whole);
    if (status == GPTOSS_OK) return json_list_add(&k->top_logprobs, top, err);
    cJSON_Delete(top);
    return status;
}

static gptoss_status add_telemetry(completion *c, completion_choice *k, const letter *l, gptoss_error *err) {
    turn_logprob p = turn_read_logprob(l);
    return json_list_add(&k->telemetry, chat_telemetry_json(c->server->model.tokenizer, &p), err);
}

/* Takes the choice's logprobs. */
static cJSON *logprobs_json(completion_choice *k) {
    cJSON *whole = cJSON_CreateObject();
    cJSON_AddItemToObject(whole, "tokens", json_list_take(&k->tokens));
    cJSON_AddItemToObject(whole, "token_logprobs", json_list_take(&k->token_logprobs));
    cJSON_AddItemToObject(whole, "top_logprobs", json_list_take(&k->top_logprobs));
    cJSON_AddItemToObject(whole, "text_offset", json_list_take(&k->offsets));
    return whole;
}

static cJSON *choice_json(const completion *c, completion_choice *k, uint32_t index, const char *text,
                          const char *finish) {
    cJSON *choice = cJSON_CreateObject();
    cJSON_AddNumberToObject(choice, "index", index);
    cJSON_AddStringToObject(choice, "text", text);
    cJSON_AddItemToObject(choice, "logprobs",
                          c->logprobs && !json_list_is_empty(&k->tokens) ? logprobs_json(k) : cJSON_CreateNull());
    if (!json_list_is_empty(&k->telemetry)) cJSON_AddItemToObject(choice, "telemetry", json_list_take(&k->telemetry));
    cJSON_AddItemToObject(choice, "finish_reason", finish ? cJSON_CreateString(finish) : cJSON_CreateNull());
    return choice;
}

static cJSON *object_json(const completion *c) {
    cJSON *whole = cJSON_CreateObject();
    cJSON_AddStringToObject(whole, "id", c->heading.id);
    cJSON_AddStringToObject(whole, "object", "text_completion");
    cJSON_AddNumberToObject(whole, "created", (double)c->heading.created);
    cJSON_AddStringToObject(whole, "model", c->heading.model);
    return whole;
}

static gptoss_status write_chunk(completion *c, uint32_t index, const char *text, const char *finish,
                                 gptoss_error *err) {
    cJSON *whole = object_json(c);
    cJSON_AddItemToArray(cJSON_AddArrayToObject(whole, "choices"),
                         choice_json(c, &c->choices[index], index, text, finish));
    if (c->heading.with_usage) cJSON_AddNullToObject(whole, "usage");
    return sse_data(whole, c->out, err);
}

/* In streams text waits for the log probability of its token, where these are wanted, to be told with it. */
static gptoss_status write_held(completion *c, uint32_t index, const char *finish, gptoss_error *err) {
    buffer *held = &c->choices[index].text;
    gptoss_status status = write_chunk(c, index, held->data ? held->data : "", finish, err);
    buffer_clear(held);
    return status;
}

/* Reasoning and calls of tools have no place in a completion. */
static gptoss_status on_letter(void *context, const letter *l, gptoss_error *err) {
    completion *c = context;
    completion_choice *k = &c->choices[l->sender];
    if (l->kind == TURN_LOGPROB) {
        TRY(add_logprob(c, k, l, err));
        return c->options.stream ? write_held(c, l->sender, NULL, err) : GPTOSS_OK;
    }
    if (l->kind == TURN_TELEMETRY) return add_telemetry(c, k, l, err);
    if (l->kind != TURN_CONTENT) return GPTOSS_OK;
    if (c->options.stream && !c->logprobs) return write_chunk(c, l->sender, l->data, NULL, err);
    return buffer_append(&k->text, l->data, l->size, err);
}

static gptoss_status on_end(void *context, uint32_t sender, const turn_end *end, gptoss_error *err) {
    completion *c = context;
    chat_usage_add(&c->usage, end, sender % c->tries > 0);
    c->choices[sender].finish = end->finish;
    if (end->answer_tokens > 0) c->choices[sender].score = end->logprob / end->answer_tokens;
    return c->options.stream ? write_held(c, sender, end->finish, err) : GPTOSS_OK;
}

/* ---- from the request to the answer ---- */

/* Keeps headers well formed, where it is known that the answer begins with one. */
static gptoss_status open_constraint(completion *c, failure *why) {
    const server *s = c->server;
    const constraint_rules rules = {.parallel = true};
    if (!c->wrapped || s->config.free_headers) return GPTOSS_OK;
    return constraint_open(s->model.harmony, s->model.masks, &rules, &c->constraint, &why->error);
}

static gptoss_status begin_turns(completion *c, exchange *x, failure *why) {
    const server *s = c->server;
    const reply_reader reader = {c, on_letter, on_end};
    TRY(mem_array(choice_count(c), sizeof *c->choices, "an answer", &c->choices, &why->error));
    for (uint32_t i = 0; c->echo && i < choice_count(c); i++)
        c->choices[i].offset = utf8_count(c->echoes[i / c->tries].data);
    TRY(open_constraint(c, why));
    TRY(reply_open(x, choice_count(c), reader, &c->reply, why));
    for (uint32_t i = 0; i < choice_count(c); i++) {
        const tokens *prompt = &c->prompts[i / c->tries];
        turn_plan plan = {.prompt = prompt->ids,
                          .n_prompt = (uint32_t)prompt->count,
                          .sampling = c->options.sampling,
                          .scored = c->tries > c->options.n,
                          .logprobs = c->logprobs,
                          .n_top = c->n_top,
                          .telemetry = c->options.telemetry,
                          .n_candidates = c->options.n_candidates,
                          .stops = c->options.stops,
                          .stop_count = c->options.stop_count,
                          .tokenizer = s->model.tokenizer,
                          .harmony = c->harmony ? s->model.harmony : NULL,
                          .constraint = c->constraint};
        plan.sampling.seed += i % c->tries;
        TRY(answer_options_room(&c->options, prompt->count, s->model.positions, s->config.answer_tokens, "prompt",
                                "max_tokens", &plan.max_tokens, why));
        TRY(reply_begin(&c->reply, &plan, why));
    }
    return GPTOSS_OK;
}

/* Of the answers to a prompt that were not told yet, the one whose tokens were the likeliest in the mean; the first of
 * those that are alike. */
static completion_choice *take_best(completion *c, uint32_t prompt) {
    completion_choice *best = NULL, *all = &c->choices[prompt * c->tries];
    for (uint32_t i = 0; i < c->tries; i++)
        if (!all[i].told && (!best || all[i].score > best->score)) best = &all[i];
    best->told = true;
    return best;
}

static gptoss_status answer_whole(completion *c, exchange *x, failure *why) {
    switch (reply_wait(&c->reply, why)) {
    case REPLY_COMPLETE: break;
    case REPLY_GONE: return failure_set(why, 499, NULL, NULL, "the client went away");
    default: return why->error.status;
    }
    cJSON *whole = object_json(c), *list = cJSON_AddArrayToObject(whole, "choices");
    for (uint32_t i = 0; i < c->count * c->options.n; i++) {
        buffer text = {0};
        const buffer *echo = &c->echoes[i / c->options.n];
        completion_choice *k = take_best(c, i / c->options.n);
        gptoss_status status = c->echo ? buffer_append(&text, echo->data, echo->size, &why->error) : GPTOSS_OK;
        if (status == GPTOSS_OK) status = buffer_append(&text, k->text.data, k->text.size, &why->error);
        if (status == GPTOSS_OK)
            cJSON_AddItemToArray(list, choice_json(c, k, i, text.data ? text.data : "", k->finish));
        buffer_free(&text);
    }
    cJSON_AddItemToObject(whole, "usage", chat_usage_json(&c->usage));
    return exchange_answer_json(x, 200, whole, why);
}

static bool begin_stream(completion *c) {
    gptoss_error err;
    c->begun = true;
    for (uint32_t i = 0; c->echo && i < choice_count(c); i++)
        if (write_chunk(c, i, c->echoes[i / c->tries].data, NULL, &err) != GPTOSS_OK) return false;
    return true;
}

static void end_stream(completion *c) {
    gptoss_error err;
    if (c->options.include_usage) {
        cJSON *whole = object_json(c);
        cJSON_AddArrayToObject(whole, "choices");
        cJSON_AddItemToObject(whole, "usage", chat_usage_json(&c->usage));
        sse_data(whole, c->out, &err);
    }
    sse_done(c->out, &err);
}

static bool stream_more(void *context, buffer *out) {
    completion *c = context;
    failure why = {0};
    c->out = out;
    if (!c->begun && !begin_stream(c)) return false;
    switch (reply_step(&c->reply, SILENCE_SECONDS, &why)) {
    case REPLY_GOES_ON: return true;
    case REPLY_SILENCE: return sse_comment(out, &why.error) == GPTOSS_OK;
    case REPLY_COMPLETE: end_stream(c); return false;
    case REPLY_GONE: return false;
    default: sse_data(failure_json(&why), out, &why.error); return false;
    }
}

gptoss_status route_completions(exchange *x, const char *rest, failure *why) {
    cJSON *body;
    completion *c;
    (void)rest;
    TRY(json_input_parse(&x->body, &body, why));
    if (mem_array(1, sizeof *c, "a request", &c, &why->error) != GPTOSS_OK) {
        cJSON_Delete(body);
        return GPTOSS_NO_MEMORY;
    }
    *c = (completion){.server = x->server, .body = body};
    gptoss_status status = read_request(c, why);
    c->heading = (chat_heading){.model = c->model ? c->model : x->server->model.name,
                                .created = time(NULL),
                                .with_usage = c->options.include_usage};
    chat_answer_new_id("cmpl-", c->heading.id);
    if (status == GPTOSS_OK) status = begin_turns(c, x, why);
    if (status == GPTOSS_OK && c->options.stream) {
        const exchange_stream stream = {c, stream_more, completion_close};
        status = exchange_answer_stream(x, &stream, why);
        if (status == GPTOSS_OK) return status;
    } else if (status == GPTOSS_OK) {
        status = answer_whole(c, x, why);
    }
    completion_close(c);
    return status;
}
