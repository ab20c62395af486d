#include "gguf/write.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/mem.h"
#include "craft.h"

static void path_in(void **state, const char *name, char path[512]) {
    snprintf(path, 512, "%s/%s", (const char *)*state, name);
}

static size_t files_in(void **state) {
    size_t count = 0;
    DIR *folder = opendir(*state);
    assert_non_null(folder);
    for (const struct dirent *entry; (entry = readdir(folder));) count += entry->d_name[0] != '.';
    closedir(folder);
    return count;
}

static int empty_folder(void **state) {
    char path[512];
    DIR *folder = opendir(*state);
    if (!folder) return -1;
    for (const struct dirent *entry; (entry = readdir(folder));) {
        path_in(state, entry->d_name, path);
        if (entry->d_name[0] != '.') remove(path);
    }
    closedir(folder);
    return 0;
}

/* What byte `at` of tensor `tensor` is in these tests. */
static uint8_t data_byte(size_t tensor, uint64_t at) { return (uint8_t)(37 * tensor + 5 * at + at / 251); }

static void write_range(gguf_writer *w, size_t tensor, uint64_t offset, size_t size) {
    uint8_t *bytes = malloc(size + 1);
    for (size_t i = 0; i < size; i++) bytes[i] = data_byte(tensor, offset + i);
    assert_ok(gguf_write_data(w, tensor, offset, bytes, size, err));
    free(bytes);
}

static void write_all(gguf_writer *w, size_t tensor) {
    write_range(w, tensor, 0, (size_t)gguf_write_tensor_bytes(w, tensor));
}

static void assert_data(const gguf_file *file, size_t tensor) {
    const gguf_tensor *t = gguf_tensor_at(file, tensor);
    int fd = open(gguf_part_path(file, t->part), O_RDONLY);
    uint8_t *bytes = malloc(t->bytes + 1);
    assert_int_equal(pread(fd, bytes, t->bytes, (off_t)t->offset), t->bytes);
    for (uint64_t i = 0; i < t->bytes; i++)
        if (bytes[i] != data_byte(tensor, i)) fail_msg("%s: byte %zu is wrong", t->name, (size_t)i);
    free(bytes);
    close(fd);
}

/* Tensors of 100, 340, 4 and 1000 bytes. */
static void declare_tensors(gguf_writer *w) {
    assert_ok(gguf_write_tensor(w, "first", 1, (uint64_t[]){25}, TYPE_F32, err));
    assert_ok(gguf_write_tensor(w, "second.weight", 3, (uint64_t[]){64, 5, 1}, TYPE_Q8_0, err));
    assert_ok(gguf_write_tensor(w, "third", 4, (uint64_t[]){2, 1, 1, 1}, TYPE_F16, err));
    assert_ok(gguf_write_tensor(w, "fourth", 2, (uint64_t[]){50, 5}, TYPE_F32, err));
}

