/* The command line is parsed strictly: what is wrong is named, and nothing is guessed. */
#include <math.h>
#include <stdbool.h>
#include <unistd.h>

#include "base/mem.h"
#include "cli/options.h"
#include "support.h"

/* One flag of each kind, and what they hold. */
static struct {
    bool json;
    const char *prompt, *file;
    uint64_t max_tokens, kv;
    double temperature, bias;
    option_texts stop;
    option_counts depths;
} got;

static const option flags[] = {
    {"json", OPTION_SWITCH, &got.json, 0, 0, NULL, "one JSON object a token"},
    {"prompt", OPTION_TEXT, &got.prompt, 0, 0, "TEXT", "what to answer"},
    {"file", OPTION_PATH, &got.file, 0, 0, "FILE", "where to read"},
    {"max-tokens", OPTION_COUNT, &got.max_tokens, 1, 1e6, "N", "at most N tokens"},
    {"kv", OPTION_COUNT, &got.kv, 0, 0x1p64, "N", "any number of bytes"},
    {"temperature", OPTION_NUMBER, &got.temperature, 0, 100, "T", "0: the likeliest"},
    {"bias", OPTION_NUMBER, &got.bias, -INFINITY, INFINITY, NULL, "any number"},
    {"depth", OPTION_COUNTS, &got.depths, 1, 1e6, "N,N", "any of several"},
    {"stop", OPTION_LIST, &got.stop, 0, 0, "TEXT", "where to stop"},
};
enum { FLAGS = sizeof flags / sizeof *flags };

static option_texts positional;
static gptoss_error why;

static void forget(void) {
    free(got.stop.items);
    free(positional.items);
    memset(&got, 0, sizeof got);
    got.max_tokens = 128;
    got.temperature = 0.5;
    positional = (option_texts){0};
    why = (gptoss_error){0};
}

static int forget_after(void **state) {
    (void)state;
    forget();
    return 0;
}

/* Parses "program" and the arguments up to NULL. */
static gptoss_status parse_list(option_texts *rest, const char *const *arguments) {
    char *argv[40] = {(char *)"program"};
    int argc = 1;
    forget();
    while (arguments[argc - 1]) {
        argv[argc] = (char *)arguments[argc - 1];
        argc++;
    }
    return options_parse(flags, FLAGS, argc, argv, rest, &why);
}

#define parse(...) parse_list(&positional, (const char *const[]){__VA_ARGS__, NULL})

static void assert_misuse(gptoss_status status, const char *named) {
    if (status != GPTOSS_MISUSE || !strstr(why.text, named))
        fail_msg("%s: \"%s\" does not name %s", gptoss_status_name(status), why.text, named);
}

static void all_kinds_in_both_spellings(void **state) {
    (void)state;
    for (int way = 0; way < 2; way++) {
        gptoss_status status = way == 0 ? parse("--json", "--prompt", "hello", "--max-tokens", "42", "--temperature",
                                                "0.75", "--stop", "a", "--stop", "b")
                                        : parse("--stop=a", "--temperature=.75", "--max-tokens=42", "--json",
                                                "--stop=b", "--prompt=hello");
        assert_int_equal(status, GPTOSS_OK);
        assert_true(got.json);
        assert_string_equal(got.prompt, "hello");
        assert_int_equal(got.max_tokens, 42);
        assert_true(got.temperature == 0.75);
        assert_int_equal(got.stop.count, 2);
        assert_string_equal(got.stop.items[0], "a");
        assert_string_equal(got.stop.items[1], "b");
        assert_int_equal(positional.count, 0);
    }
}

static void flags_not_given_keep_their_defaults(void **state) {
    (void)state;
    assert_int_equal(parse_list(&positional, (const char *const[]){NULL}), GPTOSS_OK);
    assert_false(got.json);
    assert_null(got.prompt);
    assert_int_equal(got.max_tokens, 128);
    assert_true(got.temperature == 0.5);
    assert_int_equal(got.stop.count, 0);
    char *none[] = {NULL};
    assert_int_equal(options_parse(flags, FLAGS, 0, none, NULL, &why), GPTOSS_OK); /* not even a program's name */
}

