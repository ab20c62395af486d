/* Regular expressions as automata, against PCRE2 on random strings. */
#include "text/pattern.h"

#include <cjson/cJSON.h>

#include "base/mem.h"
#include "random.h"
#include "support.h"
#include "text/validator.h"

/* Whether the automaton accepts the inside of a JSON string. */
static bool accepts(const byte_dfa *d, const char *inside, size_t size) {
    uint16_t state = d->states > 1 ? BYTE_DFA_START : BYTE_DFA_DEAD;
    for (size_t i = 0; i < size; i++) {
        uint16_t next = byte_dfa_step(d, state, (uint8_t)inside[i]);
        if (next != BYTE_DFA_DEAD) assert_true(d->left[next] != UINT16_MAX);
        state = next;
    }
    return state != BYTE_DFA_DEAD && d->left[state] == 0;
}

static bool accepts_text(const byte_dfa *d, const char *text) {
    cJSON *value = cJSON_CreateString(text);
    char *quoted = cJSON_PrintUnformatted(value);
    bool accepted = accepts(d, quoted + 1, strlen(quoted) - 2);
    cJSON_free(quoted);
    cJSON_Delete(value);
    return accepted;
}

static const char *const letters[] = {"a", "b",  "c",  "d",      "z",          "A",    "0", "1", "9",  "-",
                                      ".", "\"", "\\", "\n",     "\t",         " ",    "_", "@", "/",  "{",
                                      "}", "é",  "à",  "\u4e2d", "\U0001F642", "\x7f", "x", "y", "ab", "abc"};
enum { LETTERS = sizeof letters / sizeof *letters };

static size_t random_text(uint64_t *seed, char *out, size_t size) {
    size_t count = random_below(seed, 7);
    out[0] = '\0';
    for (size_t i = 0; i < count && strlen(out) + 8 < size; i++) strcat(out, letters[random_below(seed, LETTERS)]);
    return count;
}

static void test_patterns_match_what_they_should(void **state) {
    (void)state;
    static const char *const patterns[] = {
        "^[a-z]+$",
        "^a?b*c+$",
        "^(ab|c)+$",
        "abc",
        "^abc",
        "c$",
        "^a|b$",
        "^(a|b)c|d$",
        "^.{2,4}$",
        "^[^a-z]*$",
        "^\\d+$",
        "^\\D+$",
        "^\\w{2}$",
        "^\\W$",
        "^[\"\\\\]{1,3}$",
        "^\\\\",
        "\"",
        "^$",
        "",
        "^(?:xy?)*$",
        "^[é-ü]$",
        "^\\u4e2d$",
        "^[^\\u4e2d]$",
        "^.$",
        "^a{0}b$",
        "^a{2}$",
        "^a{1,}$",
        "^a{,2}$",
        "^a{$",
        "^}$",
        "^a+?b??$",
        "^(a*)*b$",
        "^(a|ab)(c|bcd)$",
        "^[-a]$",
        "^[a-]$",
        "^[]a]$",
        "^\\.\\-\\/$",
        "^[\\d_-]+$",
        "^\\x61$",
        "^(a|)b$",
        "^((a|b)*c){2}$",
        "^[\\s\\S]$",
        "^\\n$",
        "^[\\n\\t ]*$",
        "^\\$$",
        "^[$^]$",
        "a|^b|c$|^d$",
        "^()$",
    };
    uint64_t seed = 7;
    for (size_t i = 0; i < sizeof patterns / sizeof *patterns; i++) {
        byte_dfa dfa;
        if (strcmp(patterns[i], "^[]a]$") == 0) continue; /* an empty class in ECMA-262, not in PCRE2 */
        assert_ok(pattern_open(patterns[i], 0, UINT32_MAX, NULL, &dfa, err));
        for (int round = 0; round < 800; round++) {
            char text[80];
            random_text(&seed, text, sizeof text);
            bool matches = validator_matches(patterns[i], text);
            if (matches != accepts_text(&dfa, text)) fail_msg("%s and \"%s\": not %d", patterns[i], text, !matches);
        }
        byte_dfa_close(&dfa);
    }
}

