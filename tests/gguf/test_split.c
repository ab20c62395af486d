#include "gguf/split.h"

#include <unistd.h>

#include "base/mem.h"
#include "gguf/craft.h"

enum { PARTS = 3 };

/* What the parts of a test's split file say and hold; every test starts from a right one and breaks it. */
typedef struct split_file {
    uint16_t number[PARTS], count[PARTS]; /* as split.no and split.count say */
    int32_t tensors[PARTS];               /* as split.tensors.count says */
    const char *names[PARTS][2];          /* of the tensors each holds */
    bool is_missing[PARTS];
} split_file;

/* The first part holds metadata only, as some splitters write it. */
static const split_file right = {
    {0, 1, 2}, {3, 3, 3}, {3, 3, 3}, {{NULL, NULL}, {"b", "a"}, {"c", NULL}}, {false, false, false}};

static char folder[128], paths[PARTS][256];

static int make_folder(void **state) {
    if (craft_folder_make(state) != 0) return -1;
    snprintf(folder, sizeof folder, "%s", (const char *)*state);
    for (int i = 0; i < PARTS; i++)
        snprintf(paths[i], sizeof paths[i], "%s/model-%05d-of-%05d.gguf", folder, i + 1, PARTS);
    return 0;
}

static void save(const split_file *s) {
    for (int i = 0; i < PARTS; i++) {
        remove(paths[i]);
        if (s->is_missing[i]) continue;
        int tensors = s->names[i][0] ? s->names[i][1] ? 2 : 1 : 0;
        craft c = {0};
        craft_head(&c, 3, (uint64_t)tensors, i == 0 ? 5 : 3);
        craft_key_split(&c, s->number[i], s->count[i], s->tensors[i]);
        if (i == 0) {
            craft_key_text(&c, "general.name", "all parts");
            craft_key_u32(&c, "general.alignment", 64); /* of this part alone */
        }
        for (int k = 0; k < tensors; k++)
            craft_tensor(&c, s->names[i][k], TYPE_I8, (uint64_t)k * (i == 0 ? 64 : 32), 1, (uint64_t[]){5});
        if (tensors) {
            craft_align(&c, i == 0 ? 64 : 32);
            craft_data(&c, 96);
        }
        craft_save(&c, paths[i]);
        craft_free(&c);
    }
}

static void any_part_opens_all(void **state) {
    (void)state;
    save(&right);
    uint64_t print = 0;
    for (int given = 0; given < PARTS; given++) {
        gguf_file *file;
        assert_ok(gguf_open(paths[given], &file, err));
        assert_int_equal(gguf_part_count(file), PARTS);
        for (uint32_t i = 0; i < PARTS; i++) assert_string_equal(gguf_part_path(file, i), paths[i]);
        assert_int_equal(gguf_tensor_count(file), 3);
        assert_int_equal(gguf_alignment(file), 64);
        gguf_text text;
        assert_true(gguf_as_text(gguf_find_value(file, "general.name"), &text));
        static const struct {
            const char *name;
            uint32_t part;
        } want[] = {{"b", 1}, {"a", 1}, {"c", 2}};
        for (size_t i = 0; i < 3; i++) {
            const gguf_tensor *t = gguf_tensor_at(file, i);
            assert_string_equal(t->name, want[i].name);
            assert_int_equal(t->part, want[i].part);
            assert_true(t->offset + t->bytes <= gguf_part_size(file, t->part));
            assert_ptr_equal(gguf_find_tensor(file, t->name), t);
        }
        if (given == 0) print = gguf_fingerprint(file);
        assert_true(gguf_fingerprint(file) == print);
        gguf_close(file);
    }
}

static void a_relative_path_finds_its_neighbours(void **state) {
    (void)state;
    save(&right);
    char *before = getcwd(NULL, 0);
    assert_non_null(before);
    assert_int_equal(chdir(folder), 0);
    gguf_file *file = NULL;
    gptoss_error fault = {0};
    gptoss_status status = gguf_open("model-00002-of-00003.gguf", &file, &fault);
    assert_int_equal(chdir(before), 0);
    free(before);
    if (status != GPTOSS_OK) fail_msg("%s", fault.text);
    assert_string_equal(gguf_part_path(file, 0), "model-00001-of-00003.gguf");
    gguf_close(file);
}

static void a_missing_part_is_named(void **state) {
    (void)state;
    for (int missing = 0; missing < PARTS; missing++) {
        split_file s = right;
        s.is_missing[missing] = true;
        save(&s);
        char hint[32];
        snprintf(hint, sizeof hint, "part %d of 3 is missing", missing + 1);
        for (int given = 0; given < PARTS; given++)
            if (given != missing) craft_assert_refused(paths[given], paths[missing], hint);
    }
}

