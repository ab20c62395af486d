/* buffer.h: a growable run of bytes, for text being built and for tokens on their way out. */
#ifndef BASE_BUFFER_H
#define BASE_BUFFER_H

#include <stddef.h>

#include "base/error.h"

/* Zero-initialize to get an empty buffer. data[size] is always NUL once anything was appended. */
typedef struct buffer {
    char *data;
    size_t size, capacity;
} buffer;

void buffer_free(buffer *b);  /* and empty it */
void buffer_clear(buffer *b); /* keeps the capacity */

/* `bytes` must not point into b. On failure b is unchanged. */
gptoss_status buffer_append(buffer *b, const void *bytes, size_t size, gptoss_error *err);
gptoss_status buffer_append_text(buffer *b, const char *text, gptoss_error *err);
gptoss_status buffer_printf(buffer *b, gptoss_error *err, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Appends all that `path` ("-" is standard input) holds; more than `limit` bytes is GPTOSS_BAD_INPUT. On failure b
 * holds what it held before. */
gptoss_status buffer_read_file(buffer *b, const char *path, size_t limit, gptoss_error *err);

#endif