static void test_lengths_count_characters(void **state) {
    (void)state;
    uint64_t seed = 3;
    for (uint32_t min = 0; min < 4; min++)
        for (uint32_t max = min; max < 6; max++) {
            byte_dfa dfa;
            assert_ok(pattern_open("^(.|\\n)*$", min, max == 5 ? UINT32_MAX : max, NULL, &dfa, err));
            for (int round = 0; round < 300; round++) {
                char text[80];
                size_t count = 0;
                random_text(&seed, text, sizeof text);
                for (const char *c = text; *c; c++) count += (*c & 0xC0) != 0x80;
                assert_int_equal(accepts_text(&dfa, text), count >= min && (max == 5 || count <= max));
            }
            byte_dfa_close(&dfa);
        }
}

/* What cannot be a JSON string inside is never accepted. */
static void test_only_json_strings(void **state) {
    (void)state;
    static const char *const wrong[] = {"\"",
                                        "\\",
                                        "\n",
                                        "\x1f",
                                        "\x80",
                                        "\xC3",
                                        "\xC0\x80",
                                        "\xED\xA0\x80",
                                        "\xF4\x90\x80\x80",
                                        "\xE0\x80\x80",
                                        "\xF0\x80\x80\x80",
                                        "\\x",
                                        "\xFF"};
    byte_dfa dfa;
    assert_ok(pattern_open("", 0, UINT32_MAX, NULL, &dfa, err));
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) assert_false(accepts(&dfa, wrong[i], strlen(wrong[i])));
    assert_true(accepts(&dfa, "\\n\\\"\\\\\xF4\x8F\xBF\xBF\xED\x9F\xBF\xEE\x80\x80", 16));
    byte_dfa_close(&dfa);
}

static void test_patterns_that_match_nothing(void **state) {
    (void)state;
    static const char *const patterns[] = {"^[]$", "^\\u0000$", "^a[^\\s\\S]$", "^\\v$"};
    byte_dfa dfa;
    for (size_t i = 0; i < sizeof patterns / sizeof *patterns; i++) {
        assert_ok(pattern_open(patterns[i], 0, UINT32_MAX, NULL, &dfa, err));
        assert_int_equal(dfa.states, 1);
        byte_dfa_close(&dfa);
    }
    assert_ok(pattern_open("^a{5}$", 0, 4, NULL, &dfa, err));
    assert_int_equal(dfa.states, 1);
    byte_dfa_close(&dfa);
}

