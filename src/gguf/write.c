#include "gguf/write.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/folder.h"
#include "base/mem.h"
#include "gguf/split.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "numbers are written as they stand in memory");

enum { DEFAULT_ALIGNMENT = 32, MOST_PARTS = 65535, LONGEST_TENSOR_NAME = 63, LONGEST_KEY = 65535 };

typedef struct out_tensor {
    char name[LONGEST_TENSOR_NAME + 1];
    uint32_t n_dims;
    uint64_t dims[4];
    gguf_type type;
    uint64_t bytes;
    uint32_t part;
    uint64_t offset;               /* from the start of the part's data section */
    _Atomic uint64_t *bytes_given; /* of gguf_write_data; its own allocation, as tensors move while they are declared */
} out_tensor;

typedef struct out_part {
    char *path, *partial_path;
    int fd;             /* -1 when not open */
    size_t first, last; /* tensors [first, last) */
    uint64_t data_offset, bytes;
} out_part;

struct gguf_writer {
    buffer values; /* encoded metadata */
    uint32_t value_count;
    struct {
        size_t at, size;
    } * keys; /* in `values` */
    out_tensor *tensors;
    size_t tensor_count, tensor_capacity;
    out_part *parts;
    uint32_t part_count;
    uint64_t alignment;
    bool closed;
};

gptoss_status gguf_write_new(gguf_writer **out, gptoss_error *err) {
    return mem_array(1, sizeof **out, "GGUF writer", out, err);
}

void gguf_write_free(gguf_writer *w) {
    if (!w) return;
    for (uint32_t i = 0; i < w->part_count; i++) {
        out_part *part = &w->parts[i];
        if (part->fd >= 0) {
            if (!w->closed) unlink(part->partial_path);
            close(part->fd); /* and with it goes the lock */
        }
        free(part->path);
        free(part->partial_path);
    }
    for (size_t i = 0; i < w->tensor_count; i++) free((void *)w->tensors[i].bytes_given);
    free(w->parts);
    free(w->tensors);
    free(w->keys);
    buffer_free(&w->values);
    free(w);
}

/* --- metadata --- */

static gptoss_status put_u32(buffer *b, uint32_t value, gptoss_error *err) {
    return buffer_append(b, &value, sizeof value, err);
}

static gptoss_status put_u64(buffer *b, uint64_t value, gptoss_error *err) {
    return buffer_append(b, &value, sizeof value, err);
}

static gptoss_status put_text(buffer *b, gguf_text text, gptoss_error *err) {
    TRY(put_u64(b, text.size, err));
    return buffer_append(b, text.bytes, text.size, err);
}

static gguf_text text_of(const char *text) { return (gguf_text){text, strlen(text)}; }

static bool is_own_key(gguf_text key) {
    gguf_text alignment = text_of("general.alignment"), split = text_of("split.");
    return (key.size == alignment.size && memcmp(key.bytes, alignment.bytes, key.size) == 0) ||
           (key.size >= split.size && memcmp(key.bytes, split.bytes, split.size) == 0);
}

static gptoss_status check_key(const gguf_writer *w, gguf_text key, gptoss_error *err) {
    int shown = key.size > 100 ? 100 : (int)key.size;
    if (w->part_count) return error_set(err, GPTOSS_INTERNAL, "metadata %.*s comes too late", shown, key.bytes);
    if (key.size < 1 || key.size > LONGEST_KEY)
        return error_set(err, GPTOSS_MISUSE, "a metadata key of %zu bytes; 1 to %d are allowed", key.size, LONGEST_KEY);
    if (is_own_key(key))
        return error_set(err, GPTOSS_MISUSE, "metadata %.*s is the GGUF writer's own affair", shown, key.bytes);
    for (uint32_t i = 0; i < w->value_count; i++)
        if (w->keys[i].size == key.size && memcmp(w->values.data + w->keys[i].at, key.bytes, key.size) == 0)
            return error_set(err, GPTOSS_MISUSE, "metadata %.*s is given twice", shown, key.bytes);
    return GPTOSS_OK;
}

