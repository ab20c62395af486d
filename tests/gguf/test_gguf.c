#include "gguf/gguf.h"

#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "gguf/craft.h"

static char path[512]; /* of the file a test writes into the group's folder */

static int make_folder(void **state) {
    if (craft_folder_make(state) != 0) return -1;
    snprintf(path, sizeof path, "%s/model.gguf", (const char *)*state);
    return 0;
}

static gguf_file *save_and_open(craft *c) {
    gguf_file *file = NULL;
    craft_save(c, path);
    craft_free(c);
    assert_ok(gguf_open(path, &file, err));
    return file;
}

static void save_and_assert_refused(craft *c, const char *hint) {
    craft_save(c, path);
    craft_free(c);
    craft_assert_refused(path, path, hint);
}

static bool same_text(gguf_text text, const char *want) {
    return text.size == strlen(want) && memcmp(text.bytes, want, text.size) == 0;
}

static void golden_models_open(void **state) {
    (void)state;
    for (size_t i = 0; golden_names[i]; i++) {
        char golden_path[512];
        snprintf(golden_path, sizeof golden_path, "%s/golden/%s.gguf", TEST_DATA, golden_names[i]);
        struct stat info;
        assert_int_equal(stat(golden_path, &info), 0);
        gguf_file *file;
        assert_ok(gguf_open(golden_path, &file, err));
        assert_int_equal(gguf_version(file), 3);
        assert_int_equal(gguf_part_count(file), 1);
        assert_string_equal(gguf_part_path(file, 0), golden_path);
        assert_int_equal(gguf_part_size(file, 0), info.st_size);
        assert_int_equal(gguf_alignment(file), 32);
        assert_int_equal(gguf_tensor_count(file), 79);
        assert_int_equal(gguf_value_count(file), 31);
        gguf_text text;
        assert_true(gguf_as_text(gguf_find_value(file, "general.architecture"), &text));
        assert_true(same_text(text, "gpt-oss"));
        const gguf_tensor *t = gguf_find_tensor(file, "blk.3.ffn_down_exps.weight");
        assert_non_null(t);
        assert_int_equal(t->n_dims, 3);
        assert_int_equal(t->dims[0], 64);
        assert_int_equal(t->dims[1], 96);
        assert_int_equal(t->dims[2], 8);
        assert_int_equal(t->dims[3], 1);
        const type_traits *traits = gguf_type_traits(t->type);
        assert_int_equal(t->bytes, (uint64_t)64 * 96 * 8 / traits->block_elements * traits->block_bytes);
        uint64_t end = 0;
        for (size_t k = 0; k < gguf_tensor_count(file); k++) {
            t = gguf_tensor_at(file, k);
            assert_ptr_equal(gguf_find_tensor(file, t->name), t);
            if (t->offset + t->bytes > end) end = t->offset + t->bytes;
        }
        assert_in_range(end, info.st_size - 31, info.st_size); /* the last tensor may be padded */
        assert_null(gguf_find_tensor(file, "blk.3.ffn_down_exps"));
        assert_null(gguf_find_tensor(file, ""));
        gguf_close(file);
    }
}

