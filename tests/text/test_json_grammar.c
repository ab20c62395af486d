/* Which schemas are taken, which are refused and how; and that what is taken allows exactly what it should. */
#include <cjson/cJSON.h>
#include <strings.h>

#include "base/mem.h"
#include "base/utf8.h"
#include "random.h"
#include "text/json_machine.h"
#include "text/vocabulary.h"

static gptoss_status open_text(const char *text, json_grammar **out, gptoss_error *error) {
    cJSON *schema = cJSON_Parse(text);
    if (!schema) fail_msg("no JSON: %.100s", text);
    gptoss_status status = json_grammar_open(schema, NULL, out, error);
    cJSON_Delete(schema);
    return status;
}

static void check_refused(const char *schema, const char *reason) {
    json_grammar *g;
    gptoss_error error;
    if (open_text(schema, &g, &error) == GPTOSS_OK) fail_msg("taken: %.200s", schema);
    assert_int_equal(error.status, GPTOSS_BAD_INPUT);
    if (!strstr(error.text, reason)) fail_msg("%.200s: %s", schema, error.text);
}

static void test_what_is_not_supported_is_refused_by_name(void **state) {
    (void)state;
    static const char *const cases[][2] = {
        {"{\"type\":\"array\",\"uniqueItems\":true}", "\"uniqueItems\" at #"},
        {"{\"type\":\"array\",\"prefixItems\":[]}", "\"prefixItems\""},
        {"{\"type\":\"array\",\"items\":[{}]}", "\"items\" at # is a list"},
        {"{\"type\":\"array\",\"contains\":{}}", "\"contains\""},
        {"{\"type\":\"object\",\"patternProperties\":{}}", "\"patternProperties\""},
        {"{\"type\":\"object\",\"propertyNames\":{}}", "\"propertyNames\""},
        {"{\"type\":\"object\",\"minProperties\":1}", "\"minProperties\""},
        {"{\"type\":\"object\",\"dependentRequired\":{}}", "\"dependentRequired\""},
        {"{\"not\":{}}", "\"not\""},
        {"{\"if\":{}}", "\"if\""},
        {"{\"type\":\"integer\",\"multipleOf\":2}", "\"multipleOf\""},
        {"{\"allOf\":[{},{}]}", "\"allOf\""},
        {"{\"oneOf\":[{\"type\":\"string\"},{\"type\":\"string\"}]}", "\"oneOf\""},
        {"{\"oneOf\":[{\"type\":\"integer\"},{\"type\":\"number\"}]}", "\"oneOf\""},
        {"{\"oneOf\":[{\"const\":1}]}", "\"oneOf\""},
        {"{\"anyOf\":[{}],\"properties\":{}}", "\"properties\""},
        {"{\"anyOf\":[{}],\"oneOf\":[{}]}", "combined"},
        {"{\"enum\":[\"a\"],\"minLength\":1}", "\"minLength\""},
        {"{\"$ref\":\"#\",\"type\":\"string\"}", "\"type\""},
        {"{\"$ref\":\"#/$defs/none\"}", "\"$ref\" at # refers to nothing"},
        {"{\"$ref\":\"http://x/y\"}", "\"$ref\""},
        {"{\"type\":\"text\"}", "\"type\""},
        {"{\"type\":7}", "\"type\""},
        {"{\"type\":\"string\",\"format\":\"uri\"}", "\"format\""},
        {"{\"type\":\"string\",\"format\":\"date\",\"pattern\":\"(?=a)\"}", "\"pattern\""},
        {"{\"type\":\"string\",\"pattern\":\"(?=a)\"}", "\"pattern\" at # cannot be followed: looking ahead"},
        {"{\"type\":\"string\",\"pattern\":3}", "\"pattern\""},
        {"{\"type\":\"string\",\"minLength\":-1}", "\"minLength\""},
        {"{\"type\":\"string\",\"maxLength\":1.5}", "\"maxLength\""},
        {"{\"type\":\"array\",\"minItems\":\"2\"}", "\"minItems\""},
        {"{\"type\":\"integer\",\"minimum\":\"2\"}", "\"minimum\""},
        {"{\"type\":\"integer\",\"exclusiveMinimum\":true}", "\"exclusiveMinimum\""},
        {"{\"enum\":3}", "\"enum\""},
        {"{\"const\":3,\"enum\":3}", "\"enum\" at # is no list"},
        {"{\"const\":3,\"const\":3}", "combined"},
        {"{\"const\":3,\"$ref\":\"#\"}", "combined"},
        {"{\"anyOf\":[]}", "\"anyOf\""},
        {"{\"type\":\"object\",\"properties\":[]}", "\"properties\""},
        {"{\"type\":\"object\",\"required\":{}}", "\"required\""},
        {"{\"type\":\"object\",\"required\":[1]}", "\"required\""},
        {"{\"type\":\"object\",\"properties\":{\"a\":{}},\"required\":[\"b\"],\"additionalProperties\":false}",
         "\"required\""},
        {"{\"type\":\"object\",\"properties\":{\"a\":{\"items\":{\"foo\":1}}}}", "\"foo\" at #/a/items"},
        {"{\"type\":\"object\",\"properties\":{\"a\":3}}", "at #/a"},
        {"3", "neither"},
        /* what nothing satisfies */
        {"false", "no value satisfies"},
        {"{\"enum\":[]}", "no value satisfies"},
        {"{\"type\":\"string\",\"enum\":[1]}", "no value satisfies"},
        {"{\"const\":\"a\",\"enum\":[\"b\",1]}", "no value satisfies"},
        {"{\"type\":\"integer\",\"minimum\":3,\"maximum\":2}", "no value satisfies"},
        {"{\"type\":\"string\",\"minLength\":3,\"maxLength\":2}", "no value satisfies"},
        {"{\"type\":\"string\",\"pattern\":\"^a$\",\"minLength\":2}", "no value satisfies"},
        {"{\"type\":\"array\",\"items\":false,\"minItems\":1}", "no value satisfies"},
        {"{\"type\":\"object\",\"properties\":{\"a\":false},\"required\":[\"a\"]}", "no value satisfies"},
        {"{\"$ref\":\"#\"}", "no value satisfies"},
        {"{\"type\":\"object\",\"properties\":{\"a\":{\"$ref\":\"#\"}},\"required\":[\"a\"]}", "no value satisfies"},
        {"{\"$defs\":{\"a\":{\"anyOf\":[{\"$ref\":\"#/$defs/b\"}]},\"b\":{\"$ref\":\"#/$defs/a\"}},\"$ref\":\"#/$defs/"
         "a\"}",
         "no value satisfies"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) check_refused(cases[i][0], cases[i][1]);
}

static void repeat(buffer *out, const char *text, size_t times) {
    for (size_t i = 0; i < times; i++) assert_ok(buffer_append_text(out, text, err));
}

static void test_hostile_schemas_are_refused_soon(void **state) {
    (void)state;
    buffer text = {0};
    repeat(&text, "{\"type\":\"array\",\"items\":", 150);
    repeat(&text, "{}", 1);
    repeat(&text, "}", 150);
    check_refused(text.data, "nested more than 100 levels");

    buffer_clear(&text);
    repeat(&text, "{\"enum\":[", 1);
    for (int i = 0; i < 10001; i++) assert_ok(buffer_printf(&text, err, "%d,", i));
    repeat(&text, "0]}", 1);
    check_refused(text.data, "\"enum\" at # has more than 10000");

    buffer_clear(&text);
    repeat(&text, "{\"enum\":[\"", 1);
    repeat(&text, "0123456789", 150000);
    repeat(&text, "\"]}", 1);
    check_refused(text.data, "too large");

    buffer_clear(&text);
    repeat(&text, "{\"properties\":{", 1);
    for (int i = 0; i < 2100; i++) assert_ok(buffer_printf(&text, err, "\"p%d\":{},", i));
    repeat(&text, "\"x\":{}}}", 1);
    check_refused(text.data, "\"properties\"");

    buffer_clear(&text);
    repeat(&text, "{\"anyOf\":[{}", 1);
    repeat(&text, ",{\"type\":\"null\"}", 200);
    repeat(&text, "]}", 1);
    check_refused(text.data, "\"anyOf\" at # has too many");

    buffer_clear(&text); /* a chain of definitions that each need the next */
    repeat(&text, "{\"$ref\":\"#/$defs/d0\",\"$defs\":{", 1);
    for (int i = 0; i < 3000; i++)
        assert_ok(
            buffer_printf(&text, err, "\"d%d\":{\"type\":\"array\",\"items\":{\"$ref\":\"#/$defs/d%d\"}},", i, i + 1));
    repeat(&text, "\"d3000\":{}}}", 1);
    check_refused(text.data, "nested more than 100 levels");

    buffer_clear(&text); /* 2^20 ways to read it: they are the same ones again and again */
    repeat(&text, "{\"$ref\":\"#/$defs/d0\",\"$defs\":{", 1);
    for (int i = 0; i < 20; i++)
        assert_ok(buffer_printf(&text, err,
                                "\"d%d\":{\"anyOf\":[{\"$ref\":\"#/$defs/d%d\"},{\"$ref\":\"#/$defs/d%d\"}]},", i,
                                i + 1, i + 1));
    repeat(&text, "\"d20\":{\"type\":\"null\"}}}", 1);
    json_grammar *g;
    assert_ok(open_text(text.data, &g, err));
    json_grammar_close(g);
    buffer_free(&text);
}

/* ---- Exactly what a schema allows, for schemas that allow few texts ---- */

typedef struct list {
    char texts[4000][64];
    size_t count;
} list;

static void add(list *l, const char *text) {
    assert_true(l->count < 4000 && strlen(text) < 64);
    strcpy(l->texts[l->count++], text);
}

static void generate(const cJSON *schema, list *out);

/* All texts of items from the n-th on, behind `start`. */
static void generate_items(const cJSON *schema, const char *start, int n, list *out) {
    int min = cJSON_GetObjectItem(schema, "minItems")->valueint,
        max = cJSON_GetObjectItem(schema, "maxItems")->valueint;
    char text[200];
    if (n >= min) {
        snprintf(text, sizeof text, "%s]", start);
        add(out, text);
    }
    if (n == max) return;
    list *items = calloc(1, sizeof *items);
    generate(cJSON_GetObjectItem(schema, "items"), items);
    for (size_t i = 0; i < items->count; i++) {
        snprintf(text, sizeof text, "%s%s%s", start, n ? "," : "", items->texts[i]);
        generate_items(schema, text, n + 1, out);
    }
    free(items);
}

static bool is_required(const cJSON *schema, const char *name) {
    const cJSON *item;
    cJSON_ArrayForEach(item, cJSON_GetObjectItem(schema, "required")) {
        if (strcmp(item->valuestring, name) == 0) return true;
    }
    return false;
}

static void generate_properties(const cJSON *schema, const cJSON *property, const char *start, list *out) {
    char text[200];
    if (!property) {
        snprintf(text, sizeof text, "%s}", start);
        add(out, text);
        return;
    }
    list *values = calloc(1, sizeof *values);
    generate(property, values);
    for (size_t i = 0; i < values->count; i++) {
        const char *comma = start[strlen(start) - 1] == '{' ? "" : ",";
        snprintf(text, sizeof text, "%s%s\"%s\":%s", start, comma, property->string, values->texts[i]);
        generate_properties(schema, property->next, text, out);
    }
    free(values);
    if (!is_required(schema, property->string)) generate_properties(schema, property->next, start, out);
}

static void generate(const cJSON *schema, list *out) {
    const cJSON *values = cJSON_GetObjectItem(schema, "enum"), *any = cJSON_GetObjectItem(schema, "anyOf"), *item;
    const char *type = cJSON_GetStringValue(cJSON_GetObjectItem(schema, "type"));
    cJSON_ArrayForEach(item, values) {
        char *text = cJSON_PrintUnformatted(item);
        add(out, text);
        cJSON_free(text);
    }
    cJSON_ArrayForEach(item, any) { generate(item, out); }
    if (values || any) return;
    if (strcmp(type, "boolean") == 0) add(out, "true"), add(out, "false");
    if (strcmp(type, "null") == 0) add(out, "null");
    if (strcmp(type, "array") == 0) generate_items(schema, "[", 0, out);
    if (strcmp(type, "object") == 0)
        generate_properties(schema, cJSON_GetObjectItem(schema, "properties")->child, "{", out);
    if (strcmp(type, "integer") != 0) return;
    for (int i = cJSON_GetObjectItem(schema, "minimum")->valueint;
         i <= cJSON_GetObjectItem(schema, "maximum")->valueint; i++) {
        char text[20];
        snprintf(text, sizeof text, "%d", i);
        add(out, text);
    }
}

static bool some_begin(const list *l, const char *start, bool *whole) {
    bool found = false;
    *whole = false;
    for (size_t i = 0; i < l->count; i++) {
        found |= strncmp(l->texts[i], start, strlen(start)) == 0;
        *whole |= strcmp(l->texts[i], start) == 0;
    }
    return found;
}

/* From a text's beginning on: every byte is allowed exactly when some text goes on with it. Blanks are apart. */
static void check_beginning(const json_grammar *g, const list *l, const char *start) {
    json_position from[JSON_MACHINE_POSITIONS], to[JSON_MACHINE_POSITIONS];
    size_t count = 1;
    bool whole, end = false;
    json_machine_start(g, from);
    for (const char *c = start; *c; c++) {
        count = json_machine_step(g, from, count, (uint8_t)*c, to, JSON_MACHINE_POSITIONS);
        memcpy(from, to, count * sizeof *to);
    }
    if (count == 0) fail_msg("\"%s\" should be allowed", start);
    some_begin(l, start, &whole);
    for (size_t i = 0; i < count; i++) end |= json_machine_may_end(g, &from[i]);
    if (end != whole) fail_msg("\"%s\": may end: %d", start, end);
    uint32_t least = UINT32_MAX, shortest = UINT32_MAX;
    for (size_t i = 0; i < count; i++)
        if (json_machine_left(g, &from[i]) < least) least = json_machine_left(g, &from[i]);
    for (size_t i = 0; i < l->count; i++)
        if (strncmp(l->texts[i], start, strlen(start)) == 0 && strlen(l->texts[i]) - strlen(start) < shortest)
            shortest = (uint32_t)(strlen(l->texts[i]) - strlen(start));
    bool number = strchr("-123456789", start[0]) && start[1] == '\0'; /* an estimate */
    if (least < shortest || (least > shortest && *start && !number))
        fail_msg("\"%s\" is said to end in %u bytes, not %u", start, least, shortest);
    for (unsigned byte = 1; byte < 256; byte++) {
        char next[80];
        snprintf(next, sizeof next, "%s%c", start, (char)byte);
        if (byte == ' ' || byte == '\n') continue;
        bool allowed = json_machine_step(g, from, count, (uint8_t)byte, to, JSON_MACHINE_POSITIONS) > 0;
        if (allowed != some_begin(l, next, &whole)) fail_msg("\"%s\": %s", next, allowed ? "allowed" : "not allowed");
    }
}

static void test_exactly_the_texts_of_the_schema(void **state) {
    (void)state;
    static const char *const schemas[] = {
        "{\"enum\":[\"a\",\"ab\",\"b\",1,12,true,null,[1],{\"a\":2}]}",
        "{\"type\":\"integer\",\"minimum\":8,\"maximum\":123}",
        "{\"type\":\"integer\",\"minimum\":-21,\"maximum\":3}",
        "{\"type\":\"integer\",\"minimum\":-5,\"maximum\":-5}",
        "{\"type\":\"array\",\"items\":{\"type\":\"boolean\"},\"minItems\":1,\"maxItems\":3}",
        "{\"type\":\"array\",\"items\":{\"enum\":[1,12]},\"minItems\":0,\"maxItems\":2}",
        "{\"type\":\"object\",\"additionalProperties\":false,\"properties\":{\"a\":{\"enum\":[1,12]},\"ab\":{\"type\":"
        "\"null\"},"
        "\"b\":{\"enum\":[\"x\"]}},\"required\":[\"ab\"]}",
        "{\"type\":\"object\",\"additionalProperties\":false,\"properties\":{\"a\":{\"type\":\"null\"},\"b\":{\"type\":"
        "\"null\"},\"c\":{\"type\":\"null\"}}}",
        "{\"anyOf\":[{\"type\":\"object\",\"additionalProperties\":false,\"properties\":{\"a\":{\"enum\":[1]}},"
        "\"required\":"
        "[\"a\"]},{\"type\":\"object\",\"additionalProperties\":false,\"properties\":{\"a\":{\"enum\":[2]},\"b\":{"
        "\"enum\":[3]"
        "}},\"required\":[\"a\",\"b\"]},{\"type\":\"integer\",\"minimum\":1,\"maximum\":11}]}",
        "{\"type\":\"array\",\"items\":{\"type\":\"array\",\"items\":{\"enum\":[\"y\"]},\"minItems\":1,\"maxItems\":1},"
        "\"minItems\":1,\"maxItems\":2}",
    };
    static list l;
    for (size_t i = 0; i < sizeof schemas / sizeof *schemas; i++) {
        cJSON *schema = cJSON_Parse(schemas[i]);
        json_grammar *g;
        assert_ok(json_grammar_open(schema, NULL, &g, err));
        l.count = 0;
        generate(schema, &l);
        for (size_t n = 0; n < l.count; n++)
            for (size_t size = 0; size <= strlen(l.texts[n]); size++) {
                char start[64];
                snprintf(start, sizeof start, "%.*s", (int)size, l.texts[n]);
                check_beginning(g, &l, start);
            }
        json_grammar_close(g);
        cJSON_Delete(schema);
    }
}

static bool is_allowed(const json_grammar *g, const char *text, bool *may_end) {
    json_position from[JSON_MACHINE_POSITIONS], to[JSON_MACHINE_POSITIONS];
    size_t count = 1;
    json_machine_start(g, from);
    for (; *text && count; text++) {
        count = json_machine_step(g, from, count, (uint8_t)*text, to, JSON_MACHINE_POSITIONS);
        memcpy(from, to, count * sizeof *to);
    }
    *may_end = false;
    for (size_t i = 0; i < count; i++) *may_end |= json_machine_may_end(g, &from[i]);
    return count > 0;
}

static void test_blanks_are_bounded(void **state) {
    (void)state;
    static const char *const good[] = {"{}",
                                       "{ }",
                                       "{\n}",
                                       "{\n  \"a\": 1,\n  \"b\": [\n    1,\n    2\n  ]\n}",
                                       "{\"a\": {\"b\": []}, \"c\": [ ]}",
                                       "{\n    \"a\":\n    1}",
                                       "{ \"a\":[ 1, 2 ] }"};
    static const char *const wrong[] = {
        " {",         "\n{",  "{  ", "{\t",   "{\n     ", "{\"a\" ",           "{\"a\":  ",
        "{\"a\":1 ,", "{}\n", "{} ", "{\n\n", "{ \n",     "{\"a\":1,\n      ", "{\"a\":[\n         "};
    json_grammar *g;
    bool end;
    assert_ok(json_grammar_open_object(&g, err));
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        if (!is_allowed(g, good[i], &end) || !end) fail_msg("not allowed: %s", good[i]);
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        if (is_allowed(g, wrong[i], &end)) fail_msg("allowed: %s", wrong[i]);
    json_grammar_close(g);
}

static void test_bounds_of_depth_and_numbers(void **state) {
    (void)state;
    json_grammar *g;
    bool end;
    char text[100] = "";
    assert_ok(open_text("{}", &g, err));
    for (int i = 0; i < JSON_GRAMMAR_DEPTH; i++) strcat(text, "[");
    assert_true(is_allowed(g, text, &end));
    strcat(text, "1");
    assert_true(is_allowed(g, text, &end));
    text[JSON_GRAMMAR_DEPTH] = '[';
    assert_false(is_allowed(g, text, &end));
    assert_true(is_allowed(g, "123456789012345", &end) && end);
    assert_false(is_allowed(g, "1234567890123456", &end));
    assert_true(is_allowed(g, "-0.123456789012345e-99", &end) && end);
    assert_false(is_allowed(g, "0.1234567890123456", &end));
    assert_false(is_allowed(g, "1e100", &end));
    assert_false(is_allowed(g, "01", &end));
    assert_false(is_allowed(g, "\"\\ud800", &end));
    assert_false(is_allowed(g, "\"\\u0000", &end));
    assert_true(is_allowed(g, "\"\\u00e9\\n\"", &end) && end);
    json_grammar_close(g);
    assert_ok(open_text("{\"type\":\"integer\"}", &g, err));
    assert_true(is_allowed(g, "-999999999999999999", &end) && end);
    assert_false(is_allowed(g, "1000000000000000000", &end));
    assert_false(is_allowed(g, "-0", &end));
    assert_false(is_allowed(g, "1.", &end));
    json_grammar_close(g);
}

/* Whether the inside of a string is what json_text.h promises, found out in other ways. */
static bool is_plain_string(const char *inside) {
    char text[200];
    snprintf(text, sizeof text, "\"%s\"", inside);
    for (const char *c = inside; *c; c++) {
        if ((uint8_t)*c < 0x20 || *c == '"') return false;
        if (*c != '\\') continue;
        c++;
        if (!*c) return false;
        if (*c != 'u') continue;
        if (strspn(c + 1, "0123456789abcdefABCDEF") < 4) return false; /* cJSON lets others through */
        if (strncmp(c + 1, "0000", 4) == 0 || (strncasecmp(c + 1, "d", 1) == 0 && c[2] >= '8')) return false;
    }
    cJSON *value = cJSON_Parse(text);
    bool good = value && utf8_valid(inside, strlen(inside));
    cJSON_Delete(value);
    return good;
}

static void test_strings(void **state) {
    (void)state;
    static const char *const parts[] = {"a",    "\\",   "u",    "\\u",  "00",   "0041", "e9",        "D7ff", "d800",
                                        "DC",   "n",    "\"",   "/",    "\xC3", "\xA9", "\xE0",      "\xA0", "\x80",
                                        "\xED", "\x9F", "\xF0", "\x90", "\xF4", "\x8F", "\xBF",      "\xC0", "\xFF",
                                        "\x1F", "\x7F", "\\\"", "\\n",  "é",    "中",   "\U0001F642"};
    json_grammar *g;
    uint64_t seed = 19;
    size_t accepted = 0;
    assert_ok(open_text("{\"type\":\"string\"}", &g, err));
    for (int round = 0; round < 200000; round++) {
        char inside[100] = "", text[120];
        bool end;
        for (uint64_t n = random_below(&seed, 6); n > 0; n--)
            strcat(inside, parts[random_below(&seed, sizeof parts / sizeof *parts)]);
        snprintf(text, sizeof text, "\"%s\"", inside);
        is_allowed(g, text, &end);
        if (end != is_plain_string(inside)) fail_msg("%s: %d", text, end);
        accepted += end;
    }
    assert_true(accepted > 10000);
    json_grammar_close(g);
}

/* One or the other would do: programs write both. */
static void test_keywords_that_say_the_same(void **state) {
    (void)state;
    static const struct {
        const char *schema, *good, *wrong;
    } cases[] = {
        {"{\"type\":\"string\",\"format\":\"uuid\",\"pattern\":\"^[0-9A-F]{2}$\"}", "\"0F\"", "\"0f\""},
        {"{\"const\":\"cat\",\"enum\":[\"cat\"],\"type\":\"string\"}", "\"cat\"", "\"dog\""},
        {"{\"enum\":[1,{\"a\":[2]}],\"const\":{\"a\":[2]}}", "{\"a\":[2]}", "1"},
        {"{\"pattern\":\"^a$\",\"format\":\"cuid2\"}", "\"a\"", "\"b\""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        json_grammar *g;
        bool end;
        assert_ok(open_text(cases[i].schema, &g, err));
        if (!is_allowed(g, cases[i].good, &end) || !end) fail_msg("not allowed: %s", cases[i].good);
        if (is_allowed(g, cases[i].wrong, &end) && end) fail_msg("allowed: %s", cases[i].wrong);
        json_grammar_close(g);
    }
}

/* Damaged schemas: taken or refused, and what is taken can be walked. */
static void mutate(const cJSON *line, void *context) {
    uint64_t *seed = context;
    char *text = cJSON_PrintUnformatted(line);
    size_t size = strlen(text);
    for (int round = 0; round < 60; round++) {
        char *copy = strdup(text);
        for (uint64_t n = 1 + random_below(seed, 3); n > 0; n--)
            copy[random_below(seed, size)] = text[random_below(seed, size)];
        cJSON *schema = cJSON_Parse(copy);
        json_grammar *g;
        if (schema && json_grammar_open(schema, NULL, &g, NULL) == GPTOSS_OK) {
            json_position from, to[JSON_MACHINE_POSITIONS];
            json_machine_start(g, &from);
            size_t count = 0;
            for (unsigned byte = 0; byte < 256; byte++)
                count += json_machine_step(g, &from, 1, (uint8_t)byte, to, JSON_MACHINE_POSITIONS);
            assert_true(count > 0);
            json_grammar_close(g);
        }
        cJSON_Delete(schema);
        free(copy);
    }
    cJSON_free(text);
}

static void test_damaged_schemas(void **state) {
    (void)state;
    uint64_t seed = 13;
    vocabulary_each_line("schemas.jsonl", mutate, &seed);
}

static void test_lack_of_memory(void **state) {
    (void)state;
    cJSON *schema =
        cJSON_Parse("{\"$defs\":{\"n\":{\"type\":\"object\",\"properties\":{\"a\":{\"enum\":[1,2]},\"n\":{\"$ref\":"
                    "\"#/$defs/n\"},\"s\":{\"type\":\"string\",\"pattern\":\"^a\"}},\"required\":[\"a\",\"z\"]}},"
                    "\"anyOf\":[{\"$ref\":\"#/$defs/n\"},{\"type\":\"array\"}]}");
    bool failed = true;
    for (long n = 0; failed; n++) {
        json_grammar *g;
        mem_fail_after(n);
        gptoss_status status = json_grammar_open(schema, NULL, &g, NULL);
        mem_fail_after(-1);
        failed = status != GPTOSS_OK;
        assert_true(failed ? status == GPTOSS_NO_MEMORY && n < 1000 : n > 20);
        if (!failed) json_grammar_close(g);
    }
    cJSON_Delete(schema);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_is_not_supported_is_refused_by_name),
        cmocka_unit_test(test_hostile_schemas_are_refused_soon),
        cmocka_unit_test(test_exactly_the_texts_of_the_schema),
        cmocka_unit_test(test_blanks_are_bounded),
        cmocka_unit_test(test_bounds_of_depth_and_numbers),
        cmocka_unit_test(test_strings),
        cmocka_unit_test(test_keywords_that_say_the_same),
        cmocka_unit_test(test_damaged_schemas),
        cmocka_unit_test(test_lack_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
