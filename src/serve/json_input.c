#include "serve/json_input.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/utf8.h"

enum { FIELDS_COMPARED = 64 };

static size_t digits(const char *text) { return strspn(text, "0123456789"); }

/* How much of a number at `text` JSON knows, or 0: cJSON takes "01" and "1." as well. */
static size_t number_size(const char *text) {
    const char *at = text + (*text == '-');
    size_t whole = digits(at);
    if (whole == 0 || (*at == '0' && whole > 1)) return 0;
    at += whole;
    if (*at == '.') {
        size_t part = digits(at + 1);
        if (part == 0) return 0;
        at += 1 + part;
    }
    if (*at == 'e' || *at == 'E') {
        at += at[1] == '+' || at[1] == '-' ? 2 : 1;
        size_t power = digits(at);
        if (power == 0) return 0;
        at += power;
    }
    return (size_t)(at - text);
}

static bool goes_on_number(char c) { return (c >= '0' && c <= '9') || (c && strchr("+-.eE", c)); }

/* Outside of texts: *i is at a byte, and after a number at its last. */
static bool is_json_byte(const char *data, size_t *i) {
    char c = data[*i];
    if ((unsigned char)c < 0x20) return strchr("\t\n\r", c) != NULL; /* cJSON skips any control character */
    if (c != '-' && (c < '0' || c > '9')) return true;
    size_t size = number_size(data + *i);
    if (size == 0 || goes_on_number(data[*i + size])) return false;
    *i += size - 1;
    return true;
}

/* What cJSON does not look at, or not before it recurses, allocates or cuts a text: numbers, control characters, depth,
 * the number of values, and the escape of NUL. */
static gptoss_status check_text(const buffer *body, failure *why) {
    if (body->size == 0)
        return failure_set(why, 400, NULL, "invalid_json", "the body is empty: it must be a JSON object");
    if (!utf8_valid(body->data, body->size))
        return failure_set(why, 400, NULL, "invalid_json", "the body is not valid UTF-8");
    if (memchr(body->data, '\0', body->size))
        return failure_set(why, 400, NULL, "invalid_json", "the body holds a NUL byte");
    int depth = 0, values = 1;
    bool in_string = false;
    for (size_t i = 0; i < body->size; i++) {
        char c = body->data[i];
        if (in_string && c == '\\') {
            if (body->size - i > 5 && memcmp(body->data + i, "\\u0000", 6) == 0)
                return failure_set(why, 400, NULL, "invalid_json", "texts with \\u0000 are not supported (byte %zu)",
                                   i);
            i++;
        } else if (c == '"') {
            in_string = !in_string;
        } else if (in_string && (unsigned char)c < 0x20) {
            return failure_set(why, 400, NULL, "invalid_json",
                               "the body is not JSON: a control character in a text (byte %zu)", i);
        } else if (!in_string && !is_json_byte(body->data, &i)) {
            return failure_set(why, 400, NULL, "invalid_json", "the body is not JSON: it goes wrong at byte %zu", i);
        } else if (!in_string && (c == '{' || c == '[')) {
            if (++depth > JSON_INPUT_DEPTH)
                return failure_set(why, 400, NULL, "invalid_json", "the body is nested deeper than %d levels",
                                   JSON_INPUT_DEPTH);
        } else if (!in_string && (c == '}' || c == ']')) {
            depth--;
        }
        values += !in_string && (c == ',' || c == '{' || c == '[');
        if (values > JSON_INPUT_VALUES)
            return failure_set(why, 400, NULL, "invalid_json", "the body holds more than %d values", JSON_INPUT_VALUES);
    }
    return GPTOSS_OK;
}

static bool given_twice(const cJSON *object, const cJSON *field) {
    int compared = 0;
    for (const cJSON *other = object->child; other != field && compared < FIELDS_COMPARED;
         other = other->next, compared++)
        if (strcmp(other->string, field->string) == 0) return true;
    return false;
}

static gptoss_status check_tree(const cJSON *value, failure *why) {
    if (cJSON_IsNumber(value) && !isfinite(value->valuedouble))
        return failure_set(why, 400, value->string, "invalid_json", "a number in the body is too large");
    for (const cJSON *child = value->child; child; child = child->next) {
        if (cJSON_IsObject(value) && given_twice(value, child))
            return failure_set(why, 400, child->string, "invalid_json", "a field is given twice");
        TRY(check_tree(child, why));
    }
    return GPTOSS_OK;
}

