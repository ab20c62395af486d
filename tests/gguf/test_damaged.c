/* The damaged corpus: a small valid file, broken in each of its fields, cut after each of its bytes, and with random
 * bytes changed. Refusals must name the file, and memory stays small: in a build without sanitizers the process may not
 * take more than MEMORY_LIMIT beyond what it has, so that an allocation by a count in the file gives another status. */
#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/mem.h"
#include "gguf/craft.h"
#include "gguf/map.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define IS_SANITIZED 1
#elif defined(__has_feature)
#define IS_SANITIZED (__has_feature(address_sanitizer) || __has_feature(thread_sanitizer))
#else
#define IS_SANITIZED 0
#endif

enum { MEMORY_LIMIT = 64 << 20, RANDOM_ROUNDS = 20000 };

static char path[256];
static craft valid; /* with the fields where they are */
static int fd;      /* of the file at `path`, rewritten for every case */
static int cases;   /* refused so far */

static void build_valid(craft *c) {
    craft_head(c, 3, 5, 18);
    craft_key_text(c, "general.architecture", "gpt-oss");
    craft_key_u32(c, "general.alignment", 32);
    craft_key(c, "k.u8", GGUF_U8), craft_u8(c, 1);
    craft_key(c, "k.i8", GGUF_I8), craft_u8(c, 2);
    craft_key(c, "k.u16", GGUF_U16), craft_u16(c, 3);
    craft_key(c, "k.i16", GGUF_I16), craft_u16(c, 4);
    craft_key(c, "k.i32", GGUF_I32), craft_u32(c, 5);
    craft_key(c, "k.f32", GGUF_F32), craft_f32(c, 6);
    craft_key(c, "k.bool", GGUF_BOOL), craft_bool(c, true);
    craft_key(c, "k.u64", GGUF_U64), craft_u64(c, 7);
    craft_key(c, "k.i64", GGUF_I64), craft_u64(c, 8);
    craft_key(c, "k.f64", GGUF_F64), craft_f64(c, 9);
    craft_key(c, "k.words", GGUF_ARRAY), craft_array(c, GGUF_STRING, 3);
    craft_string(c, "one"), craft_string(c, "two"), craft_string(c, "");
    craft_key(c, "k.numbers", GGUF_ARRAY), craft_array(c, GGUF_I32, 2), craft_u32(c, 1), craft_u32(c, 2);
    craft_key(c, "k.truths", GGUF_ARRAY), craft_array(c, GGUF_BOOL, 2), craft_bool(c, true), craft_bool(c, false);
    craft_key(c, "k.reals", GGUF_ARRAY), craft_array(c, GGUF_F64, 1), craft_f64(c, 0.5);
    craft_key(c, "k.nested", GGUF_ARRAY), craft_array(c, GGUF_ARRAY, 1), craft_array(c, GGUF_STRING, 1);
    craft_string(c, "deep");
    craft_key_text(c, "k.last", "done");
    craft_tensor(c, "t.f32", TYPE_F32, 0, 2, (uint64_t[]){8, 4});           /* 128 bytes */
    craft_tensor(c, "t.q8_0", TYPE_Q8_0, 128, 2, (uint64_t[]){64, 2});      /* 136 */
    craft_tensor(c, "t.mxfp4", TYPE_MXFP4, 288, 3, (uint64_t[]){32, 3, 2}); /* 102 */
    craft_tensor(c, "t.bf16", TYPE_BF16, 416, 1, (uint64_t[]){7});          /* 14 */
    craft_tensor(c, "t.i8", TYPE_I8, 448, 4, (uint64_t[]){3, 2, 1, 5});     /* 30, to the end of the file */
    craft_align(c, 32);
    craft_data(c, 448 + 30);
}

static void limit_memory(void) {
#if !IS_SANITIZED /* sanitizers reserve address space by the terabyte */
    unsigned long pages = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    assert_non_null(f);
    assert_int_equal(fscanf(f, "%lu", &pages), 1);
    fclose(f);
    struct rlimit limit = {.rlim_max = RLIM_INFINITY};
    limit.rlim_cur = pages * (rlim_t)sysconf(_SC_PAGESIZE) + MEMORY_LIMIT;
    assert_int_equal(setrlimit(RLIMIT_AS, &limit), 0);
#endif
}

