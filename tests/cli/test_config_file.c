/* Options from a file: what it sets, what goes before it, and how its faults are told. */
#include <unistd.h>

#include "base/mem.h"
#include "cli/config_file.h"
#include "support.h"

static struct {
    config_file file;
    bool json, help;
    const char *prompt;
    uint64_t tokens;
    double temperature;
    option_counts depths;
    option_texts stop;
} got;

static const option flags[] = {
    {"json", OPTION_SWITCH, &got.json, 0, 0, NULL, ""},
    {"prompt", OPTION_TEXT, &got.prompt, 0, 0, "TEXT", ""},
    {"max-tokens", OPTION_COUNT, &got.tokens, 1, 1e6, "N", ""},
    {"temperature", OPTION_NUMBER, &got.temperature, 0, 100, "T", ""},
    {"depth", OPTION_COUNTS, &got.depths, 1, 1e6, "N,N", ""},
    {"stop", OPTION_LIST, &got.stop, 0, 0, "TEXT", ""},
    {"config", OPTION_TEXT, &got.file.path, 0, 0, "FILE", ""},
    {"help", OPTION_SWITCH, &got.help, 0, 0, NULL, ""},
};
enum { FLAGS = sizeof flags / sizeof *flags };

static const cluster alone = {.size = 1, .local_size = 1};
static char path[] = "/tmp/gptoss_config_XXXXXX";
static gptoss_error why;

static void forget(void) {
    config_file_free(&got.file);
    free(got.stop.items);
    memset(&got, 0, sizeof got);
    got.tokens = 128;
    why = (gptoss_error){0};
}

static int make_file(void **state) {
    (void)state;
    int fd = mkstemp(path);
    return fd < 0 ? -1 : close(fd);
}

static int remove_file(void **state) {
    (void)state;
    forget();
    return unlink(path);
}

static void write_file(const char *bytes, size_t size) {
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, size, f), size);
    assert_int_equal(fclose(f), 0);
}

/* Reads the file after the arguments up to NULL, which name it last. */
static gptoss_status parse_list(const char *const *arguments) {
    char *argv[20] = {(char *)"program"};
    int argc = 1;
    forget();
    for (; *arguments; arguments++) argv[argc++] = (char *)*arguments;
    return config_file_options(&alone, flags, FLAGS, argc, argv, &got.file, &why);
}

static gptoss_status read_text(const char *text) {
    write_file(text, strlen(text));
    return parse_list((const char *const[]){"--config", path, NULL});
}

/* The file is refused for what is in its line `line` (0: for what it is as a whole), in these words. */
static void assert_refused(gptoss_status status, int line, const char *words) {
    char where[80];
    snprintf(where, sizeof where, line ? "%s:%d: " : "%s", path, line);
    if ((status != GPTOSS_MISUSE && status != GPTOSS_BAD_INPUT) || !strstr(why.text, where) ||
        !strstr(why.text, words) || (line && strncmp(why.text, where, strlen(where)) != 0))
        fail_msg("%s: \"%s\" is not \"%s...%s\"", gptoss_status_name(status), why.text, where, words);
}

static void sets_options_of_all_kinds(void **state) {
    (void)state;
    assert_int_equal(
        read_text("# a comment\n\n  json\nprompt = What is # in C#?  # and this is one\n\tmax-tokens=2K\r\n"
                  "temperature = .5\ndepth = 1,2\nstop = a=b\nstop = \xC3\xA9"),
        GPTOSS_OK);
    assert_true(got.json);
    assert_string_equal(got.prompt, "What is");
    assert_int_equal(got.tokens, 2048);
    assert_true(got.temperature == 0.5);
    assert_int_equal(got.depths.count, 2);
    assert_int_equal(got.stop.count, 2);
    assert_string_equal(got.stop.items[0], "a=b");
    assert_string_equal(got.stop.items[1], "\xC3\xA9");
    assert_int_equal(read_text("prompt = C# and =#= too\njson = true"), GPTOSS_OK);
    assert_string_equal(got.prompt, "C# and =#= too");
    assert_true(got.json);
    assert_int_equal(read_text("json = false"), GPTOSS_OK);
    assert_false(got.json);
    assert_int_equal(read_text(""), GPTOSS_OK);
    assert_int_equal(read_text("\n\n# nothing"), GPTOSS_OK);
    assert_int_equal(got.tokens, 128);
    assert_int_equal(parse_list((const char *const[]){"--json", NULL}), GPTOSS_OK); /* without a file */
    assert_true(got.json);
}

/* As editors on Windows write them. */
static void marks_of_utf_8_and_long_line_ends_are_skipped(void **state) {
    (void)state;
    assert_int_equal(read_text("\xEF\xBB\xBFjson\r\nprompt = a b \r\n\r\n# and\r\nmax-tokens = 7\r\n"), GPTOSS_OK);
    assert_true(got.json);
    assert_string_equal(got.prompt, "a b");
    assert_int_equal(got.tokens, 7);
    assert_int_equal(read_text("\xEF\xBB\xBF"), GPTOSS_OK);
    assert_refused(read_text("\xEF\xBB\xBF\r\njsn"), 2, "did you mean --json");
    assert_refused(read_text("json\n\xEF\xBB\xBFprompt = x"), 2, "unknown flag"); /* it has no business elsewhere */
    assert_refused(read_text("\xFF\xFEj"), 1, "not UTF-8");
    assert_refused(read_text("json\n = 3"), 2, "no name in front of");
}

