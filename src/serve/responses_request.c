#include "serve/responses_request.h"

#include <string.h>

#include "base/utf8.h"
#include "serve/responses_items.h"
#include "serve/turn.h"

static const chat_fields fields = {"input", "max_output_tokens", "text.format", true};

/* What other APIs call otherwise, and what there is not: better refused than overlooked. */
static gptoss_status refuse_others(const cJSON *body, failure *why) {
    static const char *const others[][2] = {
        {"messages", "belongs to /v1/chat/completions: use input"},
        {"max_tokens", "belongs to /v1/chat/completions: use max_output_tokens"},
        {"max_completion_tokens", "belongs to /v1/chat/completions: use max_output_tokens"},
        {"response_format", "belongs to /v1/chat/completions: use text.format"},
        {"reasoning_effort", "belongs to /v1/chat/completions: use reasoning.effort"},
        {"logprobs", "belongs to /v1/chat/completions: use include and top_logprobs"},
        {"n", "belongs to /v1/chat/completions: a response is one answer"},
        {"conversation", "is not supported: use previous_response_id"},
        {"prompt", "is not supported: write the prompt as input and instructions"},
    };
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (json_input_get(body, others[i][0]))
            return failure_field(why, others[i][0], "%s %s", others[i][0], others[i][1]);
    return GPTOSS_OK;
}

/* ---- how to answer ---- */

static gptoss_status read_include(responses_request *r, failure *why) {
    static const char logprobs[] = "message.output_text.logprobs";
    const cJSON *include = NULL;
    size_t i = 0;
    int64_t top = 0;
    TRY(json_input_array(r->chat.body, "", "include", &include, why));
    for (const cJSON *item = include ? include->child : NULL; item; item = item->next) {
        json_path path = json_path_item("include", i++);
        const char *name = cJSON_GetStringValue(item);
        if (!name) return failure_field(why, path.text, "%s must be a string", path.text);
        bool is_logprobs = strcmp(name, logprobs) == 0;
        /* Reasoning is there in plain text, which may be sent back, so there is nothing to add. */
        if (!is_logprobs && strcmp(name, "reasoning.encrypted_content") != 0)
            return failure_field(why, path.text, "%s is \"%.60s\", but there is nothing here to include other than %s",
                                 path.text, name, logprobs);
        r->chat.logprobs |= is_logprobs;
    }
    TRY(json_input_integer(r->chat.body, "", "top_logprobs", 0, TURN_TOP, &top, why));
    if (top > 0 && !r->chat.logprobs)
        return failure_field(why, "top_logprobs", "top_logprobs needs \"include\": [\"%s\"]", logprobs);
    r->chat.n_top = (uint32_t)top;
    return GPTOSS_OK;
}

static gptoss_status read_truncation(responses_request *r, failure *why) {
    const char *truncation = "disabled";
    TRY(json_input_string(r->chat.body, "", "truncation", &truncation, why));
    r->truncate = strcmp(truncation, "auto") == 0;
    if (r->truncate || strcmp(truncation, "disabled") == 0) return GPTOSS_OK;
    return failure_field(why, "truncation", "truncation is auto or disabled, not \"%.40s\"", truncation);
}

static gptoss_status read_keeping(responses_request *r, failure *why) {
    r->store = true;
    TRY(json_input_bool(r->chat.body, "", "store", &r->store, why));
    TRY(json_input_bool(r->chat.body, "", "background", &r->background, why));
    if (r->background && !r->store)
        return failure_field(why, "background", "background needs \"store\": true, to be found when it is done");
    return GPTOSS_OK;
}

static gptoss_status read_options(responses_request *r, uint32_t n_vocab, failure *why) {
    const cJSON *body = r->chat.body, *reasoning = NULL, *text = NULL, *format = NULL;
    int64_t length = 0;
    TRY(json_input_string(body, "", "model", &r->chat.model, why));
    TRY(answer_options_read(body, n_vocab, &r->chat.options, why));
    TRY(chat_request_check_harmony(body, why));
    TRY(json_input_integer(body, "", "max_output_tokens", 1, 1 << 30, &length, why));
    r->chat.options.max_tokens = (uint32_t)length;
    TRY(read_include(r, why));
    TRY(read_truncation(r, why));
    TRY(read_keeping(r, why));
    TRY(json_input_object(body, "", "reasoning", &reasoning, why));
    TRY(chat_request_read_effort(&r->chat, reasoning, "reasoning", "effort", why));
    TRY(chat_request_read_tools(&r->chat, why));
    TRY(json_input_object(body, "", "text", &text, why));
    TRY(json_input_object(text, "text", "format", &format, why));
    return chat_request_read_format(&r->chat, format, why);
}

