#include "gguf/craft.h"

#include <dirent.h>
#include <unistd.h>

void craft_free(craft *c) {
    buffer_free(&c->bytes);
    *c = (craft){0};
}

static void append(craft *c, const void *bytes, size_t size) { assert_ok(buffer_append(&c->bytes, bytes, size, err)); }

static void little_endian(craft *c, uint64_t v, size_t size) {
    for (size_t i = 0; i < size; i++) append(c, &(uint8_t){(uint8_t)(v >> (8 * i))}, 1);
}

static void mark(craft *c, craft_field_kind kind) {
    assert_true(c->field_count < sizeof c->fields / sizeof c->fields[0]);
    c->fields[c->field_count++] = (craft_field){kind, c->bytes.size};
}

void craft_u8(craft *c, uint8_t v) { little_endian(c, v, 1); }
void craft_u16(craft *c, uint16_t v) { little_endian(c, v, 2); }
void craft_u32(craft *c, uint32_t v) { little_endian(c, v, 4); }
void craft_u64(craft *c, uint64_t v) { little_endian(c, v, 8); }

void craft_f32(craft *c, float v) {
    uint32_t bits;
    memcpy(&bits, &v, sizeof bits);
    craft_u32(c, bits);
}

void craft_f64(craft *c, double v) {
    uint64_t bits;
    memcpy(&bits, &v, sizeof bits);
    craft_u64(c, bits);
}

void craft_bool(craft *c, bool v) {
    mark(c, FIELD_BOOL);
    craft_u8(c, v);
}

void craft_string(craft *c, const char *text) {
    mark(c, FIELD_STRING_LENGTH);
    craft_u64(c, strlen(text));
    append(c, text, strlen(text));
}

static void name(craft *c, const char *text) {
    mark(c, FIELD_NAME_LENGTH);
    craft_u64(c, strlen(text));
    mark(c, FIELD_NAME);
    append(c, text, strlen(text));
}

void craft_head(craft *c, uint32_t version, uint64_t tensors, uint64_t values) {
    mark(c, FIELD_MAGIC);
    append(c, "GGUF", 4);
    mark(c, FIELD_VERSION);
    craft_u32(c, version);
    mark(c, FIELD_TENSOR_COUNT);
    craft_u64(c, tensors);
    mark(c, FIELD_VALUE_COUNT);
    craft_u64(c, values);
}

void craft_key(craft *c, const char *key, gguf_kind kind) {
    name(c, key);
    mark(c, FIELD_KIND);
    craft_u32(c, kind);
}

void craft_array(craft *c, gguf_kind element, uint64_t count) {
    mark(c, FIELD_KIND);
    craft_u32(c, element);
    mark(c, FIELD_ARRAY_COUNT);
    craft_u64(c, count);
}

void craft_tensor(craft *c, const char *tensor, gguf_type type, uint64_t offset, uint32_t n_dims,
                  const uint64_t *dims) {
    name(c, tensor);
    mark(c, FIELD_N_DIMS);
    craft_u32(c, n_dims);
    for (uint32_t i = 0; i < n_dims; i++) {
        mark(c, FIELD_DIM);
        craft_u64(c, dims[i]);
    }
    mark(c, FIELD_TYPE);
    craft_u32(c, type);
    mark(c, FIELD_OFFSET);
    craft_u64(c, offset);
}

void craft_align(craft *c, size_t alignment) {
    while (c->bytes.size % alignment) craft_u8(c, 0);
}

void craft_data(craft *c, size_t bytes) {
    for (size_t i = 0; i < bytes; i++) craft_u8(c, (uint8_t)i);
}

void craft_key_u32(craft *c, const char *key, uint32_t v) {
    craft_key(c, key, GGUF_U32);
    craft_u32(c, v);
}

void craft_key_text(craft *c, const char *key, const char *text) {
    craft_key(c, key, GGUF_STRING);
    craft_string(c, text);
}

void craft_key_split(craft *c, uint16_t number, uint16_t count, int32_t tensors) {
    craft_key(c, "split.no", GGUF_U16);
    craft_u16(c, number);
    craft_key(c, "split.count", GGUF_U16);
    craft_u16(c, count);
    craft_key(c, "split.tensors.count", GGUF_I32);
    craft_u32(c, (uint32_t)tensors);
}

void craft_save(const craft *c, const char *path) {
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(c->bytes.data, 1, c->bytes.size, f), c->bytes.size);
    assert_int_equal(fclose(f), 0);
}

int craft_folder_make(void **state) {
    static char path[64];
    snprintf(path, sizeof path, "%s/gptoss-test-XXXXXX", P_tmpdir);
    *state = path;
    return mkdtemp(path) ? 0 : -1;
}

int craft_folder_remove(void **state) {
    DIR *folder = opendir(*state);
    if (!folder) return -1;
    const struct dirent *entry;
    char path[512];
    while ((entry = readdir(folder))) {
        snprintf(path, sizeof path, "%s/%s", (const char *)*state, entry->d_name);
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0) remove(path);
    }
    closedir(folder);
    return rmdir(*state);
}

const char *craft_path(void **state, const char *name) {
    static char paths[4][512];
    static unsigned next;
    char *path = paths[next++ % 4];
    snprintf(path, sizeof paths[0], "%s/%s", (const char *)*state, name);
    return path;
}

void craft_assert_same_file(const char *a, const char *b) {
    buffer x = {0}, y = {0};
    assert_ok(buffer_read_file(&x, a, 1 << 24, err));
    assert_ok(buffer_read_file(&y, b, 1 << 24, err));
    assert_int_equal(x.size, y.size);
    assert_memory_equal(x.data, y.data, x.size);
    buffer_free(&x);
    buffer_free(&y);
}

void craft_assert_refused(const char *path, const char *culprit, const char *hint) {
    gguf_file *file = NULL;
    gptoss_error fault = {0};
    gptoss_status status = gguf_open(path, &file, &fault);
    if (status != GPTOSS_BAD_INPUT) fail_msg("%s: status %s (%s)", path, gptoss_status_name(status), fault.text);
    assert_null(file);
    assert_int_equal(fault.status, status);
    assert_null(strchr(fault.text, '\n'));
    if (strncmp(fault.text, culprit, strlen(culprit)) != 0) fail_msg("does not begin with %s: %s", culprit, fault.text);
    if (!strstr(fault.text + strlen(culprit), hint)) fail_msg("no '%s' in: %s", hint, fault.text);
}
