/* Stop strings end a text at the same place however it is cut into pieces, and hold back no more than they must. */
#include <stdbool.h>

#include "base/mem.h"
#include "random.h"
#include "support.h"
#include "text/stop_strings.h"

/* Where a text ends when it is read byte by byte; *stopped: whether a stop string did that. */
static size_t end_of(const char *text, size_t size, const char *const *stops, size_t count, bool *stopped) {
    for (size_t end = 1; end <= size; end++) {
        size_t begin = SIZE_MAX;
        for (size_t i = 0; i < count; i++) {
            size_t length = strlen(stops[i]);
            if (length <= end && memcmp(text + end - length, stops[i], length) == 0 && end - length < begin)
                begin = end - length;
        }
        *stopped = begin != SIZE_MAX;
        if (*stopped) return begin;
    }
    *stopped = false;
    return size;
}

/* The longest end of a text that could begin a stop string without being one. */
static size_t must_hold(const char *text, size_t size, const char *const *stops, size_t count) {
    for (size_t length = size; length > 0; length--)
        for (size_t i = 0; i < count; i++)
            if (strlen(stops[i]) > length && memcmp(stops[i], text + size - length, length) == 0) return length;
    return 0;
}

/* Feeds the text in pieces: bit i of `cuts` cuts behind byte i. */
static void check_pieces(const char *text, size_t size, uint64_t cuts, const char *const *stops, size_t count) {
    bool want_stop, stopped;
    size_t want = end_of(text, size, stops, count, &want_stop);
    stop_strings s = {.items = stops, .count = count};
    buffer out = {0};
    for (size_t begin = 0, end = 1; begin < size; begin = end++) {
        while (end < size && !(cuts >> (end - 1) & 1)) end++;
        assert_ok(stop_strings_add(&s, text + begin, end - begin, &out, err));
        size_t expected = end_of(text, end, stops, count, &stopped);
        if (!stopped) expected = end - must_hold(text, end, stops, count);
        if (s.hit != stopped || out.size != expected)
            fail_msg("\"%.*s\" with cuts %llx: %zu bytes came out of the first %zu, not %zu", (int)size, text,
                     (unsigned long long)cuts, out.size, end, expected);
    }
    assert_ok(stop_strings_end(&s, &out, err));
    assert_int_equal(s.hit, want_stop);
    assert_int_equal(out.size, want);
    assert_memory_equal(out.data, text, want);
    stop_strings_free(&s);
    buffer_free(&out);
}

static void check_all_cuts(const char *text, const char *const *stops, size_t count) {
    size_t size = strlen(text);
    for (uint64_t cuts = 0; cuts < UINT64_C(1) << (size - 1); cuts++) check_pieces(text, size, cuts, stops, count);
}