/* One value, all of it or nothing: the key, `kind`, for arrays also `element` and `count`, then the encoded bytes. */
static gptoss_status add_value(gguf_writer *w, gguf_text key, gguf_kind kind, gguf_kind element, uint64_t count,
                               const void *bytes, size_t size, gptoss_error *err) {
    TRY(check_key(w, key, err));
    TRY(mem_resize(&w->keys, w->value_count + 1, sizeof *w->keys, "metadata", err));
    size_t before = w->values.size;
    gptoss_status status = put_text(&w->values, key, err);
    if (status == GPTOSS_OK) status = put_u32(&w->values, kind, err);
    if (status == GPTOSS_OK && kind == GGUF_ARRAY) {
        status = put_u32(&w->values, element, err);
        if (status == GPTOSS_OK) status = put_u64(&w->values, count, err);
    }
    if (status == GPTOSS_OK) status = buffer_append(&w->values, bytes, size, err);
    if (status != GPTOSS_OK) {
        w->values.size = before;
        return status;
    }
    w->keys[w->value_count].at = before + sizeof(uint64_t);
    w->keys[w->value_count++].size = key.size;
    return GPTOSS_OK;
}

gptoss_status gguf_write_number(gguf_writer *w, const char *key, gguf_kind kind, const void *value, gptoss_error *err) {
    if (!gguf_kind_bytes(kind))
        return error_set(err, GPTOSS_MISUSE, "metadata %s: kind %d is no number", key, (int)kind);
    return add_value(w, text_of(key), kind, kind, 1, value, gguf_kind_bytes(kind), err);
}

gptoss_status gguf_write_u32(gguf_writer *w, const char *key, uint32_t value, gptoss_error *err) {
    return gguf_write_number(w, key, GGUF_U32, &value, err);
}

gptoss_status gguf_write_f32(gguf_writer *w, const char *key, float value, gptoss_error *err) {
    return gguf_write_number(w, key, GGUF_F32, &value, err);
}

gptoss_status gguf_write_text(gguf_writer *w, const char *key, const char *text, gptoss_error *err) {
    buffer encoded = {0};
    gptoss_status status = put_text(&encoded, text_of(text), err);
    if (status == GPTOSS_OK)
        status = add_value(w, text_of(key), GGUF_STRING, GGUF_STRING, 1, encoded.data, encoded.size, err);
    buffer_free(&encoded);
    return status;
}

gptoss_status gguf_write_numbers(gguf_writer *w, const char *key, gguf_kind element, const void *values, uint64_t count,
                                 gptoss_error *err) {
    uint64_t bytes;
    if (!gguf_kind_bytes(element))
        return error_set(err, GPTOSS_MISUSE, "metadata %s: kind %d is no number", key, (int)element);
    if (!mem_mul_u64(count, gguf_kind_bytes(element), &bytes) || bytes > SIZE_MAX)
        return error_set(err, GPTOSS_MISUSE, "metadata %s is too long", key);
    return add_value(w, text_of(key), GGUF_ARRAY, element, count, values, (size_t)bytes, err);
}

gptoss_status gguf_write_texts(gguf_writer *w, const char *key, const gguf_text *texts, uint64_t count,
                               gptoss_error *err) {
    buffer encoded = {0};
    gptoss_status status = GPTOSS_OK;
    for (uint64_t i = 0; status == GPTOSS_OK && i < count; i++) status = put_text(&encoded, texts[i], err);
    if (status == GPTOSS_OK)
        status = add_value(w, text_of(key), GGUF_ARRAY, GGUF_STRING, count, encoded.data, encoded.size, err);
    buffer_free(&encoded);
    return status;
}

gptoss_status gguf_write_copy(gguf_writer *w, const gguf_value *value, gptoss_error *err) {
    if (is_own_key(value->key)) return GPTOSS_OK;
    return add_value(w, value->key, value->kind, value->element, value->count, value->data, value->size, err);
}

/* --- tensors --- */