static int make_valid(void **state) {
    if (craft_folder_make(state) != 0) return -1;
    snprintf(path, sizeof path, "%s/damaged.gguf", (const char *)*state);
    fd = open(path, O_RDWR | O_CREAT, 0600);
    build_valid(&valid);
    limit_memory();
    return fd < 0;
}

static int remove_valid(void **state) {
    printf("%d damaged files were refused\n", cases);
    close(fd);
    craft_free(&valid);
    return craft_folder_remove(state);
}

static void save(const void *bytes, size_t size) {
    assert_int_equal(pwrite(fd, bytes, size, 0), size);
    assert_int_equal(ftruncate(fd, (off_t)size), 0);
}

static void assert_refused(const void *bytes, size_t size) {
    save(bytes, size);
    craft_assert_refused(path, path, " ");
    cases++;
}

/* The valid file with `size` bytes at `at` replaced by the low bytes of `v`. */
static void assert_change_refused(size_t at, size_t size, uint64_t v) {
    char *bytes = malloc(valid.bytes.size);
    assert_non_null(bytes);
    memcpy(bytes, valid.bytes.data, valid.bytes.size);
    for (size_t i = 0; i < size; i++) bytes[at + i] = (char)(v >> (8 * i));
    assert_true(memcmp(bytes, valid.bytes.data, valid.bytes.size) != 0);
    assert_refused(bytes, valid.bytes.size);
    free(bytes);
}

static uint64_t number_at(size_t at, size_t size) {
    uint64_t v = 0;
    for (size_t i = 0; i < size; i++) v |= (uint64_t)(uint8_t)valid.bytes.data[at + i] << (8 * i);
    return v;
}

/* Where the value of `key` is. */
static size_t value_at(const char *key) {
    const char *found = memmem(valid.bytes.data, valid.bytes.size, key, strlen(key));
    assert_non_null(found);
    return (size_t)(found - valid.bytes.data) + strlen(key) + 4;
}

/* The fields of a tensor, as they follow its name. */
static size_t tensor_at(const char *name) { return value_at(name) - 4; }

static void the_undamaged_file_opens(void **state) {
    (void)state;
    save(valid.bytes.data, valid.bytes.size);
    gguf_file *file;
    assert_ok(gguf_open(path, &file, err));
    assert_int_equal(gguf_value_count(file), 18);
    assert_int_equal(gguf_tensor_count(file), 5);
    assert_int_equal(gguf_find_tensor(file, "t.mxfp4")->bytes, 102);
    gguf_close(file);
}

/* Each kind of field with values that are wrong wherever that field stands. */
static void every_field_is_checked(void **state) {
    (void)state;
    static const uint64_t huge[] = {1u << 16,   1u << 20,       (1u << 20) + 1, 1u << 31,   UINT32_MAX,
                                    1ull << 32, 1ull << 40,     1ull << 60,     1ull << 61, INT64_MAX,
                                    1ull << 63, UINT64_MAX - 7, UINT64_MAX};
    enum { HUGE_COUNT = sizeof huge / sizeof huge[0] };
    static const uint64_t versions[] = {0, 1, 4, 2u << 24, 3u << 24, 3u << 16, UINT32_MAX};
    static const uint64_t kinds[] = {13, 14, 255, 256, 1u << 31, UINT32_MAX};
    static const uint64_t dimension_counts[] = {0, 5, 6, 255, 1u << 31, UINT32_MAX};
    for (size_t i = 0; i < valid.field_count; i++) {
        size_t at = valid.fields[i].at;
        switch (valid.fields[i].kind) {
        case FIELD_MAGIC:
            for (size_t k = 0; k < 4; k++) assert_change_refused(at + k, 1, number_at(at + k, 1) ^ 0x20);
            break;
        case FIELD_VERSION:
            for (size_t k = 0; k < 7; k++) assert_change_refused(at, 4, versions[k]);
            break;
        case FIELD_VALUE_COUNT: /* one less makes a key a tensor */
            assert_change_refused(at, 8, 0);
            assert_change_refused(at, 8, number_at(at, 8) - 1);
            __attribute__((fallthrough));
        case FIELD_TENSOR_COUNT: /* one more makes data a tensor; fewer cannot be told from a smaller file */
            assert_change_refused(at, 8, number_at(at, 8) + 1);
            for (size_t k = 0; k < HUGE_COUNT; k++) assert_change_refused(at, 8, huge[k]);
            break;
        case FIELD_NAME_LENGTH:
            assert_change_refused(at, 8, 0);
            assert_change_refused(at, 8, valid.bytes.size - at - 8 + 1);
            __attribute__((fallthrough));
        case FIELD_STRING_LENGTH:
        case FIELD_ARRAY_COUNT:
            for (size_t k = 0; k < HUGE_COUNT; k++) assert_change_refused(at, 8, huge[k]);
            break;
        case FIELD_NAME: assert_change_refused(at, 1, 0); break;
        case FIELD_KIND:
            for (size_t k = 0; k < 6; k++) assert_change_refused(at, 4, kinds[k]);
            break;
        case FIELD_BOOL:
            assert_change_refused(at, 1, 2);
            assert_change_refused(at, 1, 255);
            break;
        case FIELD_N_DIMS:
            for (size_t k = 0; k < 6; k++) assert_change_refused(at, 4, dimension_counts[k]);
            break;
        case FIELD_DIM:
            assert_change_refused(at, 8, 0);
            for (size_t k = 0; k < HUGE_COUNT; k++) assert_change_refused(at, 8, huge[k]);
            break;
        case FIELD_TYPE: break; /* see below: a wrong type may be a right one */
        case FIELD_OFFSET:
            assert_change_refused(at, 8, number_at(at, 8) + 1);
            assert_change_refused(at, 8, number_at(at, 8) + 8);
            assert_change_refused(at, 8, 480); /* the first aligned offset past the end */
            for (size_t k = 0; k < HUGE_COUNT; k++) assert_change_refused(at, 8, huge[k]);
            assert_change_refused(at, 8, UINT64_MAX - 31); /* aligned, but wraps around */
            break;
        }
    }
}