static void test_what_is_refused(void **state) {
    (void)state;
    static const char *const cases[][2] = {
        {"a(?=b)", "looking ahead"},
        {"a(?!b)", "looking ahead"},
        {"(?<=a)b", "looking behind"},
        {"(?<n>a)", "name of a group"},
        {"(?i)a", "kind of group"},
        {"(a)\\1", "reference back"},
        {"\\bword\\b", "\\b"},
        {"\\p{L}", "\\p"},
        {"a^b", "inside"},
        {"(^a)", "inside"},
        {"(a", "not closed"},
        {"a)", "closes nothing"},
        {"[a", "not closed"},
        {"[z-a]", "backwards"},
        {"*a", "nothing before"},
        {"a{2,1}", "wrong order"},
        {"a{5000}", "1000 times"},
        {"a\\", "backslash"},
        {"\\xZZ", "hexadecimal"},
        {"\\q", "escape"},
        {"\xFF", "UTF-8"},
        {"^(((.{1,99}){1,99}){1,99}){1,99}$", "too"},
        {"^(.*a.{40})$", "too complex"},
        {"(x+x+)+y(x|xx)*.{30}z.{9}$", "too"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        byte_dfa dfa;
        gptoss_error error;
        if (pattern_open(cases[i][0], 0, UINT32_MAX, NULL, &dfa, &error) == GPTOSS_OK)
            fail_msg("%s is taken", cases[i][0]);
        assert_int_equal(error.status, GPTOSS_BAD_INPUT);
        if (!strstr(error.text, cases[i][1])) fail_msg("%s: %s", cases[i][0], error.text);
    }
}

static void test_long_ones_are_refused(void **state) {
    (void)state;
    char pattern[PATTERN_BYTES + 2];
    byte_dfa dfa;
    gptoss_error error;
    memset(pattern, '0', sizeof pattern);
    memcpy(pattern, "^a{", 3);
    strcpy(pattern + PATTERN_BYTES - 3, "1}$"); /* as if it were short */
    assert_ok(pattern_open(pattern, 0, UINT32_MAX, NULL, &dfa, err));
    byte_dfa_close(&dfa);
    strcpy(pattern + PATTERN_BYTES - 3, "01}$");
    assert_int_equal(pattern_open(pattern, 0, UINT32_MAX, NULL, &dfa, &error), GPTOSS_BAD_INPUT);
    assert_non_null(strstr(error.text, "longer than"));
}

/* All that one asks for together is bounded, whether it is taken or refused at last. */
static void test_work_is_bounded_in_all(void **state) {
    (void)state;
    static const char *const patterns[] = {"^(.*a){6}$", "^(.*a.{40})$", "^(((.{1,99}){1,99}){1,99}){1,99}$"};
    for (size_t i = 0; i < sizeof patterns / sizeof *patterns; i++) {
        byte_dfa dfa;
        gptoss_error error = {0};
        uint32_t work = PATTERN_WORK, opened = 0;
        for (; work > 0; opened++) {
            uint32_t before = work;
            if (pattern_open(patterns[i], 0, UINT32_MAX, &work, &dfa, &error) == GPTOSS_OK) byte_dfa_close(&dfa);
            assert_true(work < before);
        }
        assert_true(opened >= 20); /* there is enough for some */
        assert_int_equal(pattern_open("a", 0, UINT32_MAX, &work, &dfa, &error), GPTOSS_BAD_INPUT);
        assert_non_null(strstr(error.text, "too complex together"));
    }
}

/* Whatever the text, it is taken or refused, and soon. */
static void test_random_patterns(void **state) {
    (void)state;
    static const char *const parts[] = {"a",   "[", "]",   "(",  ")",   "|",      "*",  "+", "?", "{",
                                        "2",   ",", "}",   "^",  "$",   ".",      "\\", "-", "d", "x4",
                                        "u12", "é", "(?:", "[^", "\\s", "{1,40}", "\n", "\""};
    uint64_t seed = 21;
    for (int round = 0; round < 1000; round++) {
        char pattern[200] = "";
        byte_dfa dfa;
        for (uint64_t n = random_below(&seed, 14); n > 0; n--)
            strcat(pattern, parts[random_below(&seed, sizeof parts / sizeof *parts)]);
        if (pattern_open(pattern, 0, round % 2 ? UINT32_MAX : 20, NULL, &dfa, NULL) == GPTOSS_OK) byte_dfa_close(&dfa);
    }
}

static void test_lack_of_memory(void **state) {
    (void)state;
    bool failed = true;
    for (long n = 0; failed; n++) {
        byte_dfa dfa;
        mem_fail_after(n);
        gptoss_status status = pattern_open("^(a|b)*[c-é]{2,30}$", 1, 50, NULL, &dfa, NULL);
        mem_fail_after(-1);
        failed = status != GPTOSS_OK;
        assert_true(failed ? status == GPTOSS_NO_MEMORY && n < 100 : n > 5);
        if (!failed) byte_dfa_close(&dfa);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_patterns_match_what_they_should),
        cmocka_unit_test(test_lengths_count_characters),
        cmocka_unit_test(test_only_json_strings),
        cmocka_unit_test(test_patterns_that_match_nothing),
        cmocka_unit_test(test_what_is_refused),
        cmocka_unit_test(test_long_ones_are_refused),
        cmocka_unit_test(test_work_is_bounded_in_all),
        cmocka_unit_test(test_random_patterns),
        cmocka_unit_test(test_lack_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
