#include "serve/chat_answer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/mem.h"
#include "serve/sse.h"

void chat_answer_new_id(const char *prefix, char out[ID_BYTES]) {
    enum { LETTERS = 24 };
    static const char letters[] = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    unsigned char random[LETTERS] = {0};
    ssize_t got = getrandom(random, sizeof random, 0);
    (void)got;
    int at = snprintf(out, ID_BYTES - LETTERS, "%s", prefix);
    for (int i = 0; i < LETTERS; i++) out[at + i] = letters[random[i] % (sizeof letters - 1)];
    out[at + LETTERS] = '\0';
}

/* ---- pieces ---- */

void chat_usage_add(chat_usage *u, const turn_end *end, bool same_prompt) {
    if (!same_prompt) {
        u->prompt += end->prompt_tokens;
        u->cached += end->cached_tokens;
    }
    u->answer += end->answer_tokens;
    u->reasoning += end->reasoning_tokens;
}

cJSON *chat_usage_json(const chat_usage *u) {
    cJSON *usage = cJSON_CreateObject();
    cJSON_AddNumberToObject(usage, "prompt_tokens", (double)u->prompt);
    cJSON_AddNumberToObject(usage, "completion_tokens", (double)u->answer);
    cJSON_AddNumberToObject(usage, "total_tokens", (double)(u->prompt + u->answer));
    cJSON_AddNumberToObject(cJSON_AddObjectToObject(usage, "prompt_tokens_details"), "cached_tokens",
                            (double)u->cached);
    cJSON_AddNumberToObject(cJSON_AddObjectToObject(usage, "completion_tokens_details"), "reasoning_tokens",
                            (double)u->reasoning);
    return usage;
}

static void add_candidate(cJSON *object, const tokenizer *t, sampler_candidate c) {
    static const double least = -9999; /* JSON has no infinity */
    size_t size;
    buffer text = {0};
    const char *bytes = tokenizer_bytes(t, c.token, &size);
    if (utf8_repair_text(bytes ? bytes : "", size, &text, NULL) == GPTOSS_OK)
        cJSON_AddStringToObject(object, "token", text.data ? text.data : "");
    buffer_free(&text);
    cJSON_AddNumberToObject(object, "logprob", (double)c.logprob < least ? least : (double)c.logprob);
}

static cJSON *candidate_json(const tokenizer *t, sampler_candidate c) {
    size_t size;
    const char *bytes = tokenizer_bytes(t, c.token, &size);
    cJSON *whole = cJSON_CreateObject(), *list = cJSON_CreateArray();
    add_candidate(whole, t, c);
    for (size_t i = 0; i < size; i++) cJSON_AddItemToArray(list, cJSON_CreateNumber((unsigned char)bytes[i]));
    cJSON_AddItemToObject(whole, "bytes", list);
    return whole;
}

cJSON *chat_logprob_json(const tokenizer *t, const turn_logprob *l, uint32_t n_top) {
    cJSON *whole = candidate_json(t, l->chosen), *top = cJSON_CreateArray();
    for (uint32_t i = 0; i < l->n_top && i < n_top; i++) cJSON_AddItemToArray(top, candidate_json(t, l->top[i]));
    cJSON_AddItemToObject(whole, "top_logprobs", top);
    return whole;
}

cJSON *chat_telemetry_json(const tokenizer *t, const turn_logprob *l) {
    cJSON *whole = cJSON_CreateObject();
    cJSON_AddNumberToObject(whole, "id", l->chosen.token);
    add_candidate(whole, t, l->chosen);
    cJSON_AddNumberToObject(whole, "entropy", l->entropy);
    cJSON *list = cJSON_AddArrayToObject(whole, "candidates");
    for (uint32_t i = 0; i < l->n_top; i++) {
        cJSON *candidate = cJSON_CreateObject();
        cJSON_AddNumberToObject(candidate, "id", l->top[i].token);
        add_candidate(candidate, t, l->top[i]);
        cJSON_AddItemToArray(list, candidate);
    }
    return whole;
}

static cJSON *begin_object(const chat_heading *h, const char *object) {
    cJSON *whole = cJSON_CreateObject();
    cJSON_AddStringToObject(whole, "id", h->id);
    cJSON_AddStringToObject(whole, "object", object);
    cJSON_AddNumberToObject(whole, "created", (double)h->created);
    cJSON_AddStringToObject(whole, "model", h->model);
    return whole;
}

static void add_text(cJSON *object, const char *name, const buffer *text) {
    cJSON_AddStringToObject(object, name, text->data ? text->data : "");
}

/* Under both of the names that programs look for, as servers of open models have it. */
static void add_reasoning(cJSON *object, const char *text) {
    cJSON_AddStringToObject(object, "reasoning_content", text);
    cJSON_AddStringToObject(object, "reasoning", text);
}

