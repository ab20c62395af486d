#include "text/json_schema.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/utf8.h"
#include "text/schema_ref.h"

enum {
    MAX_NODES = 20000,
    MAX_PROPERTIES = 20000,
    MAX_OBJECT = 1000, /* properties of one object */
    MAX_BYTES = 1 << 20,
    MAX_DEPTH = 100 /* nested schemas */
};

enum { ANY_NULL = 1, BOOLEAN = 2, INTEGER = 4, NUMBER = 8, STRING = 16, ARRAY = 32, OBJECT = 64, ALL = 127 };

static const struct {
    const char *name;
    unsigned bit;
} types[] = {{"null", ANY_NULL}, {"boolean", BOOLEAN}, {"integer", INTEGER}, {"number", NUMBER},
             {"string", STRING}, {"array", ARRAY},     {"object", OBJECT}};
enum { TYPES = sizeof types / sizeof *types };

/* What a keyword is about: types, or one of these. */
enum { NOTE = 128, COMBINES = 256, LISTS = 512, TYPE = 1024 };

static const struct {
    const char *name;
    unsigned about;
} keywords[] = {
    {"title", NOTE},
    {"description", NOTE},
    {"default", NOTE},
    {"examples", NOTE},
    {"$schema", NOTE},
    {"$id", NOTE},
    {"$comment", NOTE},
    {"$defs", NOTE},
    {"definitions", NOTE},
    {"deprecated", NOTE},
    {"readOnly", NOTE},
    {"writeOnly", NOTE},
    {"$anchor", NOTE},
    {"example", NOTE},
    {"type", TYPE},
    {"nullable", TYPE},
    {"$ref", COMBINES},
    {"anyOf", COMBINES},
    {"oneOf", COMBINES},
    {"allOf", COMBINES},
    {"enum", LISTS},
    {"const", LISTS},
    {"properties", OBJECT},
    {"required", OBJECT},
    {"additionalProperties", OBJECT},
    {"items", ARRAY},
    {"minItems", ARRAY},
    {"maxItems", ARRAY},
    {"minLength", STRING},
    {"maxLength", STRING},
    {"pattern", STRING},
    {"format", STRING},
    {"minimum", INTEGER | NUMBER},
    {"maximum", INTEGER | NUMBER},
    {"exclusiveMinimum", INTEGER | NUMBER},
    {"exclusiveMaximum", INTEGER | NUMBER},
};

static const cJSON *get(const cJSON *schema, const char *name) {
    return cJSON_GetObjectItemCaseSensitive(schema, name);
}

gptoss_status json_schema_refuse(const json_schema *s, const char *keyword, const char *why, gptoss_error *err) {
    return error_set(err, GPTOSS_BAD_INPUT, "the schema's \"%.60s\" at #%.200s %s", keyword,
                     s->path.size ? s->path.data : "", why);
}

/* ---- Growing the grammar ---- */

static gptoss_status grow(void *array, uint32_t count, uint32_t *capacity, size_t size, gptoss_error *err) {
    if (count <= *capacity) return GPTOSS_OK;
    uint32_t larger = *capacity ? *capacity : 16;
    while (larger < count) larger *= 2;
    TRY(mem_resize(array, larger, size, "JSON grammar", err));
    *capacity = larger;
    return GPTOSS_OK;
}

static gptoss_status no_memory(gptoss_error *err) {
    return error_set(err, GPTOSS_NO_MEMORY, "cannot allocate a JSON grammar");
}

static gptoss_status too_large(gptoss_error *err) {
    return error_set(err, GPTOSS_BAD_INPUT, "the schema is too large: it has more than %d parts or %d bytes of texts",
                     MAX_NODES, MAX_BYTES);
}

gptoss_status json_schema_add_node(json_schema *s, json_node node, uint32_t *out, gptoss_error *err) {
    if (s->g->node_count == MAX_NODES) return too_large(err);
    TRY(grow(&s->g->nodes, s->g->node_count + 1, &s->node_capacity, sizeof *s->g->nodes, err));
    *out = s->g->node_count++;
    s->g->nodes[*out] = node;
    return GPTOSS_OK;
}

gptoss_status json_schema_reserve_properties(json_schema *s, uint32_t count, uint32_t *first, gptoss_error *err) {
    if (s->g->property_count + count > MAX_PROPERTIES) return too_large(err);
    TRY(grow(&s->g->properties, s->g->property_count + count, &s->property_capacity, sizeof *s->g->properties, err));
    *first = s->g->property_count;
    s->g->property_count += count;
    return GPTOSS_OK;
}

