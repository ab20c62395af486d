#include "text/harmony_tools.h"

#include <cjson/cJSON.h>
#include <stdlib.h>
#include <string.h>

#include "gguf/vocab_map.h"
#include "text/schema_ref.h"

/* What definitions may add where they are referred to; further ones are called by their names, or the text could
 * explode. */
enum {
    MAX_DEPTH = 32,       /* nested schemas; what lies deeper is "any" */
    MAX_REFERENCES = 500, /* of a function that are spelled out */
    MAX_SPELLED = 1 << 20 /* bytes of all functions' text before no more are: twice the longest context */
};

/* The text being written and the schemas that surround the one at hand. */
typedef struct writer {
    buffer *out;
    const cJSON *root;              /* what "$ref" refers to */
    const cJSON *open[MAX_DEPTH];   /* the definitions being spelled out */
    int open_count;                 /* ... of which there are so many */
    int references;                 /* spelled out so far */
    size_t begin;                   /* of the text in out */
    int depth;                      /* of nested schemas */
    char indent[4 * MAX_DEPTH + 1]; /* of the lines of the innermost object */
} writer;

static gptoss_status put(writer *w, const char *text, gptoss_error *err) {
    return buffer_append_text(w->out, text, err);
}

static const cJSON *get(const cJSON *schema, const char *name) {
    return cJSON_GetObjectItemCaseSensitive(schema, name); /* NULL also when schema is no object */
}

static const char *get_text(const cJSON *schema, const char *name) { return cJSON_GetStringValue(get(schema, name)); }

static bool has_items(const cJSON *list) { return cJSON_IsArray(list) && cJSON_GetArraySize(list) > 0; }

gptoss_status harmony_tools_write_json(const cJSON *value, buffer *out, gptoss_error *err) {
    char *text = cJSON_PrintUnformatted(value);
    if (!text) return error_set(err, GPTOSS_NO_MEMORY, "cannot allocate the text of a JSON value");
    gptoss_status status = buffer_append_text(out, text, err);
    cJSON_free(text);
    return status;
}

gptoss_status harmony_tools_write_comment(const char *text, const char *indent, buffer *out, gptoss_error *err) {
    while (*text) {
        size_t line = strcspn(text, "\n");
        TRY(buffer_append_text(out, indent, err));
        TRY(buffer_append_text(out, "// ", err));
        TRY(buffer_append(out, text, line, err));
        TRY(buffer_append_text(out, "\n", err));
        text += line + (text[line] == '\n');
    }
    return GPTOSS_OK;
}

static gptoss_status put_type(writer *w, const cJSON *schema, gptoss_error *err);

/* Choices of an enum, a list of types, or schemas: "a" | "b". */
static gptoss_status put_union(writer *w, const cJSON *choices,
                               gptoss_status (*put_choice)(writer *, const cJSON *, gptoss_error *),
                               gptoss_error *err) {
    const cJSON *choice;
    cJSON_ArrayForEach(choice, choices) {
        if (choice != choices->child) TRY(put(w, " | ", err));
        TRY(put_choice(w, choice, err));
    }
    return GPTOSS_OK;
}

/* A string is quoted but not escaped: models saw it so. */
static gptoss_status put_literal(writer *w, const cJSON *value, gptoss_error *err) {
    if (cJSON_IsString(value)) return buffer_printf(w->out, err, "\"%s\"", value->valuestring);
    return harmony_tools_write_json(value, w->out, err);
}

static gptoss_status put_type_name(writer *w, const cJSON *name, gptoss_error *err) {
    const char *text = cJSON_GetStringValue(name);
    if (!text) text = "any";
    return put(w, strcmp(text, "integer") == 0 ? "number" : text, err);
}

/* "// default: 3"; that of an enum without quotes. */
static gptoss_status put_default(writer *w, const cJSON *schema, const char *before, gptoss_error *err) {
    const cJSON *value = get(schema, "default");
    if (!value) return GPTOSS_OK;
    TRY(put(w, before, err));
    TRY(put(w, "// default: ", err));
    if (cJSON_IsString(value) && has_items(get(schema, "enum"))) return put(w, value->valuestring, err);
    return put_literal(w, value, err);
}