/* ---- what is only told again ---- */

static gptoss_status check_metadata(const cJSON *body, failure *why) {
    enum { MOST_PAIRS = 16, NAME_LENGTH = 64, VALUE_LENGTH = 512 };
    const cJSON *metadata = NULL;
    int pairs = 0;
    TRY(json_input_object(body, "", "metadata", &metadata, why));
    for (const cJSON *pair = metadata ? metadata->child : NULL; pair; pair = pair->next) {
        json_path path = json_path_field("metadata", pair->string);
        if (++pairs > MOST_PAIRS) return failure_field(why, "metadata", "metadata may have %d pairs", MOST_PAIRS);
        if (utf8_count(pair->string) > NAME_LENGTH)
            return failure_field(why, path.text, "names in metadata may have %d characters", NAME_LENGTH);
        if (!cJSON_IsString(pair)) return failure_field(why, path.text, "%s must be a string", path.text);
        if (utf8_count(pair->valuestring) > VALUE_LENGTH)
            return failure_field(why, path.text, "%s is longer than %d characters", path.text, VALUE_LENGTH);
    }
    return GPTOSS_OK;
}

/* A field of the body, or what stands for it when it is missing (taken, and used up in any case). */
static void echo(responses_request *r, const char *name, cJSON *otherwise) {
    const cJSON *given = json_input_get(r->chat.body, name);
    if (!given) {
        cJSON_AddItemToObject(r->echo, name, otherwise);
        return;
    }
    cJSON_Delete(otherwise);
    cJSON_AddItemToObject(r->echo, name, cJSON_Duplicate(given, true));
}

/* An object of the body with one field added when it is missing there (taken, and used up in any case). */
static void echo_object(responses_request *r, const char *name, const char *field, cJSON *otherwise) {
    echo(r, name, cJSON_CreateObject());
    cJSON *object = cJSON_GetObjectItemCaseSensitive(r->echo, name);
    if (json_input_get(object, field)) {
        cJSON_Delete(otherwise);
        return;
    }
    cJSON_DeleteItemFromObjectCaseSensitive(object, field); /* a null */
    cJSON_AddItemToObject(object, field, otherwise);
}

static void echo_all(responses_request *r) {
    cJSON *text = cJSON_CreateObject();
    cJSON_AddStringToObject(text, "type", "text");
    r->echo = cJSON_CreateObject();
    cJSON_AddBoolToObject(r->echo, "background", r->background);
    echo(r, "instructions", cJSON_CreateNull());
    echo(r, "max_output_tokens", cJSON_CreateNull());
    echo(r, "max_tool_calls", cJSON_CreateNull());
    echo(r, "metadata", cJSON_CreateObject());
    echo(r, "parallel_tool_calls", cJSON_CreateTrue());
    echo(r, "previous_response_id", cJSON_CreateNull());
    echo_object(r, "reasoning", "effort", cJSON_CreateString(harmony_effort_name(r->chat.prompt.effort)));
    cJSON *reasoning = cJSON_GetObjectItemCaseSensitive(r->echo, "reasoning");
    cJSON_DeleteItemFromObjectCaseSensitive(reasoning, "summary"); /* none is made */
    cJSON_AddNullToObject(reasoning, "summary");
    cJSON_AddStringToObject(r->echo, "service_tier", "default");
    cJSON_AddBoolToObject(r->echo, "store", r->store);
    echo(r, "temperature", cJSON_CreateNumber(r->chat.options.sampling.temperature));
    echo_object(r, "text", "format", text);
    echo(r, "tool_choice", cJSON_CreateString("auto"));
    echo(r, "tools", cJSON_CreateArray());
    echo(r, "top_logprobs", cJSON_CreateNumber(0));
    echo(r, "top_p", cJSON_CreateNumber(r->chat.options.sampling.top_p));
    echo(r, "truncation", cJSON_CreateString("disabled"));
    echo(r, "safety_identifier", cJSON_CreateNull());
    echo(r, "prompt_cache_key", cJSON_CreateNull());
    echo(r, "user", cJSON_CreateNull());
    cJSON *tool;
    cJSON_ArrayForEach(tool, cJSON_GetObjectItemCaseSensitive(r->echo, "tools")) {
        const char *type = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(tool, "type"));
        if (strcmp(type, "function") == 0 && !cJSON_HasObjectItem(tool, "strict"))
            cJSON_AddNullToObject(tool, "strict");
    }
}