static void alignment_is_checked(void **state) {
    (void)state;
    static const uint32_t bad[] = {0, 1, 2, 4, 7, 12, 31, 33, 63, 64, 256, 1u << 31, UINT32_MAX - 7, UINT32_MAX};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_change_refused(value_at("general.alignment"), 4, bad[i]);
    static const gguf_kind kinds[] = {GGUF_I32, GGUF_F32};
    for (size_t i = 0; i < 2; i++) assert_change_refused(value_at("general.alignment") - 4, 4, kinds[i]);
}

static void tensors_are_held_to_their_room(void **state) {
    (void)state;
    static const struct {
        const char *name;
        size_t at; /* from the end of the name: n_dims 0, dims 4, then type and offset */
        size_t size;
        uint64_t v;
    } cases_[] = {
        {"t.f32", 4, 8, 9},              /* runs into the next one */
        {"t.f32", 4 + 8, 8, 5},          /* the same, by rows */
        {"t.f32", 4 + 16, 4, TYPE_F64},  /* the same, by type */
        {"t.f32", 4 + 16, 4, TYPE_Q8_0}, /* rows of 8 are no blocks */
        {"t.f32", 4 + 16, 4, TYPE_Q4_K}, /* nor these */
        {"t.f32", 4 + 16 + 4, 8, 128},   /* where another tensor is */
        {"t.f32", 4 + 16 + 4, 8, 32},    /* into the next one */
        {"t.f32", 0, 4, 1},              /* a dimension read as type and offset */
        {"t.f32", 0, 4, 3},              /* a type and offset read as dimension */
        {"t.q8_0", 4, 8, 63},
        {"t.q8_0", 4, 8, 65},
        {"t.q8_0", 4, 8, 1},
        {"t.q8_0", 4, 8, 96},
        {"t.q8_0", 4 + 8, 8, 5},
        {"t.q8_0", 4 + 16, 4, TYPE_F32},
        {"t.q8_0", 4 + 16, 4, TYPE_Q6_K},
        {"t.q8_0", 4 + 16 + 4, 8, 96}, /* into the one before */
        {"t.q8_0", 4 + 16 + 4, 8, 0},
        {"t.q8_0", 4 + 16 + 4, 8, 160},
        {"t.mxfp4", 4, 8, 33},
        {"t.mxfp4", 4, 8, 64},
        {"t.mxfp4", 4 + 16, 8, 3},
        {"t.mxfp4", 4 + 24, 4, TYPE_BF16},
        {"t.mxfp4", 4 + 24 + 4, 8, 320},
        {"t.mxfp4", 4 + 24 + 4, 8, 416}, /* both begin there */
        {"t.bf16", 4, 8, 17},
        {"t.bf16", 4 + 8, 4, TYPE_Q8_0},
        {"t.bf16", 4 + 8 + 4, 8, 448},
        {"t.bf16", 4 + 8 + 4, 8, 384},
        {"t.i8", 4 + 24, 8, 6}, /* past the end of the file */
        {"t.i8", 4 + 32, 4, TYPE_I16},
        {"t.i8", 4 + 32 + 4, 8, 416},
        {"t.i8", 4, 8, 1ull << 32}, /* products that wrap around to something small */
        {"t.mxfp4", 4 + 8, 8, 1ull << 62},
        {"t.mxfp4", 4 + 16, 8, 1ull << 61},
        {"t.f32", 4 + 8, 8, 1ull << 61},
        {"t.q8_0", 4 + 8, 8, (1ull << 63) + 1},
    };
    for (size_t i = 0; i < sizeof cases_ / sizeof cases_[0]; i++)
        assert_change_refused(tensor_at(cases_[i].name) + cases_[i].at, cases_[i].size, cases_[i].v);
    /* Of an unknown type nobody knows the size, but it cannot begin inside another tensor. */
    char *bytes = malloc(valid.bytes.size);
    memcpy(bytes, valid.bytes.data, valid.bytes.size);
    memset(bytes + tensor_at("t.bf16") + 4 + 8, 0x7F, 4);
    memset(bytes + tensor_at("t.bf16") + 4 + 8 + 4, 0, 8);
    bytes[tensor_at("t.bf16") + 4 + 8 + 4] = 32;
    assert_refused(bytes, valid.bytes.size);
    free(bytes);
}

