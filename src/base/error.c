#include "base/error.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/utf8.h"

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
    case GPTOSS_BUSY: return "busy";
    }
    return "unknown status";
}

/* The bytes of the UTF-8 character at c, or 0 when there is none or terminals would act on it: C0, DEL, C1. */
static size_t printable_length(const char *c, size_t size) {
    uint32_t code;
    size_t length = utf8_decode(c, size, &code);
    bool itself = length == 3 && memcmp(c, "\uFFFD", 3) == 0;
    if (code == UTF8_REPLACEMENT && !itself) return 0;
    return code < 0x20 || (code >= 0x7F && code < 0xA0) ? 0 : length;
}

/* Formats one line of whole, printable characters; what does not fit is left out. */
static void format_line(char *text, size_t capacity, const char *format, va_list args) {
    int wanted = vsnprintf(text, capacity, format, args);
    bool cut = wanted < 0 || (size_t)wanted >= capacity;
    char *c = text, *end = c + strlen(text);
    while (c < end) {
        size_t length = printable_length(c, (size_t)(end - c));
        bool begins = end - c < 4 && (unsigned char)*c >= 0xC2;
        if (length == 0 && cut && begins) *c = '\0'; /* most likely the cut went through it */
        if (*c == '\0') return;
        if (length == 0) *c = '?';
        c += length ? length : 1;
    }
}

gptoss_status error_set(gptoss_error *err, gptoss_status status, const char *format, ...) {
    if (!err) return status;
    va_list args;
    va_start(args, format);
    format_line(err->text, sizeof err->text, format, args);
    va_end(args);
    err->status = status;
    return status;
}

gptoss_status error_set_errno(gptoss_error *err, gptoss_status status, int errno_value, const char *format, ...) {
    if (!err) return status;
    char what[640]; /* leaves room for the reason */
    va_list args;
    va_start(args, format);
    format_line(what, sizeof what, format, args);
    va_end(args);
    return error_set(err, status, "%s: %s", what, strerror(errno_value));
}

gptoss_status error_prefix(gptoss_error *err, gptoss_status status, const char *format, ...) {
    if (!err) return status;
    char task[256], rest[sizeof err->text];
    va_list args;
    va_start(args, format);
    format_line(task, sizeof task, format, args);
    va_end(args);
    memcpy(rest, err->text, sizeof rest);
    return error_set(err, status, "%s: %s", task, rest);
}