gptoss_status json_schema_reserve_choices(json_schema *s, uint32_t count, uint32_t *first, gptoss_error *err) {
    TRY(grow(&s->g->choices, s->g->choice_count + count, &s->choice_capacity, sizeof *s->g->choices, err));
    *first = s->g->choice_count;
    s->g->choice_count += count;
    return GPTOSS_OK;
}

gptoss_status json_schema_add_bytes(json_schema *s, const char *bytes, size_t size, json_span *out, gptoss_error *err) {
    if (size > MAX_BYTES || s->g->bytes.size + size > MAX_BYTES) return too_large(err);
    *out = (json_span){(uint32_t)s->g->bytes.size, (uint32_t)size};
    return buffer_append(&s->g->bytes, bytes, size, err);
}

gptoss_status json_schema_add_either(json_schema *s, uint32_t a, uint32_t b, uint32_t *out, gptoss_error *err) {
    json_node node = {.kind = JSON_CHOICE, .count = 2};
    TRY(json_schema_reserve_choices(s, 2, &node.first, err));
    s->g->choices[node.first] = a;
    s->g->choices[node.first + 1] = b;
    return json_schema_add_node(s, node, out, err);
}

/* ---- Reading ---- */

static gptoss_status read_schema(json_schema *s, const cJSON *schema, uint32_t *out, gptoss_error *err);

/* The schema that is `name` in the one at hand. */
static gptoss_status read_part(json_schema *s, const cJSON *schema, const char *name, uint32_t *out,
                               gptoss_error *err) {
    size_t before = s->path.size;
    TRY(buffer_printf(&s->path, err, "/%s", name));
    TRY(read_schema(s, schema, out, err));
    s->path.data[s->path.size = before] = '\0';
    return GPTOSS_OK;
}

static gptoss_status read_never(json_schema *s, uint32_t *out, gptoss_error *err) {
    return json_schema_add_node(s, (json_node){.kind = JSON_LITERALS}, out, err);
}

static gptoss_status read_word(json_schema *s, unsigned type, uint32_t *out, gptoss_error *err) {
    static const char *const null[] = {"null"}, *const booleans[] = {"false", "true"};
    return type == ANY_NULL ? json_schema_words(s, null, 1, out, err) : json_schema_words(s, booleans, 2, out, err);
}

/* Any value: a choice that contains itself. */
static gptoss_status read_any(json_schema *s, uint32_t *out, gptoss_error *err) {
    enum { KINDS = 6 };
    if (s->any != JSON_GRAMMAR_NONE) return *out = s->any, GPTOSS_OK;
    json_node any = {.kind = JSON_CHOICE, .count = KINDS};
    uint32_t parts[KINDS];
    TRY(json_schema_reserve_choices(s, KINDS, &any.first, err));
    TRY(json_schema_add_node(s, any, &s->any, err));
    *out = s->any;
    TRY(json_schema_add_node(s, (json_node){.kind = JSON_STRING, .max = JSON_GRAMMAR_NO_LIMIT}, &parts[0], err));
    TRY(json_schema_add_node(s, (json_node){.kind = JSON_NUMBER}, &parts[1], err));
    TRY(read_word(s, BOOLEAN, &parts[2], err));
    TRY(read_word(s, ANY_NULL, &parts[3], err));
    TRY(json_schema_add_node(s, (json_node){.kind = JSON_OBJECT, .child = *out}, &parts[4], err));
    TRY(json_schema_add_node(s, (json_node){.kind = JSON_ARRAY, .child = *out, .max = JSON_GRAMMAR_NO_LIMIT}, &parts[5],
                             err));
    memcpy(s->g->choices + any.first, parts, sizeof parts);
    return GPTOSS_OK;
}

