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

/* ---- keys ---- */

static int compare_texts(gguf_text a, gguf_text b) {
    int order = memcmp(a.bytes, b.bytes, a.size < b.size ? a.size : b.size);
    return order ? order : (a.size > b.size) - (a.size < b.size);
}

static int compare_keys(const void *a, const void *b) {
    return compare_texts((*(const gguf_value *const *)a)->key, (*(const gguf_value *const *)b)->key);
}

static gptoss_status index_keys(gguf_part *p, gptoss_error *err) {
    size_t count = p->header.value_count;
    TRY(mem_array(count, sizeof p->by_key[0], "metadata index", &p->by_key, err));
    for (size_t i = 0; i < count; i++) p->by_key[i] = &p->header.values[i];
    qsort(p->by_key, count, sizeof p->by_key[0], compare_keys);
    for (size_t i = 1; i < count; i++) {
        gguf_text key = p->by_key[i]->key;
        if (compare_texts(p->by_key[i - 1]->key, key) != 0) continue;
        char shown[QUOTE_NAME];
        return error_set(err, GPTOSS_BAD_INPUT, "metadata key %s appears twice",
                         quote_text(key.bytes, key.size, shown, sizeof shown));
    }
    return GPTOSS_OK;
}

const gguf_value *part_find_value(const gguf_part *p, const char *key) {
    gguf_text wanted = {key, strlen(key)};
    for (size_t low = 0, high = p->header.value_count; low < high;) {
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
    char shown[QUOTE_NAME], what[256];
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
    TRY(mem_array(p->header.tensor_count, sizeof by_offset[0], "order of the tensors", &by_offset, err));
    for (size_t i = 0; i < p->header.tensor_count; i++) by_offset[i] = &p->header.tensors[i];
    qsort(by_offset, p->header.tensor_count, sizeof by_offset[0], compare_offsets);
    gptoss_status status = GPTOSS_OK;
    for (size_t i = 1; i < p->header.tensor_count && status == GPTOSS_OK; i++) {
        const gguf_tensor *before = by_offset[i - 1], *t = by_offset[i];
        uint64_t bytes = before->bytes ? before->bytes : 1; /* of an unknown type */
        char shown[QUOTE_NAME];
        if (t->offset - before->offset < bytes)
            status = refuse_tensor(t, err, "at byte %llu it overlaps tensor %s", (unsigned long long)t->offset,
                                   quote_text(before->name, strlen(before->name), shown, sizeof shown));
    }
    free(by_offset);
    return status;
}

static gptoss_status place_tensors(gguf_part *p, gptoss_error *err) {
    TRY(find_alignment(p, err));
    uint64_t past = p->header.size % p->alignment;
    uint64_t data_start = p->header.size + (past ? p->alignment - past : 0);
    for (size_t i = 0; i < p->header.tensor_count; i++) TRY(place_tensor(p, data_start, &p->header.tensors[i], err));
    return refuse_overlaps(p, err);
}

/* ---- the whole ---- */

static gptoss_status read_part(const char *path, gguf_part *p, gptoss_error *err) {
    struct stat info;
    int fd = -1;
    TRY(mem_array(strlen(path) + 1, 1, "path", &p->path, err));
    strcpy(p->path, path);
    TRY(open_regular(path, &fd, &info, err));
    p->size = (uint64_t)info.st_size;
    p->device = info.st_dev;
    p->inode = info.st_ino;
    gptoss_status status = header_read(fd, p->size, &p->header, err);
    close(fd);
    if (status != GPTOSS_OK) return status;
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
    free(p->by_key);
    header_free(&p->header);
    *p = (gguf_part){0};
}