/* Two dimensions at once, each harmless, whose product is not. */
static void products_of_dimensions_are_checked(void **state) {
    (void)state;
    static const uint64_t pairs[][2] = {
        {1ull << 32, 1ull << 32},    {1ull << 33, 1ull << 31}, {1ull << 62, 4},
        {1ull << 31, 1ull << 32},    {3ull << 61, 8},          {1ull << 20, 1ull << 20},
        {0xFFFFFFFFull, 1ull << 33}, {1ull << 61, 2},
    };
    static const char *const names[] = {"t.f32", "t.q8_0", "t.mxfp4", "t.i8"};
    char *bytes = malloc(valid.bytes.size);
    assert_non_null(bytes);
    for (size_t n = 0; n < 4; n++)
        for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++) {
            memcpy(bytes, valid.bytes.data, valid.bytes.size);
            for (size_t k = 0; k < 16; k++)
                bytes[tensor_at(names[n]) + 4 + k] = (char)(pairs[i][k / 8] >> (8 * (k % 8)));
            assert_refused(bytes, valid.bytes.size);
        }
    free(bytes);
}

static void names_are_unique(void **state) {
    (void)state;
    static const char *const twins[][2] = {
        {"k.u8", "k.i8"}, {"k.u16", "k.i16"}, {"k.bool", "k.last"}, {"k.u64", "k.f32"}};
    char *bytes = malloc(valid.bytes.size);
    assert_non_null(bytes);
    for (size_t i = 0; i < 4; i++) {
        memcpy(bytes, valid.bytes.data, valid.bytes.size);
        memcpy(bytes + value_at(twins[i][1]) - 4 - strlen(twins[i][1]), twins[i][0], strlen(twins[i][0]));
        assert_refused(bytes, valid.bytes.size);
    }
    free(bytes);
    for (size_t distance = 1; distance < 5; distance++) { /* of tensors, next to each other and apart */
        craft c = {0};
        craft_head(&c, 3, 5, 0);
        for (size_t i = 0; i < 5; i++)
            craft_tensor(&c, (char[]){(char)('a' + (i == distance ? 0 : i)), 0}, TYPE_I8, i * 32, 1, (uint64_t[]){1});
        craft_align(&c, 32), craft_data(&c, 160);
        assert_refused(c.bytes.data, c.bytes.size);
        craft_free(&c);
    }
}

static void deep_nests_and_long_headers_are_refused(void **state) {
    (void)state;
    for (int depth = 9; depth < 200000; depth = depth * 3 + 1) {
        craft c = {0};
        craft_head(&c, 3, 0, 1);
        craft_key(&c, "nest", GGUF_ARRAY);
        for (int i = 0; i < depth; i++) {
            c.field_count = 0;
            craft_array(&c, GGUF_ARRAY, 1);
        }
        craft_array(&c, GGUF_U8, 0);
        assert_refused(c.bytes.data, c.bytes.size);
        craft_free(&c);
    }
    /* A file with a hole: 2 TiB that its metadata claims to be text. */
    craft c = {0};
    craft_head(&c, 3, 0, 1);
    craft_key(&c, "text", GGUF_STRING);
    craft_u64(&c, 1ull << 40);
    save(c.bytes.data, c.bytes.size);
    if (ftruncate(fd, (off_t)1 << 41) == 0) craft_assert_refused(path, path, "longest header");
    craft_free(&c);
}

