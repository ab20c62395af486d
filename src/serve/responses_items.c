#include "serve/responses_items.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "serve/call_names.h"
#include "serve/chat_answer.h"

static const char *text_of(const cJSON *item, const char *name) {
    return cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(item, name));
}

static bool is_type(const cJSON *item, const char *type) {
    const char *given = text_of(item, "type");
    return given && strcmp(given, type) == 0;
}

/* Remembers a call, if the item is one. */
static gptoss_status note_call(call_names *called, const cJSON *item, failure *why) {
    const char *id = is_type(item, "function_call") ? text_of(item, "call_id") : NULL, *name = text_of(item, "name");
    return id && name ? call_names_add(called, id, name, &why->error) : GPTOSS_OK;
}

/* ---- reading: from any form to the one in which they are kept ---- */

/* Where items are going. */
typedef struct reader {
    store *store;
    cJSON *items;
    call_names called; /* in them */
    size_t kept;       /* bytes from the store */
} reader;

static gptoss_status require_text(const cJSON *item, const char *path, const char *name, const char **out,
                                  failure *why) {
    json_path where = json_path_field(path, name);
    *out = NULL;
    TRY(json_input_string(item, path, name, out, why));
    if (*out && (*out)[0]) return GPTOSS_OK;
    return failure_field(why, where.text, "%s is missing", where.text);
}

/* An item with its id, or a new one, and its status. */
static gptoss_status begin_item(const cJSON *given, const char *path, const char *prefix, const char *type, cJSON **out,
                                failure *why) {
    const char *id = NULL, *status = "completed";
    char new_id[ID_BYTES];
    TRY(json_input_string(given, path, "id", &id, why));
    TRY(json_input_string(given, path, "status", &status, why));
    if (!id || !id[0]) chat_answer_new_id(prefix, new_id);
    cJSON *item = cJSON_CreateObject();
    cJSON_AddStringToObject(item, "id", id && id[0] ? id : new_id);
    cJSON_AddStringToObject(item, "type", type);
    cJSON_AddStringToObject(item, "status", status);
    *out = item;
    return GPTOSS_OK;
}

static cJSON *text_part(const char *type, const char *text) {
    cJSON *part = cJSON_CreateObject();
    cJSON_AddStringToObject(part, "type", type);
    cJSON_AddStringToObject(part, "text", text);
    return part;
}

static gptoss_status check_content(const cJSON *content, const char *path, failure *why) {
    buffer text = {0};
    if (!content) return failure_field(why, path, "%s is missing", path);
    gptoss_status status = chat_request_read_content(content, path, &text, why);
    buffer_free(&text);
    return status;
}

static gptoss_status read_message(const cJSON *given, const char *path, cJSON **out, failure *why) {
    static const char *const roles[] = {"user", "assistant", "system", "developer"};
    const char *role = NULL;
    const cJSON *content = json_input_get(given, "content");
    json_path where = json_path_field(path, "role");
    bool known = false;
    TRY(require_text(given, path, "role", &role, why));
    for (size_t i = 0; i < sizeof roles / sizeof *roles; i++) known |= strcmp(role, roles[i]) == 0;
    if (!known)
        return failure_field(why, where.text, "%s is user, assistant, system or developer, not \"%.40s\"", where.text,
                             role);
    TRY(check_content(content, json_path_field(path, "content").text, why));
    TRY(begin_item(given, path, "msg_", "message", out, why));
    cJSON_AddStringToObject(*out, "role", role);
    cJSON *parts = cJSON_IsArray(content) ? cJSON_Duplicate(content, true) : cJSON_CreateArray();
    if (cJSON_IsString(content)) {
        bool theirs = strcmp(role, "assistant") != 0;
        cJSON *part = text_part(theirs ? "input_text" : "output_text", content->valuestring);
        if (!theirs) cJSON_AddArrayToObject(part, "annotations");
        cJSON_AddItemToArray(parts, part);
    }
    cJSON_AddItemToObject(*out, "content", parts);
    return GPTOSS_OK;
}