static void every_kind_of_value_comes_back(void **state) {
    char path[512];
    path_in(state, "kinds.gguf", path);
    gguf_writer *w = NULL;
    assert_ok(gguf_write_new(&w, err));
    static const uint8_t eight_bytes[8] = {0x81, 2, 3, 4, 5, 6, 0xF7, 0x3F};
    static const gguf_kind kinds[] = {GGUF_U8,  GGUF_I8,  GGUF_U16, GGUF_I16, GGUF_U32,
                                      GGUF_I32, GGUF_F32, GGUF_U64, GGUF_I64, GGUF_F64};
    static const size_t sizes[] = {1, 1, 2, 2, 4, 4, 4, 8, 8, 8};
    enum { KINDS = sizeof kinds / sizeof kinds[0] };
    char key[64];
    for (int i = 0; i < KINDS; i++) {
        snprintf(key, sizeof key, "kind.%d", (int)kinds[i]);
        assert_ok(gguf_write_number(w, key, kinds[i], eight_bytes, err));
        snprintf(key, sizeof key, "array.%d", (int)kinds[i]);
        assert_ok(gguf_write_numbers(w, key, kinds[i], "0123456789abcdef0123456", 2, err));
    }
    assert_ok(gguf_write_number(w, "yes", GGUF_BOOL, &(uint8_t){1}, err));
    assert_ok(gguf_write_u32(w, "u32", 4000000000u, err));
    assert_ok(gguf_write_f32(w, "f32", 0.1f, err));
    assert_ok(gguf_write_text(w, "text", "caf\xC3\xA9", err));
    assert_ok(gguf_write_text(w, "no text", "", err));
    const gguf_text texts[] = {{"one", 3}, {"", 0}, {"a\0b", 3}};
    assert_ok(gguf_write_texts(w, "texts", texts, 3, err));
    assert_ok(gguf_write_texts(w, "no texts", NULL, 0, err));
    assert_ok(gguf_write_numbers(w, "no numbers", GGUF_I32, NULL, 0, err));
    assert_ok(gguf_write_open(w, path, (gguf_write_options){0}, err));
    assert_ok(gguf_write_close(w, err));
    gguf_write_free(w);

    gguf_file *file = NULL;
    assert_ok(gguf_open(path, &file, err));
    assert_int_equal(gguf_version(file), 3);
    assert_int_equal(gguf_value_count(file), 2 * KINDS + 8);
    assert_int_equal(gguf_tensor_count(file), 0);
    for (int i = 0; i < KINDS; i++) {
        snprintf(key, sizeof key, "kind.%d", (int)kinds[i]);
        const gguf_value *v = gguf_find_value(file, key);
        assert_non_null(v);
        assert_int_equal(v->kind, kinds[i]);
        assert_int_equal(v->size, sizes[i]);
        assert_memory_equal(v->data, eight_bytes, sizes[i]);
        snprintf(key, sizeof key, "array.%d", (int)kinds[i]);
        v = gguf_find_value(file, key);
        assert_non_null(v);
        assert_int_equal(v->kind, GGUF_ARRAY);
        assert_int_equal(v->element, kinds[i]);
        assert_int_equal(v->count, 2);
        assert_int_equal(v->size, 2 * sizes[i]);
        assert_memory_equal(v->data, "0123456789abcdef", 2 * sizes[i]);
    }
    bool yes = false;
    assert_true(gguf_as_bool(gguf_find_value(file, "yes"), &yes));
    assert_true(yes);
    uint64_t u = 0;
    assert_true(gguf_as_u64(gguf_find_value(file, "u32"), &u));
    assert_int_equal(u, 4000000000u);
    double f = 0;
    assert_true(gguf_as_f64(gguf_find_value(file, "f32"), &f));
    assert_true(f == (double)0.1f);
    gguf_text text;
    assert_true(gguf_as_text(gguf_find_value(file, "text"), &text));
    assert_int_equal(text.size, 5);
    assert_memory_equal(text.bytes, "caf\xC3\xA9", 5);
    assert_true(gguf_as_text(gguf_find_value(file, "no text"), &text));
    assert_int_equal(text.size, 0);
    gguf_iterator it = gguf_elements(gguf_find_value(file, "texts"));
    for (int i = 0; i < 3; i++) {
        assert_true(gguf_next_text(&it, &text));
        assert_int_equal(text.size, texts[i].size);
        assert_memory_equal(text.bytes, texts[i].bytes, text.size);
    }
    assert_false(gguf_next_text(&it, &text));
    assert_int_equal(gguf_find_value(file, "no texts")->count, 0);
    assert_int_equal(gguf_find_value(file, "no texts")->element, GGUF_STRING);
    assert_int_equal(gguf_find_value(file, "no numbers")->count, 0);
    gguf_close(file);
}

static void tensors_come_back_from_any_order_and_alignment(void **state) {
    static const uint64_t alignments[] = {0, 8, 32, 64, 4096};
    for (size_t a = 0; a < sizeof alignments / sizeof alignments[0]; a++) {
        char path[512];
        path_in(state, "tensors.gguf", path);
        gguf_writer *w = NULL;
        assert_ok(gguf_write_new(&w, err));
        declare_tensors(w);
        assert_int_equal(gguf_write_total_bytes(w), 1444);
        assert_int_equal(gguf_write_tensor_bytes(w, 1), 340);
        assert_ok(gguf_write_open(w, path, (gguf_write_options){.alignment = alignments[a], .replace = true}, err));
        write_all(w, 3);
        write_range(w, 1, 300, 40);
        write_all(w, 0);
        write_range(w, 1, 0, 1);
        write_range(w, 1, 1, 299);
        write_all(w, 2);
        assert_int_equal(gguf_write_part_count(w), 1);
        assert_string_equal(gguf_write_part_path(w, 0), path);
        assert_ok(gguf_write_close(w, err));
        gguf_write_free(w);

        uint64_t alignment = alignments[a] ? alignments[a] : 32;
        gguf_file *file = NULL;
        assert_ok(gguf_open(path, &file, err));
        assert_int_equal(gguf_alignment(file), alignment);
        assert_int_equal(gguf_value_count(file), alignment == 32 ? 0 : 1);
        assert_int_equal(gguf_tensor_count(file), 4);
        const gguf_tensor *t = gguf_find_tensor(file, "second.weight");
        assert_non_null(t);
        assert_int_equal(t->n_dims, 3);
        assert_int_equal(t->dims[0], 64);
        assert_int_equal(t->dims[1], 5);
        assert_int_equal(t->type, TYPE_Q8_0);
        for (size_t i = 0; i < 4; i++) {
            assert_int_equal(gguf_tensor_at(file, i)->offset % alignment, 0);
            assert_data(file, i);
        }
        assert_int_equal(gguf_part_size(file, 0) % alignment, 0);
        gguf_close(file);
        assert_int_equal(files_in(state), 1);
    }
}