static void the_command_line_goes_first(void **state) {
    (void)state;
    static const char text[] = "max-tokens = 5\nprompt = file\njson = false\nstop = a\ntemperature = 2\n";
    write_file(text, sizeof text - 1);
    const char *const arguments[] = {"--max-tokens", "7",        "--json", "--stop=b", "--config",
                                     path,           "--prompt", "line",   NULL};
    assert_int_equal(parse_list(arguments), GPTOSS_OK);
    assert_int_equal(got.tokens, 7);
    assert_string_equal(got.prompt, "line");
    assert_true(got.json);
    assert_int_equal(got.stop.count, 1);
    assert_string_equal(got.stop.items[0], "b");
    assert_true(got.temperature == 2);
    write_file("max-tokens = x", 14); /* a fault all the same */
    assert_refused(parse_list(arguments), 1, "whole number");
}

static void faults_are_told_with_their_line(void **state) {
    (void)state;
    static const struct {
        const char *text, *words;
        int line;
    } cases[] = {
        {"json\n\nmax-tokns = 5", "did you mean --max-tokens?", 3},
        {"--json", "unknown flag", 1},
        {"Json", "did you mean --json?", 1},
        {"= 5", "no name in front of", 1},
        {"max-tokens = many\n", "--max-tokens wants a whole number, not \"many\"", 1},
        {"max-tokens = 0", "out of range", 1},
        {"# c\ntemperature = nan", "wants a number", 2},
        {"depth = 1,", "--depth wants", 1},
        {"json = yes", "true, false or no value, not \"yes\"", 1},
        {"json =", "true, false or no value", 1},
        {"prompt", "--prompt wants a value: prompt = TEXT", 1},
        {"prompt = # none", "--prompt wants a value", 1},
        {"json\nprompt = a\njson = false", "--json is given twice, first in line 1", 3},
        {"prompt a", "unknown flag", 1},
        {"config = other", "--config belongs on the command line", 1},
        {"\nhelp", "--help belongs on the command line", 2},
        {"json\nprompt = a\x1b[31mb", "control character, of code 27, as its byte 11", 2},
        {"prompt = \x7f", "control character", 1},
        {"prompt = a\rb", "control character", 1},
        {"prompt = \xFF", "not UTF-8", 1},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_refused(read_text(cases[i].text), cases[i].line, cases[i].words);
    write_file("json\nprompt = a\0b", 17);
    assert_refused(parse_list((const char *const[]){"--config", path, NULL}), 2, "control character, of code 0");
}

static void sizes_are_limited(void **state) {
    (void)state;
    static char text[CONFIG_FILE_BYTES + 2];
    memset(text, 'x', sizeof text - 1);
    memcpy(text, "prompt = ", 9);
    text[CONFIG_LINE_BYTES] = '\0';
    assert_int_equal(read_text(text), GPTOSS_OK);
    assert_int_equal(strlen(got.prompt), CONFIG_LINE_BYTES - 9);
    text[CONFIG_LINE_BYTES] = 'x';
    text[CONFIG_LINE_BYTES + 1] = '\0';
    assert_refused(read_text(text), 1, "more than the 4096 bytes");
    memset(text, '\n', sizeof text - 1);
    memcpy(text + CONFIG_FILE_BYTES - 4, "json", 4);
    text[CONFIG_FILE_BYTES] = '\0';
    assert_int_equal(read_text(text), GPTOSS_OK);
    assert_true(got.json);
    text[CONFIG_FILE_BYTES] = '\n';
    assert_refused(read_text(text), 0, "more than the 65536 bytes");
    assert_int_equal(parse_list((const char *const[]){"--config", "/dev/zero", NULL}), GPTOSS_BAD_INPUT);
    assert_int_equal(parse_list((const char *const[]){"--config", "/", NULL}), GPTOSS_BAD_INPUT);
    assert_int_equal(parse_list((const char *const[]){"--config", "/nowhere/c", NULL}), GPTOSS_BAD_INPUT);
    assert_non_null(strstr(why.text, "cannot open /nowhere/c"));
}

/* What is wrong may be found only later, when the value is made use of. */
static void later_faults_are_located(void **state) {
    (void)state;
    static const char text[] = "\nprompt = a\nmax-tokens = 5\n";
    write_file(text, sizeof text - 1);
    assert_int_equal(parse_list((const char *const[]){"--max-tokens", "7", "--config", path, NULL}), GPTOSS_OK);
    error_set(&why, GPTOSS_MISUSE, "--prompt is not \"a\"");
    assert_refused(config_file_locate(&got.file, &why), 2, "--prompt is not \"a\"");
    static const char *const others[] = {"--max-tokens: 7", "--prompt-file is not", "prompt is not", "--", "",
                                         "--json"};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        error_set(&why, GPTOSS_MISUSE, "%s", others[i]);
        assert_int_equal(config_file_locate(&got.file, &why), GPTOSS_MISUSE);
        assert_string_equal(why.text, others[i]);
    }
}

static void failing_allocations_are_reported(void **state) {
    (void)state;
    static const char text[] = "stop = a\nprompt = b\nstop = c\n";
    write_file(text, sizeof text - 1);
    for (long n = 0;; n++) {
        forget();
        mem_fail_after(n);
        gptoss_status status = parse_list((const char *const[]){"--config", path, NULL});
        mem_fail_after(-1);
        if (status == GPTOSS_OK) {
            assert_true(n > 4);
            break;
        }
        assert_int_equal(status, GPTOSS_NO_MEMORY);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sets_options_of_all_kinds),
        cmocka_unit_test(the_command_line_goes_first),
        cmocka_unit_test(faults_are_told_with_their_line),
        cmocka_unit_test(sizes_are_limited),
        cmocka_unit_test(marks_of_utf_8_and_long_line_ends_are_skipped),
        cmocka_unit_test(later_faults_are_located),
        cmocka_unit_test(failing_allocations_are_reported),
    };
    return cmocka_run_group_tests(tests, make_file, remove_file);
}
