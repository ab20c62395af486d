/* UTF-8: what counts as valid, what replaces the rest, and streams cut at every place. */
#include "base/utf8.h"

#include "random.h"
#include "support.h"

#define R "\xEF\xBF\xBD" /* U+FFFD */

typedef struct sample {
    const char *text;
    size_t size;
    const char *repaired;
} sample;

#define SAMPLE(text, repaired) \
    { text, sizeof text - 1, repaired }

static const sample samples[] = {
    SAMPLE("", ""),
    SAMPLE("plain", "plain"),
    SAMPLE("\xC3\xA9\xE2\x82\xAC\xF0\x9F\x99\x82", "\xC3\xA9\xE2\x82\xAC\xF0\x9F\x99\x82"),
    SAMPLE("\xED\x9F\xBF\xEE\x80\x80\xF4\x8F\xBF\xBF", "\xED\x9F\xBF\xEE\x80\x80\xF4\x8F\xBF\xBF"),
    SAMPLE("\x80", R),
    SAMPLE("\xBF\xBF", R R),
    SAMPLE("\xC0\x80", R R),       /* overlong */
    SAMPLE("\xC1\xBF", R R),       /* overlong */
    SAMPLE("\xE0\x9F\xBF", R R R), /* overlong */
    SAMPLE("\xF0\x8F\xBF\xBF", R R R R),
    SAMPLE("\xED\xA0\x80", R R R),       /* a surrogate */
    SAMPLE("\xF4\x90\x80\x80", R R R R), /* beyond U+10FFFF */
    SAMPLE("\xF5\x80\xFF\xFE", R R R R),
    SAMPLE("a\xC3", "a" R),
    SAMPLE("a\xE2\x82", "a" R), /* a torn character is one */
    SAMPLE("a\xF0\x9F\x99", "a" R),
    SAMPLE("\xE2\x82"
           "A",
           R "A"),
    SAMPLE("\xE2"
           "A",
           R "A"),
    SAMPLE("\xF0\x9F\x99"
           "A",
           R "A"),
    SAMPLE("\xF0\x9F\xC3\xA9", R "\xC3\xA9"),
    SAMPLE("\xC3\xC3\xA9", R "\xC3\xA9"),
    SAMPLE("\xE2\xE2\x82\xAC", R "\xE2\x82\xAC"),
    /* the example of the Unicode standard, chapter 3 */
    SAMPLE("a\xF1\x80\x80\xE1\x80\xC2"
           "b\x80"
           "c\x80\xBF"
           "d",
           "a" R R R "b" R "c" R R "d"),
};

static void test_repair(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof samples / sizeof *samples; i++) {
        const sample *s = &samples[i];
        buffer out = {0};
        assert_ok(buffer_append_text(&out, "<", err));
        assert_ok(utf8_repair(s->text, s->size, &out, err));
        assert_string_equal(out.data + 1, s->repaired);
        assert_int_equal(utf8_valid(s->text, s->size),
                         s->size == strlen(s->repaired) && !memcmp(s->text, s->repaired, s->size));
        assert_true(utf8_valid(out.data, out.size));
        buffer_free(&out);
    }
}

static void test_nul_is_a_character(void **state) {
    (void)state;
    buffer out = {0};
    assert_int_equal(utf8_count(NULL), 0);
    assert_int_equal(utf8_count("a\u00e9\u20ac\U0001f600"), 4);
    assert_true(utf8_valid("a\0b", 3));
    assert_ok(utf8_repair("a\0\xFF", 3, &out, err));
    assert_int_equal(out.size, 5);
    assert_memory_equal(out.data, "a\0" R, 5);
    buffer_free(&out);
}

static void test_text_has_no_nul(void **state) {
    (void)state;
    static const sample texts[] = {
        SAMPLE("", ""), SAMPLE("\0", R), SAMPLE("a\0b\0\0", "a" R "b" R R),
        SAMPLE("\xE2\x82\0\xAC\xC3\xA9\0\xF0", R R R "\xC3\xA9" R R), /* no character goes on behind it */
    };
    for (size_t i = 0; i < sizeof samples / sizeof *samples + sizeof texts / sizeof *texts; i++) {
        const sample *s = i < sizeof texts / sizeof *texts ? &texts[i] : &samples[i - sizeof texts / sizeof *texts];
        buffer out = {0};
        assert_ok(buffer_append_text(&out, "<", err));
        assert_ok(utf8_repair_text(s->text, s->size, &out, err));
        assert_string_equal(out.data + 1, s->repaired);
        assert_int_equal(out.size, strlen(out.data));
        buffer_free(&out);
    }
    buffer none = {0};
    assert_ok(utf8_repair_text(NULL, 0, &none, err));
    assert_int_equal(none.size, 0);
    buffer_free(&none);
}