static void copied_values_are_unchanged(void **state) {
    char from[512], to[512];
    path_in(state, "from.gguf", from);
    path_in(state, "to.gguf", to);
    craft c = {0};
    craft_head(&c, 3, 0, 5);
    craft_key_text(&c, "name", "x");
    craft_key_u32(&c, "general.alignment", 64);
    craft_key_u32(&c, "split.something", 1);
    craft_key(&c, "nested", GGUF_ARRAY);
    craft_array(&c, GGUF_ARRAY, 2);
    craft_array(&c, GGUF_U16, 1);
    craft_u16(&c, 7);
    craft_array(&c, GGUF_STRING, 1);
    craft_string(&c, "deep");
    craft_key_u32(&c, "last", 9);
    craft_align(&c, 64);
    craft_save(&c, from);
    craft_free(&c);

    gguf_file *a = NULL, *b = NULL;
    assert_ok(gguf_open(from, &a, err));
    gguf_writer *w = NULL;
    assert_ok(gguf_write_new(&w, err));
    for (size_t i = 0; i < gguf_value_count(a); i++) assert_ok(gguf_write_copy(w, gguf_value_at(a, i), err));
    assert_ok(gguf_write_open(w, to, (gguf_write_options){0}, err));
    assert_ok(gguf_write_close(w, err));
    gguf_write_free(w);
    assert_ok(gguf_open(to, &b, err));
    assert_int_equal(gguf_value_count(b), 3);
    assert_int_equal(gguf_alignment(b), 32);
    const gguf_value *x = gguf_find_value(a, "nested"), *y = gguf_find_value(b, "nested");
    assert_int_equal(x->size, y->size);
    assert_memory_equal(x->data, y->data, x->size);
    assert_int_equal(y->element, GGUF_ARRAY);
    assert_int_equal(y->count, 2);
    gguf_close(a);
    gguf_close(b);
}

static void parts_keep_to_the_split_size(void **state) {
    char path[512], name[64];
    path_in(state, "split.gguf", path);
    gguf_writer *w = NULL;
    assert_ok(gguf_write_new(&w, err));
    assert_ok(gguf_write_text(w, "general.architecture", "anything", err));
    for (int i = 0; i < 20; i++) {
        snprintf(name, sizeof name, "tensor.%d", i);
        uint64_t size = i == 7 ? 5000 : 100 + 10 * i; /* number 7 is larger than a part should be */
        assert_ok(gguf_write_tensor(w, name, 1, &size, TYPE_F32, err));
    }
    const uint64_t limit = 4096;
    assert_ok(gguf_write_open(w, path, (gguf_write_options){.split_bytes = limit}, err));
    uint32_t parts = gguf_write_part_count(w);
    assert_true(parts > 4);
    for (size_t i = 20; i-- > 0;) write_all(w, i);
    assert_ok(gguf_write_close(w, err));
    assert_int_equal(files_in(state), parts);
    snprintf(name, sizeof name, "split-00001-of-%05u.gguf", parts);
    path_in(state, name, path);
    assert_string_equal(gguf_write_part_path(w, 0), path);
    gguf_write_free(w);

    gguf_file *file = NULL;
    assert_ok(gguf_open(path, &file, err));
    assert_int_equal(gguf_part_count(file), parts);
    assert_int_equal(gguf_tensor_count(file), 20);
    gguf_text architecture;
    assert_true(gguf_as_text(gguf_find_value(file, "general.architecture"), &architecture));
    uint64_t split_tensors = 0;
    assert_true(gguf_as_u64(gguf_find_value(file, "split.tensors.count"), &split_tensors));
    assert_int_equal(split_tensors, 20);
    for (size_t i = 0; i < 20; i++) assert_data(file, i);
    uint32_t large = 0;
    for (uint32_t i = 0; i < parts; i++) large += gguf_part_size(file, i) > limit;
    assert_int_equal(large, 1);
    gguf_close(file);
}

