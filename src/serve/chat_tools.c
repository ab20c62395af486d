/* The functions that a chat request offers, which of them may or must be called, and the form of the final message. */
#include <string.h>

#include "base/mem.h"
#include "serve/chat_request.h"

enum {
    NAME_BYTES = 64,
    MOST_FUNCTIONS = 1024,
    MOST_VALUES = 1 << 15 /* in all schemas: "$ref"s are looked for among them, one by one */
};

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

static gptoss_status read_function(const cJSON *function, const char *path, harmony_function *out, failure *why) {
    TRY(read_name(function, path, &out->name, why));
    TRY(json_input_string(function, path, "description", &out->description, why));
    TRY(json_input_object(function, path, "parameters", &out->parameters, why));
    return json_input_bool(function, path, "strict", &out->strict, why);
}

/* The object in which an API says what the function of `holder` (a tool, or a choice of one) is. */
static gptoss_status find_function(const chat_request *r, const cJSON *holder, json_path *path, const cJSON **out,
                                   failure *why) {
    *out = holder;
    if (r->fields->flat) return GPTOSS_OK;
    const cJSON *function = NULL;
    TRY(json_input_object(holder, path->text, "function", &function, why));
    *path = json_path_field(path->text, "function");
    if (!function) return failure_field(why, path->text, "%s is missing", path->text);
    *out = function;
    return GPTOSS_OK;
}

/* The tools that the model was made with: it is told of them, and the client runs them as it does functions. */
static bool read_built_in(const char *type, harmony_prompt *p) {
    bool browser = strcmp(type, "browser") == 0, python = strcmp(type, "python") == 0;
    p->browser |= browser;
    p->python |= python;
    return browser || python;
}

static gptoss_status read_tool(chat_request *r, const cJSON *tool, json_path path, failure *why) {
    const char *type = NULL;
    const cJSON *function;
    json_path where = json_path_field(path.text, "type"), at = path;
    if (!cJSON_IsObject(tool)) return failure_field(why, path.text, "%s must be an object", path.text);
    TRY(json_input_string(tool, path.text, "type", &type, why));
    if (!type) return failure_field(why, where.text, "%s is missing", where.text);
    if (read_built_in(type, &r->prompt)) return GPTOSS_OK;
    if (strcmp(type, "function") != 0)
        return failure_field(why, where.text,
                             "%s is \"%.40s\", but there are no tools here other than \"function\", and \"browser\" "
                             "and \"python\" for clients that run these themselves",
                             where.text, type);
    harmony_function *f = &r->functions[r->prompt.function_count];
    TRY(find_function(r, tool, &at, &function, why));
    TRY(read_function(function, at.text, f, why));
    for (size_t i = 0; i < r->prompt.function_count; i++)
        if (strcmp(r->functions[i].name, f->name) == 0)
            return failure_field(why, path.text, "%s: there is a function \"%s\" already", path.text, f->name);
    r->prompt.function_count++;
    return GPTOSS_OK;
}

/* Objects, arrays, names and all else that a schema consists of. */
static size_t count_values(const cJSON *schema) {
    size_t count = 1;
    for (const cJSON *child = schema ? schema->child : NULL; child; child = child->next) count += count_values(child);
    return count;
}

static gptoss_status check_values(const char *field, size_t values, failure *why) {
    if (values <= MOST_VALUES) return GPTOSS_OK;
    return failure_field(why, field, "%s has schemas of more than %d values", field, MOST_VALUES);
}

static gptoss_status read_functions(chat_request *r, failure *why) {
    const cJSON *tools = NULL;
    size_t values = 0, at = 0;
    TRY(json_input_array(r->body, "", "tools", &tools, why));
    if (!tools || !tools->child) return GPTOSS_OK;
    int count = cJSON_GetArraySize(tools);
    if (count > MOST_FUNCTIONS)
        return failure_field(why, "tools", "there are %d tools, but at most %d are supported", count, MOST_FUNCTIONS);
    TRY(mem_array((size_t)count, sizeof *r->functions, "tools", &r->functions, &why->error));
    for (const cJSON *tool = tools->child; tool; tool = tool->next)
        TRY(read_tool(r, tool, json_path_item("tools", at++), why));
    for (size_t i = 0; i < r->prompt.function_count; i++)
        if (chat_request_is_built_in(r, r->functions[i].name))
            return failure_field(why, "tools", "tools: the function \"%s\" has the name of a built-in tool",
                                 r->functions[i].name);
    for (size_t i = 0; i < r->prompt.function_count; i++) values += count_values(r->functions[i].parameters);
    return check_values("tools", values, why);
}

/* The function that `choice` (at `path`) names, which must be one of the tools. */
static gptoss_status read_choice_of(chat_request *r, const cJSON *choice, json_path path, harmony_function **out,
                                    failure *why) {
    const char *type = NULL, *name;
    const cJSON *function;
    json_path where = json_path_field(path.text, "type");
    if (!cJSON_IsObject(choice)) return failure_field(why, path.text, "%s must be an object", path.text);
    TRY(json_input_string(choice, path.text, "type", &type, why));
    if (type && strcmp(type, "function") != 0)
        return failure_field(why, where.text, "%s must be \"function\", not \"%.40s\"", where.text, type);
    TRY(find_function(r, choice, &path, &function, why));
    TRY(read_name(function, path.text, &name, why));
    for (size_t i = 0; i < r->prompt.function_count; i++)
        if (strcmp(r->functions[i].name, name) == 0) return *out = &r->functions[i], GPTOSS_OK;
    return failure_field(why, json_path_field(path.text, "name").text,
                         "tool_choice names \"%s\", which is not among the tools", name);
}