/* ---- whole ---- */

static gptoss_status add_call(chat_choice *c, const letter *l, gptoss_error *err) {
    TRY(mem_resize(&c->calls, c->call_count + 1, sizeof *c->calls, "tool calls", err));
    chat_call *call = &c->calls[c->call_count++];
    *call = (chat_call){0};
    chat_answer_new_id("call_", call->id);
    return buffer_append(&call->name, l->data, l->size, err);
}

gptoss_status chat_choice_add(chat_choice *c, const letter *l, const tokenizer *t, uint32_t n_top, gptoss_error *err) {
    switch ((turn_letter)l->kind) {
    case TURN_REASONING: return buffer_append(&c->reasoning, l->data, l->size, err);
    case TURN_CONTENT: return buffer_append(&c->content, l->data, l->size, err);
    case TURN_CALL: return add_call(c, l, err);
    case TURN_ARGUMENTS: return buffer_append(&c->calls[c->call_count - 1].arguments, l->data, l->size, err);
    default: break;
    }
    turn_logprob p = turn_read_logprob(l);
    if (l->kind == TURN_TELEMETRY) return json_list_add(&c->telemetry, chat_telemetry_json(t, &p), err);
    return json_list_add(&c->logprobs, chat_logprob_json(t, &p, n_top), err);
}

void chat_choice_free(chat_choice *c) {
    buffer_free(&c->reasoning);
    buffer_free(&c->content);
    for (size_t i = 0; i < c->call_count; i++) {
        buffer_free(&c->calls[i].name);
        buffer_free(&c->calls[i].arguments);
    }
    free(c->calls);
    json_list_free(&c->logprobs);
    json_list_free(&c->telemetry);
    *c = (chat_choice){0};
}

static cJSON *message_json(const chat_choice *c) {
    cJSON *message = cJSON_CreateObject();
    cJSON_AddStringToObject(message, "role", "assistant");
    if (c->content.size == 0 && c->call_count > 0)
        cJSON_AddNullToObject(message, "content");
    else
        add_text(message, "content", &c->content);
    cJSON_AddNullToObject(message, "refusal");
    if (c->reasoning.size > 0) add_reasoning(message, c->reasoning.data);
    if (c->call_count == 0) return message;
    cJSON *calls = cJSON_AddArrayToObject(message, "tool_calls");
    for (size_t i = 0; i < c->call_count; i++) {
        cJSON *call = cJSON_CreateObject();
        cJSON_AddStringToObject(call, "id", c->calls[i].id);
        cJSON_AddStringToObject(call, "type", "function");
        cJSON *function = cJSON_AddObjectToObject(call, "function");
        add_text(function, "name", &c->calls[i].name);
        add_text(function, "arguments", &c->calls[i].arguments);
        cJSON_AddItemToArray(calls, call);
    }
    return message;
}

static cJSON *logprobs_json(cJSON *content) {
    cJSON *whole = cJSON_CreateObject();
    cJSON_AddItemToObject(whole, "content", content);
    cJSON_AddNullToObject(whole, "refusal");
    return whole;
}

cJSON *chat_answer_json(const chat_heading *h, chat_choice *choices, uint32_t count, bool logprobs,
                        const chat_usage *usage) {
    cJSON *whole = begin_object(h, "chat.completion"), *list = cJSON_AddArrayToObject(whole, "choices");
    for (uint32_t i = 0; i < count; i++) {
        cJSON *choice = cJSON_CreateObject();
        cJSON_AddNumberToObject(choice, "index", i);
        cJSON_AddItemToObject(choice, "message", message_json(&choices[i]));
        cJSON_AddItemToObject(choice, "logprobs",
                              logprobs ? logprobs_json(json_list_take(&choices[i].logprobs)) : cJSON_CreateNull());
        if (!json_list_is_empty(&choices[i].telemetry))
            cJSON_AddItemToObject(choice, "telemetry", json_list_take(&choices[i].telemetry));
        cJSON_AddStringToObject(choice, "finish_reason", choices[i].finish);
        cJSON_AddItemToArray(list, choice);
    }
    cJSON_AddItemToObject(whole, "usage", chat_usage_json(usage));
    return whole;
}

/* ---- in chunks ---- */

