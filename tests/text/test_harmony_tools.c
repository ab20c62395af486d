/* JSON Schemas as the TypeScript-like types that models read. */
#include "text/harmony_tools.h"

#include <cjson/cJSON.h>

#include "support.h"

static void write_function(const char *description, const char *schema, buffer *out) {
    cJSON *parameters = schema ? cJSON_Parse(schema) : NULL;
    assert_true(!schema || parameters);
    harmony_function f = {.name = "f", .description = description, .parameters = parameters};
    assert_ok(harmony_tools_write(&f, 1, out, err));
    cJSON_Delete(parameters);
}

/* The lines between the namespace's opening and its end. */
static void check_function(const char *description, const char *schema, const char *expected) {
    buffer text = {0}, whole = {0};
    write_function(description, schema, &text);
    assert_ok(buffer_printf(
        &whole, err, "# Tools\n\n## functions\n\nnamespace functions {\n\n%s\n\n} // namespace functions", expected));
    assert_string_equal(text.data, whole.data);
    buffer_free(&text);
    buffer_free(&whole);
}

static void test_functions_without_parameters(void **state) {
    (void)state;
    check_function(NULL, NULL, "type f = () => any;");
    check_function("", NULL, "type f = () => any;");
    check_function("Tells the time.", NULL, "// Tells the time.\ntype f = () => any;");
    check_function("Two\nlines.\n", NULL, "// Two\n// lines.\ntype f = () => any;");
    check_function(NULL, "{\"type\":\"object\",\"properties\":{}}", "type f = () => any;");
    check_function(NULL, "{}", "type f = () => any;");
    check_function(NULL, "[1]", "type f = () => any;");
    check_function(NULL, "{\"properties\":7}", "type f = () => any;");
}

/* A property "p", required, and the text after "p: ". */
static void check_property(const char *schema, const char *expected) {
    buffer function = {0}, type = {0};
    assert_ok(
        buffer_printf(&function, err, "{\"type\":\"object\",\"properties\":{\"p\":%s},\"required\":[\"p\"]}", schema));
    assert_ok(buffer_printf(&type, err, "type f = (_: {\n%s\n}) => any;", expected));
    check_function(NULL, function.data, type.data);
    buffer_free(&function);
    buffer_free(&type);
}

static void test_types(void **state) {
    (void)state;
    static const char *const types[][2] = {
        {"{\"type\":\"string\"}", "p: string,"},
        {"{\"type\":\"integer\"}", "p: number,"},
        {"{\"type\":\"number\"}", "p: number,"},
        {"{\"type\":\"boolean\"}", "p: boolean,"},
        {"{\"type\":\"null\"}", "p: null,"},
        {"{}", "p: any,"},
        {"true", "p: any,"},
        {"{\"type\":[\"integer\",\"string\"]}", "p: number | string,"},
        {"{\"type\":\"string\",\"nullable\":true}", "p: string | null,"},
        {"{\"enum\":[\"a\",\"b\"]}", "p: \"a\" | \"b\","},
        {"{\"type\":\"string\",\"enum\":[\"a\"],\"default\":\"a\"}", "p: \"a\", // default: a"},
        {"{\"enum\":[1,null,\"x\"]}", "p: 1 | null | \"x\","},
        {"{\"const\":\"x\"}", "p: \"x\","},
        {"{\"type\":\"string\",\"default\":\"a b\"}", "p: string, // default: \"a b\""},
        {"{\"type\":\"number\",\"default\":-1}", "p: number, // default: -1"},
        {"{\"type\":\"boolean\",\"default\":false}", "p: boolean, // default: false"},
        {"{\"type\":\"array\"}", "p: Array<any>,"},
        {"{\"type\":\"array\",\"items\":{\"type\":\"string\"}}", "p: string[],"},
        {"{\"type\":\"array\",\"items\":{\"type\":\"array\",\"items\":{\"type\":\"integer\"}}}", "p: number[][],"},
        {"{\"type\":\"array\",\"items\":{\"enum\":[\"a\",\"b\"]}}", "p: (\"a\" | \"b\")[],"},
        {"{\"anyOf\":[{\"type\":\"string\"},{\"type\":\"null\"}]}", "p: string | null,"},
        {"{\"type\":\"object\"}", "p: object,"},
        {"{\"type\":\"object\",\"additionalProperties\":{\"type\":\"string\"}}", "p: object,"},
        {"{\"type\":\"string\",\"description\":\"Where,\\nexactly.\"}", "// Where,\n// exactly.\np: string,"},
        {"{\"type\":\"string\",\"title\":\"Place\",\"examples\":[\"Brest\",3]}",
         "// Place\n//\n// Examples:\n// - \"Brest\"\n// - 3\np: string,"},
        {"{\"description\":\"One of two.\",\"default\":\"x\",\"oneOf\":[{\"type\":\"string\",\"description\":\"a "
         "name\"},{\"type\":\"integer\",\"default\":3}]}",
         "// One of two.\n// default: \"x\"\np:\n | string // a name\n | number // default: 3\n,"},
        {"{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"object\",\"properties\":{\"b\":{\"type\":\"string\","
         "\"description\":\"Deep.\"}}}},\"required\":[\"a\"]}",
         "p: {\n    a: {\n        // Deep.\n        b?: string,\n        },\n    },"},
        {"{\"type\":\"array\",\"items\":{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"string\"}}}}",
         "p: {\n    a?: string,\n    }[],"},
        {"{\"type\":\"object\",\"description\":\"A place.\",\"properties\":{\"a\":{\"type\":\"string\"}}}",
         "// A place.\np:     // A place.\n{\n    a?: string,\n    },"},
    };
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) check_property(types[i][0], types[i][1]);
}

