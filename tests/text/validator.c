#include "text/validator.h"

#include <math.h>
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "support.h"

static const cJSON *get(const cJSON *schema, const char *name) {
    return cJSON_GetObjectItemCaseSensitive(schema, name);
}

bool validator_matches(const char *pattern, const char *text) {
    int error;
    PCRE2_SIZE at;
    pcre2_code *code = pcre2_compile((PCRE2_SPTR)pattern, PCRE2_ZERO_TERMINATED,
                                     PCRE2_UTF | PCRE2_DOLLAR_ENDONLY | PCRE2_ALT_BSUX, &error, &at, NULL);
    if (!code) fail_msg("PCRE2 refuses %s", pattern);
    pcre2_match_data *match = pcre2_match_data_create_from_pattern(code, NULL);
    int found = pcre2_match(code, (PCRE2_SPTR)text, strlen(text), 0, 0, match, NULL);
    pcre2_match_data_free(match);
    pcre2_code_free(code);
    return found >= 0;
}

static bool is_of_type(const cJSON *value, const char *type) {
    if (strcmp(type, "null") == 0) return cJSON_IsNull(value);
    if (strcmp(type, "boolean") == 0) return cJSON_IsBool(value);
    if (strcmp(type, "string") == 0) return cJSON_IsString(value);
    if (strcmp(type, "array") == 0) return cJSON_IsArray(value);
    if (strcmp(type, "object") == 0) return cJSON_IsObject(value);
    if (strcmp(type, "number") == 0) return cJSON_IsNumber(value);
    return cJSON_IsNumber(value) && floor(value->valuedouble) == value->valuedouble;
}

static bool type_is_right(const cJSON *type, const cJSON *value) {
    const cJSON *item;
    if (!type) return true;
    if (cJSON_IsString(type)) return is_of_type(value, type->valuestring);
    cJSON_ArrayForEach(item, type) {
        if (is_of_type(value, item->valuestring)) return true;
    }
    return false;
}

static size_t characters(const char *text) {
    size_t count = 0;
    for (; *text; text++) count += (*text & 0xC0) != 0x80;
    return count;
}

static bool limit_holds(const cJSON *limit, double value, int sign) {
    return !limit || sign * (value - limit->valuedouble) >= 0;
}

static bool string_is_right(const cJSON *schema, const cJSON *value) {
    double size = (double)characters(value->valuestring);
    const cJSON *pattern = get(schema, "pattern");
    return limit_holds(get(schema, "minLength"), size, 1) && limit_holds(get(schema, "maxLength"), size, -1) &&
           (!pattern || validator_matches(pattern->valuestring, value->valuestring));
}

static bool number_is_right(const cJSON *schema, const cJSON *value) {
    const cJSON *above = get(schema, "exclusiveMinimum"), *below = get(schema, "exclusiveMaximum");
    double number = value->valuedouble;
    return limit_holds(get(schema, "minimum"), number, 1) && limit_holds(get(schema, "maximum"), number, -1) &&
           (!above || number > above->valuedouble) && (!below || number < below->valuedouble);
}

static bool array_is_right(const cJSON *root, const cJSON *schema, const cJSON *value) {
    const cJSON *items = get(schema, "items"), *item;
    double count = cJSON_GetArraySize(value);
    cJSON_ArrayForEach(item, value) {
        if (items && !validator_accepts(root, items, item)) return false;
    }
    return limit_holds(get(schema, "minItems"), count, 1) && limit_holds(get(schema, "maxItems"), count, -1);
}

static bool object_is_right(const cJSON *root, const cJSON *schema, const cJSON *value) {
    const cJSON *properties = get(schema, "properties"), *others = get(schema, "additionalProperties"), *item;
    cJSON_ArrayForEach(item, get(schema, "required")) if (!get(value, item->valuestring)) return false;
    cJSON_ArrayForEach(item, value) {
        const cJSON *own = properties ? get(properties, item->string) : NULL;
        if (!own) own = others;
        if (own && !validator_accepts(root, own, item)) return false;
    }
    return true;
}

static int accepting(const cJSON *root, const cJSON *schemas, const cJSON *value) {
    const cJSON *schema;
    int count = 0;
    cJSON_ArrayForEach(schema, schemas) { count += validator_accepts(root, schema, value); }
    return count;
}

static const cJSON *resolve(const cJSON *root, const char *ref) {
    char part[64];
    for (ref++; *ref; ref += strlen(part)) {
        ref++;
        snprintf(part, sizeof part, "%.*s", (int)strcspn(ref, "/"), ref);
        root = get(root, part);
    }
    return root;
}

static bool is_listed(const cJSON *list, const cJSON *value) {
    const cJSON *item;
    cJSON_ArrayForEach(item, list) {
        if (cJSON_Compare(item, value, true)) return true;
    }
    return false;
}

bool validator_accepts(const cJSON *root, const cJSON *schema, const cJSON *value) {
    const cJSON *ref = get(schema, "$ref"), *any = get(schema, "anyOf"), *one = get(schema, "oneOf");
    const cJSON *all = get(schema, "allOf"), *listed = get(schema, "enum"), *constant = get(schema, "const");
    if (cJSON_IsBool(schema)) return cJSON_IsTrue(schema);
    if (cJSON_IsTrue(get(schema, "nullable")) && cJSON_IsNull(value)) return true;
    if (ref && !validator_accepts(root, resolve(root, ref->valuestring), value)) return false;
    if (any && accepting(root, any, value) == 0) return false;
    if (one && accepting(root, one, value) != 1) return false;
    if (all && accepting(root, all, value) != cJSON_GetArraySize(all)) return false;
    if (listed && !is_listed(listed, value)) return false;
    if (constant && !cJSON_Compare(constant, value, true)) return false;
    if (!type_is_right(get(schema, "type"), value)) return false;
    if (cJSON_IsString(value)) return string_is_right(schema, value);
    if (cJSON_IsNumber(value)) return number_is_right(schema, value);
    if (cJSON_IsArray(value)) return array_is_right(root, schema, value);
    return !cJSON_IsObject(value) || object_is_right(root, schema, value);
}