/* Takes delta, logprobs and telemetry; the latter two may be NULL. */
static gptoss_status write_chunk(const chat_heading *h, uint32_t index, cJSON *delta, cJSON *logprobs, cJSON *telemetry,
                                 const char *finish, buffer *out, gptoss_error *err) {
    cJSON *whole = begin_object(h, "chat.completion.chunk"), *choice = cJSON_CreateObject();
    cJSON_AddNumberToObject(choice, "index", index);
    cJSON_AddItemToObject(choice, "delta", delta);
    if (logprobs) cJSON_AddItemToObject(choice, "logprobs", logprobs_json(logprobs));
    if (telemetry) cJSON_AddItemToObject(choice, "telemetry", telemetry);
    cJSON_AddItemToObject(choice, "finish_reason", finish ? cJSON_CreateString(finish) : cJSON_CreateNull());
    cJSON_AddItemToArray(cJSON_AddArrayToObject(whole, "choices"), choice);
    if (h->with_usage) cJSON_AddNullToObject(whole, "usage");
    return sse_data(whole, out, err);
}

gptoss_status chat_chunk_begin(const chat_heading *h, uint32_t index, buffer *out, gptoss_error *err) {
    cJSON *delta = cJSON_CreateObject();
    cJSON_AddStringToObject(delta, "role", "assistant");
    cJSON_AddStringToObject(delta, "content", "");
    return write_chunk(h, index, delta, NULL, NULL, NULL, out, err);
}

/* A part of a call; the first one brings its name and an id. */
static cJSON *call_delta(const letter *l, size_t index, bool first) {
    cJSON *delta = cJSON_CreateObject(), *call = cJSON_CreateObject();
    cJSON_AddNumberToObject(call, "index", (double)index);
    if (first) {
        char id[ID_BYTES];
        chat_answer_new_id("call_", id);
        cJSON_AddStringToObject(call, "id", id);
        cJSON_AddStringToObject(call, "type", "function");
    }
    cJSON *function = cJSON_AddObjectToObject(call, "function");
    if (first) cJSON_AddStringToObject(function, "name", l->data);
    cJSON_AddStringToObject(function, "arguments", first ? "" : l->data);
    cJSON_AddItemToArray(cJSON_AddArrayToObject(delta, "tool_calls"), call);
    return delta;
}

static gptoss_status release_held(const chat_heading *h, uint32_t index, chat_flow *f, cJSON *logprobs, buffer *out,
                                  gptoss_error *err) {
    if (f->held.size == 0 && !logprobs) return GPTOSS_OK;
    cJSON *delta = cJSON_CreateObject();
    add_text(delta, "content", &f->held);
    buffer_clear(&f->held);
    return write_chunk(h, index, delta, logprobs, NULL, NULL, out, err);
}

gptoss_status chat_chunk_letter(const chat_heading *h, const letter *l, chat_flow *f, const tokenizer *t, buffer *out,
                                gptoss_error *err) {
    cJSON *delta, *telemetry = NULL;
    if (l->kind == TURN_CONTENT && f->logprobs) return buffer_append(&f->held, l->data, l->size, err);
    if (l->kind != TURN_LOGPROB && l->kind != TURN_TELEMETRY) TRY(release_held(h, l->sender, f, NULL, out, err));
    switch ((turn_letter)l->kind) {
    case TURN_CALL: delta = call_delta(l, f->calls++, true); break;
    case TURN_ARGUMENTS: delta = call_delta(l, f->calls - 1, false); break;
    case TURN_LOGPROB: {
        turn_logprob p = turn_read_logprob(l);
        cJSON *logprobs = cJSON_CreateArray();
        cJSON_AddItemToArray(logprobs, chat_logprob_json(t, &p, f->n_top));
        return release_held(h, l->sender, f, logprobs, out, err);
    }
    case TURN_TELEMETRY: {
        turn_logprob p = turn_read_logprob(l);
        delta = cJSON_CreateObject();
        telemetry = cJSON_CreateArray();
        cJSON_AddItemToArray(telemetry, chat_telemetry_json(t, &p));
        break;
    }
    default:
        delta = cJSON_CreateObject();
        if (l->kind == TURN_REASONING)
            add_reasoning(delta, l->data);
        else
            cJSON_AddStringToObject(delta, "content", l->data);
    }
    return write_chunk(h, l->sender, delta, NULL, telemetry, NULL, out, err);
}

gptoss_status chat_chunk_finish(const chat_heading *h, uint32_t index, chat_flow *f, const char *finish, buffer *out,
                                gptoss_error *err) {
    TRY(release_held(h, index, f, NULL, out, err));
    return write_chunk(h, index, cJSON_CreateObject(), NULL, NULL, finish, out, err);
}

gptoss_status chat_chunk_usage(const chat_heading *h, const chat_usage *usage, buffer *out, gptoss_error *err) {
    cJSON *whole = begin_object(h, "chat.completion.chunk");
    cJSON_AddArrayToObject(whole, "choices");
    cJSON_AddItemToObject(whole, "usage", chat_usage_json(usage));
    return sse_data(whole, out, err);
}