/* A definition becomes a node when it is first referred to, before it is read: so it may refer to itself. */
static gptoss_status read_ref(json_schema *s, const cJSON *ref, uint32_t *out, gptoss_error *err) {
    const char *name = cJSON_GetStringValue(ref);
    const cJSON *target = schema_ref_find(s->root, name);
    if (!target) return json_schema_refuse(s, "$ref", "refers to nothing in this schema", err);
    for (uint32_t i = 0; i < s->ref_count; i++)
        if (s->refs[i].target == target) return *out = s->refs[i].node, GPTOSS_OK;
    json_node node = {.kind = JSON_CHOICE, .count = 1};
    uint32_t content;
    TRY(json_schema_reserve_choices(s, 1, &node.first, err));
    TRY(json_schema_add_node(s, node, out, err));
    s->g->choices[node.first] = *out;
    TRY(grow(&s->refs, s->ref_count + 1, &s->ref_capacity, sizeof *s->refs, err));
    s->refs[s->ref_count++] = (json_schema_ref){target, *out};
    TRY(read_part(s, target, schema_ref_name(name), &content, err));
    s->g->choices[node.first] = content;
    return GPTOSS_OK;
}

static gptoss_status read_type(const json_schema *s, const char *name, unsigned *out, gptoss_error *err) {
    for (size_t i = 0; i < TYPES; i++)
        if (name && strcmp(name, types[i].name) == 0) return *out |= types[i].bit, GPTOSS_OK;
    return json_schema_refuse(s, "type", "is none that JSON has", err);
}

/* The types that "type" allows. Without it those that the keywords speak of, or else all. */
static gptoss_status read_types(const json_schema *s, const cJSON *schema, unsigned *out, gptoss_error *err) {
    const cJSON *type = get(schema, "type"), *item;
    *out = 0;
    if (type && !cJSON_IsArray(type)) return read_type(s, cJSON_GetStringValue(type), out, err);
    cJSON_ArrayForEach(item, type) { TRY(read_type(s, cJSON_GetStringValue(item), out, err)); }
    if (type) return GPTOSS_OK;
    for (size_t i = 0; i < sizeof keywords / sizeof *keywords; i++)
        if (get(schema, keywords[i].name)) *out |= keywords[i].about & ALL;
    if (*out & INTEGER) *out = (*out & ~(unsigned)INTEGER) | NUMBER;
    if (*out == 0) *out = ALL;
    return GPTOSS_OK;
}

static bool has_type(const cJSON *value, unsigned allowed) {
    if (cJSON_IsNull(value)) return allowed & ANY_NULL;
    if (cJSON_IsBool(value)) return allowed & BOOLEAN;
    if (cJSON_IsString(value)) return allowed & STRING;
    if (cJSON_IsArray(value)) return allowed & ARRAY;
    if (cJSON_IsObject(value)) return allowed & OBJECT;
    bool integer = value->valuedouble == floor(value->valuedouble);
    return (allowed & NUMBER) || ((allowed & INTEGER) && integer);
}

static gptoss_status read_choices(json_schema *s, const cJSON *list, const char *keyword, uint32_t *out,
                                  gptoss_error *err) {
    int count = cJSON_GetArraySize(list);
    if (!cJSON_IsArray(list) || count == 0) return json_schema_refuse(s, keyword, "is no list of schemas", err);
    if (count > JSON_GRAMMAR_ALTERNATIVES) return json_schema_refuse(s, keyword, "has too many alternatives", err);
    json_node node = {.kind = JSON_CHOICE, .count = (uint32_t)count};
    const cJSON *choice;
    uint32_t at = 0, content;
    TRY(json_schema_reserve_choices(s, node.count, &node.first, err));
    TRY(json_schema_add_node(s, node, out, err));
    for (uint32_t i = 0; i < node.count; i++) s->g->choices[node.first + i] = *out;
    cJSON_ArrayForEach(choice, list) {
        TRY(read_part(s, choice, keyword, &content, err));
        s->g->choices[node.first + at++] = content;
    }
    return GPTOSS_OK;
}

/* "oneOf" means "anyOf" where no value can be of two alternatives. */
static gptoss_status check_one_of(json_schema *s, const cJSON *list, gptoss_error *err) {
    const cJSON *choice;
    unsigned seen = 0, own;
    cJSON_ArrayForEach(choice, list) {
        if (!cJSON_IsObject(choice) || !get(choice, "type"))
            return json_schema_refuse(s, "oneOf",
                                      "is supported only where each alternative has a type of its own; "
                                      "\"anyOf\" is always",
                                      err);
        TRY(read_types(s, choice, &own, err));
        if (own & (INTEGER | NUMBER)) own |= INTEGER | NUMBER;
        if (own & seen) return json_schema_refuse(s, "oneOf", "has alternatives of the same type; use \"anyOf\"", err);
        seen |= own;
    }
    return GPTOSS_OK;
}