static void integers_convert_when_they_fit(void **state) {
    (void)state;
    craft c = {0};
    craft_head(&c, 3, 0, 12);
    craft_key(&c, "u8", GGUF_U8), craft_u8(&c, 200);
    craft_key(&c, "i8", GGUF_I8), craft_u8(&c, (uint8_t)-100);
    craft_key(&c, "u16", GGUF_U16), craft_u16(&c, 60000);
    craft_key(&c, "i16", GGUF_I16), craft_u16(&c, (uint16_t)-30000);
    craft_key(&c, "u32", GGUF_U32), craft_u32(&c, 4000000000);
    craft_key(&c, "i32", GGUF_I32), craft_u32(&c, (uint32_t)-2000000000);
    craft_key(&c, "u64", GGUF_U64), craft_u64(&c, UINT64_MAX);
    craft_key(&c, "i64", GGUF_I64), craft_u64(&c, (uint64_t)INT64_MIN);
    craft_key(&c, "i8+", GGUF_I8), craft_u8(&c, 100);
    craft_key(&c, "i16+", GGUF_I16), craft_u16(&c, 30000);
    craft_key(&c, "i32+", GGUF_I32), craft_u32(&c, 2000000000);
    craft_key(&c, "i64+", GGUF_I64), craft_u64(&c, INT64_MAX);
    gguf_file *file = save_and_open(&c);
    static const struct {
        const char *key;
        uint64_t natural; /* 0: does not convert */
        double real;
    } want[] = {
        {"u8", 200, 200},
        {"i8", 0, -100},
        {"u16", 60000, 60000},
        {"i16", 0, -30000},
        {"u32", 4000000000, 4e9},
        {"i32", 0, -2e9},
        {"u64", UINT64_MAX, 18446744073709551616.0},
        {"i64", 0, -9223372036854775808.0},
        {"i8+", 100, 100},
        {"i16+", 30000, 30000},
        {"i32+", 2000000000, 2e9},
        {"i64+", INT64_MAX, 9223372036854775808.0},
    };
    for (size_t i = 0; i < sizeof want / sizeof want[0]; i++) {
        const gguf_value *v = gguf_find_value(file, want[i].key);
        assert_ptr_equal(v, gguf_value_at(file, i));
        assert_int_equal(v->count, 1);
        assert_int_equal(v->element, v->kind);
        uint64_t natural = 77;
        assert_int_equal(gguf_as_u64(v, &natural), want[i].natural != 0);
        assert_int_equal(natural, want[i].natural ? want[i].natural : 77);
        double real = 77;
        assert_true(gguf_as_f64(v, &real));
        assert_true(real == want[i].real);
        bool truth;
        gguf_text text;
        assert_false(gguf_as_bool(v, &truth));
        assert_false(gguf_as_text(v, &text));
    }
    gguf_close(file);
}

static void other_kinds_convert_to_themselves_only(void **state) {
    (void)state;
    craft c = {0};
    craft_head(&c, 3, 0, 7);
    craft_key(&c, "f32", GGUF_F32), craft_f32(&c, 1.5f);
    craft_key(&c, "f64", GGUF_F64), craft_f64(&c, 0.1);
    craft_key(&c, "yes", GGUF_BOOL), craft_bool(&c, true);
    craft_key(&c, "no", GGUF_BOOL), craft_bool(&c, false);
    craft_key_text(&c, "text", "gpt-oss");
    craft_key_text(&c, "empty", "");
    craft_key(&c, "list", GGUF_ARRAY), craft_array(&c, GGUF_U32, 1), craft_u32(&c, 5);
    gguf_file *file = save_and_open(&c);
    uint64_t natural = 77;
    double real = 77;
    bool truth = false;
    gguf_text text = {NULL, 77};
    assert_true(gguf_as_f64(gguf_find_value(file, "f32"), &real) && real == 1.5);
    assert_true(gguf_as_f64(gguf_find_value(file, "f64"), &real) && real == 0.1);
    assert_true(gguf_as_bool(gguf_find_value(file, "yes"), &truth) && truth);
    assert_true(gguf_as_bool(gguf_find_value(file, "no"), &truth) && !truth);
    assert_true(gguf_as_text(gguf_find_value(file, "text"), &text) && same_text(text, "gpt-oss"));
    assert_true(gguf_as_text(gguf_find_value(file, "empty"), &text) && text.size == 0);
    static const char *const not_natural[] = {"f32", "f64", "yes", "text", "list", "absent"};
    for (size_t i = 0; i < 6; i++) assert_false(gguf_as_u64(gguf_find_value(file, not_natural[i]), &natural));
    static const char *const not_real[] = {"yes", "text", "list", "absent"};
    for (size_t i = 0; i < 4; i++) assert_false(gguf_as_f64(gguf_find_value(file, not_real[i]), &real));
    assert_false(gguf_as_bool(gguf_find_value(file, "text"), &truth));
    assert_false(gguf_as_bool(NULL, &truth));
    assert_false(gguf_as_text(gguf_find_value(file, "yes"), &text));
    assert_false(gguf_as_text(NULL, &text));
    assert_int_equal(natural, 77);
    gguf_close(file);
}