/* The variants of a `oneOf` property, a line each. */
static gptoss_status put_variants(writer *w, const cJSON *variants, gptoss_error *err) {
    const cJSON *variant;
    TRY(put(w, "\n", err));
    cJSON_ArrayForEach(variant, variants) {
        TRY(buffer_printf(w->out, err, "%s | ", w->indent));
        TRY(put_type(w, variant, err));
        const char *description = get_text(variant, "description");
        if (description) {
            TRY(put(w, " // ", err));
            TRY(buffer_append(w->out, description, strcspn(description, "\n"), err));
        }
        TRY(put_default(w, variant, " ", err));
        TRY(put(w, "\n", err));
    }
    return put(w, w->indent, err);
}

/* The names that an object requires, for looking up; the caller closes the map. */
static gptoss_status index_required(const cJSON *object, vocab_map *out, gptoss_error *err) {
    const cJSON *list = get(object, "required"), *item;
    TRY(vocab_map_open(out, (size_t)cJSON_GetArraySize(list), err));
    cJSON_ArrayForEach(item, list) {
        const char *name = cJSON_GetStringValue(item);
        if (name && strlen(name) <= UINT32_MAX) vocab_map_add(out, name, (uint32_t)strlen(name), 0, NULL);
    }
    return GPTOSS_OK;
}

static bool is_long(const writer *w) { return w->out->size - w->begin > MAX_SPELLED; }

/* A property's own description, or that of the definition it refers to. */
static const char *describe(const writer *w, const cJSON *property) {
    const char *own = get_text(property, "description");
    return own || is_long(w) ? own : get_text(schema_ref_find(w->root, get_text(property, "$ref")), "description");
}

/* One property of an object: comments above it, then "name?: type, // default: x". */
static gptoss_status put_property(writer *w, const cJSON *property, bool required, gptoss_error *err) {
    const char *title = get_text(property, "title"), *description = describe(w, property);
    const cJSON *examples = get(property, "examples"), *example, *variants = get(property, "oneOf");
    if (title) {
        TRY(harmony_tools_write_comment(title, w->indent, w->out, err));
        TRY(buffer_printf(w->out, err, "%s//\n", w->indent));
    }
    if (description) TRY(harmony_tools_write_comment(description, w->indent, w->out, err));
    if (has_items(examples)) TRY(buffer_printf(w->out, err, "%s// Examples:\n", w->indent));
    cJSON_ArrayForEach(example, examples) {
        TRY(buffer_printf(w->out, err, "%s// - ", w->indent));
        TRY(put_literal(w, example, err));
        TRY(put(w, "\n", err));
    }
    bool listed = has_items(variants);
    if (listed && get(property, "default")) {
        TRY(put_default(w, property, w->indent, err));
        TRY(put(w, "\n", err));
    }
    TRY(buffer_printf(w->out, err, "%s%s%s:", w->indent, property->string, required ? "" : "?"));
    if (listed) {
        TRY(put_variants(w, variants, err));
        return put(w, ",\n", err);
    }
    TRY(put(w, " ", err));
    TRY(put_type(w, property, err));
    TRY(put(w, ",", err));
    TRY(put_default(w, property, " ", err));
    return put(w, "\n", err);
}

static gptoss_status put_properties(writer *w, const cJSON *properties, const vocab_map *required, gptoss_error *err) {
    const cJSON *property;
    cJSON_ArrayForEach(property, properties) {
        uint32_t unused;
        TRY(put_property(w, property, vocab_map_find(required, property->string, strlen(property->string), &unused),
                         err));
    }
    return GPTOSS_OK;
}

static gptoss_status put_object(writer *w, const cJSON *schema, gptoss_error *err) {
    const cJSON *properties = get(schema, "properties");
    vocab_map required = {0};
    if (!cJSON_IsObject(properties) || !properties->child) return put(w, "object", err);
    TRY(index_required(schema, &required, err));
    size_t outer = strlen(w->indent);
    if (w->depth > 1) strcat(w->indent, "    "); /* the lines of the outermost object are not indented */
    const char *description = get_text(schema, "description");
    gptoss_status status = GPTOSS_OK;
    if (description) status = harmony_tools_write_comment(description, w->indent, w->out, err);
    if (status == GPTOSS_OK) status = put(w, "{\n", err);
    if (status == GPTOSS_OK) status = put_properties(w, properties, &required, err);
    if (status == GPTOSS_OK) status = put(w, w->indent, err);
    if (status == GPTOSS_OK) status = put(w, "}", err);
    w->indent[outer] = '\0';
    vocab_map_close(&required);
    return status;
}