static gptoss_status read_array(json_schema *s, const cJSON *schema, uint32_t *out, gptoss_error *err) {
    json_node node = {.kind = JSON_ARRAY, .max = JSON_GRAMMAR_NO_LIMIT};
    const cJSON *items = get(schema, "items");
    if (cJSON_IsArray(items)) return json_schema_refuse(s, "items", "is a list, which is not supported", err);
    TRY(json_schema_count(s, schema, "minItems", &node.min, err));
    TRY(json_schema_count(s, schema, "maxItems", &node.max, err));
    TRY(json_schema_add_node(s, node, out, err));
    if (items)
        TRY(read_part(s, items, "items", &node.child, err));
    else
        TRY(read_any(s, &node.child, err));
    s->g->nodes[*out].child = node.child;
    return GPTOSS_OK;
}

/* A property's name as JSON writes it, without the quotes. */
static gptoss_status add_name(json_schema *s, const char *name, json_span *out, gptoss_error *err) {
    if (!utf8_valid(name, strlen(name))) return json_schema_refuse(s, "properties", "has a name that is no UTF-8", err);
    cJSON *text = cJSON_CreateStringReference(name);
    char *quoted = text ? cJSON_PrintUnformatted(text) : NULL;
    cJSON_Delete(text);
    if (!quoted) return no_memory(err);
    gptoss_status status = json_schema_add_bytes(s, quoted + 1, strlen(quoted) - 2, out, err);
    cJSON_free(quoted);
    return status;
}

/* Marks a property as required; one that is not declared is an additional one and gets a place at the end. */
static gptoss_status require(json_schema *s, const cJSON *properties, const char *name, const json_node *object,
                             uint32_t *used, gptoss_error *err) {
    uint32_t index = 0;
    const cJSON *item = properties ? properties->child : NULL;
    for (; item && strcmp(item->string, name) != 0; item = item->next) index++;
    if (item) {
        s->g->properties[object->first + index].required = true;
        return GPTOSS_OK;
    }
    if (object->child == JSON_GRAMMAR_NONE)
        return json_schema_refuse(s, "required", "has a name that \"properties\" has not", err);
    json_property property = {.node = object->child, .required = true};
    TRY(add_name(s, name, &property.name, err));
    for (uint32_t i = object->first; i < object->first + *used; i++) /* listed twice */
        if (s->g->properties[i].name.size == property.name.size &&
            memcmp(s->g->bytes.data + s->g->properties[i].name.at, s->g->bytes.data + property.name.at,
                   property.name.size) == 0)
            return GPTOSS_OK;
    s->g->properties[object->first + (*used)++] = property;
    return GPTOSS_OK;
}

static gptoss_status read_additional(json_schema *s, const cJSON *schema, uint32_t *out, gptoss_error *err) {
    const cJSON *additional = get(schema, "additionalProperties");
    *out = JSON_GRAMMAR_NONE;
    if (cJSON_IsFalse(additional)) return GPTOSS_OK;
    if (!additional || cJSON_IsTrue(additional)) return read_any(s, out, err);
    return read_part(s, additional, "additionalProperties", out, err);
}

static gptoss_status check_properties(json_schema *s, const cJSON *properties, gptoss_error *err) {
    const cJSON *a, *b;
    if (properties && !cJSON_IsObject(properties)) return json_schema_refuse(s, "properties", "is no object", err);
    if (cJSON_GetArraySize(properties) > MAX_OBJECT)
        return json_schema_refuse(s, "properties", "has more than 1000 names", err);
    cJSON_ArrayForEach(a, properties) {
        for (b = a->next; b; b = b->next)
            if (strcmp(a->string, b->string) == 0) return json_schema_refuse(s, "properties", "has a name twice", err);
    }
    return GPTOSS_OK;
}

static gptoss_status check_required(json_schema *s, const cJSON *required, gptoss_error *err) {
    const cJSON *item;
    bool good = !required || cJSON_IsArray(required);
    cJSON_ArrayForEach(item, required) { good &= (bool)cJSON_IsString(item); }
    if (!good) return json_schema_refuse(s, "required", "is no list of names", err);
    if (cJSON_GetArraySize(required) > MAX_OBJECT)
        return json_schema_refuse(s, "required", "has more than 1000 names", err);
    return GPTOSS_OK;
}

