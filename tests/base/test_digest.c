#include "base/digest.h"
#include "random.h"
#include "support.h"

static void pieces_make_the_same_digest_as_the_whole(void **state) {
    (void)state;
    enum { SIZE = 100000 };
    uint64_t seed = 1;
    uint8_t *bytes = malloc(SIZE);
    for (int i = 0; i < SIZE; i++) bytes[i] = (uint8_t)random_below(&seed, 256);
    digest whole = digest_of(bytes, SIZE);
    for (int round = 0; round < 20; round++) {
        digest_state *s;
        assert_ok(digest_begin(&s, err));
        for (size_t at = 0, some; at < SIZE; at += some) {
            some = 1 + (size_t)random_below(&seed, 5000);
            if (some > SIZE - at) some = SIZE - at;
            digest_add(s, bytes + at, some);
            assert_true(digest_equal(digest_so_far(s), digest_of(bytes, at + some)));
        }
        assert_true(digest_equal(digest_so_far(s), whole));
        digest_end(s);
        size_t at = (size_t)random_below(&seed, SIZE);
        bytes[at] ^= 1;
        assert_false(digest_equal(digest_of(bytes, SIZE), whole));
        bytes[at] ^= 1;
    }
    free(bytes);
}

static void digests_are_read_as_they_are_printed(void **state) {
    (void)state;
    char text[DIGEST_TEXT];
    const digest d = {0x0123456789abcdef, 0x00fedcba98765432};
    digest back;
    digest_print(d, text);
    assert_string_equal(text, "00fedcba987654320123456789abcdef");
    assert_true(digest_parse(text, &back) && digest_equal(back, d));
    const char *const wrong[] = {"",
                                 "00",
                                 "00fedcba987654320123456789abcdef0",
                                 "00fedcba987654320123456789abcdeg",
                                 "00FEDCBA987654320123456789abcdef",
                                 "../edcba987654320123456789abcdef"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) assert_false(digest_parse(wrong[i], &back));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pieces_make_the_same_digest_as_the_whole),
        cmocka_unit_test(digests_are_read_as_they_are_printed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