gptoss_status gguf_write_tensor(gguf_writer *w, const char *name, uint32_t n_dims, const uint64_t *dims, gguf_type type,
                                gptoss_error *err) {
    size_t length = strlen(name);
    if (w->part_count) return error_set(err, GPTOSS_INTERNAL, "tensor %s comes too late", name);
    if (length < 1 || length > LONGEST_TENSOR_NAME)
        return error_set(err, GPTOSS_MISUSE, "tensor name \"%.100s\": 1 to %d bytes are allowed", name,
                         LONGEST_TENSOR_NAME);
    if (n_dims < 1 || n_dims > 4)
        return error_set(err, GPTOSS_MISUSE, "tensor %s: %u dimensions; 1 to 4 are allowed", name, n_dims);

    out_tensor t = {.n_dims = n_dims, .dims = {1, 1, 1, 1}, .type = type};
    memcpy(t.name, name, length + 1);
    if (gguf_row_bytes(type, dims[0], &t.bytes, err) != GPTOSS_OK)
        return error_prefix(err, GPTOSS_MISUSE, "tensor %s", name);
    for (uint32_t d = 0; d < n_dims; d++) {
        t.dims[d] = dims[d];
        if (dims[d] < 1 || (d > 0 && !mem_mul_u64(t.bytes, dims[d], &t.bytes)) || t.bytes > INT64_MAX / 4)
            return error_set(err, GPTOSS_MISUSE, "tensor %s: dimension %u is %llu", name, d,
                             (unsigned long long)dims[d]);
    }
    if (w->tensor_count == w->tensor_capacity) {
        size_t capacity = w->tensor_capacity ? 2 * w->tensor_capacity : 64;
        TRY(mem_resize(&w->tensors, capacity, sizeof *w->tensors, "tensor directory", err));
        w->tensor_capacity = capacity;
    }
    TRY(mem_array(1, sizeof *t.bytes_given, "tensor directory", &t.bytes_given, err));
    w->tensors[w->tensor_count++] = t;
    return GPTOSS_OK;
}

uint64_t gguf_write_tensor_bytes(const gguf_writer *w, size_t tensor) { return w->tensors[tensor].bytes; }

uint64_t gguf_write_total_bytes(const gguf_writer *w) {
    uint64_t total = 0;
    for (size_t i = 0; i < w->tensor_count; i++) total += w->tensors[i].bytes;
    return total;
}

/* --- parts --- */

static uint64_t padded(uint64_t bytes, uint64_t alignment) { return (bytes + alignment - 1) / alignment * alignment; }

static uint64_t directory_bytes(const out_tensor *t) { return 8 + strlen(t->name) + 4 + 8 * t->n_dims + 4 + 8; }

static gptoss_status put_own_value(buffer *b, const char *key, gguf_kind kind, const void *value, gptoss_error *err) {
    TRY(put_text(b, text_of(key), err));
    TRY(put_u32(b, kind, err));
    return buffer_append(b, value, gguf_kind_bytes(kind), err);
}

/* The whole header of one part, padded. */
static gptoss_status encode_header(const gguf_writer *w, uint32_t index, uint32_t part_count, const out_part *part,
                                   buffer *out, gptoss_error *err) {
    bool is_split = part_count > 1, is_aligned_otherwise = w->alignment != DEFAULT_ALIGNMENT;
    uint64_t values = (index == 0 ? w->value_count : 0) + (is_split ? 3 : 0) + (is_aligned_otherwise ? 1 : 0);
    TRY(buffer_append(out, "GGUF", 4, err));
    TRY(put_u32(out, 3, err));
    TRY(put_u64(out, part->last - part->first, err));
    TRY(put_u64(out, values, err));
    if (index == 0) TRY(buffer_append(out, w->values.data, w->values.size, err));
    if (is_aligned_otherwise)
        TRY(put_own_value(out, "general.alignment", GGUF_U32, &(uint32_t){(uint32_t)w->alignment}, err));
    if (is_split) {
        TRY(put_own_value(out, "split.no", GGUF_U16, &(uint16_t){(uint16_t)index}, err));
        TRY(put_own_value(out, "split.count", GGUF_U16, &(uint16_t){(uint16_t)part_count}, err));
        TRY(put_own_value(out, "split.tensors.count", GGUF_I32, &(int32_t){(int32_t)w->tensor_count}, err));
    }
    for (size_t i = part->first; i < part->last; i++) {
        const out_tensor *t = &w->tensors[i];
        TRY(put_text(out, text_of(t->name), err));
        TRY(put_u32(out, t->n_dims, err));
        for (uint32_t d = 0; d < t->n_dims; d++) TRY(put_u64(out, t->dims[d], err));
        TRY(put_u32(out, t->type, err));
        TRY(put_u64(out, t->offset, err));
    }
    static const char zeros[64];
    for (uint64_t pad = padded(out->size, w->alignment) - out->size; pad > 0;) {
        size_t some = pad < sizeof zeros ? (size_t)pad : sizeof zeros;
        TRY(buffer_append(out, zeros, some, err));
        pad -= some;
    }
    return GPTOSS_OK;
}

