#include "serve/responses_answer.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/mem.h"
#include "serve/sse.h"

static const char *text_in(const buffer *b) { return b->data ? b->data : ""; }

static void set(cJSON *object, const char *name, cJSON *value) {
    if (!cJSON_ReplaceItemInObjectCaseSensitive(object, name, value)) cJSON_AddItemToObject(object, name, value);
}

/* ---- events ---- */

static cJSON *begin_event(const char *type, int64_t number) {
    cJSON *event = cJSON_CreateObject();
    cJSON_AddStringToObject(event, "type", type);
    cJSON_AddNumberToObject(event, "sequence_number", (double)number);
    return event;
}

/* Takes `event`. */
static gptoss_status tell(responses_answer *a, cJSON *event, gptoss_error *err) {
    gptoss_status status = mem_resize(&a->event_ends, a->event_count + 1, sizeof *a->event_ends, "events", err);
    if (status != GPTOSS_OK) {
        cJSON_Delete(event);
        return status;
    }
    TRY(sse_event(event, &a->events, err));
    a->event_ends[a->event_count++] = a->events.size;
    a->next_event++;
    return GPTOSS_OK;
}

static gptoss_status tell_response(responses_answer *a, const char *type, gptoss_error *err) {
    cJSON *event = begin_event(type, a->next_event);
    cJSON_AddItemReferenceToObject(event, "response", a->response);
    return tell(a, event, err);
}

static cJSON *output_of(const responses_answer *a) { return cJSON_GetObjectItemCaseSensitive(a->response, "output"); }

/* An event about the open item. */
static cJSON *begin_item_event(const responses_answer *a, const char *type) {
    cJSON *event = begin_event(type, a->next_event);
    cJSON_AddStringToObject(event, "item_id", a->item_id);
    cJSON_AddNumberToObject(event, "output_index", cJSON_GetArraySize(output_of(a)));
    if (a->open != RESPONSES_CALL) cJSON_AddNumberToObject(event, "content_index", 0);
    return event;
}

store_event *responses_answer_events(const responses_answer *a) {
    store_event *events;
    if (mem_array(a->event_count, sizeof *events, "events", &events, NULL) != GPTOSS_OK) return NULL;
    int64_t first = a->next_event - (int64_t)a->event_count;
    for (size_t i = 0, from = 0; i < a->event_count; from = a->event_ends[i++])
        events[i] = (store_event){first + (int64_t)i, a->events.data + from, a->event_ends[i] - from};
    return events;
}

void responses_answer_forget(responses_answer *a) {
    buffer_clear(&a->events);
    a->event_count = 0;
    a->moved = false;
}

/* ---- items ---- */

/* The one part of the open item, with the text so far. */
static cJSON *part_json(const responses_answer *a, bool empty) {
    cJSON *part = cJSON_CreateObject();
    bool thought = a->open == RESPONSES_REASONING;
    cJSON_AddStringToObject(part, "type", thought ? "reasoning_text" : "output_text");
    cJSON_AddStringToObject(part, "text", empty ? "" : text_in(&a->text));
    if (thought) return part;
    cJSON_AddArrayToObject(part, "annotations");
    cJSON_AddItemToObject(part, "logprobs", empty ? cJSON_CreateArray() : json_list_copy(&a->token_logprobs));
    return part;
}

static cJSON *item_json(const responses_answer *a, const char *status, bool empty) {
    static const char *const types[] = {
        [RESPONSES_REASONING] = "reasoning", [RESPONSES_MESSAGE] = "message", [RESPONSES_CALL] = "function_call"};
    cJSON *item = cJSON_CreateObject();
    cJSON_AddStringToObject(item, "id", a->item_id);
    cJSON_AddStringToObject(item, "type", types[a->open]);
    cJSON_AddStringToObject(item, "status", status);
    if (a->open == RESPONSES_CALL) {
        cJSON_AddStringToObject(item, "call_id", a->call_id);
        cJSON_AddStringToObject(item, "name", text_in(&a->name));
        cJSON_AddStringToObject(item, "arguments", empty ? "" : text_in(&a->text));
        return item;
    }
    if (a->open == RESPONSES_MESSAGE) cJSON_AddStringToObject(item, "role", "assistant");
    if (a->open == RESPONSES_REASONING) cJSON_AddArrayToObject(item, "summary");
    cJSON *content = cJSON_AddArrayToObject(item, "content");
    if (!empty) cJSON_AddItemToArray(content, part_json(a, false));
    return item;
}

