/* Buffers hold any bytes, end in a NUL, and are unchanged by what fails. */
#include <unistd.h>

#include "base/buffer.h"
#include "base/mem.h"
#include "support.h"

static void an_empty_buffer_needs_nothing(void **state) {
    (void)state;
    buffer b = {0};
    buffer_clear(&b);
    assert_int_equal(b.size, 0);
    buffer_free(&b);
    assert_ok(buffer_append(&b, NULL, 0, err));
    assert_int_equal(b.size, 0);
    assert_string_equal(b.data, "");
    buffer_free(&b);
    assert_null(b.data);
    assert_int_equal(b.capacity, 0);
    buffer_free(&b);
}

/* Pieces of every length across the places where the room grows. */
static void appended_bytes_stay_in_order(void **state) {
    (void)state;
    enum { TOTAL = 5000 };
    static uint8_t want[TOTAL];
    for (size_t i = 0; i < TOTAL; i++) want[i] = (uint8_t)(i * 7 % 256); /* with NULs */
    for (size_t piece = 1; piece <= 200; piece++) {
        buffer b = {0};
        for (size_t at = 0; at < TOTAL; at += piece) {
            size_t size = TOTAL - at < piece ? TOTAL - at : piece;
            assert_ok(buffer_append(&b, want + at, size, err));
            assert_int_equal(b.size, at + size);
            assert_true(b.capacity > b.size);
            assert_int_equal(b.data[b.size], 0);
        }
        assert_memory_equal(b.data, want, TOTAL);
        buffer_free(&b);
    }
}

static void clearing_keeps_the_room(void **state) {
    (void)state;
    buffer b = {0};
    assert_ok(buffer_append_text(&b, "something", err));
    size_t capacity = b.capacity;
    char *data = b.data;
    buffer_clear(&b);
    assert_string_equal(b.data, "");
    assert_ok(buffer_append_text(&b, "else", err));
    assert_string_equal(b.data, "else");
    assert_ptr_equal(b.data, data);
    assert_int_equal(b.capacity, capacity);
    buffer_free(&b);
}

static void printf_appends_texts_of_any_length(void **state) {
    (void)state;
    char *line = malloc(1001);
    for (int length = 0; length <= 1000; length++) {
        memset(line, 'x', (size_t)length);
        line[length] = '\0';
        buffer b = {0};
        assert_ok(buffer_printf(&b, err, "%d:", length));
        size_t head = b.size;
        assert_ok(buffer_printf(&b, err, "%s", line));
        assert_int_equal(b.size, head + (size_t)length);
        assert_string_equal(b.data + head, line);
        buffer_free(&b);
    }
    free(line);
}

static void a_failure_changes_nothing(void **state) {
    (void)state;
    char big[300] = {0};
    memset(big, 'y', sizeof big - 1);
    for (int way = 0; way < 5; way++) {
        buffer b = {0};
        if (way != 4) assert_ok(buffer_append_text(&b, "kept", err)); /* way 4: from nothing */
        buffer before = b;
        gptoss_error err = {0};
        gptoss_status status = GPTOSS_OK;
        if (way != 3) mem_fail_after(0);
        if (way == 0 || way == 4) status = buffer_append(&b, big, sizeof big, &err);
        if (way == 1) status = buffer_append_text(&b, big, &err);
        if (way == 2) status = buffer_printf(&b, &err, "%s", big);
        if (way == 3) status = buffer_append(&b, big, SIZE_MAX - 10, &err);
        mem_fail_after(-1);
        assert_int_equal(status, GPTOSS_NO_MEMORY);
        assert_true(strlen(err.text) > 0);
        assert_memory_equal(&b, &before, sizeof b);
        if (way != 4) assert_string_equal(b.data, "kept");
        buffer_free(&b);
    }
}

/* ---- files ---- */

static char directory[] = "/tmp/test_buffer_XXXXXX";
static char path[64];

static int make_directory(void **state) {
    (void)state;
    if (!mkdtemp(directory)) return -1;
    snprintf(path, sizeof path, "%s/file", directory);
    return 0;
}