static void test_order_and_required(void **state) {
    (void)state;
    check_function(
        NULL,
        "{\"type\":\"object\",\"required\":[\"z\",7,\"unknown\"],\"properties\":{\"z\":{\"type\":\"string\"},"
        "\"a\":{\"type\":\"string\"},\"m\":{\"type\":\"string\"}}}",
        "type f = (_: {\nz: string,\na?: string,\nm?: string,\n}) => any;");
}

/* A function whose parameters are "p" with the given schema and definitions; the text of p's type. */
static void check_reference(const char *schema, const char *definitions, const char *expected) {
    buffer function = {0}, type = {0};
    assert_ok(buffer_printf(&function, err,
                            "{\"type\":\"object\",\"properties\":{\"p\":%s},\"required\":[\"p\"],\"$defs\":%s}", schema,
                            definitions));
    assert_ok(buffer_printf(&type, err, "type f = (_: {\n%s\n}) => any;", expected));
    check_function(NULL, function.data, type.data);
    buffer_free(&function);
    buffer_free(&type);
}

static void test_references(void **state) {
    (void)state;
    static const char definitions[] = "{\"Unit\":{\"enum\":[\"m\",\"ft\"],\"description\":\"Of length.\"},"
                                      "\"Node\":{\"type\":\"object\",\"properties\":{\"next\":{\"anyOf\":[{\"$ref\":\"#"
                                      "/$defs/Node\"},{\"type\":\"null\"}]}}},"
                                      "\"a/b~c\":{\"type\":\"boolean\"},\"Loop\":{\"$ref\":\"#/$defs/Loop\"}}";
    static const char *const cases[][2] = {
        {"{\"$ref\":\"#/$defs/Unit\"}", "// Of length.\np: \"m\" | \"ft\","},
        {"{\"$ref\":\"#/$defs/Unit\",\"description\":\"Mine.\",\"default\":\"m\"}",
         "// Mine.\np: \"m\" | \"ft\", // default: \"m\""},
        {"{\"type\":\"array\",\"items\":{\"$ref\":\"#/$defs/Unit\"}}", "p: (\"m\" | \"ft\")[],"},
        {"{\"$ref\":\"#/$defs/Node\"}", "p: {\n    next?: Node | null,\n    },"},
        {"{\"$ref\":\"#/$defs/a~1b~0c\"}", "p: boolean,"},
        {"{\"$ref\":\"#/$defs/Loop\"}", "p: Loop,"},
        {"{\"$ref\":\"#\"}", "p: object,"},
        {"{\"$ref\":\"#/$defs/None\"}", "p: any,"},
        {"{\"$ref\":\"#/$defs/Unit/enum/7\"}", "p: any,"},
        {"{\"$ref\":\"elsewhere.json#/a\"}", "p: any,"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) check_reference(cases[i][0], definitions, cases[i][1]);
    check_function(NULL,
                   "{\"$ref\":\"#/$defs/P\",\"$defs\":{\"P\":{\"type\":\"object\",\"properties\":{\"a\":{\"$ref\":\"#/"
                   "$defs/P\"}}}}}",
                   "type f = (_: {\na?: P,\n}) => any;");
}

/* Each definition refers to the next one twice: spelled out, 2^12 of them. */
static void test_exploding_references_end_in_names(void **state) {
    (void)state;
    buffer schema = {0}, text = {0};
    assert_ok(buffer_append_text(&schema, "{\"properties\":{\"p\":{\"$ref\":\"#/$defs/d0\"}},\"$defs\":{", err));
    for (int i = 0; i < 12; i++)
        assert_ok(buffer_printf(&schema, err,
                                "\"d%d\":{\"anyOf\":[{\"$ref\":\"#/$defs/d%d\"},{\"$ref\":\"#/$defs/d%d\"}]},", i,
                                i + 1, i + 1));
    assert_ok(buffer_append_text(&schema, "\"d12\":{\"type\":\"string\"}}}", err));
    write_function(NULL, schema.data, &text);
    assert_true(text.size < 20000);
    assert_non_null(strstr(text.data, "string | string"));
    buffer_free(&schema);
    buffer_free(&text);
}

/* As deep as cJSON reads: neither the stack nor the output explodes. */
/* Long definitions are spelled out, and described, until the text is as long as any context. */
static void test_long_definitions_end_in_names(void **state) {
    (void)state;
    enum { LENGTH = 100000, TIMES = 400, MOST = 2 << 20 };
    buffer schema = {0}, text = {0};
    char *words = malloc(LENGTH + 1);
    assert_non_null(words);
    memset(words, 'x', LENGTH);
    words[LENGTH] = '\0';
    assert_ok(buffer_printf(
        &schema, err,
        "{\"type\":\"object\",\"$defs\":{\"d\":{\"description\":\"%s\",\"const\":\"%s\"}},\"properties\":{", words,
        words));
    for (int i = 0; i < TIMES; i++)
        assert_ok(buffer_printf(&schema, err, "%s\"p%d\":{\"$ref\":\"#/$defs/d\"}", i ? "," : "", i));
    assert_ok(buffer_append_text(&schema, "}}", err));
    cJSON *parameters = cJSON_Parse(schema.data);
    const harmony_function functions[] = {{.name = "f", .parameters = parameters},
                                          {.name = "g", .parameters = parameters}};
    assert_ok(harmony_tools_write(functions, 2, &text, err));
    assert_true(text.size > MOST / 2 && text.size < MOST);
    assert_non_null(strstr(text.data, "p0?: \"xxx"));
    assert_non_null(strstr(text.data, "p399?: d,"));
    cJSON_Delete(parameters);
    buffer_free(&schema);
    buffer_free(&text);
    free(words);
}

static void test_deep_schemas_end_in_any(void **state) {
    (void)state;
    buffer schema = {0}, text = {0};
    for (int i = 0; i < 400; i++)
        assert_ok(buffer_append_text(&schema, "{\"type\":\"object\",\"properties\":{\"p\":", err));
    assert_ok(buffer_append_text(&schema, "{}", err));
    for (int i = 0; i < 400; i++) assert_ok(buffer_append_text(&schema, "}}", err));
    write_function(NULL, schema.data, &text);
    assert_non_null(strstr(text.data, "p?: any,"));
    assert_true(text.size < 20000);
    buffer_free(&schema);
    buffer_free(&text);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_functions_without_parameters),
        cmocka_unit_test(test_types),
        cmocka_unit_test(test_order_and_required),
        cmocka_unit_test(test_references),
        cmocka_unit_test(test_exploding_references_end_in_names),
        cmocka_unit_test(test_long_definitions_end_in_names),
        cmocka_unit_test(test_deep_schemas_end_in_any),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