static void a_split_size_that_is_not_needed_splits_nothing(void **state) {
    char path[512];
    path_in(state, "whole", path);
    gguf_writer *w = NULL;
    assert_ok(gguf_write_new(&w, err));
    declare_tensors(w);
    assert_ok(gguf_write_open(w, path, (gguf_write_options){.split_bytes = 1 << 20}, err));
    for (size_t i = 0; i < 4; i++) write_all(w, i);
    assert_ok(gguf_write_close(w, err));
    gguf_write_free(w);
    gguf_file *file = NULL;
    assert_ok(gguf_open(path, &file, err));
    assert_int_equal(gguf_part_count(file), 1);
    assert_null(gguf_find_value(file, "split.count"));
    gguf_close(file);
}

static void unfinished_files_vanish_and_leave_the_old_one(void **state) {
    char path[512], line[16] = "";
    path_in(state, "old.gguf", path);
    FILE *f = fopen(path, "w");
    fputs("precious", f);
    fclose(f);

    gguf_writer *w = NULL;
    gptoss_error err = {0};
    assert_int_equal(gguf_write_new(&w, &err), GPTOSS_OK);
    declare_tensors(w);
    assert_int_equal(gguf_write_open(w, path, (gguf_write_options){0}, &err), GPTOSS_MISUSE);
    assert_non_null(strstr(err.text, "old.gguf exists"));
    gguf_write_free(w);
    assert_int_equal(files_in(state), 1);

    assert_int_equal(gguf_write_new(&w, &err), GPTOSS_OK);
    declare_tensors(w);
    assert_int_equal(gguf_write_open(w, path, (gguf_write_options){.replace = true}, &err), GPTOSS_OK);
    assert_int_equal(files_in(state), 2);
    write_all(w, 0);
    write_range(w, 1, 0, 339);
    write_all(w, 2);
    write_all(w, 3);
    assert_int_equal(gguf_write_close(w, &err), GPTOSS_MISUSE);
    assert_non_null(strstr(err.text, "second.weight: 339 of its 340"));
    gguf_write_free(w);
    assert_int_equal(files_in(state), 1);
    f = fopen(path, "r");
    assert_non_null(fgets(line, sizeof line, f));
    assert_string_equal(line, "precious");
    fclose(f);
}

static void what_a_killed_process_left_is_taken_over_but_not_what_one_is_writing(void **state) {
    char path[512], partial[512];
    path_in(state, "x.gguf", path);
    path_in(state, "x.gguf.partial", partial);
    int fd = open(partial, O_WRONLY | O_CREAT, 0666);
    assert_int_equal(write(fd, "left over", 9), 9);
    assert_int_equal(flock(fd, LOCK_EX), 0);
    gguf_writer *w = NULL;
    gptoss_error err = {0};
    assert_int_equal(gguf_write_new(&w, &err), GPTOSS_OK);
    assert_int_equal(gguf_write_open(w, path, (gguf_write_options){0}, &err), GPTOSS_MISUSE);
    assert_non_null(strstr(err.text, "another process"));
    gguf_write_free(w);
    assert_int_equal(access(partial, F_OK), 0);
    close(fd);

    assert_int_equal(gguf_write_new(&w, &err), GPTOSS_OK);
    assert_int_equal(gguf_write_open(w, path, (gguf_write_options){0}, &err), GPTOSS_OK);
    assert_int_equal(gguf_write_close(w, &err), GPTOSS_OK);
    gguf_write_free(w);
    gguf_file *file = NULL;
    assert_int_equal(gguf_open(path, &file, &err), GPTOSS_OK);
    gguf_close(file);
    assert_int_equal(files_in(state), 1);
}