static gptoss_status read_properties(json_schema *s, const cJSON *properties, const json_node *object,
                                     gptoss_error *err) {
    const cJSON *item;
    uint32_t index = object->first;
    cJSON_ArrayForEach(item, properties) {
        json_property property = {.node = 0};
        TRY(add_name(s, item->string, &property.name, err));
        TRY(read_part(s, item, item->string, &property.node, err));
        s->g->properties[index++] = property;
    }
    return GPTOSS_OK;
}

static gptoss_status read_object(json_schema *s, const cJSON *schema, uint32_t *out, gptoss_error *err) {
    const cJSON *properties = get(schema, "properties"), *required = get(schema, "required"), *item;
    json_node node = {.kind = JSON_OBJECT, .child = JSON_GRAMMAR_NONE};
    TRY(check_properties(s, properties, err));
    TRY(check_required(s, required, err));
    uint32_t used = (uint32_t)cJSON_GetArraySize(properties);
    TRY(json_schema_reserve_properties(s, used + (uint32_t)cJSON_GetArraySize(required), &node.first, err));
    for (uint32_t i = node.first; i < s->g->property_count; i++) /* until they are read */
        s->g->properties[i] = (json_property){.node = 0};
    TRY(json_schema_add_node(s, node, out, err));
    TRY(read_additional(s, schema, &node.child, err));
    TRY(read_properties(s, properties, &node, err));
    cJSON_ArrayForEach(item, required) { TRY(require(s, properties, item->valuestring, &node, &used, err)); }
    s->g->nodes[*out].child = node.child;
    s->g->nodes[*out].count = used;
    return GPTOSS_OK;
}

static gptoss_status read_of_type(json_schema *s, const cJSON *schema, unsigned type, uint32_t *out,
                                  gptoss_error *err) {
    switch (type) {
    case STRING: return json_schema_string(s, schema, out, err);
    case INTEGER: return json_schema_number(s, schema, true, out, err);
    case NUMBER: return json_schema_number(s, schema, false, out, err);
    case ARRAY: return read_array(s, schema, out, err);
    case OBJECT: return read_object(s, schema, out, err);
    }
    return read_word(s, type, out, err);
}

static gptoss_status read_typed(json_schema *s, const cJSON *schema, unsigned allowed, uint32_t *out,
                                gptoss_error *err) {
    bool first = true;
    if (allowed & NUMBER) allowed &= ~(unsigned)INTEGER;
    for (size_t i = 0; i < TYPES; i++) {
        uint32_t node;
        if (!(allowed & types[i].bit)) continue;
        TRY(read_of_type(s, schema, types[i].bit, &node, err));
        if (!first) TRY(json_schema_add_either(s, *out, node, &node, err));
        *out = node;
        first = false;
    }
    return first ? read_never(s, out, err) : GPTOSS_OK;
}

/* What a keyword is about; 0 when it is unknown. */
static unsigned about(const char *keyword) {
    if (strncmp(keyword, "x-", 2) == 0) return NOTE;
    for (size_t i = 0; i < sizeof keywords / sizeof *keywords; i++)
        if (strcmp(keyword, keywords[i].name) == 0) return keywords[i].about;
    return 0;
}

/* Refuses unknown keywords. *kind becomes COMBINES or LISTS when there is such a one, *name its name. Of the latter
 * there may be both: read_listed looks at them. */
static gptoss_status find_kind(json_schema *s, const cJSON *schema, unsigned *kind, const char **name,
                               gptoss_error *err) {
    const cJSON *item;
    *kind = 0;
    *name = NULL;
    cJSON_ArrayForEach(item, schema) {
        unsigned what = about(item->string);
        if (!what) return json_schema_refuse(s, item->string, "is not supported", err);
        if (what != COMBINES && what != LISTS) continue;
        bool both = *kind == LISTS && what == LISTS && strcmp(item->string, *name) != 0;
        if (*kind && !both) return json_schema_refuse(s, item->string, "is combined with another of its kind", err);
        *kind = what;
        *name = item->string;
    }
    return GPTOSS_OK;
}

/* Refuses keywords that would not be looked at beside "$ref", "anyOf", "enum" and the like. */
static gptoss_status check_keywords(json_schema *s, const cJSON *schema, unsigned *kind, const char **name,
                                    gptoss_error *err) {
    const cJSON *item;
    TRY(find_kind(s, schema, kind, name, err));
    if (*kind == 0) return GPTOSS_OK;
    cJSON_ArrayForEach(item, schema) {
        unsigned what = about(item->string);
        bool fits =
            what == NOTE || what == *kind || strcmp(item->string, "nullable") == 0 || (what == TYPE && *kind == LISTS);
        if (!fits) return json_schema_refuse(s, item->string, "is not supported together with others there", err);
    }
    return GPTOSS_OK;
}