/* {"mode", "tools"}: the other functions are barred. */
static gptoss_status read_allowed(chat_request *r, const cJSON *allowed, json_path path, failure *why) {
    const char *mode = NULL;
    const cJSON *tools = NULL;
    harmony_function *f;
    json_path where = json_path_field(path.text, "mode"), list = json_path_field(path.text, "tools");
    TRY(json_input_string(allowed, path.text, "mode", &mode, why));
    TRY(json_input_array(allowed, path.text, "tools", &tools, why));
    bool required = mode && strcmp(mode, "required") == 0;
    if (!required && (!mode || strcmp(mode, "auto") != 0))
        return failure_field(why, where.text, "%s is \"auto\" or \"required\"", where.text);
    if (!tools || !tools->child) return failure_field(why, list.text, "%s must hold at least one function", list.text);
    size_t at = 0;
    for (size_t i = 0; i < r->prompt.function_count; i++) r->functions[i].barred = true;
    for (const cJSON *tool = tools->child; tool; tool = tool->next) {
        if (at == r->prompt.function_count)
            return failure_field(why, list.text, "%s names more functions than there are", list.text);
        TRY(read_choice_of(r, tool, json_path_item(list.text, at++), &f, why));
        f->barred = false;
    }
    r->rules.choice = required ? CONSTRAINT_REQUIRED : CONSTRAINT_AUTO;
    return GPTOSS_OK;
}

/* {"type": "function", ...} or {"type": "allowed_tools", ...} */
static gptoss_status read_choice_object(chat_request *r, const cJSON *choice, failure *why) {
    const char *type = NULL;
    const cJSON *allowed = choice;
    harmony_function *f;
    json_path path = {"tool_choice"};
    TRY(json_input_string(choice, path.text, "type", &type, why));
    if (!type || strcmp(type, "allowed_tools") != 0) {
        TRY(read_choice_of(r, choice, path, &f, why));
        r->rules.choice = CONSTRAINT_NAMED;
        r->rules.name = f->name;
        return GPTOSS_OK;
    }
    if (r->fields->flat) return read_allowed(r, choice, path, why);
    TRY(json_input_object(choice, path.text, "allowed_tools", &allowed, why));
    path = json_path_field(path.text, "allowed_tools");
    if (allowed == choice) return failure_field(why, path.text, "%s is missing", path.text);
    return read_allowed(r, allowed, path, why);
}

static gptoss_status read_choice(chat_request *r, failure *why) {
    const cJSON *choice = json_input_get(r->body, "tool_choice");
    if (!choice) return GPTOSS_OK;
    if (cJSON_IsObject(choice)) return read_choice_object(r, choice, why);
    const char *word = cJSON_IsString(choice) ? choice->valuestring : "";
    if (strcmp(word, "none") == 0) {
        r->rules.choice = CONSTRAINT_NONE;
    } else if (strcmp(word, "required") == 0) {
        if (r->prompt.function_count == 0)
            return failure_field(why, "tool_choice", "tool_choice is \"required\", but there are no functions");
        r->rules.choice = CONSTRAINT_REQUIRED;
    } else if (strcmp(word, "auto") != 0) {
        return failure_field(
            why, "tool_choice",
            "tool_choice is \"none\", \"auto\", \"required\" or an object with a function or with allowed tools");
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
    r->rules.browser = r->prompt.browser && r->rules.choice != CONSTRAINT_NONE;
    r->rules.python = r->prompt.python && r->rules.choice != CONSTRAINT_NONE;
    return GPTOSS_OK;
}

static gptoss_status read_schema(chat_request *r, const cJSON *holder, const char *path, failure *why) {
    harmony_prompt *p = &r->prompt;
    bool strict = true; /* only who says that it need not be gets something else than the schema */
    json_path where = json_path_field(path, "schema");
    TRY(read_name(holder, path, &p->format_name, why));
    TRY(json_input_string(holder, path, "description", &p->format_description, why));
    TRY(json_input_bool(holder, path, "strict", &strict, why));
    TRY(json_input_object(holder, path, "schema", &p->format_schema, why));
    if (!p->format_schema) return failure_field(why, where.text, "%s is missing", where.text);
    r->rules.schema = p->format_schema;
    r->rules.lenient = !strict;
    return check_values(where.text, count_values(p->format_schema), why);
}

gptoss_status chat_request_read_format(chat_request *r, const cJSON *format, failure *why) {
    const char *type = NULL, *path = r->fields->format;
    json_path where = json_path_field(path, "type");
    if (!format) return GPTOSS_OK;
    TRY(json_input_string(format, path, "type", &type, why));
    if (type && strcmp(type, "text") == 0) return GPTOSS_OK;
    if (type && strcmp(type, "json_object") == 0) {
        r->rules.json = true;
        return GPTOSS_OK;
    }
    if (!type || strcmp(type, "json_schema") != 0)
        return failure_field(why, where.text, "%s is text, json_object or json_schema", where.text);
    if (r->fields->flat) return read_schema(r, format, path, why);
    const cJSON *holder = NULL;
    where = json_path_field(path, "json_schema");
    TRY(json_input_object(format, path, "json_schema", &holder, why));
    if (!holder) return failure_field(why, where.text, "%s is missing", where.text);
    return read_schema(r, holder, where.text, why);
}
