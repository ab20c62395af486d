#include "gguf/header.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "gguf/quote.h"
#include "gguf/reader.h"

enum {
    LONGEST_NAME = 65535,   /* the format's limit for keys, taken for tensor names too */
    DEEPEST_ARRAY = 8,      /* arrays within arrays */
    MOST_ENTRIES = 1 << 20, /* keys, or tensors: far more than any model has */
    PRELUDE_BYTES = 4 + 4 + 8 + 8,
    LEAST_VALUE_BYTES = 8 + 1 + 4 + 1,         /* key length, key, kind, value */
    LEAST_TENSOR_BYTES = 8 + 1 + 4 + 8 + 4 + 8 /* name length, name, n_dims, dims, type, offset */
};
static const uint64_t longest_header = 1u << 30;

/* What people hand over in place of a GGUF file, by its first bytes. */
static gptoss_status refuse_magic(const uint8_t *magic, gptoss_error *err) {
    static const struct {
        const char *bytes, *meaning;
    } known[] = {
        {"vers", "a Git LFS pointer or another text; fetch the real file (git lfs pull)"},
        {"<!DO", "a web page; the download went wrong"},
        {"<htm", "a web page; the download went wrong"},
        {"FUGG", "a byte-swapped (big-endian) GGUF file, which is not supported"},
        {"tjgg", "a file of a predecessor of GGUF; convert the model again"},
        {"lmgg", "a file of a predecessor of GGUF; convert the model again"},
        {"fmgg", "a file of a predecessor of GGUF; convert the model again"},
    };
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (memcmp(magic, known[i].bytes, 4) == 0)
            return error_set(err, GPTOSS_BAD_INPUT, "byte 0: this is not a GGUF file but %s", known[i].meaning);
    return error_set(err, GPTOSS_BAD_INPUT, "byte 0: this is not a GGUF file (it begins with %02x %02x %02x %02x)",
                     magic[0], magic[1], magic[2], magic[3]);
}

static gptoss_status read_prelude(reader *r, gguf_header *h, uint64_t *tensors, uint64_t *values, gptoss_error *err) {
    TRY(reader_skip(r, 4, "the magic number", err));
    if (memcmp(r->data, "GGUF", 4) != 0) return refuse_magic(r->data, err);
    TRY(reader_u32(r, "the version", &h->version, err));
    if (h->version == 2u << 24 || h->version == 3u << 24)
        return error_set(err, GPTOSS_BAD_INPUT, "byte 4: a big-endian GGUF file, which is not supported");
    if (h->version != 2 && h->version != 3)
        return error_set(err, GPTOSS_BAD_INPUT, "byte 4: GGUF version %u; versions 2 and 3 are supported", h->version);
    TRY(reader_u64(r, "the number of tensors", tensors, err));
    TRY(reader_u64(r, "the number of metadata keys", values, err));
    if (*tensors > MOST_ENTRIES)
        return error_set(err, GPTOSS_BAD_INPUT, "byte 8: %llu tensors; no more than %d are supported",
                         (unsigned long long)*tensors, MOST_ENTRIES);
    if (*values > MOST_ENTRIES)
        return error_set(err, GPTOSS_BAD_INPUT, "byte 16: %llu metadata keys; no more than %d are supported",
                         (unsigned long long)*values, MOST_ENTRIES);
    TRY(reader_check_count(r, *values, LEAST_VALUE_BYTES, "metadata keys", err));
    return reader_check_count(r, *tensors, LEAST_TENSOR_BYTES, "tensors", err);
}

/* A key or tensor name: *at is where its bytes begin in the header. */
static gptoss_status read_name(reader *r, const char *what, size_t *at, size_t *size, gptoss_error *err) {
    uint64_t length;
    TRY(reader_u64(r, what, &length, err));
    if (length == 0 || length > LONGEST_NAME)
        return error_set(err, GPTOSS_BAD_INPUT, "byte %zu: %s of %llu bytes; 1 to %d are allowed", r->at - 8, what,
                         (unsigned long long)length, LONGEST_NAME);
    TRY(reader_need(r, length, what, err));
    if (memchr(r->data + r->at, 0, (size_t)length))
        return error_set(err, GPTOSS_BAD_INPUT, "byte %zu: %s with a NUL byte inside", r->at, what);
    *at = r->at;
    *size = (size_t)length;
    r->at += (size_t)length;
    return GPTOSS_OK;
}