static gptoss_status read_call(const cJSON *given, const char *path, cJSON **out, failure *why) {
    const char *call_id, *name, *arguments = "{}";
    TRY(require_text(given, path, "call_id", &call_id, why));
    TRY(require_text(given, path, "name", &name, why));
    TRY(json_input_string(given, path, "arguments", &arguments, why));
    TRY(begin_item(given, path, "fc_", "function_call", out, why));
    cJSON_AddStringToObject(*out, "call_id", call_id);
    cJSON_AddStringToObject(*out, "name", name);
    cJSON_AddStringToObject(*out, "arguments", arguments);
    return GPTOSS_OK;
}

static gptoss_status check_called(const reader *r, const char *call_id, json_path where, failure *why) {
    if (call_names_find(&r->called, call_id)) return GPTOSS_OK;
    return failure_field(why, where.text, "%s is \"%.60s\", but no earlier item is a function call of that id",
                         where.text, call_id);
}

static gptoss_status read_result(const reader *r, const cJSON *given, const char *path, cJSON **out, failure *why) {
    const char *call_id;
    const cJSON *output = json_input_get(given, "output");
    TRY(require_text(given, path, "call_id", &call_id, why));
    TRY(check_called(r, call_id, json_path_field(path, "call_id"), why));
    TRY(check_content(output, json_path_field(path, "output").text, why));
    TRY(begin_item(given, path, "fco_", "function_call_output", out, why));
    cJSON_AddStringToObject(*out, "call_id", call_id);
    cJSON_AddItemToObject(*out, "output", cJSON_Duplicate(output, true));
    return GPTOSS_OK;
}

/* Texts of the parts of a reasoning item; the array may be missing. */
static gptoss_status check_thoughts(const cJSON *given, const char *path, const char *name, const char *type,
                                    const cJSON **out, failure *why) {
    json_path where = json_path_field(path, name);
    size_t i = 0;
    TRY(json_input_array(given, path, name, out, why));
    for (const cJSON *part = *out ? (*out)->child : NULL; part; part = part->next) {
        json_path at = json_path_item(where.text, i++);
        if (!cJSON_IsObject(part)) return failure_field(why, at.text, "%s must be an object", at.text);
        if (!is_type(part, type))
            return failure_field(why, json_path_field(at.text, "type").text, "%s.type must be \"%s\"", at.text, type);
        if (!text_of(part, "text"))
            return failure_field(why, json_path_field(at.text, "text").text, "%s.text must be a string", at.text);
    }
    return GPTOSS_OK;
}

static gptoss_status read_reasoning(const cJSON *given, const char *path, cJSON **out, failure *why) {
    const cJSON *content = NULL, *summary = NULL;
    TRY(check_thoughts(given, path, "content", "reasoning_text", &content, why));
    TRY(check_thoughts(given, path, "summary", "summary_text", &summary, why));
    TRY(begin_item(given, path, "rs_", "reasoning", out, why));
    cJSON_AddItemToObject(*out, "summary", summary ? cJSON_Duplicate(summary, true) : cJSON_CreateArray());
    cJSON_AddItemToObject(*out, "content", content ? cJSON_Duplicate(content, true) : cJSON_CreateArray());
    return GPTOSS_OK;
}

/* Of an item of a kept response, the item itself. */
static gptoss_status read_reference(reader *r, const cJSON *given, const char *path, cJSON **out, failure *why) {
    const char *id;
    buffer text = {0};
    bool found = false;
    json_path where = json_path_field(path, "id");
    TRY(require_text(given, path, "id", &id, why));
    gptoss_status status = store_find_item(r->store, id, &text, &found, &why->error);
    r->kept += text.size;
    cJSON *item = found && r->kept <= RESPONSES_KEPT_BYTES ? cJSON_ParseWithLength(text.data, text.size) : NULL;
    buffer_free(&text);
    if (status == GPTOSS_OK && !found)
        status =
            failure_set(why, 404, where.text, "item_not_found", "there is no item \"%.60s\" of a response here", id);
    else if (status == GPTOSS_OK && r->kept > RESPONSES_KEPT_BYTES)
        status = failure_field(why, where.text, "%s: the items that input refers to have more than %d bytes", path,
                               RESPONSES_KEPT_BYTES);
    else if (status == GPTOSS_OK && !item)
        status = failure_set(why, 500, where.text, NULL, "the item \"%.60s\" cannot be read", id);
    const char *call_id = is_type(item, "function_call_output") ? text_of(item, "call_id") : NULL;
    if (status == GPTOSS_OK && call_id) status = check_called(r, call_id, where, why);
    if (status == GPTOSS_OK)
        *out = item;
    else
        cJSON_Delete(item);
    return status;
}