static void arrays_are_walked_to_their_end(void **state) {
    (void)state;
    craft c = {0};
    craft_head(&c, 3, 0, 6);
    craft_key(&c, "words", GGUF_ARRAY), craft_array(&c, GGUF_STRING, 3);
    craft_string(&c, "one"), craft_string(&c, ""), craft_string(&c, "three");
    craft_key(&c, "numbers", GGUF_ARRAY), craft_array(&c, GGUF_I16, 3);
    craft_u16(&c, 7), craft_u16(&c, (uint16_t)-7), craft_u16(&c, 9);
    craft_key(&c, "reals", GGUF_ARRAY), craft_array(&c, GGUF_F32, 2), craft_f32(&c, 0.5f), craft_f32(&c, -2);
    craft_key(&c, "none", GGUF_ARRAY), craft_array(&c, GGUF_STRING, 0);
    craft_key(&c, "truths", GGUF_ARRAY), craft_array(&c, GGUF_BOOL, 2), craft_bool(&c, true), craft_bool(&c, false);
    craft_key(&c, "nested", GGUF_ARRAY), craft_array(&c, GGUF_ARRAY, 2);
    craft_array(&c, GGUF_U8, 3), craft_u8(&c, 1), craft_u8(&c, 2), craft_u8(&c, 3);
    craft_array(&c, GGUF_ARRAY, 1), craft_array(&c, GGUF_STRING, 1), craft_string(&c, "deep");
    gguf_file *file = save_and_open(&c);

    gguf_text text = {0};
    gguf_iterator it = gguf_elements(gguf_find_value(file, "words"));
    static const char *const words[] = {"one", "", "three"};
    for (size_t i = 0; i < 3; i++) assert_true(gguf_next_text(&it, &text) && same_text(text, words[i]));
    assert_false(gguf_next_text(&it, &text));

    uint64_t natural = 0;
    double real = 0;
    it = gguf_elements(gguf_find_value(file, "numbers"));
    assert_false(gguf_next_text(&it, &text));
    assert_true(gguf_next_u64(&it, &natural) && natural == 7);
    assert_false(gguf_next_u64(&it, &natural)); /* -7 is none */
    assert_true(gguf_next_f64(&it, &real) && real == -7);
    assert_true(gguf_next_u64(&it, &natural) && natural == 9);
    assert_false(gguf_next_u64(&it, &natural));
    assert_false(gguf_next_f64(&it, &real));

    it = gguf_elements(gguf_find_value(file, "reals"));
    assert_false(gguf_next_u64(&it, &natural));
    assert_true(gguf_next_f64(&it, &real) && real == 0.5);
    assert_true(gguf_next_f64(&it, &real) && real == -2);
    assert_false(gguf_next_f64(&it, &real));

    static const char *const no_walk[] = {"none", "truths", "nested", "absent"};
    for (size_t i = 0; i < 4; i++) {
        it = gguf_elements(gguf_find_value(file, no_walk[i]));
        assert_false(gguf_next_text(&it, &text));
        assert_false(gguf_next_u64(&it, &natural));
        assert_false(gguf_next_f64(&it, &real));
    }
    const gguf_value *nested = gguf_find_value(file, "nested");
    assert_int_equal(nested->element, GGUF_ARRAY);
    assert_int_equal(nested->count, 2);
    assert_int_equal(nested->size, 12 + 3 + 12 + 12 + 8 + 4);
    gguf_close(file);
}

static void nesting_has_a_limit(void **state) {
    (void)state;
    for (int depth = 1; depth <= 12; depth++) {
        craft c = {0};
        craft_head(&c, 3, 0, 1);
        craft_key(&c, "nest", GGUF_ARRAY);
        for (int i = 1; i < depth; i++) craft_array(&c, GGUF_ARRAY, 1);
        craft_array(&c, GGUF_U8, 1), craft_u8(&c, 1);
        if (depth <= 8)
            gguf_close(save_and_open(&c));
        else
            save_and_assert_refused(&c, "nested");
    }
}