static void every_truncation_is_noticed(void **state) {
    (void)state;
    for (size_t size = 0; size < valid.bytes.size; size++) assert_refused(valid.bytes.data, size);
}

/* Uses a file as programs do, and checks what gguf_open promised. */
static void look_at_all(const gguf_file *file, const char *bytes) {
    for (size_t i = 0; i < gguf_value_count(file); i++) {
        const gguf_value *v = gguf_value_at(file, i);
        uint64_t natural, sum = 0;
        double real;
        bool truth;
        gguf_text text;
        gguf_as_u64(v, &natural), gguf_as_f64(v, &real), gguf_as_bool(v, &truth);
        if (gguf_as_text(v, &text))
            for (size_t k = 0; k < text.size; k++) sum += (uint8_t)text.bytes[k];
        for (size_t k = 0; k < v->size; k++) sum += v->data[k];
        gguf_iterator it = gguf_elements(v);
        while (gguf_next_text(&it, &text) || gguf_next_u64(&it, &natural) || gguf_next_f64(&it, &real)) sum++;
        assert_true(sum < UINT64_MAX);
    }
    for (size_t i = 0; i < gguf_tensor_count(file); i++) {
        const gguf_tensor *t = gguf_tensor_at(file, i);
        assert_ptr_equal(gguf_find_tensor(file, t->name), t);
        assert_in_range(t->n_dims, 1, 4);
        assert_true(t->offset < gguf_part_size(file, 0));
        assert_true(t->bytes <= gguf_part_size(file, 0) - t->offset);
        gguf_map *map;
        if (gguf_map_open(file, &(gguf_range){0, t->offset, t->bytes}, 1, &map, NULL) != GPTOSS_OK) fail();
        if (t->bytes > 0) assert_memory_equal(gguf_map_at(map, 0, t->offset, t->bytes), bytes + t->offset, t->bytes);
        gguf_map_close(map);
    }
}

static void random_changes_never_crash(void **state) {
    (void)state;
    uint64_t seed = 20240806;
    char *bytes = malloc(valid.bytes.size);
    assert_non_null(bytes);
    int opened = 0;
    for (int round = 0; round < RANDOM_ROUNDS; round++) {
        memcpy(bytes, valid.bytes.data, valid.bytes.size);
        size_t header = valid.bytes.size - 478;
        for (unsigned change = 0; change <= (unsigned)round % 4; change++) {
            seed = seed * 6364136223846793005u + 1442695040888963407u;
            size_t at = (seed >> 33) % header;
            bytes[at] = (char)(seed >> 20 & 1 ? (uint64_t)bytes[at] ^ 1u << (seed >> 21 & 7) : seed >> 24);
        }
        save(bytes, valid.bytes.size);
        gguf_file *file = NULL;
        gptoss_error fault = {0};
        gptoss_status status = gguf_open(path, &file, &fault);
        if (status == GPTOSS_OK) {
            opened++;
            look_at_all(file, bytes);
            gguf_close(file);
        } else {
            assert_int_equal(status, GPTOSS_BAD_INPUT);
            assert_null(file);
            assert_int_equal(strncmp(fault.text, path, strlen(path)), 0);
        }
    }
    free(bytes);
    assert_in_range(opened, RANDOM_ROUNDS / 50, RANDOM_ROUNDS - RANDOM_ROUNDS / 50); /* else nothing was tried */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_undamaged_file_opens),
        cmocka_unit_test(every_field_is_checked),
        cmocka_unit_test(alignment_is_checked),
        cmocka_unit_test(tensors_are_held_to_their_room),
        cmocka_unit_test(products_of_dimensions_are_checked),
        cmocka_unit_test(names_are_unique),
        cmocka_unit_test(deep_nests_and_long_headers_are_refused),
        cmocka_unit_test(every_truncation_is_noticed),
        cmocka_unit_test(random_changes_never_crash),
    };
    return cmocka_run_group_tests(tests, make_valid, remove_valid);
}