static void texts_are_taken_as_they_are(void **state) {
    (void)state;
    static const char *const texts[] = {"",   " ",      "-",           "-5",   "a=b",       "=",
                                        "--", "--json", "caf\xC3\xA9", "\xFF", "two\nlines"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        char joined[40];
        snprintf(joined, sizeof joined, "--prompt=%s", texts[i]);
        assert_int_equal(parse(joined), GPTOSS_OK);
        assert_string_equal(got.prompt, texts[i]);
        if (strncmp(texts[i], "--", 2) == 0) continue; /* apart it would be a flag of its own */
        assert_int_equal(parse("--prompt", texts[i]), GPTOSS_OK);
        assert_string_equal(got.prompt, texts[i]);
    }
}

static void files_have_names(void **state) {
    (void)state;
    assert_int_equal(parse("--file", "-"), GPTOSS_OK);
    assert_string_equal(got.file, "-");
    assert_misuse(parse("--file", ""), "--file wants a name (FILE)");
    assert_misuse(parse("--file="), "--file wants a name (FILE)");
    assert_null(got.file);
}

static void unknown_flags_are_named_with_the_nearest_known_one(void **state) {
    (void)state;
    static const struct {
        const char *given, *named, *nearest;
    } cases[] = {
        {"--promt", "--promt", "--prompt"},
        {"--prmopt=x", "--prmopt", "--prompt"},
        {"--Json", "--Json", "--json"},
        {"--max_tokens", "--max_tokens", "--max-tokens"},
        {"--maxtokens=5", "--maxtokens", "--max-tokens"},
        {"--temprature", "--temprature", "--temperature"},
        {"--stp", "--stp", "--stop"},
        {"--stops", "--stops", "--stop"},
        {"--temp", "--temp", "--temperature"},
        {"--max", "--max", "--max-tokens"},
        {"--stdin", "--stdin", NULL},
        {"--bogus", "--bogus", NULL},
        {"--verbose", "--verbose", NULL},
        {"--x", "--x", NULL},
        {"--xyz", "--xyz", NULL},
        {"--=5", "--", NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_misuse(parse(cases[i].given, "value"), cases[i].named);
        assert_misuse(GPTOSS_MISUSE, "unknown flag");
        if (cases[i].nearest)
            assert_misuse(GPTOSS_MISUSE, cases[i].nearest);
        else
            assert_null(strstr(why.text, "did you mean"));
    }
    assert_misuse(parse("-j"), "-j");
    assert_misuse(parse("-prompt", "x"), "-prompt");
    assert_misuse(parse("--json", "-5"), "-5");
}

static void endless_and_hostile_flags_are_survived(void **state) {
    (void)state;
    char *name = malloc(100001);
    for (size_t length = 3; length <= 100000; length = length * 3 / 2 + 1) {
        memset(name, 'p', length);
        memcpy(name, "--", 2);
        name[length] = '\0';
        assert_misuse(parse(name), "--p");
        assert_true(strlen(why.text) < 200);
        memcpy(name, "xx", 2);
        char *argv[] = {(char *)"program", name};
        assert_int_equal(options_parse(flags, FLAGS, 2, argv, NULL, &why), GPTOSS_MISUSE);
        assert_true(strlen(why.text) < 200);
        char *number[] = {(char *)"program", (char *)"--max-tokens", name};
        assert_int_equal(options_parse(flags, FLAGS, 3, number, NULL, &why), GPTOSS_MISUSE);
        assert_non_null(strstr(why.text, "--max-tokens"));
    }
    free(name);
    assert_misuse(parse("--\x1b[31m\n"), "--?[31m?");
}

static void missing_values_are_named(void **state) {
    (void)state;
    assert_misuse(parse("--prompt"), "--prompt");
    assert_misuse(GPTOSS_MISUSE, "TEXT"); /* and what to put there */
    assert_misuse(parse("--json", "--max-tokens"), "--max-tokens");
    assert_misuse(parse("--prompt", "--json"), "--prompt");
    assert_misuse(parse("--prompt", "--", "x"), "--prompt");
    assert_misuse(parse("--bias"), "VALUE");
    assert_misuse(parse("--stop", "a", "--stop"), "--stop");
    assert_misuse(parse("--max-tokens="), "--max-tokens");
    assert_misuse(parse("--max-tokens", ""), "--max-tokens");
    assert_misuse(parse("--temperature="), "--temperature");
}

static void counts_with_suffixes(void **state) {
    (void)state;
    static const struct {
        const char *text;
        uint64_t value;
    } good[] = {{"0", 0},
                {"7", 7},
                {"007", 7},
                {"1k", 1024},
                {"3K", 3072},
                {"5m", 5 << 20},
                {"5M", 5 << 20},
                {"6g", UINT64_C(6) << 30},
                {"6G", UINT64_C(6) << 30},
                {"18446744073709551615", UINT64_MAX},
                {"17179869183G", UINT64_C(17179869183) << 30},
                {"9007199254740993", UINT64_C(9007199254740993)}}; /* more than a double holds */
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        assert_int_equal(parse("--kv", good[i].text), GPTOSS_OK);
        assert_true(got.kv == good[i].value);
    }
    static const char *const bad[] = {"-1",           "+1",
                                      " 1",           "1 ",
                                      "1.5",          "1e3",
                                      "0x10",         "k",
                                      "1kk",          "1kB",
                                      "1t",           "ten",
                                      "\xEF\xBC\x91", "18446744073709551616",
                                      "17179869184G", "99999999999999999999999999999999",
                                      "1\n"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_misuse(parse("--kv", bad[i]), "--kv");
        assert_int_equal(got.kv, 0);
    }
}