static bool is_union(const cJSON *schema) {
    return has_items(get(schema, "enum")) || has_items(get(schema, "oneOf")) || has_items(get(schema, "anyOf")) ||
           has_items(get(schema, "type")) || cJSON_IsTrue(get(schema, "nullable"));
}

static gptoss_status put_array(writer *w, const cJSON *schema, gptoss_error *err) {
    const cJSON *items = get(schema, "items");
    if (!items) return put(w, "Array<any>", err);
    const cJSON *target = schema_ref_find(w->root, get_text(items, "$ref"));
    bool bracket = is_union(target ? target : items);
    if (bracket) TRY(put(w, "(", err));
    TRY(put_type(w, items, err));
    return put(w, bracket ? ")[]" : "[]", err);
}

/* Spells out the definition, unless it contains itself or there were too many: then its name must do. */
static gptoss_status put_reference(writer *w, const char *ref, gptoss_error *err) {
    const cJSON *target = schema_ref_find(w->root, ref);
    if (!target) return put(w, "any", err);
    bool within = w->references++ >= MAX_REFERENCES || w->open_count == MAX_DEPTH || is_long(w);
    for (int i = 0; i < w->open_count; i++) within |= w->open[i] == target;
    if (within) return put(w, target == w->root ? "object" : schema_ref_name(ref), err);
    w->open[w->open_count++] = target;
    gptoss_status status = put_type(w, target, err);
    w->open_count--;
    return status;
}

/* The type without the "| null" of a nullable one. */
static gptoss_status put_plain_type(writer *w, const cJSON *schema, gptoss_error *err) {
    const cJSON *type = get(schema, "type"), *constant = get(schema, "const");
    if (get_text(schema, "$ref")) return put_reference(w, get_text(schema, "$ref"), err);
    if (has_items(get(schema, "oneOf"))) return put_union(w, get(schema, "oneOf"), put_type, err);
    if (has_items(get(schema, "anyOf"))) return put_union(w, get(schema, "anyOf"), put_type, err);
    if (has_items(get(schema, "enum"))) return put_union(w, get(schema, "enum"), put_literal, err);
    if (constant) return put_literal(w, constant, err);
    if (has_items(type)) return put_union(w, type, put_type_name, err);
    const char *name = cJSON_GetStringValue(type);
    if (!name) return put(w, get(schema, "properties") ? "object" : "any", err);
    if (strcmp(name, "object") == 0) return put_object(w, schema, err);
    if (strcmp(name, "array") == 0) return put_array(w, schema, err);
    return put_type_name(w, type, err);
}

static gptoss_status put_type(writer *w, const cJSON *schema, gptoss_error *err) {
    if (w->depth == MAX_DEPTH) return put(w, "any", err);
    w->depth++;
    gptoss_status status = put_plain_type(w, schema, err);
    w->depth--;
    if (status != GPTOSS_OK || !cJSON_IsTrue(get(schema, "nullable"))) return status;
    return put(w, " | null", err);
}

static gptoss_status put_function(writer *w, const harmony_function *function, gptoss_error *err) {
    if (function->description) TRY(harmony_tools_write_comment(function->description, "", w->out, err));
    TRY(buffer_printf(w->out, err, "type %s = (", function->name));
    const char *ref = get_text(function->parameters, "$ref");
    w->root = function->parameters;
    w->references = 0;
    const cJSON *parameters = ref ? schema_ref_find(w->root, ref) : w->root,
                *properties = get(parameters, "properties");
    if (cJSON_IsObject(properties) && properties->child) {
        TRY(put(w, "_: ", err));
        w->open[0] = parameters;
        w->open_count = w->depth = 1;
        TRY(put_object(w, parameters, err));
    }
    return put(w, ") => any;\n\n", err);
}

gptoss_status harmony_tools_write(const harmony_function *functions, size_t count, buffer *out, gptoss_error *err) {
    writer w = {.out = out, .begin = out->size};
    TRY(put(&w, "# Tools\n\n## functions\n\nnamespace functions {\n\n", err));
    for (size_t i = 0; i < count; i++) TRY(put_function(&w, &functions[i], err));
    return put(&w, "} // namespace functions", err);
}