/* The input in pieces that end where a bit of `cuts` is set. */
static void stream(const char *text, size_t size, uint64_t cuts, buffer *out) {
    utf8_stream s = {0};
    for (size_t at = 0, end; at < size; at = end) {
        for (end = at + 1; end < size && !(cuts >> end & 1);) end++;
        assert_ok(utf8_stream_add(&s, text + at, end - at, out, err));
        assert_true(utf8_valid(out->data ? out->data : "", out->size)); /* never half a character */
    }
    assert_ok(utf8_stream_end(&s, out, err));
    assert_int_equal(s.held_size, 0);
}

static void test_streams_cut_anywhere(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof samples / sizeof *samples; i++) {
        const sample *s = &samples[i];
        uint64_t ways = s->size < 10 ? 1u << s->size : 1024;
        for (uint64_t cuts = 0; cuts < ways; cuts++) {
            buffer out = {0};
            stream(s->text, s->size, s->size < 10 ? cuts : cuts * 0x9E3779B97F4A7C15u, &out);
            assert_int_equal(out.size, strlen(s->repaired));
            assert_memory_equal(out.data ? out.data : "", s->repaired, out.size);
            buffer_free(&out);
        }
    }
}

static void test_characters_come_out_as_soon_as_they_are_whole(void **state) {
    (void)state;
    utf8_stream s = {0};
    buffer out = {0};
    const char *euro = "\xE2\x82\xAC";
    assert_ok(utf8_stream_add(&s, euro, 2, &out, err));
    assert_int_equal(out.size, 0);
    assert_ok(utf8_stream_add(&s, euro + 2, 1, &out, err));
    assert_string_equal(out.data, euro);
    assert_ok(utf8_stream_add(&s, "ab\xF0", 3, &out, err));
    assert_string_equal(out.data, "\xE2\x82\xAC"
                                  "ab");
    assert_ok(utf8_stream_add(&s, "x", 1, &out, err)); /* what was held turns out to be broken */
    assert_string_equal(out.data, "\xE2\x82\xAC"
                                  "ab" R "x");
    buffer_free(&out);
}

/* Random bytes in which broken sequences are frequent: streamed in random pieces they equal their repair. */
static void test_random_streams(void **state) {
    (void)state;
    static const uint8_t bytes[] = {'a', 0x80, 0xBF, 0xC3, 0xE0, 0xA0, 0xE2, 0xED, 0x9F, 0xF0, 0x90, 0xF4, 0x8F, 0xFF};
    uint64_t seed = 7;
    for (int round = 0; round < 5000; round++) {
        char text[60];
        size_t size = random_below(&seed, sizeof text + 1);
        for (size_t i = 0; i < size; i++) text[i] = (char)bytes[random_below(&seed, sizeof bytes)];
        buffer whole = {0}, streamed = {0};
        assert_ok(utf8_repair(text, size, &whole, err));
        stream(text, size, random_bits(&seed), &streamed);
        assert_int_equal(whole.size, streamed.size);
        if (whole.size) assert_memory_equal(whole.data, streamed.data, whole.size);
        assert_int_equal(utf8_valid(text, size), whole.size == size && (!size || !memcmp(text, whole.data, size)));
        buffer_free(&whole);
        buffer_free(&streamed);
    }
}

static void decoding_tells_every_code_point(void **state) {
    (void)state;
    for (uint32_t code = 1; code < 0x110000; code += code < 0x900 ? 1 : 37) {
        if (code >= 0xD800 && code < 0xE000) continue;
        char bytes[4];
        size_t size = code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
        for (size_t i = size; i-- > 1;) bytes[i] = (char)(0x80 | (code >> (6 * (size - 1 - i)) & 0x3F));
        static const uint32_t lead[] = {0, 0, 0xC0, 0xE0, 0xF0};
        bytes[0] = (char)(lead[size] | code >> (6 * (size - 1)));
        uint32_t got;
        assert_int_equal(utf8_decode(bytes, size, &got), size);
        assert_int_equal(got, code);
        if (size > 1) {
            assert_int_equal(utf8_decode(bytes, size - 1, &got), size - 1);
            assert_int_equal(got, 0xFFFD);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(decoding_tells_every_code_point),
        cmocka_unit_test(test_repair),
        cmocka_unit_test(test_nul_is_a_character),
        cmocka_unit_test(test_text_has_no_nul),
        cmocka_unit_test(test_streams_cut_anywhere),
        cmocka_unit_test(test_characters_come_out_as_soon_as_they_are_whole),
        cmocka_unit_test(test_random_streams),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
