/* Error text is one presentable line, however hostile the words quoted in it. */
#include <errno.h>
#include <stdbool.h>

#include "support.h"

enum { CAPACITY = sizeof((gptoss_error *)0)->text };

/* Whether text is whole UTF-8 characters without control characters (C0, DEL, C1). */
static bool is_presentable(const char *text) {
    for (const unsigned char *c = (const unsigned char *)text; *c;) {
        int more = *c < 0x80                 ? 0
                   : *c >= 0xC2 && *c < 0xE0 ? 1
                   : *c >= 0xE0 && *c < 0xF0 ? 2
                   : *c >= 0xF0 && *c < 0xF5 ? 3
                                             : -1;
        if (more < 0 || *c < 0x20 || *c == 0x7f || (*c == 0xC2 && c[1] < 0xA0)) return false;
        for (c++; more > 0; more--, c++)
            if ((*c & 0xC0) != 0x80) return false;
    }
    return true;
}

static void every_status_has_a_name_of_its_own(void **state) {
    (void)state;
    for (int a = GPTOSS_OK; a <= GPTOSS_BUSY; a++) {
        assert_true(strlen(gptoss_status_name((gptoss_status)a)) > 0);
        for (int b = a + 1; b <= GPTOSS_BUSY; b++)
            assert_string_not_equal(gptoss_status_name((gptoss_status)a), gptoss_status_name((gptoss_status)b));
    }
    assert_non_null(gptoss_status_name((gptoss_status)-1));
    assert_non_null(gptoss_status_name((gptoss_status)1000));
}

static void the_text_is_formatted_and_the_status_returned(void **state) {
    (void)state;
    gptoss_error err = {0};
    assert_int_equal(error_set(&err, GPTOSS_BAD_INPUT, "blk.%d: %s", 7, "3 rows past the end"), GPTOSS_BAD_INPUT);
    assert_int_equal(err.status, GPTOSS_BAD_INPUT);
    assert_string_equal(err.text, "blk.7: 3 rows past the end");
}

static void an_absent_error_is_fine(void **state) {
    (void)state;
    assert_int_equal(error_set(NULL, GPTOSS_IO, "%s", "x"), GPTOSS_IO);
    assert_int_equal(error_set_errno(NULL, GPTOSS_IO, ENOENT, "%s", "x"), GPTOSS_IO);
    assert_int_equal(error_prefix(NULL, GPTOSS_IO, "%s", "x"), GPTOSS_IO);
}

static void control_characters_become_question_marks(void **state) {
    (void)state;
    char hostile[130], want[130];
    for (int c = 1; c < 128; c++) {
        hostile[c - 1] = (char)c;
        want[c - 1] = c < 0x20 || c == 0x7f ? '?' : (char)c;
    }
    hostile[127] = want[127] = '\0';
    gptoss_error err = {0};
    error_set(&err, GPTOSS_BAD_INPUT, "%s", hostile);
    assert_string_equal(err.text, want);
    error_set(&err, GPTOSS_BAD_INPUT, "key \x1b[31m\r\n");
    assert_string_equal(err.text, "key ?[31m??");
}

/* U+009B in UTF-8 begins a control sequence on some terminals just as ESC [ does. */
static void c1_control_characters_are_replaced_too(void **state) {
    (void)state;
    gptoss_error err = {0};
    error_set(&err, GPTOSS_BAD_INPUT,
              "a\xC2\x9B"
              "31mb\xC2\x85"
              "c\xC2\xA0"
              "d\xC3\x9B");
    assert_true(is_presentable(err.text));
    assert_non_null(strstr(err.text, "c\xC2\xA0"
                                     "d\xC3\x9B")); /* neighbours that are no control characters */
}