static gptoss_status read_kind(reader *r, gguf_kind *out, gptoss_error *err) {
    uint32_t kind;
    TRY(reader_u32(r, "the kind of a value", &kind, err));
    if (kind > GGUF_F64) return error_set(err, GPTOSS_BAD_INPUT, "byte %zu: %u is no kind of value", r->at - 4, kind);
    *out = (gguf_kind)kind;
    return GPTOSS_OK;
}

static gptoss_status read_array_head(reader *r, gguf_kind *element, uint64_t *count, gptoss_error *err) {
    TRY(read_kind(r, element, err));
    TRY(reader_u64(r, "the length of an array", count, err));
    uint64_t each = *element == GGUF_STRING ? 8 : *element == GGUF_ARRAY ? 4 + 8 : gguf_kind_bytes(*element);
    return reader_check_count(r, *count, each, "array elements", err);
}

/* Moves past `count` values of `kind`, checking them. `depth`: how many arrays they are in. */
static gptoss_status skip_values(reader *r, gguf_kind kind, uint64_t count, int depth, gptoss_error *err) {
    if (depth > DEEPEST_ARRAY)
        return error_set(err, GPTOSS_BAD_INPUT, "byte %zu: arrays nested more than %d deep", r->at, DEEPEST_ARRAY);
    if (kind == GGUF_ARRAY) {
        for (uint64_t i = 0; i < count; i++) {
            gguf_kind element;
            uint64_t inner;
            TRY(read_array_head(r, &element, &inner, err));
            TRY(skip_values(r, element, inner, depth + 1, err));
        }
        return GPTOSS_OK;
    }
    if (kind == GGUF_STRING) {
        for (uint64_t i = 0; i < count; i++) {
            uint64_t length;
            TRY(reader_u64(r, "the length of a string", &length, err));
            TRY(reader_skip(r, length, "a string", err));
        }
        return GPTOSS_OK;
    }
    uint64_t bytes;
    if (!mem_mul_u64(count, gguf_kind_bytes(kind), &bytes))
        return error_set(err, GPTOSS_BAD_INPUT, "byte %zu: an array of %llu elements", r->at,
                         (unsigned long long)count);
    TRY(reader_need(r, bytes, "a value", err));
    for (uint64_t i = 0; kind == GGUF_BOOL && i < bytes; i++)
        if (r->data[r->at + i] > 1)
            return error_set(err, GPTOSS_BAD_INPUT, "byte %llu: a truth value of %u; 0 and 1 are allowed",
                             (unsigned long long)(r->at + i), r->data[r->at + i]);
    return reader_skip(r, bytes, "a value", err);
}

/* Fills in all of *v but the pointers. */
static gptoss_status read_value(reader *r, gguf_value *v, gptoss_error *err) {
    size_t key_at;
    TRY(read_name(r, "a metadata key", &key_at, &v->key.size, err));
    v->count = 1;
    gptoss_status status = read_kind(r, &v->kind, err);
    gguf_kind element = v->kind;
    if (status == GPTOSS_OK && v->kind == GGUF_ARRAY) status = read_array_head(r, &element, &v->count, err);
    v->element = element;
    size_t start = r->at;
    if (status == GPTOSS_OK) status = skip_values(r, element, v->count, v->kind == GGUF_ARRAY, err);
    v->size = r->at - start;
    if (status == GPTOSS_OK) return GPTOSS_OK;
    char shown[QUOTE_NAME];
    return error_prefix(err, status, "metadata key %s",
                        quote_text((char *)r->data + key_at, v->key.size, shown, sizeof shown));
}

/* Fills in all of *t but its name; its offset counts from the start of the data section. */
static gptoss_status read_shape(reader *r, gguf_tensor *t, gptoss_error *err) {
    TRY(reader_u32(r, "the number of dimensions", &t->n_dims, err));
    if (t->n_dims == 0 || t->n_dims > 4)
        return error_set(err, GPTOSS_BAD_INPUT, "byte %zu: %u dimensions; 1 to 4 are allowed", r->at - 4, t->n_dims);
    uint64_t elements = 1, rows = 1, row_bytes;
    for (uint32_t i = 0; i < 4; i++) {
        t->dims[i] = 1;
        if (i < t->n_dims) TRY(reader_u64(r, "a dimension", &t->dims[i], err));
        if (t->dims[i] == 0) return error_set(err, GPTOSS_BAD_INPUT, "byte %zu: dimension %u is 0", r->at - 8, i);
        if (!mem_mul_u64(elements, t->dims[i], &elements) || elements > INT64_MAX)
            return error_set(err, GPTOSS_BAD_INPUT, "byte %zu: its dimensions multiply to more than 2^63", r->at - 8);
        if (i > 0) rows *= t->dims[i];
    }
    TRY(reader_u32(r, "the type of a tensor", &t->type, err));
    if (gguf_type_traits(t->type)) {
        gptoss_status status = gguf_row_bytes(t->type, t->dims[0], &row_bytes, err);
        if (status != GPTOSS_OK) return error_prefix(err, status, "byte %zu", r->at - 4);
        if (!mem_mul_u64(row_bytes, rows, &t->bytes))
            return error_set(err, GPTOSS_BAD_INPUT, "byte %zu: it would take more than 2^64 bytes", r->at - 4);
    }
    return reader_u64(r, "the offset of a tensor", &t->offset, err);
}

