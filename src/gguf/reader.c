#include "gguf/reader.h"

#include <errno.h>
#include <unistd.h>

#include "base/cursor.h"
#include "base/mem.h"

enum { STEP = 256 << 10 };

static gptoss_status refuse_end(const reader *r, const char *what, gptoss_error *err) {
    if (r->limit < r->file_size)
        return error_set(err, GPTOSS_BAD_INPUT, "byte %zu: %s goes past the longest header allowed, %llu bytes", r->at,
                         what, (unsigned long long)r->limit);
    return error_set(err, GPTOSS_BAD_INPUT, "byte %zu: the file ends (at %llu bytes) inside %s; is it complete?", r->at,
                     (unsigned long long)r->file_size, what);
}

static gptoss_status make_room(reader *r, size_t size, gptoss_error *err) {
    if (size <= r->capacity) return GPTOSS_OK;
    size_t capacity = r->capacity > size / 2 ? 2 * r->capacity : size;
    if (capacity > r->limit) capacity = (size_t)r->limit;
    TRY(mem_resize(&r->data, capacity, 1, "header of a GGUF file", err));
    r->capacity = capacity;
    return GPTOSS_OK;
}

static gptoss_status load(reader *r, size_t end, gptoss_error *err) {
    TRY(make_room(r, end, err));
    while (r->loaded < end) {
        ssize_t got = pread(r->fd, r->data + r->loaded, end - r->loaded, (off_t)r->loaded);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return error_set_errno(err, GPTOSS_IO, errno, "byte %zu: cannot read", r->loaded);
        if (got == 0)
            return error_set(err, GPTOSS_IO, "byte %zu: the file became shorter while it was read", r->loaded);
        r->loaded += (size_t)got;
    }
    return GPTOSS_OK;
}

gptoss_status reader_need(reader *r, uint64_t bytes, const char *what, gptoss_error *err) {
    if (bytes <= r->loaded - r->at) return GPTOSS_OK;
    if (bytes > r->limit - r->at) return refuse_end(r, what, err);
    uint64_t end = r->at + bytes;
    uint64_t step = r->loaded + (uint64_t)STEP < r->limit ? r->loaded + (uint64_t)STEP : r->limit;
    return load(r, (size_t)(end > step ? end : step), err);
}

gptoss_status reader_skip(reader *r, uint64_t bytes, const char *what, gptoss_error *err) {
    TRY(reader_need(r, bytes, what, err));
    r->at += (size_t)bytes;
    return GPTOSS_OK;
}

gptoss_status reader_u32(reader *r, const char *what, uint32_t *out, gptoss_error *err) {
    TRY(reader_need(r, 4, what, err));
    cursor c = {r->data + r->at, 4, 0};
    cursor_u32(&c, out);
    r->at += 4;
    return GPTOSS_OK;
}

gptoss_status reader_u64(reader *r, const char *what, uint64_t *out, gptoss_error *err) {
    TRY(reader_need(r, 8, what, err));
    cursor c = {r->data + r->at, 8, 0};
    cursor_u64(&c, out);
    r->at += 8;
    return GPTOSS_OK;
}

gptoss_status reader_check_count(const reader *r, uint64_t count, uint64_t each, const char *what, gptoss_error *err) {
    uint64_t left = r->limit - r->at;
    if (count <= left / each) return GPTOSS_OK;
    return error_set(err, GPTOSS_BAD_INPUT,
                     "byte %zu: %llu %s cannot fit into the %llu bytes that follow; is the file complete?", r->at,
                     (unsigned long long)count, what, (unsigned long long)left);
}