static gptoss_status read_item(reader *r, const cJSON *given, const char *path, cJSON **out, failure *why) {
    const char *type = NULL;
    if (!cJSON_IsObject(given)) return failure_field(why, path, "%s must be an object", path);
    TRY(json_input_string(given, path, "type", &type, why));
    if (!type) type = json_input_get(given, "id") && !json_input_get(given, "role") ? "item_reference" : "message";
    if (strcmp(type, "message") == 0) return read_message(given, path, out, why);
    if (strcmp(type, "function_call") == 0) return read_call(given, path, out, why);
    if (strcmp(type, "function_call_output") == 0) return read_result(r, given, path, out, why);
    if (strcmp(type, "reasoning") == 0) return read_reasoning(given, path, out, why);
    if (strcmp(type, "item_reference") == 0) return read_reference(r, given, path, out, why);
    return failure_field(why, json_path_field(path, "type").text,
                         "%s.type is message, function_call, function_call_output, reasoning or item_reference; "
                         "\"%.40s\" is not supported",
                         path, type);
}

static gptoss_status add_item(cJSON *items, cJSON *item, failure *why) {
    if (item && cJSON_AddItemToArray(items, item)) return GPTOSS_OK;
    return failure_set(why, 503, NULL, NULL, "the server has run out of memory for this request");
}

static gptoss_status read_items(reader *r, const cJSON *input, failure *why) {
    size_t count = (size_t)cJSON_GetArraySize(r->items), i = 0;
    for (const cJSON *item = r->items->child; item; item = item->next) TRY(note_call(&r->called, item, why));
    for (const cJSON *given = input->child; given; given = given->next) {
        cJSON *item = NULL;
        if (++count > RESPONSES_ITEMS)
            return failure_field(why, "input", "a conversation may have %d items", RESPONSES_ITEMS);
        TRY(read_item(r, given, json_path_item("input", i++).text, &item, why));
        TRY(add_item(r->items, item, why));
        TRY(note_call(&r->called, item, why));
    }
    return GPTOSS_OK;
}

gptoss_status responses_items_read(const cJSON *input, store *s, size_t kept, cJSON *items, failure *why) {
    reader r = {.store = s, .items = items, .kept = kept};
    if (cJSON_IsString(input)) {
        cJSON *item = NULL, *given = cJSON_CreateObject();
        cJSON_AddStringToObject(given, "role", "user");
        cJSON_AddStringToObject(given, "content", input->valuestring);
        gptoss_status status = read_message(given, "input", &item, why);
        cJSON_Delete(given);
        return status == GPTOSS_OK ? add_item(items, item, why) : status;
    }
    if (!input) return failure_field(why, "input", "input is missing");
    if (!cJSON_IsArray(input)) return failure_field(why, "input", "input must be a string or an array of items");
    gptoss_status status = read_items(&r, input, why);
    call_names_free(&r.called);
    return status;
}

/* ---- telling: as messages of the Harmony format ---- */

/* Joins the texts of parts. */
static gptoss_status join(const cJSON *parts, buffer *out, failure *why) {
    for (const cJSON *part = parts ? parts->child : NULL; part; part = part->next) {
        const char *text = text_of(part, "text");
        if (text) TRY(buffer_append_text(out, text, &why->error));
    }
    return GPTOSS_OK;
}

/* Before calls, with nothing but thoughts between, a message is a preamble; otherwise it is the answer. */
static bool is_preamble(const cJSON *message) {
    const cJSON *item = message->next;
    while (item && is_type(item, "reasoning")) item = item->next;
    return item && is_type(item, "function_call");
}