static void lists_of_counts(void **state) {
    (void)state;
    assert_int_equal(parse("--depth", "7"), GPTOSS_OK);
    assert_int_equal(got.depths.count, 1);
    assert_int_equal(got.depths.items[0], 7);
    assert_int_equal(parse("--depth", "1,2K,1000000,1"), GPTOSS_OK);
    static const uint64_t want[] = {1, 2048, 1000000, 1};
    assert_int_equal(got.depths.count, 4);
    assert_memory_equal(got.depths.items, want, sizeof want);
    static const char *const bad[] = {"", ",", "1,", ",1", "1,,2", "1 2", "1;2", "1,x", "1,-2", "1,2KK", " 1", "1,+2"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) assert_misuse(parse("--depth", bad[i]), "--depth wants");
    assert_misuse(parse("--depth", "1,0"), "out of range");
    assert_misuse(parse("--depth", "1,1M"), "--depth 1M is out of range");
    char many[200] = "1";
    for (int i = 1; i < OPTION_COUNTS_MAX; i++) strcat(many, ",1");
    assert_int_equal(parse("--depth", many), GPTOSS_OK);
    assert_int_equal(got.depths.count, OPTION_COUNTS_MAX);
    assert_misuse(parse("--depth", strcat(many, ",1")), "--depth takes at most 32");
}

static void numbers(void **state) {
    (void)state;
    static const struct {
        const char *text;
        double value;
    } good[] = {{"0", 0}, {"-1", -1}, {"-.5", -0.5}, {"1e-3", 1e-3}, {"+2.5", 2.5}, {"1e300", 1e300}};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        assert_int_equal(parse("--bias", good[i].text), GPTOSS_OK);
        assert_true(got.bias == good[i].value);
    }
    static const char *const bad[] = {"nan", "-nan", "NAN", "nan(1)", "1,5", "1.5x", "--5", "-", "e", "hot", "1 2"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_misuse(parse("--bias", bad[i]), "--bias");
        assert_true(got.bias == 0);
    }
}

static void numbers_out_of_range_are_named_with_the_range(void **state) {
    (void)state;
    static const char *const temperatures[] = {"-1", "-1e-9", "100.001", "inf", "1e999", "-inf"};
    for (size_t i = 0; i < sizeof temperatures / sizeof *temperatures; i++) {
        assert_misuse(parse("--temperature", temperatures[i]), "--temperature");
        assert_misuse(GPTOSS_MISUSE, "from 0 to 100");
        assert_misuse(GPTOSS_MISUSE, temperatures[i]);
        assert_true(got.temperature == 0.5);
    }
    static const char *const counts[] = {"0", "1000001", "1G", "18446744073709551615"};
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        assert_misuse(parse("--max-tokens", counts[i]), "from 1 to 1000000");
        assert_misuse(GPTOSS_MISUSE, "--max-tokens");
        assert_int_equal(got.max_tokens, 128);
    }
    assert_int_equal(parse("--max-tokens", "1", "--temperature", "100"), GPTOSS_OK); /* the ends belong to it */
    assert_int_equal(parse("--max-tokens", "1000000", "--temperature", "0"), GPTOSS_OK);
}

static void flags_come_once_but_lists(void **state) {
    (void)state;
    assert_misuse(parse("--prompt", "a", "--json", "--prompt=b"), "--prompt is given twice");
    assert_misuse(parse("--json", "--json"), "--json is given twice");
    assert_misuse(parse("--max-tokens", "1", "--max-tokens", "1"), "--max-tokens is given twice");
    assert_int_equal(parse("--stop", "a", "--stop", "a", "--stop", "a"), GPTOSS_OK);
    assert_int_equal(got.stop.count, 3);
}