/* Deals the tensors to parts in order; offsets and parts' sizes are set, the number of parts is returned. */
static uint32_t deal_tensors(gguf_writer *w, out_part *parts, uint64_t limit) {
    const uint64_t own = 24 + 160; /* prelude, and more than the writer's own values take */
    uint32_t at = 0;
    uint64_t header = own + w->values.size, data = 0;
    parts[0] = (out_part){.fd = -1};
    for (size_t i = 0; i < w->tensor_count; i++) {
        out_tensor *t = &w->tensors[i];
        uint64_t more = padded(t->bytes, w->alignment);
        bool is_full = padded(header + directory_bytes(t), w->alignment) + data + more > limit;
        if (limit && is_full && i > parts[at].first) {
            parts[++at] = (out_part){.fd = -1, .first = i};
            header = own, data = 0;
        }
        t->part = at;
        t->offset = data;
        header += directory_bytes(t);
        data += more;
        parts[at].last = i + 1;
        parts[at].bytes = data; /* the header is added when it is encoded */
    }
    return at + 1;
}

static gptoss_status name_part(out_part *part, const char *path, uint32_t index, uint32_t count, gptoss_error *err) {
    size_t length = strlen(path);
    if (count > 1) {
        size_t stem = length > 5 && strcmp(path + length - 5, ".gguf") == 0 ? length - 5 : length;
        TRY(split_path(path, stem, index + 1, count, &part->path, err));
    } else {
        TRY(mem_array(length + 1, 1, "path", &part->path, err));
        memcpy(part->path, path, length + 1);
    }
    static const char suffix[] = ".partial";
    length = strlen(part->path);
    TRY(mem_array(length + sizeof suffix, 1, "path", &part->partial_path, err));
    memcpy(part->partial_path, part->path, length);
    memcpy(part->partial_path + length, suffix, sizeof suffix);
    return GPTOSS_OK;
}

static gptoss_status check_target(const char *path, bool replace, gptoss_error *err) {
    struct stat s;
    if (lstat(path, &s) != 0) return GPTOSS_OK; /* what else may be wrong shows when it is created */
    if (S_ISDIR(s.st_mode)) return error_set(err, GPTOSS_MISUSE, "%s is a directory", path);
    if (!S_ISREG(s.st_mode)) return error_set(err, GPTOSS_MISUSE, "%s exists and is not an ordinary file", path);
    if (!replace) return error_set(err, GPTOSS_MISUSE, "%s exists already; --force replaces it", path);
    return GPTOSS_OK;
}

/* Opens PATH.partial for this process alone. One that a killed process left behind is taken over. */
static gptoss_status create_partial(out_part *part, gptoss_error *err) {
    const char *path = part->partial_path;
    for (;;) {
        int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666);
        if (fd < 0) return error_set_errno(err, GPTOSS_MISUSE, errno, "cannot create %s", path);
        if (flock(fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) {
            close(fd);
            return error_set(err, GPTOSS_MISUSE, "another process is writing %s", path);
        }
        if (!folder_still_has(fd, path)) {
            close(fd);
            continue;
        }
        if (ftruncate(fd, 0) != 0) {
            gptoss_status status = error_set_errno(err, GPTOSS_IO, errno, "cannot empty %s", path);
            close(fd);
            return status;
        }
        part->fd = fd;
        return GPTOSS_OK;
    }
}

static double gigabytes(uint64_t bytes) { return (double)bytes / 1e9; }

static gptoss_status check_room(const gguf_writer *w, const char *path, gptoss_error *err) {
    struct statvfs s;
    if (fstatvfs(w->parts[0].fd, &s) != 0) return GPTOSS_OK; /* then the disk itself must say so */
    uint64_t needed = 0, available = (uint64_t)s.f_bavail * s.f_frsize;
    for (uint32_t i = 0; i < w->part_count; i++) needed += w->parts[i].bytes;
    if (needed <= available) return GPTOSS_OK;
    return error_set(err, GPTOSS_IO, "%s needs %.3f GB, but only %.3f GB are free on its disk", path, gigabytes(needed),
                     gigabytes(available));
}