static gptoss_status tell_message(const cJSON *item, chat_request *r, failure *why) {
    const char *role = text_of(item, "role");
    buffer *text = chat_request_text(r);
    TRY(chat_request_read_content(cJSON_GetObjectItemCaseSensitive(item, "content"), "input", text, why));
    if (role && strcmp(role, "user") == 0) {
        chat_request_add_message(r, HARMONY_USER, HARMONY_FINAL, NULL, text);
    } else if (role && strcmp(role, "assistant") == 0) {
        harmony_channel channel = is_preamble(item) ? HARMONY_COMMENTARY : HARMONY_FINAL;
        chat_request_add_message(r, HARMONY_ASSISTANT, channel, NULL, text);
    } else {
        return chat_request_add_instructions(r, text->data ? text->data : "", why);
    }
    return GPTOSS_OK;
}

static gptoss_status tell_call(const cJSON *item, chat_request *r, failure *why) {
    const char *name = text_of(item, "name"), *arguments = text_of(item, "arguments");
    buffer *text = chat_request_text(r);
    TRY(buffer_append_text(text, arguments ? arguments : "", &why->error));
    return chat_request_add_call(r, name ? name : "", text, why);
}

static gptoss_status tell_result(const call_names *called, const cJSON *item, chat_request *r, failure *why) {
    const char *call_id = text_of(item, "call_id"), *tool;
    const char *name = call_id ? call_names_find(called, call_id) : NULL;
    TRY(chat_request_full_name(r, name ? name : "", &tool, why));
    buffer *text = chat_request_text(r);
    TRY(chat_request_read_content(cJSON_GetObjectItemCaseSensitive(item, "output"), "input", text, why));
    chat_request_add_message(r, HARMONY_TOOL, HARMONY_COMMENTARY, tool, text);
    return GPTOSS_OK;
}

static gptoss_status tell_reasoning(const cJSON *item, chat_request *r, failure *why) {
    buffer *text = chat_request_text(r);
    TRY(join(cJSON_GetObjectItemCaseSensitive(item, "content"), text, why));
    if (text->size == 0) TRY(join(cJSON_GetObjectItemCaseSensitive(item, "summary"), text, why));
    if (text->size > 0) chat_request_add_message(r, HARMONY_ASSISTANT, HARMONY_ANALYSIS, NULL, text);
    return GPTOSS_OK;
}

static gptoss_status tell_item(const call_names *called, const cJSON *item, chat_request *r, failure *why) {
    if (is_type(item, "function_call")) return tell_call(item, r, why);
    if (is_type(item, "function_call_output")) return tell_result(called, item, r, why);
    if (is_type(item, "reasoning")) return tell_reasoning(item, r, why);
    return tell_message(item, r, why);
}

gptoss_status responses_items_tell(const cJSON *items, chat_request *r, failure *why) {
    call_names called = {0};
    gptoss_status status = chat_request_reserve(r, (size_t)cJSON_GetArraySize(items), why);
    for (const cJSON *item = items->child; item && status == GPTOSS_OK; item = item->next) {
        status = note_call(&called, item, why);
        if (status == GPTOSS_OK) status = tell_item(&called, item, r, why);
    }
    call_names_free(&called);
    return status;
}

/* ---- for the store ---- */

gptoss_status responses_items_print(const cJSON *first, store_item **out, size_t *count, gptoss_error *err) {
    size_t most = 0;
    *out = NULL;
    *count = 0;
    for (const cJSON *item = first; item; item = item->next) most++;
    TRY(mem_array(most, sizeof **out, "items", out, err));
    for (const cJSON *item = first; item; item = item->next) {
        const char *id = text_of(item, "id"), *text = cJSON_PrintUnformatted(item);
        if (!id || !text) {
            cJSON_free((char *)text);
            return error_set(err, GPTOSS_NO_MEMORY, "out of memory for the items of a response");
        }
        (*out)[(*count)++] = (store_item){id, text};
    }
    return GPTOSS_OK;
}

void responses_items_free(store_item *items, size_t count) {
    for (size_t i = 0; i < count; i++) cJSON_free((char *)items[i].text);
    free(items);
}
