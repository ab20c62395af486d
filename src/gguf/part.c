#include "gguf/part.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "gguf/quote.h"
#include "gguf/reader.h"

enum {
    SHOWN = 96,             /* bytes of a name that an error shows */
    LONGEST_NAME = 65535,   /* the format's limit for keys, taken for tensor names too */
    DEEPEST_ARRAY = 8,      /* arrays within arrays */
    MOST_ENTRIES = 1 << 20, /* keys, or tensors: far more than any model has */
    PRELUDE_BYTES = 4 + 4 + 8 + 8,
    LEAST_VALUE_BYTES = 8 + 1 + 4 + 1,         /* key length, key, kind, value */
    LEAST_TENSOR_BYTES = 8 + 1 + 4 + 8 + 4 + 8 /* name length, name, n_dims, dims, type, offset */
};
static const uint64_t longest_header = 1u << 30;
static const uint64_t default_alignment = 32;

/* ---- opening ---- */

static bool is_file_of_part(const gguf_part *p, const struct stat *s) {
    return S_ISREG(s->st_mode) && (uint64_t)s->st_size == p->size && s->st_dev == p->device && s->st_ino == p->inode;
}

/* Errors do not name the path. */
static gptoss_status open_regular(const char *path, int *fd, struct stat *info, gptoss_error *err) {
    /* Without O_NONBLOCK, opening a FIFO would wait for a writer. */
    int f = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (f < 0) {
        bool is_ours = errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == EIO;
        return error_set_errno(err, is_ours ? GPTOSS_IO : GPTOSS_BAD_INPUT, errno, "cannot open");
    }
    gptoss_status status = GPTOSS_OK;
    if (fstat(f, info) != 0)
        status = error_set_errno(err, GPTOSS_IO, errno, "cannot stat");
    else if (S_ISDIR(info->st_mode))
        status = error_set(err, GPTOSS_BAD_INPUT, "is a directory; name a .gguf file in it");
    else if (!S_ISREG(info->st_mode))
        status = error_set(err, GPTOSS_BAD_INPUT, "is not a regular file");
    else if (info->st_size == 0)
        status = error_set(err, GPTOSS_BAD_INPUT, "is empty");
    if (status != GPTOSS_OK) {
        close(f);
        return status;
    }
    *fd = f;
    return GPTOSS_OK;
}

gptoss_status part_reopen(const gguf_part *p, int *fd, gptoss_error *err) {
    struct stat info;
    int f = -1;
    gptoss_status status = open_regular(p->path, &f, &info, err);
    if (status == GPTOSS_OK && !is_file_of_part(p, &info)) {
        close(f);
        status = error_set(err, GPTOSS_BAD_INPUT, "the file was replaced or changed its size after it was opened");
    }
    if (status != GPTOSS_OK) return error_prefix(err, status, "%s", p->path);
    *fd = f;
    return GPTOSS_OK;
}

/* ---- the header ---- */

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