static gptoss_status write_at(const out_part *part, const char *bytes, size_t size, uint64_t offset,
                              gptoss_error *err) {
    while (size > 0) {
        ssize_t written = pwrite(part->fd, bytes, size, (off_t)offset);
        if (written < 0 && errno == EINTR) continue;
        if (written < 0) return error_set_errno(err, GPTOSS_IO, errno, "cannot write %s", part->partial_path);
        if (written == 0)
            return error_set(err, GPTOSS_IO, "cannot write %s: the disk takes no more", part->partial_path);
        bytes += written, size -= (size_t)written, offset += (uint64_t)written;
    }
    return GPTOSS_OK;
}

/* Reserves the part's space, so that a full disk shows now rather than after minutes, and writes its header. */
static gptoss_status begin_part(const out_part *part, const buffer *header, gptoss_error *err) {
    if (part->bytes > INT64_MAX) return error_set(err, GPTOSS_MISUSE, "%s would be too large for any disk", part->path);
    if (fallocate(part->fd, 0, 0, (off_t)part->bytes) != 0 && (errno == ENOSPC || errno == EFBIG || errno == EDQUOT))
        return error_set_errno(err, GPTOSS_IO, errno, "cannot reserve %.3f GB for %s", gigabytes(part->bytes),
                               part->path);
    if (ftruncate(part->fd, (off_t)part->bytes) != 0)
        return error_set_errno(err, GPTOSS_IO, errno, "cannot make %s %.3f GB large", part->partial_path,
                               gigabytes(part->bytes));
    return write_at(part, header->data, header->size, 0, err);
}

static gptoss_status begin_parts(gguf_writer *w, const char *path, bool replace, gptoss_error *err) {
    for (uint32_t i = 0; i < w->part_count; i++) {
        TRY(name_part(&w->parts[i], path, i, w->part_count, err));
        TRY(check_target(w->parts[i].path, replace, err));
    }
    buffer header = {0};
    gptoss_status status = GPTOSS_OK;
    for (uint32_t i = 0; status == GPTOSS_OK && i < w->part_count; i++) {
        out_part *part = &w->parts[i];
        buffer_clear(&header);
        status = create_partial(part, err);
        if (status == GPTOSS_OK) status = encode_header(w, i, w->part_count, part, &header, err);
        part->data_offset = header.size;
        part->bytes += header.size;
    }
    if (status == GPTOSS_OK) status = check_room(w, path, err);
    for (uint32_t i = 0; status == GPTOSS_OK && i < w->part_count; i++) {
        buffer_clear(&header);
        status = encode_header(w, i, w->part_count, &w->parts[i], &header, err);
        if (status == GPTOSS_OK) status = begin_part(&w->parts[i], &header, err);
    }
    buffer_free(&header);
    return status;
}