static void parts_must_agree(void **state) {
    (void)state;
    split_file s = right;
    s.count[1] = 4;
    save(&s);
    craft_assert_refused(paths[0], paths[1], "4 parts");
    craft_assert_refused(paths[1], paths[1], "by its name it is part 2 of 3, by its metadata part 2 of 4");

    s = right;
    s.tensors[2] = 4;
    save(&s);
    craft_assert_refused(paths[0], paths[2], "4 tensors");

    s = right;
    s.number[1] = 2; /* two thirds: files were renamed */
    save(&s);
    craft_assert_refused(paths[0], paths[1], "by its name it is part 2 of 3, by its metadata part 3 of 3");
    craft_assert_refused(paths[1], paths[1], "by its name it is part 2 of 3, by its metadata part 3 of 3");

    s = right;
    s.number[0] = 3;
    save(&s);
    craft_assert_refused(paths[0], paths[0], "part 4 of 3");

    s = right;
    for (int i = 0; i < PARTS; i++) s.tensors[i] = 5;
    save(&s);
    craft_assert_refused(paths[0], paths[0], "hold 3 tensors, but split.tensors.count says 5");

    s = right;
    for (int i = 0; i < PARTS; i++) s.tensors[i] = -3;
    save(&s);
    craft_assert_refused(paths[0], paths[0], "split.tensors.count");

    s = right;
    s.names[2][0] = "a";
    save(&s);
    craft_assert_refused(paths[0], folder, "tensor a appears twice");

    s = right;
    s.count[2] = 1; /* a whole file in a part's place */
    save(&s);
    craft_assert_refused(paths[0], paths[2], "parts");
}

static void a_damaged_part_is_named(void **state) {
    (void)state;
    save(&right);
    assert_int_equal(truncate(paths[2], 100), 0);
    craft_assert_refused(paths[0], paths[2], "100");
    assert_int_equal(truncate(paths[2], 0), 0);
    craft_assert_refused(paths[0], paths[2], "empty");
    assert_int_equal(remove(paths[2]), 0);
    assert_int_equal(symlink(paths[2], paths[2]), 0);
    craft_assert_refused(paths[0], paths[2], "symbolic links");
    remove(paths[2]);
}

static void a_part_must_be_named_as_one(void **state) {
    (void)state;
    save(&right);
    char other[300];
    snprintf(other, sizeof other, "%s/renamed.gguf", folder);
    assert_int_equal(rename(paths[1], other), 0);
    craft_assert_refused(other, other, "-00002-of-00003.gguf");
    remove(other);
}

static void a_split_of_one_is_whole(void **state) {
    (void)state;
    for (uint16_t count = 0; count < 2; count++) { /* merging tools leave split.count = 0 behind */
        char path[300];
        snprintf(path, sizeof path, "%s/whole.gguf", folder);
        craft c = {0};
        craft_head(&c, 3, 0, 3);
        craft_key_split(&c, 0, count, 12);
        craft_save(&c, path);
        craft_free(&c);
        gguf_file *file;
        assert_ok(gguf_open(path, &file, err));
        assert_int_equal(gguf_part_count(file), 1);
        gguf_close(file);
        remove(path);
    }
}

static void split_keys_must_be_numbers(void **state) {
    (void)state;
    static const char *const keys[] = {"split.no", "split.count", "split.tensors.count"};
    for (size_t wrong = 0; wrong < 3; wrong++)
        for (int is_absent = wrong == 1 ? 0 : 1; is_absent >= 0; is_absent--) {
            craft c = {0};
            craft_head(&c, 3, 0, is_absent ? 2 : 3);
            for (size_t i = 0; i < 3; i++) {
                if (i == wrong && is_absent) continue;
                if (i == wrong)
                    craft_key_text(&c, keys[i], "3");
                else
                    craft_key_u32(&c, keys[i], 3);
            }
            craft_save(&c, paths[0]);
            craft_free(&c);
            craft_assert_refused(paths[0], paths[0], keys[wrong]);
        }
}

static void every_failed_allocation_is_reported(void **state) {
    (void)state;
    save(&right);
    for (long n = 0;; n++) {
        assert_true(n < 200);
        gguf_file *file = NULL;
        mem_fail_after(n);
        gptoss_status status = gguf_open(paths[1], &file, NULL);
        mem_fail_after(-1);
        if (status == GPTOSS_OK) {
            assert_true(n > 15);
            gguf_close(file);
            break;
        }
        assert_int_equal(status, GPTOSS_NO_MEMORY);
        assert_null(file);
    }
}

static void names_are_told_from_others(void **state) {
    (void)state;
    split_name name = {77, 77, 77};
    static const char *const others[] = {
        "",
        "model.gguf",
        "-00001-of-00003.gguf",           /* no stem */
        "model-0001-of-00003.gguf",       /* too few digits */
        "model-00001-of-000003.gguf",     /* too many */
        "model-00001-of-00003.GGUF",      /* other spelling */
        "model-00001-of-00003.gguf.part", /* a download */
        "model-00000-of-00003.gguf",      /* numbers count from 1 */
        "model-00004-of-00003.gguf",      /* and end at the count */
        "model-00001-of-0x003.gguf",
    };
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) assert_false(split_parse(others[i], &name));
    assert_int_equal(name.stem, 77);
    assert_true(split_parse("dir/m-00012-of-12345.gguf", &name));
    assert_int_equal(name.stem, 5);
    assert_int_equal(name.number, 12);
    assert_int_equal(name.count, 12345);
    char *path;
    assert_ok(split_path("dir/model", 5, 7, 99999, &path, err));
    assert_string_equal(path, "dir/m-00007-of-99999.gguf");
    free(path);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_part_opens_all),
        cmocka_unit_test(a_relative_path_finds_its_neighbours),
        cmocka_unit_test(a_missing_part_is_named),
        cmocka_unit_test(parts_must_agree),
        cmocka_unit_test(a_damaged_part_is_named),
        cmocka_unit_test(a_part_must_be_named_as_one),
        cmocka_unit_test(a_split_of_one_is_whole),
        cmocka_unit_test(split_keys_must_be_numbers),
        cmocka_unit_test(every_failed_allocation_is_reported),
        cmocka_unit_test(names_are_told_from_others),
    };
    return cmocka_run_group_tests(tests, make_folder, craft_folder_remove);
}