static gptoss_status read_tensor(reader *r, gguf_tensor *t, size_t *name_size, gptoss_error *err) {
    size_t name_at;
    TRY(read_name(r, "a tensor name", &name_at, name_size, err));
    gptoss_status status = read_shape(r, t, err);
    if (status == GPTOSS_OK) return GPTOSS_OK;
    char shown[QUOTE_NAME];
    return error_prefix(err, status, "tensor %s",
                        quote_text((char *)r->data + name_at, *name_size, shown, sizeof shown));
}

/* Room for one more entry, taken as entries are really found, not by the count that the file states. */
static gptoss_status grow(void *array, size_t count, size_t size, const char *what, gptoss_error *err) {
    bool is_full = (count & (count - 1)) == 0; /* the capacity is the next power of two */
    return is_full ? mem_resize(array, count ? 2 * count : 1, size, what, err) : GPTOSS_OK;
}

static gptoss_status read_entries(reader *r, gguf_header *h, size_t *names_size, gptoss_error *err) {
    uint64_t tensors, values;
    TRY(read_prelude(r, h, &tensors, &values, err));
    while (h->value_count < values) {
        TRY(grow(&h->values, h->value_count, sizeof h->values[0], "metadata", err));
        gguf_value v = {0};
        TRY(read_value(r, &v, err));
        h->values[h->value_count++] = v;
    }
    *names_size = 0;
    while (h->tensor_count < tensors) {
        TRY(grow(&h->tensors, h->tensor_count, sizeof h->tensors[0], "tensor directory", err));
        gguf_tensor t = {0};
        size_t name_size;
        TRY(read_tensor(r, &t, &name_size, err));
        h->tensors[h->tensor_count++] = t;
        *names_size += name_size + 1;
    }
    return GPTOSS_OK;
}

/* Sets the pointers of values and tensors, now that the header has all its bytes and stays where it is. */
static gptoss_status link_entries(gguf_header *h, size_t names_size, gptoss_error *err) {
    TRY(mem_array(names_size, 1, "tensor names", &h->names, err));
    const uint8_t *at = h->bytes + PRELUDE_BYTES;
    for (size_t i = 0; i < h->value_count; i++) {
        gguf_value *v = &h->values[i];
        v->key.bytes = (const char *)at + 8;
        v->data = at + 8 + v->key.size + 4 + (v->kind == GGUF_ARRAY ? 4 + 8 : 0);
        at = v->data + v->size;
    }
    char *name = h->names;
    cursor c = {h->bytes, h->size, (size_t)(at - h->bytes)};
    for (size_t i = 0; i < h->tensor_count; i++) {
        uint64_t length = 0;
        cursor_u64(&c, &length);
        cursor_bytes(&c, name, (size_t)length);
        cursor_skip(&c, 4 + 8 * (uint64_t)h->tensors[i].n_dims + 4 + 8);
        h->tensors[i].name = name; /* mem_array zeroed the NUL */
        name += length + 1;
    }
    return GPTOSS_OK;
}

static gptoss_status read_all(reader *r, gguf_header *h, gptoss_error *err) {
    size_t names_size;
    TRY(read_entries(r, h, &names_size, err));
    TRY(mem_resize(&r->data, r->at, 1, "header of a GGUF file", err));
    h->bytes = r->data;
    h->size = r->at;
    r->data = NULL;
    return link_entries(h, names_size, err);
}

gptoss_status header_read(int fd, uint64_t file_size, gguf_header *out, gptoss_error *err) {
    reader r = {.fd = fd, .file_size = file_size};
    r.limit = file_size < longest_header ? file_size : longest_header;
    gguf_header h = {0};
    gptoss_status status = read_all(&r, &h, err);
    free(r.data);
    if (status != GPTOSS_OK) {
        header_free(&h);
        return status;
    }
    *out = h;
    return GPTOSS_OK;
}

void header_free(gguf_header *h) {
    free(h->bytes);
    free(h->values);
    free(h->tensors);
    free(h->names);
    *h = (gguf_header){0};
}