cJSON *responses_answer_output(const responses_answer *a) {
    cJSON *output = cJSON_Duplicate(output_of(a), true);
    if (output && a->open != RESPONSES_NONE) cJSON_AddItemToArray(output, item_json(a, "in_progress", false));
    return output;
}

static gptoss_status tell_item(responses_answer *a, const char *type, const char *status, bool empty,
                               gptoss_error *err) {
    cJSON *event = begin_event(type, a->next_event);
    cJSON_AddNumberToObject(event, "output_index", cJSON_GetArraySize(output_of(a)));
    cJSON_AddItemToObject(event, "item", item_json(a, status, empty));
    return tell(a, event, err);
}

static gptoss_status tell_part(responses_answer *a, const char *type, bool empty, gptoss_error *err) {
    cJSON *event = begin_item_event(a, type);
    cJSON_AddItemToObject(event, "part", part_json(a, empty));
    return tell(a, event, err);
}

static gptoss_status open_item(responses_answer *a, responses_kind kind, gptoss_error *err) {
    static const char *const prefixes[] = {
        [RESPONSES_REASONING] = "rs_", [RESPONSES_MESSAGE] = "msg_", [RESPONSES_CALL] = "fc_"};
    a->open = kind;
    chat_answer_new_id(prefixes[kind], a->item_id);
    chat_answer_new_id("call_", a->call_id);
    TRY(tell_item(a, "response.output_item.added", "in_progress", true, err));
    return kind == RESPONSES_CALL ? GPTOSS_OK : tell_part(a, "response.content_part.added", true, err);
}

/* With the log probabilities that wait, where there are any. */
static gptoss_status tell_delta(responses_answer *a, const char *type, const char *text, gptoss_error *err) {
    cJSON *event = begin_item_event(a, type);
    cJSON_AddStringToObject(event, "delta", text);
    if (a->open == RESPONSES_MESSAGE) cJSON_AddItemToObject(event, "logprobs", json_list_take(&a->delta_logprobs));
    return tell(a, event, err);
}

/* Tells the text of a message that has waited for its log probabilities, with these. */
static gptoss_status release_delta(responses_answer *a, gptoss_error *err) {
    if (a->delta.size == 0 && json_list_is_empty(&a->delta_logprobs)) return GPTOSS_OK;
    gptoss_status status = tell_delta(a, "response.output_text.delta", text_in(&a->delta), err);
    buffer_clear(&a->delta);
    return status;
}

static gptoss_status tell_done(responses_answer *a, const char *type, const char *field, gptoss_error *err) {
    cJSON *event = begin_item_event(a, type);
    if (a->open == RESPONSES_CALL) cJSON_AddStringToObject(event, "name", text_in(&a->name));
    cJSON_AddStringToObject(event, field, text_in(&a->text));
    if (a->open == RESPONSES_MESSAGE) cJSON_AddItemToObject(event, "logprobs", json_list_copy(&a->token_logprobs));
    return tell(a, event, err);
}

static gptoss_status tell_text_done(responses_answer *a, gptoss_error *err) {
    if (a->open == RESPONSES_CALL) return tell_done(a, "response.function_call_arguments.done", "arguments", err);
    if (a->open == RESPONSES_MESSAGE) TRY(release_delta(a, err));
    TRY(tell_done(a, a->open == RESPONSES_MESSAGE ? "response.output_text.done" : "response.reasoning_text.done",
                  "text", err));
    return tell_part(a, "response.content_part.done", false, err);
}