static void too_little_room_is_told_before_anything_is_written(void **state) {
    char path[512];
    path_in(state, "huge.gguf", path);
    gguf_writer *w = NULL;
    gptoss_error err = {0};
    assert_int_equal(gguf_write_new(&w, &err), GPTOSS_OK);
    uint64_t dims[] = {1u << 20, 1u << 20, 1000};
    assert_int_equal(gguf_write_tensor(w, "huge", 3, dims, TYPE_F32, &err), GPTOSS_OK);
    assert_int_equal(gguf_write_open(w, path, (gguf_write_options){0}, &err), GPTOSS_IO);
    assert_non_null(strstr(err.text, "huge.gguf needs 4398046.511 GB, but only "));
    gguf_write_free(w);
    assert_int_equal(files_in(state), 0);
}

static void impossible_targets_are_named(void **state) {
    static const struct {
        const char *name, *hint;
    } targets[] = {{"", "is a directory"}, {"none/x.gguf", "cannot create"}, {"link", "not an ordinary file"}};
    char path[512];
    path_in(state, "link", path);
    assert_int_equal(symlink("/dev/null", path), 0);
    for (size_t i = 0; i < sizeof targets / sizeof targets[0]; i++) {
        gguf_writer *w = NULL;
        gptoss_error err = {0};
        path_in(state, targets[i].name, path);
        assert_int_equal(gguf_write_new(&w, &err), GPTOSS_OK);
        assert_int_equal(gguf_write_open(w, path, (gguf_write_options){.replace = true}, &err), GPTOSS_MISUSE);
        if (!strstr(err.text, targets[i].hint)) fail_msg("%s: %s", targets[i].name, err.text);
        gguf_write_free(w);
    }
    assert_int_equal(files_in(state), 1);
}

static void wrong_declarations_are_refused(void **state) {
    gguf_writer *w = NULL;
    gptoss_error err = {0};
    assert_int_equal(gguf_write_new(&w, &err), GPTOSS_OK);
    assert_int_equal(gguf_write_u32(w, "key", 1, &err), GPTOSS_OK);
    assert_int_equal(gguf_write_text(w, "key", "again", &err), GPTOSS_MISUSE);
    assert_non_null(strstr(err.text, "key is given twice"));
    assert_int_equal(gguf_write_u32(w, "", 1, &err), GPTOSS_MISUSE);
    assert_int_equal(gguf_write_u32(w, "general.alignment", 64, &err), GPTOSS_MISUSE);
    assert_int_equal(gguf_write_u32(w, "split.count", 2, &err), GPTOSS_MISUSE);
    assert_int_equal(gguf_write_number(w, "text", GGUF_STRING, "x", &err), GPTOSS_MISUSE);
    assert_int_equal(gguf_write_numbers(w, "long", GGUF_U64, "x", UINT64_MAX / 4, &err), GPTOSS_MISUSE);

    const uint64_t dims[] = {64, 2, 3, 4, 5}, none[] = {64, 0}, endless[] = {64, UINT64_MAX / 2};
    assert_int_equal(gguf_write_tensor(w, "t", 2, dims, TYPE_Q8_0, &err), GPTOSS_OK);
    assert_int_equal(gguf_write_tensor(w, "q", 2, dims, TYPE_Q4_K, &err), GPTOSS_MISUSE);
    assert_int_equal(gguf_write_tensor(w, "u", 2, dims, 12345, &err), GPTOSS_MISUSE);
    assert_int_equal(gguf_write_tensor(w, "d0", 0, dims, TYPE_F32, &err), GPTOSS_MISUSE);
    assert_int_equal(gguf_write_tensor(w, "d5", 5, dims, TYPE_F32, &err), GPTOSS_MISUSE);
    assert_int_equal(gguf_write_tensor(w, "none", 2, none, TYPE_F32, &err), GPTOSS_MISUSE);
    assert_int_equal(gguf_write_tensor(w, "endless", 2, endless, TYPE_F32, &err), GPTOSS_MISUSE);
    assert_int_equal(gguf_write_tensor(w, "", 1, dims, TYPE_F32, &err), GPTOSS_MISUSE);
    char name[65];
    memset(name, 'n', 64), name[64] = 0;
    assert_int_equal(gguf_write_tensor(w, name, 1, dims, TYPE_F32, &err), GPTOSS_MISUSE);

    char path[512];
    path_in(state, "never.gguf", path);
    for (uint64_t alignment = 1; alignment < 8; alignment++)
        assert_int_equal(gguf_write_open(w, path, (gguf_write_options){.alignment = alignment}, &err), GPTOSS_MISUSE);
    assert_int_equal(gguf_write_open(w, path, (gguf_write_options){.alignment = 24}, &err), GPTOSS_MISUSE);
    assert_int_equal(gguf_write_data(w, 0, 0, "x", 1, &err), GPTOSS_INTERNAL);
    assert_int_equal(gguf_write_close(w, &err), GPTOSS_INTERNAL);
    assert_int_equal(gguf_write_open(w, path, (gguf_write_options){0}, &err), GPTOSS_OK);
    assert_int_equal(gguf_write_data(w, 1, 0, "x", 1, &err), GPTOSS_INTERNAL);
    assert_int_equal(gguf_write_data(w, 0, 136, "x", 1, &err), GPTOSS_INTERNAL);
    assert_int_equal(gguf_write_data(w, 0, UINT64_MAX, "xx", 2, &err), GPTOSS_INTERNAL);
    assert_int_equal(gguf_write_u32(w, "late", 1, &err), GPTOSS_INTERNAL);
    assert_int_equal(gguf_write_tensor(w, "late", 1, dims, TYPE_F32, &err), GPTOSS_INTERNAL);
    gguf_write_free(w);
    assert_int_equal(files_in(state), 0);
}

