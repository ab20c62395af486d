#include "base/buffer.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cancel.h"
#include "base/mem.h"

void buffer_free(buffer *b) {
    free(b->data);
    *b = (buffer){0};
}

void buffer_clear(buffer *b) {
    b->size = 0;
    if (b->data) b->data[0] = '\0';
}

static gptoss_status reserve(buffer *b, size_t more, gptoss_error *err) {
    if (b->capacity - b->size > more) return GPTOSS_OK;
    if (more > SIZE_MAX / 2 - b->size - 1)
        return error_set(err, GPTOSS_NO_MEMORY, "a text of %zu bytes is too long", more);
    size_t capacity = b->capacity ? b->capacity : 64;
    while (capacity - b->size <= more) capacity *= 2;
    TRY(mem_resize(&b->data, capacity, 1, "text", err));
    b->capacity = capacity;
    return GPTOSS_OK;
}

gptoss_status buffer_append(buffer *b, const void *bytes, size_t size, gptoss_error *err) {
    TRY(reserve(b, size, err));
    if (size) memcpy(b->data + b->size, bytes, size);
    b->size += size;
    b->data[b->size] = '\0';
    return GPTOSS_OK;
}

gptoss_status buffer_append_text(buffer *b, const char *text, gptoss_error *err) {
    return buffer_append(b, text, strlen(text), err);
}

gptoss_status buffer_printf(buffer *b, gptoss_error *err, const char *format, ...) {
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int length = vsnprintf(NULL, 0, format, args);
    va_end(args);
    gptoss_status status =
        length < 0 ? error_set(err, GPTOSS_INTERNAL, "cannot format a text") : reserve(b, (size_t)length, err);
    if (status == GPTOSS_OK) {
        vsnprintf(b->data + b->size, (size_t)length + 1, format, again);
        b->size += (size_t)length;
    }
    va_end(again);
    return status;
}

/* A signal ends the wait for a person's, or another program's, next words. */
static gptoss_status refuse(const char *doing, const char *name, int reason, gptoss_status status, gptoss_error *err) {
    if (reason == EINTR && cancel_requested())
        return error_set(err, GPTOSS_CANCELLED, "interrupted while reading %s", name);
    return error_set_errno(err, status, reason, "cannot %s %s", doing, name);
}

gptoss_status buffer_read_file(buffer *b, const char *path, size_t limit, gptoss_error *err) {
    int is_stdin = strcmp(path, "-") == 0;
    FILE *f = is_stdin ? stdin : fopen(path, "rb");
    const char *name = is_stdin ? "standard input" : path;
    if (!f) return refuse("open", name, errno, GPTOSS_BAD_INPUT, err);
    size_t before = b->size, total = 0;
    gptoss_status status = buffer_append(b, "", 0, err); /* so that an empty file gives an empty text, not none */
    char block[16384];
    size_t got;
    while (status == GPTOSS_OK && (got = fread(block, 1, sizeof block, f)) > 0) {
        total += got;
        if (total > limit)
            status = error_set(err, GPTOSS_BAD_INPUT, "%s holds more than the %zu bytes allowed here", name, limit);
        else
            status = buffer_append(b, block, got, err);
    }
    if (status == GPTOSS_OK && ferror(f))
        status = refuse("read", name, errno, errno == EISDIR ? GPTOSS_BAD_INPUT : GPTOSS_IO, err);
    if (!is_stdin) fclose(f);
    if (status != GPTOSS_OK && b->data) {
        b->size = before;
        b->data[before] = '\0';
    }
    return status;
}