/* Characters of 1 to 4 bytes at every distance from the end of the room. */
static void a_cut_leaves_whole_characters(void **state) {
    (void)state;
    static const char *const characters[] = {"x", "\xC3\xA9", "\xE2\x82\xAC", "\xF0\x9F\x98\x80"};
    for (size_t kind = 0; kind < 4; kind++) {
        size_t size = strlen(characters[kind]);
        for (size_t before = 0; before < 8; before++) {
            char text[CAPACITY * 2] = "";
            memset(text, 'a', before);
            for (size_t at = before; at + size < sizeof text - 1; at += size) memcpy(text + at, characters[kind], size);
            gptoss_error err = {0};
            error_set(&err, GPTOSS_BAD_INPUT, "%s", text);
            assert_true(is_presentable(err.text));
            assert_memory_equal(err.text, text, strlen(err.text));
            assert_in_range(strlen(err.text), CAPACITY - 2 * size, CAPACITY - 1);
        }
    }
}

static void text_that_just_fits_is_not_cut(void **state) {
    (void)state;
    static const char *const ends[] = {"x", "\xC3\xA9", "\xE2\x82\xAC", "\xF0\x9F\x98\x80"};
    for (size_t kind = 0; kind < 4; kind++) {
        char text[CAPACITY];
        memset(text, 'a', sizeof text);
        strcpy(text + CAPACITY - 1 - strlen(ends[kind]), ends[kind]);
        gptoss_error err = {0};
        error_set(&err, GPTOSS_BAD_INPUT, "%s", text);
        assert_string_equal(err.text, text);
    }
}

static void errno_text_follows(void **state) {
    (void)state;
    gptoss_error err = {0};
    assert_int_equal(error_set_errno(&err, GPTOSS_IO, ENOENT, "cannot open %s", "a\nb"), GPTOSS_IO);
    char want[200];
    snprintf(want, sizeof want, "cannot open a?b: %s", strerror(ENOENT));
    assert_string_equal(err.text, want);
    assert_int_equal(err.status, GPTOSS_IO);
}

static void a_prefix_goes_in_front(void **state) {
    (void)state;
    gptoss_error err = {0};
    error_set(&err, GPTOSS_BAD_INPUT, "no such key");
    assert_int_equal(error_prefix(&err, GPTOSS_BAD_INPUT, "reading %s", "model\n"), GPTOSS_BAD_INPUT);
    assert_string_equal(err.text, "reading model?: no such key");
    assert_int_equal(err.status, GPTOSS_BAD_INPUT);
}

static void long_prefixes_and_texts_stay_whole_characters(void **state) {
    (void)state;
    for (size_t before = 0; before < 4; before++) {
        char task[1000] = "", text[1000] = "";
        memset(task, 'a', before);
        for (size_t at = before; at + 3 < sizeof task; at += 3) memcpy(task + at, "\xE2\x82\xAC", 3);
        memset(text, 'b', sizeof text - 1);
        gptoss_error err = {0};
        error_set(&err, GPTOSS_PEER, "%s", text);
        error_prefix(&err, GPTOSS_PEER, "%s", task);
        assert_true(is_presentable(err.text));
        assert_non_null(strstr(err.text, ": bbbb")); /* the prefix leaves room for what happened */

        error_set_errno(&err, GPTOSS_IO, ENOENT, "%s", task);
        assert_true(is_presentable(err.text));
        assert_non_null(strstr(err.text, strerror(ENOENT)));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_status_has_a_name_of_its_own),
        cmocka_unit_test(the_text_is_formatted_and_the_status_returned),
        cmocka_unit_test(an_absent_error_is_fine),
        cmocka_unit_test(control_characters_become_question_marks),
        cmocka_unit_test(c1_control_characters_are_replaced_too),
        cmocka_unit_test(a_cut_leaves_whole_characters),
        cmocka_unit_test(text_that_just_fits_is_not_cut),
        cmocka_unit_test(errno_text_follows),
        cmocka_unit_test(a_prefix_goes_in_front),
        cmocka_unit_test(long_prefixes_and_texts_stay_whole_characters),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
