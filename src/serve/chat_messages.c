/* The messages of a chat request, as the messages of the Harmony format. */
#include <string.h>

#include "serve/call_names.h"
#include "serve/chat_request.h"

/* Where the messages of a request are going. */
typedef struct writer {
    chat_request *request;
    call_names called; /* so far */
} writer;

/* ---- contents ---- */

static gptoss_status add_part(const cJSON *part, const char *path, buffer *out, failure *why) {
    const char *type = NULL, *text = NULL;
    if (!cJSON_IsObject(part)) return failure_field(why, path, "%s must be an object", path);
    TRY(json_input_string(part, path, "type", &type, why));
    bool is_text =
        type && (strcmp(type, "text") == 0 || strcmp(type, "input_text") == 0 || strcmp(type, "output_text") == 0);
    if (!type) return failure_field(why, json_path_field(path, "type").text, "%s.type is missing", path);
    if (!is_text && strcmp(type, "refusal") != 0)
        return failure_field(why, json_path_field(path, "type").text,
                             "%s.type is \"%.40s\", but the model reads nothing other than text", path, type);
    TRY(json_input_string(part, path, is_text ? "text" : "refusal", &text, why));
    if (!text) return failure_field(why, json_path_field(path, "text").text, "%s.text is missing", path);
    return buffer_append_text(out, text, &why->error);
}

gptoss_status chat_request_read_content(const cJSON *content, const char *path, buffer *out, failure *why) {
    if (cJSON_IsString(content)) return buffer_append_text(out, content->valuestring, &why->error);
    if (!cJSON_IsArray(content)) return failure_field(why, path, "%s must be a string or an array of text parts", path);
    size_t i = 0;
    for (const cJSON *part = content->child; part; part = part->next)
        TRY(add_part(part, json_path_item(path, i++).text, out, why));
    return GPTOSS_OK;
}

static gptoss_status read_content(writer *w, const cJSON *message, const char *path, bool required, buffer **out,
                                  failure *why) {
    const cJSON *content = json_input_get(message, "content");
    json_path where = json_path_field(path, "content");
    *out = NULL;
    if (!content && required) return failure_field(why, where.text, "%s is missing", where.text);
    if (!content) return GPTOSS_OK;
    buffer *text = chat_request_text(w->request);
    TRY(chat_request_read_content(content, where.text, text, why));
    *out = text;
    return GPTOSS_OK;
}

/* ---- roles ---- */

static gptoss_status read_instructions(writer *w, const cJSON *message, const char *path, failure *why) {
    buffer *text;
    TRY(read_content(w, message, path, true, &text, why));
    return chat_request_add_instructions(w->request, text->data ? text->data : "", why);
}

static gptoss_status read_user(writer *w, const cJSON *message, const char *path, failure *why) {
    buffer *text;
    TRY(read_content(w, message, path, true, &text, why));
    chat_request_add_message(w->request, HARMONY_USER, HARMONY_FINAL, NULL, text);
    return GPTOSS_OK;
}

static gptoss_status read_call(writer *w, const cJSON *call, const char *path, failure *why) {
    const cJSON *function = NULL;
    const char *name = NULL, *arguments = "{}", *id = NULL;
    if (!cJSON_IsObject(call)) return failure_field(why, path, "%s must be an object", path);
    TRY(json_input_object(call, path, "function", &function, why));
    json_path where = json_path_field(path, "function");
    if (!function) return failure_field(why, where.text, "%s is missing", where.text);
    TRY(json_input_string(call, path, "id", &id, why));
    TRY(json_input_string(function, where.text, "name", &name, why));
    TRY(json_input_string(function, where.text, "arguments", &arguments, why));
    if (!name || !name[0])
        return failure_field(why, json_path_field(where.text, "name").text, "%s.name is missing", where.text);
    buffer *text = chat_request_text(w->request);
    TRY(buffer_append_text(text, arguments, &why->error));
    TRY(chat_request_add_call(w->request, name, text, why));
    return id ? call_names_add(&w->called, id, name, &why->error) : GPTOSS_OK;
}

