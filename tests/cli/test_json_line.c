/* JSON strings and arrays of ids, right and wrong. */
#include "cli/json_line.h"

#include "support.h"

#define R "\xEF\xBF\xBD" /* U+FFFD */

static void test_strings(void **state) {
    (void)state;
    static const struct {
        const char *json, *meaning;
    } right[] = {
        {"\"\"", ""},
        {" \t\r\n\"a b\" \n", "a b"},
        {"\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"", "\"\\/\b\f\n\r\t"},
        {"\"\\u0041\\u00e9\\u20AC\"", "A\xC3\xA9\xE2\x82\xAC"},
        {"\"\\ud83d\\ude42\"", "\xF0\x9F\x99\x82"},
        {"\"\\uDBFF\\uDFFF\"", "\xF4\x8F\xBF\xBF"},
        {"\"\\ud83d\"", R},
        {"\"\\ude42\\ud83d!\"", R R "!"},
        {"\"\\ud83d\\u0041\"", R "A"},
        {"\"\\ud83d\\n\"", R "\n"},
        {"\"\xC3\xA9\xFF\x7F\"", "\xC3\xA9\xFF\x7F"},
    };
    for (size_t i = 0; i < sizeof right / sizeof *right; i++) {
        buffer out = {0};
        assert_ok(buffer_append_text(&out, "", err));
        assert_ok(json_line_read_string(right[i].json, strlen(right[i].json), &out, NULL, err));
        assert_string_equal(out.data, right[i].meaning);
        buffer_free(&out);
    }
    buffer out = {0};
    assert_ok(json_line_read_string("\"a\\u0000b\"", 10, &out, NULL, err));
    assert_int_equal(out.size, 3);
    assert_memory_equal(out.data, "a\0b", 3);
    buffer_free(&out);
}

static void test_what_is_no_string(void **state) {
    (void)state;
    static const struct {
        const char *json;
        size_t where;
    } wrong[] = {{"", 0},          {"  ", 2},          {"a", 0},        {"[1]", 0},     {"\"a", 2},
                 {"\"a\" b", 4},   {"\"a\"\"", 3},     {"\"a\nb\"", 2}, {"\"\\x\"", 2}, {"\"\\", 2},
                 {"\"\\u12\"", 3}, {"\"\\u12g4\"", 3}, {"\"\\u123", 3}, {"'a'", 0}};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        buffer out = {0};
        size_t where = 99;
        gptoss_error error;
        assert_int_equal(json_line_read_string(wrong[i].json, strlen(wrong[i].json), &out, &where, &error),
                         GPTOSS_BAD_INPUT);
        if (where != wrong[i].where) fail_msg("%s: at %zu: %s", wrong[i].json, where, error.text);
        assert_non_null(strstr(error.text, "not JSON"));
        buffer_free(&out);
    }
}

static void test_ids(void **state) {
    (void)state;
    tokens ids = {0};
    assert_ok(json_line_read_ids(" [ ] ", 5, &ids, NULL, err));
    assert_int_equal(ids.count, 0);
    assert_ok(json_line_read_ids("[7]", 3, &ids, NULL, err));
    static const char several[] = "[ 0 ,\n201087,4294967294 ]\n";
    assert_ok(json_line_read_ids(several, strlen(several), &ids, NULL, err));
    const uint32_t expected[] = {7, 0, 201087, 4294967294};
    assert_int_equal(ids.count, 4);
    assert_memory_equal(ids.ids, expected, sizeof expected);
    static const char *const wrong[] = {
        "",  "[",    "[1",    "[1,",   "[1,]",    "[,1]",  "[1 2]",        "[1] 2",
        "1", "[-1]", "[1.5]", "[1e3]", "[\"1\"]", "[[1]]", "[4294967295]", "[99999999999999999999999999]",
        "{}"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        if (json_line_read_ids(wrong[i], strlen(wrong[i]), &ids, NULL, NULL) != GPTOSS_BAD_INPUT)
            fail_msg("%s", wrong[i]);
    tokens_free(&ids);
}

static void test_writing(void **state) {
    (void)state;
    buffer out = {0};
    const uint32_t ids[] = {0, 42, 4294967295};
    assert_ok(json_line_write_ids(ids, 3, &out, err));
    assert_ok(json_line_write_ids(NULL, 0, &out, err));
    assert_string_equal(out.data, "[0,42,4294967295][]");
    buffer_clear(&out);
    assert_ok(json_line_write_string("a\"\\/\n\t\x01\x7F\xC3\xA9\xFF\0.", 13, &out, err));
    assert_string_equal(out.data, "\"a\\\"\\\\/\\n\\u0009\\u0001\x7F\xC3\xA9" R "\\u0000.\"");
    buffer_clear(&out);
    assert_ok(json_line_write_string("", 0, &out, err));
    assert_string_equal(out.data, "\"\"");
    buffer_free(&out);
}

/* Every byte survives being written and read, but for what is no UTF-8. */
static void test_round_trip(void **state) {
    (void)state;
    char text[128];
    for (int i = 0; i < 128; i++) text[i] = (char)i;
    buffer json = {0}, back = {0};
    assert_ok(json_line_write_string(text, sizeof text, &json, err));
    assert_ok(json_line_read_string(json.data, json.size, &back, NULL, err));
    assert_int_equal(back.size, sizeof text);
    assert_memory_equal(back.data, text, sizeof text);
    buffer_free(&json);
    buffer_free(&back);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_strings), cmocka_unit_test(test_what_is_no_string), cmocka_unit_test(test_ids),
        cmocka_unit_test(test_writing), cmocka_unit_test(test_round_trip),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