static gptoss_status read_prelude(reader *r, gguf_part *p, uint64_t *tensors, uint64_t *values, gptoss_error *err) {
    TRY(reader_need(r, 4, "the magic number", err));
    if (memcmp(r->data, "GGUF", 4) != 0) return refuse_magic(r->data, err);
    TRY(reader_skip(r, 4, "the magic number", err));
    TRY(reader_u32(r, "the version", &p->version, err));
    if ((p->version & 0xFFFF) == 0 && p->version != 0)
        return error_set(err, GPTOSS_BAD_INPUT, "byte 4: a big-endian GGUF file, which is not supported");
    if (p->version != 2 && p->version != 3)
        return error_set(err, GPTOSS_BAD_INPUT, "byte 4: GGUF version %u; versions 2 and 3 are supported", p->version);
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

/* 0 for the kinds whose values vary in size. */
static uint64_t kind_bytes(gguf_kind kind) {
    switch (kind) {
    case GGUF_U8:
    case GGUF_I8:
    case GGUF_BOOL: return 1;
    case GGUF_U16:
    case GGUF_I16: return 2;
    case GGUF_U32:
    case GGUF_I32:
    case GGUF_F32: return 4;
    case GGUF_U64:
    case GGUF_I64:
    case GGUF_F64: return 8;
    case GGUF_STRING:
    case GGUF_ARRAY: return 0;
    }
    return 0;
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
    uint64_t each = *element == GGUF_STRING ? 8 : *element == GGUF_ARRAY ? 4 + 8 : kind_bytes(*element);
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
    if (!mem_mul_u64(count, kind_bytes(kind), &bytes))
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
    char shown[SHOWN];
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
    char shown[SHOWN];
    return error_prefix(err, status, "tensor %s",
                        quote_text((char *)r->data + name_at, *name_size, shown, sizeof shown));
}

/* Room for one more entry, taken as entries are really found, not by the count that the file states. */
static gptoss_status grow(void *array, size_t count, size_t size, const char *what, gptoss_error *err) {
    bool is_full = (count & (count - 1)) == 0; /* the capacity is the next power of two */
    return is_full ? mem_resize(array, count ? 2 * count : 1, size, what, err) : GPTOSS_OK;
}

static gptoss_status read_header(reader *r, gguf_part *p, size_t *names_size, gptoss_error *err) {
    uint64_t tensors, values;
    TRY(read_prelude(r, p, &tensors, &values, err));
    while (p->value_count < values) {
        TRY(grow(&p->values, p->value_count, sizeof p->values[0], "metadata", err));
        gguf_value v = {0};
        TRY(read_value(r, &v, err));
        p->values[p->value_count++] = v;
    }
    *names_size = 0;
    while (p->tensor_count < tensors) {
        TRY(grow(&p->tensors, p->tensor_count, sizeof p->tensors[0], "tensor directory", err));
        gguf_tensor t = {0};
        size_t name_size;
        TRY(read_tensor(r, &t, &name_size, err));
        p->tensors[p->tensor_count++] = t;
        *names_size += name_size + 1;
    }
    return GPTOSS_OK;
}

/* Sets the pointers of values and tensors, now that the header has all its bytes and stays where it is. */
static gptoss_status link_header(gguf_part *p, size_t names_size, gptoss_error *err) {
    TRY(mem_array(names_size, 1, "tensor names", &p->names, err));
    TRY(mem_array(p->value_count, sizeof p->by_key[0], "metadata index", &p->by_key, err));
    const uint8_t *at = p->header + PRELUDE_BYTES;
    for (size_t i = 0; i < p->value_count; i++) {
        gguf_value *v = &p->values[i];
        v->key.bytes = (const char *)at + 8;
        v->data = at + 8 + v->key.size + 4 + (v->kind == GGUF_ARRAY ? 4 + 8 : 0);
        at = v->data + v->size;
        p->by_key[i] = v;
    }
    char *name = p->names;
    cursor c = {p->header, p->header_bytes, (size_t)(at - p->header)};
    for (size_t i = 0; i < p->tensor_count; i++) {
        uint64_t length = 0;
        cursor_u64(&c, &length);
        cursor_bytes(&c, name, (size_t)length);
        cursor_skip(&c, 4 + 8 * (uint64_t)p->tensors[i].n_dims + 4 + 8);
        p->tensors[i].name = name; /* mem_array zeroed the NUL */
        name += length + 1;
    }
    return GPTOSS_OK;
}

/* ---- keys ---- */

static int compare_texts(gguf_text a, gguf_text b) {
    int order = memcmp(a.bytes, b.bytes, a.size < b.size ? a.size : b.size);
    return order ? order : (a.size > b.size) - (a.size < b.size);
}

static int compare_keys(const void *a, const void *b) {
    return compare_texts((*(const gguf_value *const *)a)->key, (*(const gguf_value *const *)b)->key);
}

static gptoss_status index_keys(gguf_part *p, gptoss_error *err) {
    qsort(p->by_key, p->value_count, sizeof p->by_key[0], compare_keys);
    for (size_t i = 1; i < p->value_count; i++) {
        gguf_text key = p->by_key[i]->key;
        if (compare_texts(p->by_key[i - 1]->key, key) != 0) continue;
        char shown[SHOWN];
        return error_set(err, GPTOSS_BAD_INPUT, "metadata key %s appears twice",
                         quote_text(key.bytes, key.size, shown, sizeof shown));
    }
    return GPTOSS_OK;
}

const gguf_value *part_find_value(const gguf_part *p, const char *key) {
    gguf_text wanted = {key, strlen(key)};
    for (size_t low = 0, high = p->value_count; low < high;) {
        size_t middle = low + (high - low) / 2;
        int order = compare_texts(wanted, p->by_key[middle]->key);
        if (order == 0) return p->by_key[middle];
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return NULL;
}

/* ---- where tensors lie ---- */

static gptoss_status find_alignment(gguf_part *p, gptoss_error *err) {
    p->alignment = default_alignment;
    const gguf_value *v = part_find_value(p, "general.alignment");
    if (!v) return GPTOSS_OK;
    if (v->kind != GGUF_U32 || !gguf_as_u64(v, &p->alignment))
        return error_set(err, GPTOSS_BAD_INPUT, "metadata key general.alignment is no 32-bit unsigned number");
    if (p->alignment == 0 || p->alignment % 8)
        return error_set(err, GPTOSS_BAD_INPUT, "metadata key general.alignment is %llu; it must be a multiple of 8",
                         (unsigned long long)p->alignment);
    return GPTOSS_OK;
}

static gptoss_status refuse_tensor(const gguf_tensor *t, gptoss_error *err, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static gptoss_status refuse_tensor(const gguf_tensor *t, gptoss_error *err, const char *format, ...) {
    char shown[SHOWN], what[256];
    va_list args;
    va_start(args, format);
    vsnprintf(what, sizeof what, format, args);
    va_end(args);
    return error_set(err, GPTOSS_BAD_INPUT, "tensor %s: %s", quote_text(t->name, strlen(t->name), shown, sizeof shown),
                     what);
}

/* Makes the offset count from the start of the file. */
static gptoss_status place_tensor(const gguf_part *p, uint64_t data_start, gguf_tensor *t, gptoss_error *err) {
    unsigned long long offset = t->offset;
    if (offset % p->alignment)
        return refuse_tensor(t, err, "its offset %llu is no multiple of the alignment, %llu", offset,
                             (unsigned long long)p->alignment);
    if (data_start > p->size || offset >= p->size - data_start)
        return refuse_tensor(t, err,
                             "its offset %llu is past the end of the file (%llu bytes of data); is it complete?",
                             offset, (unsigned long long)(data_start < p->size ? p->size - data_start : 0));
    t->offset += data_start;
    if (t->bytes > p->size - t->offset)
        return refuse_tensor(t, err, "it ends %llu bytes past the end of the file (%llu bytes); is it complete?",
                             (unsigned long long)(t->bytes - (p->size - t->offset)), (unsigned long long)p->size);
    return GPTOSS_OK;
}

static int compare_offsets(const void *a, const void *b) {
    const gguf_tensor *x = *(const gguf_tensor *const *)a, *y = *(const gguf_tensor *const *)b;
    return (x->offset > y->offset) - (x->offset < y->offset);
}

static gptoss_status refuse_overlaps(const gguf_part *p, gptoss_error *err) {
    const gguf_tensor **by_offset;
    TRY(mem_array(p->tensor_count, sizeof by_offset[0], "order of the tensors", &by_offset, err));
    for (size_t i = 0; i < p->tensor_count; i++) by_offset[i] = &p->tensors[i];
    qsort(by_offset, p->tensor_count, sizeof by_offset[0], compare_offsets);
    gptoss_status status = GPTOSS_OK;
    for (size_t i = 1; i < p->tensor_count && status == GPTOSS_OK; i++) {
        const gguf_tensor *before = by_offset[i - 1], *t = by_offset[i];
        uint64_t bytes = before->bytes ? before->bytes : 1; /* of an unknown type */
        char shown[SHOWN];
        if (t->offset - before->offset < bytes)
            status = refuse_tensor(t, err, "at byte %llu it overlaps tensor %s", (unsigned long long)t->offset,
                                   quote_text(before->name, strlen(before->name), shown, sizeof shown));
    }
    free(by_offset);
    return status;
}

static gptoss_status place_tensors(gguf_part *p, gptoss_error *err) {
    TRY(find_alignment(p, err));
    uint64_t past = p->header_bytes % p->alignment;
    uint64_t data_start = p->header_bytes + (past ? p->alignment - past : 0);
    for (size_t i = 0; i < p->tensor_count; i++) TRY(place_tensor(p, data_start, &p->tensors[i], err));
    return refuse_overlaps(p, err);
}

/* ---- the whole ---- */

static gptoss_status load_header(int fd, gguf_part *p, size_t *names_size, gptoss_error *err) {
    reader r = {.fd = fd, .file_size = p->size};
    r.limit = p->size < longest_header ? p->size : longest_header;
    gptoss_status status = read_header(&r, p, names_size, err);
    if (status == GPTOSS_OK) status = mem_resize(&r.data, r.at, 1, "header of a GGUF file", err);
    p->header = r.data;
    p->header_bytes = r.at;
    return status;
}

static gptoss_status read_part(const char *path, gguf_part *p, gptoss_error *err) {
    struct stat info;
    int fd = -1;
    size_t names_size;
    TRY(mem_array(strlen(path) + 1, 1, "path", &p->path, err));
    strcpy(p->path, path);
    TRY(open_regular(path, &fd, &info, err));
    p->size = (uint64_t)info.st_size;
    p->device = info.st_dev;
    p->inode = info.st_ino;
    gptoss_status status = load_header(fd, p, &names_size, err);
    close(fd);
    if (status != GPTOSS_OK) return status;
    TRY(link_header(p, names_size, err));
    TRY(index_keys(p, err));
    return place_tensors(p, err);
}

gptoss_status part_read(const char *path, gguf_part *out, gptoss_error *err) {
    gguf_part p = {0};
    gptoss_status status = read_part(path, &p, err);
    if (status != GPTOSS_OK) {
        part_free(&p);
        return error_prefix(err, status, "%s", path);
    }
    *out = p;
    return GPTOSS_OK;
}

void part_free(gguf_part *p) {
    free(p->path);
    free(p->header);
    free(p->names);
    free(p->values);
    free(p->by_key);
    free(p->tensors);
    *p = (gguf_part){0};
}
