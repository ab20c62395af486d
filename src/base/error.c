#include "base/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

const char *gptoss_status_name(gptoss_status status) {
    switch (status) {
    case GPTOSS_OK: return "ok";
    case GPTOSS_MISUSE: return "misuse";
    case GPTOSS_BAD_INPUT: return "bad input";
    case GPTOSS_NO_MEMORY: return "out of memory";
    case GPTOSS_IO: return "input/output error";
    case GPTOSS_PEER: return "another rank failed";
    case GPTOSS_CANCELLED: return "cancelled";
    case GPTOSS_INTERNAL: return "internal error";
    }
    return "unknown status";
}

/* Terminals act on control characters, and one error is one line. A cut inside a UTF-8 character is undone. */
static void make_presentable(char *text, size_t capacity) {
    size_t length = strlen(text);
    for (size_t i = 0; i < length; i++) {
        unsigned char c = (unsigned char)text[i];
        if (c < 0x20 || c == 0x7f) text[i] = '?';
    }
    if (length + 1 < capacity) return;
    size_t start = length;
    while (start > 0 && ((unsigned char)text[start - 1] & 0xC0) == 0x80) start--;
    if (start > 0 && (unsigned char)text[start - 1] >= 0xC0) text[start - 1] = '\0';
}

gptoss_status error_set(gptoss_error *err, gptoss_status status, const char *format, ...) {
    if (!err) return status;
    va_list args;
    va_start(args, format);
    vsnprintf(err->text, sizeof err->text, format, args);
    va_end(args);
    make_presentable(err->text, sizeof err->text);
    err->status = status;
    return status;
}

gptoss_status error_set_errno(gptoss_error *err, gptoss_status status, int errno_value, const char *format, ...) {
    if (!err) return status;
    char what[sizeof err->text];
    va_list args;
    va_start(args, format);
    vsnprintf(what, sizeof what, format, args);
    va_end(args);
    return error_set(err, status, "%s: %s", what, strerror(errno_value));
}

gptoss_status error_prefix(gptoss_error *err, gptoss_status status, const char *format, ...) {
    if (!err) return status;
    char task[256], rest[sizeof err->text];
    va_list args;
    va_start(args, format);
    vsnprintf(task, sizeof task, format, args);
    va_end(args);
    memcpy(rest, err->text, sizeof rest);
    return error_set(err, status, "%s: %s", task, rest);
}