static int compare_names(const void *a, const void *b) {
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static gptoss_status check_names_differ(const gguf_writer *w, gptoss_error *err) {
    const char **names;
    TRY(mem_array(w->tensor_count, sizeof *names, "tensor names", &names, err));
    for (size_t i = 0; i < w->tensor_count; i++) names[i] = w->tensors[i].name;
    qsort(names, w->tensor_count, sizeof *names, compare_names);
    gptoss_status status = GPTOSS_OK;
    for (size_t i = 1; status == GPTOSS_OK && i < w->tensor_count; i++)
        if (strcmp(names[i - 1], names[i]) == 0)
            status = error_set(err, GPTOSS_MISUSE, "tensor %s is there twice", names[i]);
    free(names);
    return status;
}

gptoss_status gguf_write_open(gguf_writer *w, const char *path, gguf_write_options options, gptoss_error *err) {
    if (w->part_count) return error_set(err, GPTOSS_INTERNAL, "%s: the writer is open already", path);
    uint64_t alignment = options.alignment ? options.alignment : DEFAULT_ALIGNMENT;
    if (alignment % 8 || (alignment & (alignment - 1)) || alignment > 1u << 20)
        return error_set(err, GPTOSS_MISUSE, "an alignment of %llu is not a power of two from 8 to 1048576",
                         (unsigned long long)alignment);
    if (w->tensor_count > INT32_MAX) return error_set(err, GPTOSS_MISUSE, "%zu tensors are too many", w->tensor_count);
    TRY(check_names_differ(w, err));
    w->alignment = alignment;
    out_part *parts;
    TRY(mem_array(w->tensor_count ? w->tensor_count : 1, sizeof *parts, "list of parts", &parts, err));
    uint32_t count = deal_tensors(w, parts, options.split_bytes);
    if (count > MOST_PARTS) {
        free(parts);
        return error_set(err, GPTOSS_MISUSE, "%u parts are too many; a split size of more than %llu bytes is needed",
                         count, (unsigned long long)options.split_bytes);
    }
    w->parts = parts;
    w->part_count = count;
    return begin_parts(w, path, options.replace, err);
}

gptoss_status gguf_write_layout(gguf_writer *w, buffer *header, uint64_t *file_bytes, gptoss_error *err) {
    out_part *part;
    if (w->part_count) return error_set(err, GPTOSS_INTERNAL, "the GGUF writer is open already");
    TRY(check_names_differ(w, err));
    TRY(mem_array(w->tensor_count ? w->tensor_count : 1, sizeof *part, "list of parts", &part, err));
    w->alignment = DEFAULT_ALIGNMENT;
    deal_tensors(w, part, 0);
    size_t before = header->size;
    gptoss_status status = encode_header(w, 0, 1, part, header, err);
    if (status == GPTOSS_OK) *file_bytes = header->size - before + part->bytes;
    free(part);
    return status;
}

uint64_t gguf_write_tensor_offset(const gguf_writer *w, size_t tensor) { return w->tensors[tensor].offset; }

gptoss_status gguf_write_data(gguf_writer *w, size_t tensor, uint64_t offset, const void *bytes, size_t size,
                              gptoss_error *err) {
    if (tensor >= w->tensor_count || !w->part_count || w->closed)
        return error_set(err, GPTOSS_INTERNAL, "data for a tensor that is not being written");
    const out_tensor *t = &w->tensors[tensor];
    if (offset > t->bytes || size > t->bytes - offset)
        return error_set(err, GPTOSS_INTERNAL, "tensor %s: %zu bytes at %llu of %llu", t->name, size,
                         (unsigned long long)offset, (unsigned long long)t->bytes);
    const out_part *part = &w->parts[t->part];
    TRY(write_at(part, bytes, size, part->data_offset + t->offset + offset, err));
    atomic_fetch_add(t->bytes_given, size);
    return GPTOSS_OK;
}

gptoss_status gguf_write_close(gguf_writer *w, gptoss_error *err) {
    if (!w->part_count || w->closed) return error_set(err, GPTOSS_INTERNAL, "the GGUF writer is not open");
    for (size_t i = 0; i < w->tensor_count; i++) {
        uint64_t given = atomic_load(w->tensors[i].bytes_given);
        if (given != w->tensors[i].bytes)
            return error_set(err, GPTOSS_MISUSE, "tensor %s: %llu of its %llu bytes were written", w->tensors[i].name,
                             (unsigned long long)given, (unsigned long long)w->tensors[i].bytes);
    }
    for (uint32_t i = 0; i < w->part_count; i++) {
        /* Network file systems report late errors on close; closing a copy keeps the lock. */
        int copy = dup(w->parts[i].fd);
        if (copy < 0 || close(copy) != 0)
            return error_set_errno(err, GPTOSS_IO, errno, "cannot finish %s", w->parts[i].partial_path);
    }
    /* From the last part to the first: whoever sees the first part finds all the others. */
    for (uint32_t i = w->part_count; i-- > 0;)
        if (rename(w->parts[i].partial_path, w->parts[i].path) != 0)
            return error_set_errno(err, GPTOSS_IO, errno, "cannot rename %s to %s", w->parts[i].partial_path,
                                   w->parts[i].path);
    w->closed = true;
    return GPTOSS_OK;
}

uint32_t gguf_write_part_count(const gguf_writer *w) { return w->part_count; }

const char *gguf_write_part_path(const gguf_writer *w, uint32_t part) { return w->parts[part].path; }