static gptoss_status close_item(responses_answer *a, const char *status, gptoss_error *err) {
    if (a->open == RESPONSES_NONE) return GPTOSS_OK;
    TRY(tell_text_done(a, err));
    TRY(tell_item(a, "response.output_item.done", status, false, err));
    if (!cJSON_AddItemToArray(output_of(a), item_json(a, status, false)))
        return error_set(err, GPTOSS_NO_MEMORY, "out of memory for an answer");
    if (a->open == RESPONSES_MESSAGE) json_list_free(&a->token_logprobs);
    buffer_clear(&a->text);
    buffer_clear(&a->name);
    a->open = RESPONSES_NONE;
    return GPTOSS_OK;
}

/* ---- letters ---- */

static gptoss_status add_text(responses_answer *a, responses_kind kind, const letter *l, gptoss_error *err) {
    if (a->open != kind) {
        TRY(close_item(a, "completed", err));
        TRY(open_item(a, kind, err));
    }
    TRY(buffer_append(&a->text, l->data, l->size, err));
    if (kind == RESPONSES_REASONING) return tell_delta(a, "response.reasoning_text.delta", l->data, err);
    if (kind == RESPONSES_CALL) return tell_delta(a, "response.function_call_arguments.delta", l->data, err);
    TRY(buffer_append(&a->delta, l->data, l->size, err));
    return a->logprobs ? GPTOSS_OK : release_delta(a, err); /* otherwise its log probability comes next */
}

static gptoss_status add_call(responses_answer *a, const letter *l, gptoss_error *err) {
    TRY(close_item(a, "completed", err));
    TRY(buffer_append(&a->name, l->data, l->size, err));
    return open_item(a, RESPONSES_CALL, err);
}

static gptoss_status add_logprob(responses_answer *a, const letter *l, gptoss_error *err) {
    turn_logprob p = turn_read_logprob(l);
    TRY(json_list_add(&a->token_logprobs, chat_logprob_json(a->tokenizer, &p, a->n_top), err));
    TRY(json_list_add(&a->delta_logprobs, chat_logprob_json(a->tokenizer, &p, a->n_top), err));
    return a->delta.size > 0 ? release_delta(a, err) : GPTOSS_OK;
}

static gptoss_status add_telemetry(responses_answer *a, const letter *l, gptoss_error *err) {
    turn_logprob p = turn_read_logprob(l);
    TRY(json_list_add(&a->telemetry, chat_telemetry_json(a->tokenizer, &p), err));
    cJSON *event = begin_event("response.telemetry.delta", a->next_event);
    cJSON_AddItemToArray(cJSON_AddArrayToObject(event, "telemetry"), chat_telemetry_json(a->tokenizer, &p));
    return tell(a, event, err);
}

gptoss_status responses_answer_add(responses_answer *a, const letter *l, gptoss_error *err) {
    switch ((turn_letter)l->kind) {
    case TURN_WORK: {
        const char *status = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(a->response, "status"));
        if (!status || strcmp(status, "queued") != 0) return GPTOSS_OK;
        set(a->response, "status", cJSON_CreateString("in_progress"));
        a->moved = true;
        return tell_response(a, "response.in_progress", err);
    }
    case TURN_MESSAGE: return close_item(a, "completed", err);
    case TURN_REASONING: return add_text(a, RESPONSES_REASONING, l, err);
    case TURN_CONTENT: return add_text(a, RESPONSES_MESSAGE, l, err);
    case TURN_CALL: return add_call(a, l, err);
    case TURN_ARGUMENTS: return add_text(a, RESPONSES_CALL, l, err);
    case TURN_TELEMETRY: return add_telemetry(a, l, err);
    default: return add_logprob(a, l, err);
    }
}

/* ---- beginning and end ---- */

/* The event that ends all. */
static gptoss_status tell_end(responses_answer *a, const char *type, gptoss_error *err) {
    if (!json_list_is_empty(&a->telemetry)) set(a->response, "telemetry", json_list_take(&a->telemetry));
    return tell_response(a, type, err);
}

