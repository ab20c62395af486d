/* The functions that a chat request offers, which of them must be called, and the form of the final message. */
#include <string.h>

#include "base/mem.h"
#include "serve/chat_request.h"

enum { NAME_BYTES = 64 };

static bool is_name(const char *name) {
    size_t size = strlen(name);
    return size > 0 && size <= NAME_BYTES &&
           strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.") == size;
}

static gptoss_status read_name(const cJSON *object, const char *path, const char **out, failure *why) {
    const char *name = NULL;
    json_path where = json_path_field(path, "name");
    TRY(json_input_string(object, path, "name", &name, why));
    if (!name) return failure_field(why, where.text, "%s is missing", where.text);
    if (!is_name(name))
        return failure_field(why, where.text, "%s must be 1 to %d letters, digits, _, - or .", where.text, NAME_BYTES);
    *out = name;
    return GPTOSS_OK;
}

static gptoss_status read_function(const cJSON *tool, const char *path, harmony_function *out, failure *why) {
    const char *type = NULL;
    const cJSON *function = NULL;
    if (!cJSON_IsObject(tool)) return failure_field(why, path, "%s must be an object", path);
    TRY(json_input_string(tool, path, "type", &type, why));
    if (!type || strcmp(type, "function") != 0)
        return failure_field(why, json_path_field(path, "type").text, "%s.type must be \"function\"", path);
    json_path where = json_path_field(path, "function");
    TRY(json_input_object(tool, path, "function", &function, why));
    if (!function) return failure_field(why, where.text, "%s is missing", where.text);
    TRY(read_name(function, where.text, &out->name, why));
    TRY(json_input_string(function, where.text, "description", &out->description, why));
    TRY(json_input_object(function, where.text, "parameters", &out->parameters, why));
    return json_input_bool(function, where.text, "strict", &out->strict, why);
}

static gptoss_status read_functions(chat_request *r, failure *why) {
    const cJSON *tools = NULL;
    size_t *count = &r->prompt.function_count;
    TRY(json_input_array(r->body, "", "tools", &tools, why));
    if (!tools || !tools->child) return GPTOSS_OK;
    TRY(mem_array((size_t)cJSON_GetArraySize(tools), sizeof *r->functions, "tools", &r->functions, &why->error));
    for (const cJSON *tool = tools->child; tool; tool = tool->next) {
        json_path path = json_path_item("tools", *count);
        harmony_function *f = &r->functions[*count];
        TRY(read_function(tool, path.text, f, why));
        for (size_t i = 0; i < *count; i++)
            if (strcmp(r->functions[i].name, f->name) == 0)
                return failure_field(why, path.text, "%s: there is a function \"%s\" already", path.text, f->name);
        ++*count;
    }
    return GPTOSS_OK;
}

static gptoss_status read_named_choice(chat_request *r, const cJSON *choice, failure *why) {
    const cJSON *function = NULL;
    TRY(json_input_object(choice, "tool_choice", "function", &function, why));
    if (!function) return failure_field(why, "tool_choice", "tool_choice.function is missing");
    TRY(read_name(function, "tool_choice.function", &r->rules.name, why));
    r->rules.choice = CONSTRAINT_NAMED;
    for (size_t i = 0; i < r->prompt.function_count; i++)
        if (strcmp(r->functions[i].name, r->rules.name) == 0) return GPTOSS_OK;
    return failure_field(why, "tool_choice.function.name", "tool_choice names \"%s\", which is not among the tools",
                         r->rules.name);
}

static gptoss_status read_choice(chat_request *r, failure *why) {
    const cJSON *choice = json_input_get(r->body, "tool_choice");
    if (!choice) return GPTOSS_OK;
    if (cJSON_IsObject(choice)) return read_named_choice(r, choice, why);
    const char *word = cJSON_IsString(choice) ? choice->valuestring : "";
    if (strcmp(word, "none") == 0) {
        r->rules.choice = CONSTRAINT_NONE;
    } else if (strcmp(word, "required") == 0) {
        if (r->prompt.function_count == 0)
            return failure_field(why, "tool_choice", "tool_choice is \"required\", but there are no tools");
        r->rules.choice = CONSTRAINT_REQUIRED;
    } else if (strcmp(word, "auto") != 0) {
        return failure_field(why, "tool_choice",
                             "tool_choice is \"none\", \"auto\", \"required\" or an object with a function");
    }
    return GPTOSS_OK;
}

gptoss_status chat_request_read_tools(chat_request *r, failure *why) {
    r->rules.parallel = true;
    TRY(read_functions(r, why));
    TRY(read_choice(r, why));
    TRY(json_input_bool(r->body, "", "parallel_tool_calls", &r->rules.parallel, why));
    r->rules.functions = r->functions;
    r->rules.function_count = r->prompt.function_count;
    return GPTOSS_OK;
}

gptoss_status chat_request_read_format(chat_request *r, failure *why) {
    const cJSON *format = NULL, *schema = NULL;
    const char *type = NULL;
    TRY(json_input_object(r->body, "", "response_format", &format, why));
    if (!format) return GPTOSS_OK;
    TRY(json_input_string(format, "response_format", "type", &type, why));
    if (type && strcmp(type, "text") == 0) return GPTOSS_OK;
    if (type && strcmp(type, "json_object") == 0) {
        r->rules.json = true;
        return GPTOSS_OK;
    }
    if (!type || strcmp(type, "json_schema") != 0)
        return failure_field(why, "response_format.type", "response_format.type is text, json_object or json_schema");
    static const char path[] = "response_format.json_schema";
    TRY(json_input_object(format, "response_format", "json_schema", &schema, why));
    if (!schema) return failure_field(why, path, "%s is missing", path);
    TRY(read_name(schema, path, &r->prompt.format_name, why));
    TRY(json_input_string(schema, path, "description", &r->prompt.format_description, why));
    TRY(json_input_object(schema, path, "schema", &r->prompt.format_schema, why));
    if (!r->prompt.format_schema)
        return failure_field(why, "response_format.json_schema.schema", "%s.schema is missing", path);
    r->rules.schema = r->prompt.format_schema;
    return GPTOSS_OK;
}