gptoss_status json_input_parse(const buffer *body, cJSON **out, failure *why) {
    TRY(check_text(body, why));
    const char *end = body->data;
    cJSON *whole = cJSON_ParseWithLengthOpts(body->data, body->size + 1, &end, true);
    if (!whole)
        return failure_set(why, 400, NULL, "invalid_json", "the body is not JSON: it goes wrong at byte %td",
                           end ? end - body->data : (ptrdiff_t)0);
    gptoss_status status = cJSON_IsObject(whole)
                               ? check_tree(whole, why)
                               : failure_set(why, 400, NULL, "invalid_json", "the body must be a JSON object");
    if (status != GPTOSS_OK) {
        cJSON_Delete(whole);
        return status;
    }
    *out = whole;
    return GPTOSS_OK;
}

json_path json_path_field(const char *path, const char *name) {
    json_path p;
    snprintf(p.text, sizeof p.text, "%.100s%s%.50s", path, path[0] ? "." : "", name);
    return p;
}

json_path json_path_item(const char *path, size_t index) {
    json_path p;
    snprintf(p.text, sizeof p.text, "%.120s[%zu]", path, index);
    return p;
}

const cJSON *json_input_get(const cJSON *object, const char *name) {
    const cJSON *field = cJSON_GetObjectItemCaseSensitive(object, name);
    return cJSON_IsNull(field) ? NULL : field;
}

static gptoss_status wrong(const char *path, const char *name, const char *wanted, failure *why) {
    json_path p = json_path_field(path, name);
    return failure_field(why, p.text, "%s must be %s", p.text, wanted);
}

gptoss_status json_input_bool(const cJSON *object, const char *path, const char *name, bool *out, failure *why) {
    const cJSON *field = json_input_get(object, name);
    if (!field) return GPTOSS_OK;
    if (!cJSON_IsBool(field)) return wrong(path, name, "true or false", why);
    *out = cJSON_IsTrue(field);
    return GPTOSS_OK;
}

gptoss_status json_input_number(const cJSON *object, const char *path, const char *name, double low, double high,
                                double *out, failure *why) {
    const cJSON *field = json_input_get(object, name);
    if (!field) return GPTOSS_OK;
    char wanted[80];
    snprintf(wanted, sizeof wanted, "a number from %g to %g", low, high);
    if (!cJSON_IsNumber(field) || !(field->valuedouble >= low && field->valuedouble <= high))
        return wrong(path, name, wanted, why);
    *out = field->valuedouble;
    return GPTOSS_OK;
}

gptoss_status json_input_integer(const cJSON *object, const char *path, const char *name, int64_t low, int64_t high,
                                 int64_t *out, failure *why) {
    const cJSON *field = json_input_get(object, name);
    if (!field) return GPTOSS_OK;
    char wanted[80];
    snprintf(wanted, sizeof wanted, "a whole number from %lld to %lld", (long long)low, (long long)high);
    double value = cJSON_IsNumber(field) ? field->valuedouble : NAN;
    if (!(value >= (double)low && value <= (double)high) || value != floor(value))
        return wrong(path, name, wanted, why);
    *out = (int64_t)value;
    return GPTOSS_OK;
}

gptoss_status json_input_string(const cJSON *object, const char *path, const char *name, const char **out,
                                failure *why) {
    const cJSON *field = json_input_get(object, name);
    if (!field) return GPTOSS_OK;
    if (!cJSON_IsString(field)) return wrong(path, name, "a string", why);
    *out = field->valuestring;
    return GPTOSS_OK;
}

gptoss_status json_input_object(const cJSON *object, const char *path, const char *name, const cJSON **out,
                                failure *why) {
    const cJSON *field = json_input_get(object, name);
    if (!field) return GPTOSS_OK;
    if (!cJSON_IsObject(field)) return wrong(path, name, "an object", why);
    *out = field;
    return GPTOSS_OK;
}

gptoss_status json_input_array(const cJSON *object, const char *path, const char *name, const cJSON **out,
                               failure *why) {
    const cJSON *field = json_input_get(object, name);
    if (!field) return GPTOSS_OK;
    if (!cJSON_IsArray(field)) return wrong(path, name, "an array", why);
    *out = field;
    return GPTOSS_OK;
}