static void switches_take_no_value(void **state) {
    (void)state;
    assert_misuse(parse("--json=yes"), "--json");
    assert_misuse(parse("--json="), "--json");
    assert_false(got.json);
    assert_int_equal(parse("--json", "yes"), GPTOSS_OK); /* "yes" belongs to nothing: positional */
    assert_int_equal(positional.count, 1);
}

static void positional_arguments(void **state) {
    (void)state;
    assert_int_equal(parse("one", "--json", "-", "--prompt", "p", "two", "--", "--json", "-x", "--", ""), GPTOSS_OK);
    static const char *const want[] = {"one", "-", "two", "--json", "-x", "--", ""};
    assert_int_equal(positional.count, 7);
    for (size_t i = 0; i < 7; i++) assert_string_equal(positional.items[i], want[i]);
    assert_true(got.json);

    gptoss_status status = parse_list(NULL, (const char *const[]){"--json", "stray", NULL});
    assert_misuse(status, "stray");
    assert_misuse(parse_list(NULL, (const char *const[]){"--", "--json", NULL}), "--json");
    assert_false(got.json);
    assert_int_equal(parse_list(NULL, (const char *const[]){"--json", "--", NULL}), GPTOSS_OK);
}

static void the_first_fault_is_reported(void **state) {
    (void)state;
    assert_misuse(parse("--max-tokens", "x", "--promt", "y"), "--max-tokens");
    assert_misuse(parse("--promt", "y", "--max-tokens", "x"), "--promt");
}

static void failing_allocations_are_reported(void **state) {
    (void)state;
    char *argv[] = {(char *)"program", (char *)"--stop", (char *)"a", (char *)"--stop=b", (char *)"rest"};
    for (long n = 0;; n++) {
        forget();
        mem_fail_after(n);
        gptoss_status status = options_parse(flags, FLAGS, 5, argv, &positional, &why);
        mem_fail_after(-1);
        if (status == GPTOSS_OK) {
            assert_int_equal(n, 4);
            break;
        }
        assert_int_equal(status, GPTOSS_NO_MEMORY);
    }
}

static void help_has_a_line_for_every_flag(void **state) {
    (void)state;
    char text[2000] = "";
    FILE *file = tmpfile();
    assert_non_null(file);
    fflush(stdout);
    int kept = dup(STDOUT_FILENO);
    dup2(fileno(file), STDOUT_FILENO);
    options_print_help(flags, FLAGS);
    fflush(stdout);
    dup2(kept, STDOUT_FILENO);
    close(kept);
    rewind(file);
    size_t size = fread(text, 1, sizeof text - 1, file), lines = 0;
    fclose(file);
    for (size_t i = 0; i < size; i++) lines += text[i] == '\n';
    assert_int_equal(lines, FLAGS);
    for (size_t i = 0; i < FLAGS; i++) {
        assert_non_null(strstr(text, flags[i].name));
        assert_non_null(strstr(text, flags[i].help));
    }
    assert_non_null(strstr(text, "--max-tokens N "));
    assert_non_null(strstr(text, "--bias VALUE "));
    assert_null(strstr(text, "--json VALUE"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_kinds_in_both_spellings),
        cmocka_unit_test(flags_not_given_keep_their_defaults),
        cmocka_unit_test(texts_are_taken_as_they_are),
        cmocka_unit_test(files_have_names),
        cmocka_unit_test(unknown_flags_are_named_with_the_nearest_known_one),
        cmocka_unit_test(endless_and_hostile_flags_are_survived),
        cmocka_unit_test(missing_values_are_named),
        cmocka_unit_test(counts_with_suffixes),
        cmocka_unit_test(lists_of_counts),
        cmocka_unit_test(numbers),
        cmocka_unit_test(numbers_out_of_range_are_named_with_the_range),
        cmocka_unit_test(flags_come_once_but_lists),
        cmocka_unit_test(switches_take_no_value),
        cmocka_unit_test(positional_arguments),
        cmocka_unit_test(the_first_fault_is_reported),
        cmocka_unit_test(failing_allocations_are_reported),
        cmocka_unit_test(help_has_a_line_for_every_flag),
    };
    return cmocka_run_group_tests(tests, NULL, forget_after);
}