static gptoss_status read_assistant(writer *w, const cJSON *message, const char *path, failure *why) {
    const char *reasoning = NULL;
    const cJSON *calls = NULL;
    buffer *text;
    TRY(json_input_string(message, path, "reasoning", &reasoning, why));
    TRY(json_input_string(message, path, "reasoning_content", &reasoning, why));
    TRY(json_input_array(message, path, "tool_calls", &calls, why));
    if (calls && !calls->child) calls = NULL;
    if (reasoning && reasoning[0]) {
        buffer *thought = chat_request_text(w->request);
        TRY(buffer_append_text(thought, reasoning, &why->error));
        chat_request_add_message(w->request, HARMONY_ASSISTANT, HARMONY_ANALYSIS, NULL, thought);
    }
    TRY(read_content(w, message, path, !calls, &text, why));
    if (text && (text->size > 0 || !calls))
        chat_request_add_message(w->request, HARMONY_ASSISTANT, calls ? HARMONY_COMMENTARY : HARMONY_FINAL, NULL,
                                 text); /* before calls: a preamble */
    size_t i = 0;
    json_path where = json_path_field(path, "tool_calls");
    for (const cJSON *call = calls ? calls->child : NULL; call; call = call->next)
        TRY(read_call(w, call, json_path_item(where.text, i++).text, why));
    return GPTOSS_OK;
}

static gptoss_status read_tool(writer *w, const cJSON *message, const char *path, failure *why) {
    const char *id = NULL, *name = NULL, *tool;
    buffer *text;
    TRY(json_input_string(message, path, "tool_call_id", &id, why));
    TRY(json_input_string(message, path, "name", &name, why));
    json_path where = json_path_field(path, "tool_call_id");
    const char *called = id ? call_names_find(&w->called, id) : NULL;
    if (!called && !name && !id) return failure_field(why, where.text, "%s is missing", where.text);
    if (!called && !name)
        return failure_field(why, where.text, "%s is \"%.60s\", but no earlier message has a tool call of that id",
                             where.text, id);
    TRY(read_content(w, message, path, true, &text, why));
    TRY(chat_request_full_name(w->request, called ? called : name, &tool, why));
    chat_request_add_message(w->request, HARMONY_TOOL, HARMONY_COMMENTARY, tool, text);
    return GPTOSS_OK;
}

static gptoss_status read_message(writer *w, const cJSON *message, const char *path, failure *why) {
    const char *role = NULL;
    if (!cJSON_IsObject(message)) return failure_field(why, path, "%s must be an object", path);
    TRY(json_input_string(message, path, "role", &role, why));
    json_path where = json_path_field(path, "role");
    if (!role) return failure_field(why, where.text, "%s is missing", where.text);
    if (strcmp(role, "system") == 0 || strcmp(role, "developer") == 0) return read_instructions(w, message, path, why);
    if (strcmp(role, "user") == 0) return read_user(w, message, path, why);
    if (strcmp(role, "assistant") == 0) return read_assistant(w, message, path, why);
    if (strcmp(role, "tool") == 0) return read_tool(w, message, path, why);
    return failure_field(why, where.text, "%s is system, developer, user, assistant or tool, not \"%.40s\"", where.text,
                         role);
}

gptoss_status chat_request_read_messages(chat_request *r, failure *why) {
    writer w = {.request = r};
    const cJSON *all = NULL;
    TRY(json_input_array(r->body, "", "messages", &all, why));
    if (!all || !all->child) return failure_field(why, "messages", "messages must hold at least one message");
    size_t most = 0;
    for (const cJSON *m = all->child; m; m = m->next) {
        const cJSON *calls = cJSON_GetObjectItemCaseSensitive(m, "tool_calls");
        most += 2 + (cJSON_IsArray(calls) ? (size_t)cJSON_GetArraySize(calls) : 0); /* reasoning, content, calls */
    }
    TRY(chat_request_reserve(r, most, why));
    size_t i = 0;
    gptoss_status status = GPTOSS_OK;
    for (const cJSON *m = all->child; m && status == GPTOSS_OK; m = m->next)
        status = read_message(&w, m, json_path_item("messages", i++).text, why);
    call_names_free(&w.called);
    return status;
}
