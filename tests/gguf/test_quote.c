#include "base/utf8.h"
#include "gguf/quote.h"

#include "support.h"

static void assert_quoted(const char *bytes, size_t size, size_t capacity, const char *want) {
    char *out = malloc(capacity); /* so that a sanitizer sees one byte too many */
    assert_non_null(out);
    assert_ptr_equal(quote_text(bytes, size, out, capacity), out);
    assert_string_equal(out, want);
    free(out);
}

#define BAD "\xEF\xBF\xBD"

static void plain_text_stays(void **state) {
    (void)state;
    assert_quoted("blk.0.attn_q.weight", 19, 64, "blk.0.attn_q.weight");
    assert_quoted("", 0, 8, "");
    assert_quoted("na\xC3\xAFve \xE2\x82\xAC \xF0\x9F\x98\x80", 15, 64, "na\xC3\xAFve \xE2\x82\xAC \xF0\x9F\x98\x80");
}

static void controls_and_broken_utf8_are_made_safe(void **state) {
    (void)state;
    assert_quoted("a\nb\r\tc", 6, 64, "a\\nb\\r\\tc");
    assert_quoted("\x1B[31m\0x\x7F", 8, 64, BAD "[31m" BAD "x" BAD);
    assert_quoted("\xC2\x9B", 2, 64, BAD);             /* a C1 control: CSI */
    assert_quoted("\xE2\x80\xAE", 3, 64, BAD);         /* right-to-left override */
    assert_quoted("\xC0\xAF", 2, 64, BAD BAD);         /* overlong */
    assert_quoted("\xE0\x80\xAF", 3, 64, BAD BAD BAD); /* overlong */
    assert_quoted("\xED\xA0\x80", 3, 64, BAD BAD BAD); /* a surrogate */
    assert_quoted("\xF4\x90\x80\x80", 4, 64, BAD BAD BAD BAD);
    assert_quoted("\xE2\x82", 2, 64, BAD); /* cut off: one for the whole beginning */
    assert_quoted("\xE2\x82g", 3, 64, BAD "g");
    assert_quoted("\xFF\x80", 2, 64, BAD BAD);
}

static void long_text_is_cut_at_a_whole_character(void **state) {
    (void)state;
    assert_quoted("abcdefg", 7, 8, "abcdefg");
    assert_quoted("abcdefgh", 8, 8, "abcd...");
    assert_quoted("abc\xE2\x82\xAC\xE2\x82\xAC", 9, 8, "abc...");
    assert_quoted("abc\ndefgh", 9, 9, "abc\\n...");
    for (size_t capacity = 8; capacity < 40; capacity++) {
        char out[40];
        quote_text("\xE2\x82\xAC\n\xFFz\xF0\x9F\x98\x80\xC3\xAF\xE2\x82\xAC\xE2\x82\xAC", 17, out, capacity);
        assert_true(strlen(out) < capacity);
        uint32_t code;
        for (size_t at = 0, size = strlen(out); at < size;) {
            size_t length = utf8_decode(out + at, size - at, &code);
            assert_true(code != 0xFFFD || memcmp(out + at, BAD, 3) == 0);
            at += length;
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plain_text_stays),
        cmocka_unit_test(controls_and_broken_utf8_are_made_safe),
        cmocka_unit_test(long_text_is_cut_at_a_whole_character),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
