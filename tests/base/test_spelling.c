/* The distance between words, against its definition. */
#include "base/spelling.h"
#include "random.h"
#include "support.h"

/* By the definition: the cheapest way to begin, for every way to begin. */
static size_t plain(const char *a, size_t a_size, const char *b, size_t b_size) {
    if (a_size == 0 || b_size == 0) return a_size + b_size;
    size_t change = plain(a + 1, a_size - 1, b + 1, b_size - 1) + (a[0] != b[0]);
    size_t drop = plain(a + 1, a_size - 1, b, b_size) + 1, insert = plain(a, a_size, b + 1, b_size - 1) + 1;
    size_t best = change < drop ? change : drop;
    return best < insert ? best : insert;
}

static void the_distance_equals_its_definition(void **state) {
    (void)state;
    uint64_t seed = 1;
    for (int round = 0; round < 2000; round++) {
        char a[6], b[6];
        size_t a_size = (size_t)random_below(&seed, 7), b_size = (size_t)random_below(&seed, 7);
        for (size_t i = 0; i < 6; i++) {
            a[i] = (char)('a' + random_below(&seed, 3));
            b[i] = (char)('a' + random_below(&seed, 3));
        }
        assert_int_equal(spelling_distance(a, a_size, b, b_size), plain(a, a_size, b, b_size));
    }
}

static void case_makes_no_difference_and_other_characters_do(void **state) {
    (void)state;
    assert_int_equal(spelling_distance("GGUF", 4, "gguf", 4), 0);
    assert_int_equal(spelling_distance("max_kv", 6, "max-kv", 6), 1);
    assert_int_equal(spelling_distance("@[", 2, "`{", 2), 2); /* what a mere 0x20 would confuse */
}

static void long_words_are_far_from_everything(void **state) {
    (void)state;
    char word[SPELLING_LONGEST + 1];
    memset(word, 'a', sizeof word);
    assert_int_equal(spelling_distance(word, SPELLING_LONGEST, word, SPELLING_LONGEST), 0);
    assert_int_equal(spelling_distance(word, SPELLING_LONGEST, "", 0), SPELLING_LONGEST);
    assert_true(spelling_distance(word, SPELLING_LONGEST + 1, "", 0) == SIZE_MAX);
    assert_true(spelling_distance("", 0, word, SPELLING_LONGEST + 1) == SIZE_MAX);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_distance_equals_its_definition),
        cmocka_unit_test(case_makes_no_difference_and_other_characters_do),
        cmocka_unit_test(long_words_are_far_from_everything),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