static void tensors_of_one_name_are_refused(void **state) {
    char path[512];
    path_in(state, "never.gguf", path);
    gguf_writer *w = NULL;
    gptoss_error err = {0};
    assert_int_equal(gguf_write_new(&w, &err), GPTOSS_OK);
    static const char *const names[] = {"b", "a", "c", "a"};
    for (int i = 0; i < 4; i++)
        assert_int_equal(gguf_write_tensor(w, names[i], 1, (uint64_t[]){8}, TYPE_F32, &err), GPTOSS_OK);
    assert_int_equal(gguf_write_open(w, path, (gguf_write_options){0}, &err), GPTOSS_MISUSE);
    assert_non_null(strstr(err.text, "tensor a is there twice"));
    gguf_write_free(w);
    assert_int_equal(files_in(state), 0);
}

static gptoss_status write_something(const char *path, gptoss_error *err) {
    gguf_writer *w;
    TRY(gguf_write_new(&w, err));
    gguf_text texts[] = {{"a", 1}, {"b", 1}};
    gptoss_status status = gguf_write_texts(w, "texts", texts, 2, err);
    if (status == GPTOSS_OK) status = gguf_write_tensor(w, "a", 1, (uint64_t[]){8}, TYPE_F32, err);
    if (status == GPTOSS_OK) status = gguf_write_tensor(w, "b", 1, (uint64_t[]){8}, TYPE_F32, err);
    if (status == GPTOSS_OK) status = gguf_write_open(w, path, (gguf_write_options){.split_bytes = 1}, err);
    if (status == GPTOSS_OK) status = gguf_write_data(w, 0, 0, "01234567890123456789012345678901", 32, err);
    if (status == GPTOSS_OK) status = gguf_write_data(w, 1, 0, "01234567890123456789012345678901", 32, err);
    if (status == GPTOSS_OK) status = gguf_write_close(w, err);
    gguf_write_free(w);
    return status;
}

static void any_allocation_may_fail(void **state) {
    char path[512];
    path_in(state, "memory.gguf", path);
    long failures = 0;
    for (;; failures++) {
        gptoss_error err = {0};
        mem_fail_after(failures);
        gptoss_status status = write_something(path, &err);
        mem_fail_after(-1);
        if (status == GPTOSS_OK) break;
        assert_int_equal(status, GPTOSS_NO_MEMORY);
        assert_int_equal(files_in(state), 0);
    }
    assert_true(failures > 8);
    assert_int_equal(files_in(state), 2);
}

#define in_folder(test) cmocka_unit_test_setup(test, empty_folder)

int main(void) {
    const struct CMUnitTest tests[] = {
        in_folder(every_kind_of_value_comes_back),
        in_folder(tensors_come_back_from_any_order_and_alignment),
        in_folder(copied_values_are_unchanged),
        in_folder(parts_keep_to_the_split_size),
        in_folder(a_split_size_that_is_not_needed_splits_nothing),
        in_folder(unfinished_files_vanish_and_leave_the_old_one),
        in_folder(what_a_killed_process_left_is_taken_over_but_not_what_one_is_writing),
        in_folder(too_little_room_is_told_before_anything_is_written),
        in_folder(impossible_targets_are_named),
        in_folder(wrong_declarations_are_refused),
        in_folder(tensors_of_one_name_are_refused),
        in_folder(any_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, craft_folder_make, craft_folder_remove);
}