static void overlapping_stop_strings(void **state) {
    (void)state;
    static const struct {
        const char *text, *stops[3];
    } cases[] = {
        {"xxabcdyy", {"abcd", "bc"}}, /* the inner one is complete first */
        {"xxabxyy", {"abcd", "bx"}},  /* the outer one never is */
        {"xxabcyy", {"bc", "abc"}},   /* complete together: the longer one ends the text */
        {"xxabcyy", {"c", "abc", "bc"}},
        {"aaaaab", {"aab"}}, /* its beginning repeats */
        {"aaaaaa", {"aab"}},
        {"abababac", {"ababac"}},
        {"one two", {"two", "one"}}, /* the order of the list means nothing */
        {"one two", {"one", "two"}},
        {"ends with the", {"the end"}}, /* never complete */
        {"stop", {"stop"}},
        {"s", {"stop", "s"}},
        {"caf\xC3\xA9!", {"\xC3\xA9"}},
        {"\n\nUser:", {"\nUser:", "\n\n"}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        size_t count = 0;
        while (count < 3 && cases[i].stops[count]) count++;
        check_all_cuts(cases[i].text, cases[i].stops, count);
    }
}

static void random_texts_of_few_letters(void **state) {
    (void)state;
    uint64_t seed = 1;
    for (int round = 0; round < 1500; round++) {
        char text[11] = "", strings[4][6] = {{0}};
        const char *stops[4] = {strings[0], strings[1], strings[2], strings[3]};
        uint64_t letters = 2 + random_below(&seed, 2), size = 1 + random_below(&seed, 10);
        for (uint64_t i = 0; i < size; i++) text[i] = (char)('a' + random_below(&seed, letters));
        for (int n = 0; n < 4; n++)
            for (uint64_t i = 0, length = 1 + random_below(&seed, 5); i < length; i++)
                strings[n][i] = (char)('a' + random_below(&seed, letters));
        size_t count = (size_t)random_below(&seed, 5);
        if (round % 2)
            check_all_cuts(text, stops, count);
        else
            check_pieces(text, (size_t)size, random_bits(&seed), stops, count);
    }
}

static void nothing_comes_after_a_hit(void **state) {
    (void)state;
    const char *stops[] = {"END"};
    stop_strings s = {.items = stops, .count = 1};
    buffer out = {0};
    assert_ok(stop_strings_add(&s, "before E", 8, &out, err));
    assert_string_equal(out.data, "before ");
    assert_false(s.hit);
    assert_ok(stop_strings_add(&s, "ND after", 8, &out, err));
    assert_true(s.hit);
    assert_ok(stop_strings_add(&s, " and more END", 13, &out, err));
    assert_ok(stop_strings_end(&s, &out, err));
    assert_string_equal(out.data, "before ");
    stop_strings_free(&s);
    buffer_free(&out);
}

static void nul_bytes_pass(void **state) {
    (void)state;
    const char *stops[] = {"zz"};
    check_pieces("a\0b\0zzc", 7, 0x15, stops, 1);
    check_pieces("a\0b\0zzc", 7, 0, stops, 1);
}

static void empty_pieces_and_no_stop_strings(void **state) {
    (void)state;
    const char *stops[] = {"ab"};
    for (size_t count = 0; count < 2; count++) {
        stop_strings s = {.items = stops, .count = count};
        buffer out = {0};
        assert_ok(stop_strings_add(&s, "", 0, &out, err));
        assert_ok(stop_strings_add(&s, "xa", 2, &out, err));
        assert_ok(stop_strings_add(&s, "", 0, &out, err));
        assert_int_equal(out.size, count ? 1 : 2);
        assert_ok(stop_strings_end(&s, &out, err));
        assert_string_equal(out.data, "xa");
        stop_strings_free(&s);
        buffer_free(&out);
    }
}

static void a_long_text_takes_no_longer_than_its_length(void **state) {
    (void)state;
    enum { SIZE = 1 << 20 };
    char *text = malloc(SIZE), *stop = malloc(1001);
    memset(text, 'a', SIZE);
    memset(stop, 'a', 1000);
    strcpy(stop + 999, "b"); /* nearly matches everywhere */
    const char *stops[] = {stop, "never"};
    stop_strings s = {.items = stops, .count = 2};
    buffer out = {0};
    for (size_t at = 0; at < SIZE; at += 64) {
        assert_ok(stop_strings_add(&s, text + at, 64, &out, err));
        assert_true(s.held.size <= 999);
    }
    assert_ok(stop_strings_end(&s, &out, err));
    assert_int_equal(out.size, SIZE);
    stop_strings_free(&s);
    buffer_free(&out);
    free(text);
    free(stop);
}

static void failing_allocations_are_reported(void **state) {
    (void)state;
    const char *stops[] = {"END"};
    for (long n = 0; n < 2; n++) {
        stop_strings s = {.items = stops, .count = 1};
        buffer out = {0};
        gptoss_error err = {0};
        mem_fail_after(n);
        assert_int_equal(stop_strings_add(&s, "text", 4, &out, &err), GPTOSS_NO_MEMORY);
        mem_fail_after(-1);
        assert_int_equal(out.size, 0);
        stop_strings_free(&s);
        buffer_free(&out);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(overlapping_stop_strings),
        cmocka_unit_test(random_texts_of_few_letters),
        cmocka_unit_test(nothing_comes_after_a_hit),
        cmocka_unit_test(nul_bytes_pass),
        cmocka_unit_test(empty_pieces_and_no_stop_strings),
        cmocka_unit_test(a_long_text_takes_no_longer_than_its_length),
        cmocka_unit_test(failing_allocations_are_reported),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