static void tensors_lie_where_alignment_puts_them(void **state) {
    (void)state;
    static const uint32_t alignments[] = {0, 8, 16, 24, 32, 40, 64, 1000, 4096}; /* 0: not stated, so 32 */
    for (size_t i = 0; i < sizeof alignments / sizeof alignments[0]; i++)
        for (uint32_t version = 2; version <= 3; version++) {
            uint32_t alignment = alignments[i] ? alignments[i] : 32;
            uint64_t gap = (40 + alignment - 1) / alignment * alignment; /* "first" has 40 bytes */
            craft c = {0};
            craft_head(&c, version, 2, alignments[i] != 0);
            if (alignments[i]) craft_key_u32(&c, "general.alignment", alignment);
            craft_tensor(&c, "second", TYPE_Q8_0, gap, 2, (uint64_t[]){64, 3});
            craft_tensor(&c, "first", TYPE_F32, 0, 1, (uint64_t[]){10});
            craft_align(&c, alignment);
            uint64_t start = c.bytes.size;
            craft_data(&c, gap + 204);
            gguf_file *file = save_and_open(&c);
            assert_int_equal(gguf_version(file), version);
            assert_int_equal(gguf_alignment(file), alignment);
            const gguf_tensor *t = gguf_tensor_at(file, 0);
            assert_string_equal(t->name, "second");
            assert_int_equal(t->offset, start + gap);
            assert_int_equal(t->bytes, 204);
            assert_int_equal(t->part, 0);
            t = gguf_tensor_at(file, 1);
            assert_string_equal(t->name, "first");
            assert_int_equal(t->offset, start);
            assert_int_equal(t->bytes, 40);
            gguf_close(file);
        }
}

static void names_have_a_length(void **state) {
    (void)state;
    enum { LONGEST = 65535 };
    for (size_t length = 0; length <= LONGEST + 1; length += length == 0 || length == LONGEST ? 1 : LONGEST - 1) {
        char *name = malloc(length + 1);
        assert_non_null(name);
        memset(name, 'n', length);
        name[length] = '\0';
        for (int is_tensor = 0; is_tensor < 2; is_tensor++) {
            craft c = {0};
            craft_head(&c, 3, is_tensor, !is_tensor);
            if (is_tensor)
                craft_tensor(&c, name, TYPE_I8, 0, 1, (uint64_t[]){1});
            else
                craft_key_u32(&c, name, 1);
            craft_align(&c, 32), craft_data(&c, 1);
            if (length > 0 && length <= LONGEST) {
                gguf_file *file = save_and_open(&c);
                assert_int_equal(gguf_find_tensor(file, name) != NULL, is_tensor);
                assert_int_equal(gguf_find_value(file, name) != NULL, !is_tensor);
                gguf_close(file);
            } else {
                save_and_assert_refused(&c, "1 to 65535");
            }
        }
        free(name);
    }
}

static void a_tensor_has_dimensions(void **state) {
    (void)state;
    craft c = {0};
    craft_head(&c, 3, 1, 0);
    craft_tensor(&c, "scalar", TYPE_I8, 0, 0, NULL);
    craft_align(&c, 32), craft_data(&c, 1);
    save_and_assert_refused(&c, "0 dimensions");
}