static cJSON *usage_json(const turn_end *end) {
    cJSON *usage = cJSON_CreateObject();
    cJSON_AddNumberToObject(usage, "input_tokens", end->prompt_tokens);
    cJSON_AddNumberToObject(cJSON_AddObjectToObject(usage, "input_tokens_details"), "cached_tokens",
                            end->cached_tokens);
    cJSON_AddNumberToObject(usage, "output_tokens", end->answer_tokens);
    cJSON_AddNumberToObject(cJSON_AddObjectToObject(usage, "output_tokens_details"), "reasoning_tokens",
                            end->reasoning_tokens);
    cJSON_AddNumberToObject(usage, "total_tokens", (double)end->prompt_tokens + end->answer_tokens);
    return usage;
}

gptoss_status responses_answer_open(const responses_terms *terms, responses_answer *out, gptoss_error *err) {
    *out = (responses_answer){.tokenizer = terms->tokenizer, .n_top = terms->n_top, .logprobs = terms->logprobs};
    chat_answer_new_id("resp_", out->id);
    cJSON *r = out->response = cJSON_CreateObject();
    cJSON_AddStringToObject(r, "id", out->id);
    cJSON_AddStringToObject(r, "object", "response");
    cJSON_AddNumberToObject(r, "created_at", (double)time(NULL));
    cJSON_AddStringToObject(r, "status", terms->queued ? "queued" : "in_progress");
    cJSON_AddNullToObject(r, "error");
    cJSON_AddNullToObject(r, "incomplete_details");
    cJSON_AddStringToObject(r, "model", terms->model);
    cJSON_AddArrayToObject(r, "output");
    cJSON_AddNullToObject(r, "usage");
    for (const cJSON *field = terms->echo->child; field; field = field->next)
        cJSON_AddItemToObject(r, field->string, cJSON_Duplicate(field, true));
    TRY(tell_response(out, "response.created", err));
    return tell_response(out, terms->queued ? "response.queued" : "response.in_progress", err);
}

void responses_answer_close(responses_answer *a) {
    cJSON_Delete(a->response);
    json_list_free(&a->token_logprobs);
    json_list_free(&a->delta_logprobs);
    json_list_free(&a->telemetry);
    buffer_free(&a->name);
    buffer_free(&a->text);
    buffer_free(&a->delta);
    buffer_free(&a->events);
    free(a->event_ends);
}

gptoss_status responses_answer_end(responses_answer *a, const turn_end *end, gptoss_error *err) {
    bool cut = strcmp(end->finish, "length") == 0;
    const char *status = cut ? "incomplete" : "completed";
    TRY(close_item(a, status, err));
    set(a->response, "status", cJSON_CreateString(status));
    set(a->response, "usage", usage_json(end));
    if (cut) {
        cJSON *details = cJSON_CreateObject();
        cJSON_AddStringToObject(details, "reason", "max_output_tokens");
        set(a->response, "incomplete_details", details);
    }
    a->ended = true;
    return tell_end(a, cut ? "response.incomplete" : "response.completed", err);
}

static void set_failed(cJSON *response, const char *message) {
    cJSON *error = cJSON_CreateObject();
    cJSON_AddStringToObject(error, "code", "server_error");
    cJSON_AddStringToObject(error, "message", message);
    set(response, "status", cJSON_CreateString("failed"));
    set(response, "error", error);
}

gptoss_status responses_answer_fail(responses_answer *a, const char *message, gptoss_error *err) {
    if (a->ended) return GPTOSS_OK;
    a->ended = true;
    set_failed(a->response, message);
    TRY(close_item(a, "incomplete", err));
    return tell_end(a, "response.failed", err);
}

gptoss_status responses_answer_cancel(responses_answer *a, gptoss_error *err) {
    if (a->ended) return GPTOSS_OK;
    a->ended = true;
    set(a->response, "status", cJSON_CreateString("cancelled"));
    TRY(close_item(a, "incomplete", err));
    return tell_end(a, "response.cancelled", err);
}

gptoss_status responses_answer_abandon(cJSON *response, int64_t number, buffer *event, gptoss_error *err) {
    set_failed(response, "the server ended before the response was complete");
    cJSON *last = begin_event("response.failed", number);
    cJSON_AddItemReferenceToObject(last, "response", response);
    return sse_event(last, event, err);
}
