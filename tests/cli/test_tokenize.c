/* gptoss-dist tokenize as a user meets it. */
#include "process.h"
#include "support.h"

#define MODEL TEST_DATA "/golden/q8_0-mxfp4.gguf" /* 256 bytes; "th", "the", "in" ...: 256, 257, 258 */

static process_result tokenize(const char *flag, const char *second, const char *input) {
    const char *arguments[] = {"tokenize", "--gguf", MODEL, flag, second, NULL};
    return process_run(0, arguments, input);
}

static void check_output(const char *flag, const char *second, const char *input, const char *output) {
    process_result r = tokenize(flag, second, input);
    assert_string_equal(r.err.data ? r.err.data : "", "");
    assert_int_equal(r.exit_status, 0);
    assert_string_equal(r.out.data ? r.out.data : "", output);
    process_free(&r);
}

static void check_refused(const char *flag, const char *second, const char *input, const char *hint) {
    process_result r = tokenize(flag, second, input);
    assert_int_equal(r.exit_status, 2);
    assert_non_null(r.err.data);
    assert_memory_equal(r.err.data, "gptoss-dist: ", 13);
    assert_ptr_equal(strchr(r.err.data, '\n'), r.err.data + r.err.size - 1); /* one line */
    if (!strstr(r.err.data, hint)) fail_msg("no '%s' in: %s", hint, r.err.data);
    process_free(&r);
}

static void test_text_to_ids(void **state) {
    (void)state;
    check_output(NULL, NULL, "the!", "[257,33]\n");
    check_output(NULL, NULL, "", "[]\n");
    check_output(NULL, NULL, "a\n", "[97,10]\n");
    check_output(NULL, NULL, "\xFF", "[239,191,189]\n");
}

static void test_lines_of_strings_to_lines_of_ids(void **state) {
    (void)state;
    check_output("--jsonl", NULL, "\"the\"\n\"\"\n\"\\u0000a\\n\"", "[257]\n[]\n[0,97,10]\n");
    check_output("--jsonl", NULL, "", "");
    check_output("--jsonl", NULL, "\"a\"\r\n\"b\"\r\n", "[97]\n[98]\n");
}

static void test_ids_to_text(void **state) {
    (void)state;
    check_output("--decode", NULL, "[257, 33,\n 10]\n", "the!\n");
    check_output("--decode", NULL, "[]", "");
    check_output("--decode", NULL, "[255]", "\xFF");
    check_output("--decode", "--jsonl", "[257]\n[]\n[255,10]\n", "\"the\"\n\"\"\n\"\xEF\xBF\xBD\\n\"\n");
}

static void test_special_tokens_are_printed_but_never_read(void **state) {
    (void)state;
    check_output("--decode", NULL, "[270]", "<|channel|>");
    process_result r = tokenize(NULL, NULL, "<|channel|>");
    assert_int_equal(r.exit_status, 0);
    assert_null(strstr(r.out.data, "270"));
    process_free(&r);
}

static void test_bad_input_names_the_line(void **state) {
    (void)state;
    check_refused("--jsonl", NULL, "\"a\"\nb\n", "line 2");
    check_refused("--jsonl", NULL, "\"a\"\n\n\"b\"\n", "line 2");
    check_refused("--jsonl", NULL, "[1]", "line 1");
    check_refused("--decode", "--jsonl", "[1]\n[2]\n[288]\n", "line 3 of the input: token id 288 is out of range");
    check_refused("--decode", NULL, "[1,\n2,\nx]", "line 3");
    check_refused("--decode", NULL, "[99999999999]", "out of range");
    check_refused("--decode", NULL, "", "line 1");
}

static void test_misuse(void **state) {
    (void)state;
    static const char *const no_model[] = {"tokenize", "--gguf", "/nonexistent/model.gguf", NULL};
    process_result r = process_run(0, no_model, "x");
    assert_int_equal(r.exit_status, 2);
    assert_non_null(strstr(r.err.data, "/nonexistent/model.gguf"));
    process_free(&r);
    setenv("GPT_OSS_GGUF_PATH", "", 1);
    r = process_run(0, (const char *const[]){"tokenize", NULL}, "x");
    unsetenv("GPT_OSS_GGUF_PATH");
    assert_int_equal(r.exit_status, 2);
    assert_non_null(strstr(r.err.data, "--gguf"));
    process_free(&r);
    check_refused("--jsnl", NULL, "", "--jsnl");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_text_to_ids),
        cmocka_unit_test(test_lines_of_strings_to_lines_of_ids),
        cmocka_unit_test(test_ids_to_text),
        cmocka_unit_test(test_special_tokens_are_printed_but_never_read),
        cmocka_unit_test(test_bad_input_names_the_line),
        cmocka_unit_test(test_misuse),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