static gptoss_status check_echo(const cJSON *body, failure *why) {
    static const char *const texts[] = {"user", "safety_identifier", "prompt_cache_key", "service_tier"};
    const char *ignored;
    int64_t calls;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) TRY(json_input_string(body, "", texts[i], &ignored, why));
    TRY(json_input_integer(body, "", "max_tool_calls", 0, 1 << 30, &calls, why));
    return check_metadata(body, why);
}

/* ---- the conversation ---- */

static gptoss_status no_previous(const char *id, failure *why) {
    return failure_set(why, 400, "previous_response_id", "previous_response_not_found",
                       "there is no response \"%.60s\" here to go on from", id);
}

/* Its output can be gone on from when all of it is there. */
static gptoss_status check_previous(const char *id, const cJSON *response, failure *why) {
    const char *status = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(response, "status"));
    if (status && (strcmp(status, "completed") == 0 || strcmp(status, "incomplete") == 0)) return GPTOSS_OK;
    return failure_field(why, "previous_response_id",
                         "the response \"%.60s\" is %.20s: only one that has ended well "
                         "can be gone on from",
                         id, status ? status : "damaged");
}

/* Moves the members of `from` to the end of `to`. */
static void move_items(cJSON *from, cJSON *to) {
    while (from && from->child) cJSON_AddItemToArray(to, cJSON_DetachItemViaPointer(from, from->child));
}

/* *kept: bytes of it in the store. */
static gptoss_status read_previous(responses_request *r, store *s, size_t *kept, failure *why) {
    const char *id = NULL;
    store_entry entry = {0};
    bool found = false;
    TRY(json_input_string(r->chat.body, "", "previous_response_id", &id, why));
    if (!id) return GPTOSS_OK;
    gptoss_status status = store_find(s, id, &entry, &found, &why->error);
    *kept = entry.input.size;
    if (*kept > RESPONSES_KEPT_BYTES) {
        store_entry_free(&entry);
        return failure_field(why, "previous_response_id", "the conversation of \"%.60s\" has more than %d bytes", id,
                             RESPONSES_KEPT_BYTES);
    }
    cJSON *response = found ? cJSON_Parse(entry.response.data) : NULL;
    cJSON *input = found ? cJSON_Parse(entry.input.data) : NULL;
    store_entry_free(&entry);
    if (status == GPTOSS_OK) status = found ? check_previous(id, response, why) : no_previous(id, why);
    if (status == GPTOSS_OK) {
        move_items(input, r->items);
        move_items(cJSON_GetObjectItemCaseSensitive(response, "output"), r->items);
    }
    cJSON_Delete(response);
    cJSON_Delete(input);
    r->earlier = cJSON_GetArraySize(r->items);
    return status;
}

static gptoss_status read_conversation(responses_request *r, store *s, failure *why) {
    const char *instructions = NULL;
    size_t kept = 0;
    r->items = cJSON_CreateArray();
    TRY(json_input_string(r->chat.body, "", "instructions", &instructions, why));
    if (instructions) TRY(chat_request_add_instructions(&r->chat, instructions, why));
    TRY(read_previous(r, s, &kept, why));
    TRY(responses_items_read(json_input_get(r->chat.body, "input"), s, kept, r->items, why));
    if (!r->items->child) return failure_field(why, "input", "input must hold at least one item");
    return responses_items_tell(r->items, &r->chat, why);
}

gptoss_status responses_request_read(cJSON *body, uint32_t n_vocab, store *s, responses_request *out, failure *why) {
    *out = (responses_request){.chat = {.fields = &fields, .body = body}};
    TRY(refuse_others(body, why));
    TRY(read_options(out, n_vocab, why));
    TRY(check_echo(body, why));
    TRY(read_conversation(out, s, why));
    chat_request_finish(&out->chat);
    echo_all(out);
    return GPTOSS_OK;
}

void responses_request_free(responses_request *r) {
    cJSON_Delete(r->items);
    cJSON_Delete(r->echo);
    chat_request_free(&r->chat);
}
