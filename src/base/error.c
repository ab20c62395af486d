#include "base/error.h"

#include <stdarg.h>
#include <stdbool.h>
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

/* The bytes of the UTF-8 character at c, or 0 when there is none or terminals would act on it: C0, DEL, C1. */
static size_t printable_length(const unsigned char *c) {
    if (c[0] < 0x80) return c[0] >= 0x20 && c[0] != 0x7f;
    if (c[0] < 0xC2 || c[0] > 0xF4 || (c[0] == 0xC2 && c[1] < 0xA0)) return 0;
    if ((c[0] == 0xE0 && c[1] < 0xA0) || (c[0] == 0xED && c[1] > 0x9F)) return 0; /* overlong, surrogate */
    if ((c[0] == 0xF0 && c[1] < 0x90) || (c[0] == 0xF4 && c[1] > 0x8F)) return 0; /* overlong, past U+10FFFF */
    size_t length = c[0] < 0xE0 ? 2 : c[0] < 0xF0 ? 3 : 4;
    for (size_t i = 1; i < length; i++)
        if ((c[i] & 0xC0) != 0x80) return 0;
    return length;
}

/* Formats one line of whole, printable characters; what does not fit is left out. */
static void format_line(char *text, size_t capacity, const char *format, va_list args) {
    int wanted = vsnprintf(text, capacity, format, args);
    bool cut = wanted < 0 || (size_t)wanted >= capacity;
    unsigned char *c = (unsigned char *)text, *end = c + strlen(text);
    while (c < end) {
        size_t length = printable_length(c);
        if (length == 0 && cut && end - c < 4 && *c >= 0xC2) *c = '\0'; /* most likely the cut went through it */
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