static int remove_directory(void **state) {
    (void)state;
    unlink(path);
    return rmdir(directory);
}

static void write_file(size_t size) {
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    for (size_t i = 0; i < size; i++) fputc((int)(i * 31 % 251), f);
    assert_int_equal(fclose(f), 0);
}

static void files_up_to_the_limit_are_read_whole(void **state) {
    (void)state;
    static const size_t sizes[] = {0, 1, 63, 64, 65, 16383, 16384, 16385, 100000};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        write_file(sizes[i]);
        buffer b = {0};
        assert_ok(buffer_append_text(&b, "head", err));
        assert_ok(buffer_read_file(&b, path, sizes[i], err));
        assert_int_equal(b.size, 4 + sizes[i]);
        for (size_t at = 0; at < sizes[i]; at++) assert_int_equal((uint8_t)b.data[4 + at], at * 31 % 251);
        assert_int_equal(b.data[b.size], 0);
        buffer_free(&b);
        if (sizes[i] == 0) continue;

        assert_ok(buffer_append_text(&b, "head", err));
        gptoss_error err = {0};
        assert_int_equal(buffer_read_file(&b, path, sizes[i] - 1, &err), GPTOSS_BAD_INPUT);
        assert_non_null(strstr(err.text, path));
        assert_string_equal(b.data, "head"); /* outputs are written only on success */
        assert_int_equal(b.size, 4);
        buffer_free(&b);
    }
}

static void an_empty_file_gives_an_empty_text(void **state) {
    (void)state;
    write_file(0);
    buffer b = {0};
    assert_ok(buffer_read_file(&b, path, 100, err));
    assert_int_equal(b.size, 0);
    assert_non_null(b.data);
    assert_string_equal(b.data, "");
    buffer_free(&b);
}

static void endless_files_are_refused(void **state) {
    (void)state;
    buffer b = {0};
    gptoss_error err = {0};
    assert_int_equal(buffer_read_file(&b, "/dev/zero", 100000, &err), GPTOSS_BAD_INPUT);
    assert_int_equal(b.size, 0);
    buffer_free(&b);
}

static void missing_files_and_directories_are_bad_input(void **state) {
    (void)state;
    buffer b = {0};
    gptoss_error err = {0};
    assert_int_equal(buffer_read_file(&b, "/nonexistent/prompt.txt", 100, &err), GPTOSS_BAD_INPUT);
    assert_non_null(strstr(err.text, "/nonexistent/prompt.txt"));
    assert_int_equal(buffer_read_file(&b, directory, 100, &err), GPTOSS_BAD_INPUT);
    assert_non_null(strstr(err.text, directory));
    buffer_free(&b);
}

static void a_dash_is_standard_input(void **state) {
    (void)state;
    write_file(1000);
    assert_non_null(freopen(path, "rb", stdin));
    buffer b = {0};
    assert_ok(buffer_read_file(&b, "-", 1000, err));
    assert_int_equal(b.size, 1000);
    buffer_free(&b);
    rewind(stdin);
    gptoss_error err = {0};
    assert_int_equal(buffer_read_file(&b, "-", 999, &err), GPTOSS_BAD_INPUT);
    assert_non_null(strstr(err.text, "standard input"));
    buffer_free(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_buffer_needs_nothing),
        cmocka_unit_test(appended_bytes_stay_in_order),
        cmocka_unit_test(clearing_keeps_the_room),
        cmocka_unit_test(printf_appends_texts_of_any_length),
        cmocka_unit_test(a_failure_changes_nothing),
        cmocka_unit_test(files_up_to_the_limit_are_read_whole),
        cmocka_unit_test(an_empty_file_gives_an_empty_text),
        cmocka_unit_test(endless_files_are_refused),
        cmocka_unit_test(missing_files_and_directories_are_bad_input),
        cmocka_unit_test(a_dash_is_standard_input),
    };
    return cmocka_run_group_tests(tests, make_directory, remove_directory);
}
