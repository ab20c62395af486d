/* A cursor never reads past its bytes, and a call that finds too little moves nothing. */
#include "base/cursor.h"
#include "support.h"

enum { LONGEST = 20 };

static uint64_t little_endian(const uint8_t *bytes, size_t count) {
    uint64_t value = 0;
    while (count > 0) value = value << 8 | bytes[--count];
    return value;
}

/* One call that wants `width` bytes; *value: what it read, or untouched. */
static bool read_number(cursor *c, size_t width, uint64_t *value) {
    uint8_t u8 = 0;
    uint16_t u16 = 0;
    uint32_t u32 = 0;
    uint64_t u64 = 0;
    bool good = width == 1   ? cursor_u8(c, &u8)
                : width == 2 ? cursor_u16(c, &u16)
                : width == 4 ? cursor_u32(c, &u32)
                             : cursor_u64(c, &u64);
    if (good)
        *value = u8 | u16 | u32 | u64;
    else
        assert_true((u8 | u16 | u32 | u64) == 0);
    return good;
}

/* Exactly `size` bytes from the heap, so that a sanitizer sees a read of one more. */
static uint8_t *bytes_of(size_t size) {
    uint8_t *bytes = malloc(size ? size : 1);
    for (size_t i = 0; i < size; i++) bytes[i] = (uint8_t)(0x81 + 37 * i);
    return bytes;
}

static void numbers_at_every_place_of_every_length(void **state) {
    (void)state;
    static const size_t widths[] = {1, 2, 4, 8};
    for (size_t size = 0; size <= LONGEST; size++) {
        uint8_t *bytes = bytes_of(size);
        for (size_t at = 0; at <= size; at++) {
            for (size_t w = 0; w < 4; w++) {
                cursor c = {bytes, size, at};
                uint64_t value = 0;
                bool enough = widths[w] <= size - at;
                assert_int_equal(cursor_left(&c), size - at);
                assert_int_equal(read_number(&c, widths[w], &value), enough);
                assert_int_equal(c.at, enough ? at + widths[w] : at);
                assert_true(value == (enough ? little_endian(bytes + at, widths[w]) : 0));
            }
        }
        free(bytes);
    }
}

static void bytes_and_skips_at_every_place_of_every_length(void **state) {
    (void)state;
    for (size_t size = 0; size <= LONGEST; size++) {
        uint8_t *bytes = bytes_of(size);
        for (size_t at = 0; at <= size; at++) {
            for (size_t want = 0; want <= LONGEST + 2; want++) {
                cursor c = {bytes, size, at};
                uint8_t out[LONGEST + 2], untouched[LONGEST + 2];
                memset(out, 0xee, sizeof out);
                memset(untouched, 0xee, sizeof untouched);
                bool enough = want <= size - at;
                assert_int_equal(cursor_bytes(&c, out, want), enough);
                assert_int_equal(c.at, enough ? at + want : at);
                if (enough) assert_memory_equal(out, bytes + at, want);
                size_t written = enough ? want : 0;
                assert_memory_equal(out + written, untouched, sizeof out - written);

                c.at = at;
                assert_int_equal(cursor_skip(&c, want), enough);
                assert_int_equal(c.at, enough ? at + want : at);
            }
        }
        free(bytes);
    }
}

static void lengths_from_hostile_files_do_not_wrap(void **state) {
    (void)state;
    uint8_t bytes[8] = {0}, out[8];
    for (size_t at = 1; at <= sizeof bytes; at++) { /* at + length would wrap to a place inside */
        cursor c = {bytes, sizeof bytes, at};
        assert_false(cursor_skip(&c, UINT64_MAX));
        assert_false(cursor_skip(&c, UINT64_MAX - at + 1));
        assert_false(cursor_skip(&c, (uint64_t)INT64_MAX + 1));
        assert_false(cursor_bytes(&c, out, SIZE_MAX));
        assert_false(cursor_bytes(&c, out, SIZE_MAX - at + 1));
        assert_int_equal(c.at, at);
    }
}

static void an_empty_cursor_gives_nothing(void **state) {
    (void)state;
    cursor c = {0};
    uint8_t out;
    assert_int_equal(cursor_left(&c), 0);
    assert_true(cursor_skip(&c, 0));
    assert_true(cursor_bytes(&c, NULL, 0));
    assert_false(cursor_u8(&c, &out));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_at_every_place_of_every_length),
        cmocka_unit_test(bytes_and_skips_at_every_place_of_every_length),
        cmocka_unit_test(lengths_from_hostile_files_do_not_wrap),
        cmocka_unit_test(an_empty_cursor_gives_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