/* Not only refused in the end, but before anything is done by them. */
static void impossible_counts_are_told(void **state) {
    (void)state;
    static const struct {
        uint64_t tensors, values, elements;
        gguf_kind element;
        const char *hint;
    } cases[] = {
        {(1 << 20) + 1, 1, 0, GGUF_U8, "1048577 tensors; no more than 1048576"},
        {0, (1 << 20) + 1, 0, GGUF_U8, "1048577 metadata keys; no more than 1048576"},
        {40, 1, 0, GGUF_U8, "40 tensors cannot fit"},
        {0, 120, 0, GGUF_U8, "120 metadata keys cannot fit"},
        {0, 1, 1201, GGUF_U8, "1201 array elements cannot fit"},
        {0, 1, 601, GGUF_I16, "601 array elements cannot fit"},
        {0, 1, 151, GGUF_STRING, "151 array elements cannot fit"},
        {0, 1, 101, GGUF_ARRAY, "101 array elements cannot fit"},
        {0, 1, UINT64_MAX, GGUF_F64, "18446744073709551615 array elements cannot fit"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        craft c = {0};
        craft_head(&c, 3, cases[i].tensors, cases[i].values);
        craft_key(&c, "list", GGUF_ARRAY), craft_array(&c, cases[i].element, cases[i].elements);
        craft_data(&c, 1200);
        save_and_assert_refused(&c, cases[i].hint);
    }
}

static void a_tensor_of_an_unknown_type_is_kept(void **state) {
    (void)state;
    craft c = {0};
    craft_head(&c, 3, 2, 0);
    craft_tensor(&c, "new", 1000, 0, 2, (uint64_t[]){7, 9});
    craft_tensor(&c, "old", TYPE_F32, 32, 1, (uint64_t[]){1});
    craft_align(&c, 32), craft_data(&c, 36);
    gguf_file *file = save_and_open(&c);
    const gguf_tensor *t = gguf_find_tensor(file, "new");
    assert_int_equal(t->type, 1000);
    assert_int_equal(t->dims[1], 9);
    assert_int_equal(t->bytes, 0);
    assert_int_equal(gguf_find_tensor(file, "old")->bytes, 4);
    gguf_close(file);

    craft_head(&c, 3, 2, 0); /* its size is a secret, but not that it has one */
    craft_tensor(&c, "new", 1000, 0, 1, (uint64_t[]){7});
    craft_tensor(&c, "newer", 1001, 0, 1, (uint64_t[]){7});
    craft_align(&c, 32), craft_data(&c, 36);
    save_and_assert_refused(&c, "overlaps");
}

static void a_header_alone_is_a_file(void **state) {
    (void)state;
    craft c = {0};
    craft_head(&c, 3, 0, 0);
    gguf_file *file = save_and_open(&c);
    assert_int_equal(gguf_tensor_count(file), 0);
    assert_int_equal(gguf_value_count(file), 0);
    assert_null(gguf_find_tensor(file, "a"));
    assert_null(gguf_find_value(file, "a"));
    gguf_close(file);
}

/* Longer than the steps in which headers are read, strings lying across their ends. */
static void long_headers_are_read_whole(void **state) {
    (void)state;
    enum { WORDS = 60000, TENSORS = 3000 };
    char text[64];
    craft c = {0};
    craft_head(&c, 3, TENSORS, 2);
    craft_key(&c, "words", GGUF_ARRAY), craft_array(&c, GGUF_STRING, WORDS);
    for (unsigned i = 0; i < WORDS; i++) {
        snprintf(text, sizeof text, "word %u", i * 7919u);
        c.field_count = 0;
        craft_string(&c, text);
    }
    craft_key_text(&c, "after", "them");
    for (unsigned i = 0; i < TENSORS; i++) {
        snprintf(text, sizeof text, "t.%u", i * 7919u % TENSORS);
        c.field_count = 0;
        craft_tensor(&c, text, TYPE_I8, i * 32, 1, (uint64_t[]){32});
    }
    craft_align(&c, 32), craft_data(&c, TENSORS * 32);
    gguf_file *file = save_and_open(&c);
    gguf_text word;
    gguf_iterator it = gguf_elements(gguf_find_value(file, "words"));
    for (unsigned i = 0; i < WORDS; i++) {
        snprintf(text, sizeof text, "word %u", i * 7919u);
        assert_true(gguf_next_text(&it, &word) && same_text(word, text));
    }
    assert_true(gguf_as_text(gguf_find_value(file, "after"), &word) && same_text(word, "them"));
    for (unsigned i = 0; i < TENSORS; i++) {
        snprintf(text, sizeof text, "t.%u", i * 7919u % TENSORS);
        assert_ptr_equal(gguf_find_tensor(file, text), gguf_tensor_at(file, i));
    }
    gguf_close(file);
}

static void what_is_no_file_is_refused(void **state) {
    char other[512];
    snprintf(other, sizeof other, "%s/other", (const char *)*state);
    craft_assert_refused(other, other, "No such file");
    craft_assert_refused("", "", "No such file");
    craft_assert_refused(*state, *state, "directory");
    craft_assert_refused("/dev/null", "/dev/null", "regular file");
    assert_int_equal(mkfifo(other, 0600), 0);
    craft_assert_refused(other, other, "regular file"); /* and does not wait for a writer */
    assert_int_equal(remove(other), 0);
    craft empty = {0};
    assert_ok(buffer_append_text(&empty.bytes, "", err));
    save_and_assert_refused(&empty, "empty");
}

static void other_formats_are_named(void **state) {
    (void)state;
    static const struct {
        const char *text, *hint;
    } cases[] = {
        {"version https://git-lfs.github.com/spec/v1\n", "LFS"},
        {"<!DOCTYPE html>", "web page"},
        {"<html>", "web page"},
        {"PK\3\4 zip", "50 4b 03 04"},
        {"tjgg\3", "predecessor"},
        {"FUGG\3", "big-endian"},
        {"GGUF\1\0\0", "inside the version"},
        {"GGUF\1\1\1\1", "version 16843009"},
        {"GGU", "magic"},
        {"\0", "empty"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        craft c = {0};
        assert_ok(buffer_append_text(&c.bytes, cases[i].text, err));
        save_and_assert_refused(&c, cases[i].hint);
    }
    craft c = {0};
    craft_head(&c, 1, 0, 0);
    save_and_assert_refused(&c, "versions 2 and 3");
    craft_head(&c, 3u << 24, 0, 0);
    save_and_assert_refused(&c, "big-endian");
}

/* FNV-1a, 64 bits, written out on its own. */
static uint64_t fnv1a(const char *bytes, size_t size) {
    uint64_t hash = 0xcbf29ce484222325;
    for (size_t i = 0; i < size; i++) {
        hash ^= (unsigned char)bytes[i];
        hash *= 0x100000001b3;
    }
    return hash;
}

static void the_fingerprint_is_that_of_the_header(void **state) {
    (void)state;
    uint64_t prints[4], header_hash = 0;
    for (unsigned i = 0; i < 4; i++) {
        craft c = {0};
        craft_head(&c, 3, 1, 1);
        craft_key_text(&c, "name", i == 2 ? "another" : "the one");
        craft_tensor(&c, i == 3 ? "u" : "t", TYPE_I8, 0, 1, (uint64_t[]){5});
        if (i == 0) header_hash = fnv1a(c.bytes.data, c.bytes.size);
        craft_align(&c, 32);
        if (i == 1) craft_u8(&c, 99); /* tensor data does not count */
        craft_data(&c, 5);
        gguf_file *file = save_and_open(&c);
        prints[i] = gguf_fingerprint(file);
        gguf_close(file);
    }
    assert_true(prints[0] == header_hash);
    assert_true(prints[1] == prints[0]);
    assert_true(prints[2] != prints[0]);
    assert_true(prints[3] != prints[0]);
}

static void every_failed_allocation_is_reported(void **state) {
    (void)state;
    craft c = {0};
    craft_head(&c, 3, 3, 2);
    craft_key_text(&c, "a", "b"), craft_key_u32(&c, "c", 1);
    for (uint64_t i = 0; i < 3; i++)
        craft_tensor(&c, (char[]){(char)('x' + i), 0}, TYPE_I8, i * 32, 1, (uint64_t[]){32});
    craft_align(&c, 32), craft_data(&c, 96);
    gguf_close(save_and_open(&c));
    for (long n = 0;; n++) {
        assert_true(n < 100);
        gguf_file *file = NULL;
        gptoss_error fault = {0};
        mem_fail_after(n);
        gptoss_status status = gguf_open(path, &file, &fault);
        mem_fail_after(-1);
        if (status == GPTOSS_OK) {
            assert_true(n > 5);
            gguf_close(file);
            break;
        }
        assert_int_equal(status, GPTOSS_NO_MEMORY);
        assert_int_equal(fault.status, GPTOSS_NO_MEMORY);
        assert_null(file);
        assert_true(strlen(fault.text) > 0);
    }
    gguf_close(NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(golden_models_open),
        cmocka_unit_test(integers_convert_when_they_fit),
        cmocka_unit_test(other_kinds_convert_to_themselves_only),
        cmocka_unit_test(arrays_are_walked_to_their_end),
        cmocka_unit_test(nesting_has_a_limit),
        cmocka_unit_test(tensors_lie_where_alignment_puts_them),
        cmocka_unit_test(names_have_a_length),
        cmocka_unit_test(a_tensor_has_dimensions),
        cmocka_unit_test(impossible_counts_are_told),
        cmocka_unit_test(a_tensor_of_an_unknown_type_is_kept),
        cmocka_unit_test(a_header_alone_is_a_file),
        cmocka_unit_test(long_headers_are_read_whole),
        cmocka_unit_test(what_is_no_file_is_refused),
        cmocka_unit_test(other_formats_are_named),
        cmocka_unit_test(the_fingerprint_is_that_of_the_header),
        cmocka_unit_test(every_failed_allocation_is_reported),
    };
    return cmocka_run_group_tests(tests, make_folder, craft_folder_remove);
}