static gptoss_status read_combined(json_schema *s, const cJSON *schema, const char *name, uint32_t *out,
                                   gptoss_error *err) {
    const cJSON *value = get(schema, name);
    if (strcmp(name, "$ref") == 0) return read_ref(s, value, out, err);
    if (strcmp(name, "allOf") == 0) {
        if (cJSON_GetArraySize(value) == 1 && cJSON_IsArray(value)) return read_part(s, value->child, name, out, err);
        return json_schema_refuse(s, name, "is supported with one schema only", err);
    }
    if (strcmp(name, "oneOf") == 0) TRY(check_one_of(s, value, err));
    return read_choices(s, value, name, out, err);
}

/* Whether a value is in a list, as JSON writes both: comparing trees with cJSON takes time without bound. */
static gptoss_status is_among(const cJSON *list, const cJSON *value, bool *out, gptoss_error *err) {
    char *wanted = cJSON_PrintUnformatted(value);
    gptoss_status status = wanted ? GPTOSS_OK : no_memory(err);
    *out = false;
    for (const cJSON *item = list->child; item && status == GPTOSS_OK && !*out; item = item->next) {
        char *text = cJSON_PrintUnformatted(item);
        if (!text) status = no_memory(err);
        *out = text && strcmp(text, wanted) == 0;
        cJSON_free(text);
    }
    cJSON_free(wanted);
    return status;
}

/* "enum", "const", or both, as some programs write a constant: then it must be among the others. */
static gptoss_status read_listed(json_schema *s, const cJSON *schema, unsigned allowed, uint32_t *out,
                                 gptoss_error *err) {
    const cJSON *list = get(schema, "enum"), *constant = get(schema, "const");
    bool found = true;
    if (list && !cJSON_IsArray(list)) return json_schema_refuse(s, "enum", "is no list of values", err);
    if (!constant) return json_schema_values(s, list->child, false, has_type, allowed, out, err);
    if (list) TRY(is_among(list, constant, &found, err));
    return found ? json_schema_values(s, constant, true, has_type, allowed, out, err) : read_never(s, out, err);
}

static gptoss_status read_known(json_schema *s, const cJSON *schema, uint32_t *out, gptoss_error *err) {
    unsigned kind, allowed;
    const char *name;
    TRY(check_keywords(s, schema, &kind, &name, err));
    if (kind == COMBINES) {
        TRY(read_combined(s, schema, name, out, err));
    } else {
        TRY(read_types(s, schema, &allowed, err));
        if (kind != LISTS && s->of_object && schema == s->root && !get(schema, "type")) allowed = OBJECT;
        if (kind != LISTS && allowed == ALL)
            TRY(read_any(s, out, err));
        else if (kind != LISTS)
            TRY(read_typed(s, schema, allowed, out, err));
        else
            TRY(read_listed(s, schema, allowed, out, err));
    }
    if (!cJSON_IsTrue(get(schema, "nullable"))) return GPTOSS_OK;
    uint32_t null;
    TRY(read_word(s, ANY_NULL, &null, err));
    return json_schema_add_either(s, *out, null, out, err);
}

static gptoss_status read_schema(json_schema *s, const cJSON *schema, uint32_t *out, gptoss_error *err) {
    if (cJSON_IsTrue(schema)) return read_any(s, out, err);
    if (cJSON_IsFalse(schema)) return read_never(s, out, err);
    if (!cJSON_IsObject(schema))
        return error_set(err, GPTOSS_BAD_INPUT,
                         "the schema has at #%.200s something that is neither an object nor true "
                         "or false",
                         s->path.size ? s->path.data : "");
    if (s->depth == MAX_DEPTH)
        return error_set(err, GPTOSS_BAD_INPUT, "the schema is nested more than %d levels deep", MAX_DEPTH);
    s->depth++;
    TRY(read_known(s, schema, out, err));
    s->depth--;
    return GPTOSS_OK;
}

gptoss_status json_schema_read(json_schema *s, gptoss_error *err) {
    TRY(buffer_append(&s->path, "", 0, err));
    return read_schema(s, s->root, &s->g->root, err);
}
