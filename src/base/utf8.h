/* utf8.h: reading, checking and repairing UTF-8, at once or as a stream.
 *
 * What is not UTF-8 becomes U+FFFD: one for each longest run of bytes that could have begun a character (the practice
 * that the Unicode standard recommends), so E2 82 41 becomes U+FFFD A, and C0 80 becomes two U+FFFD. */
#ifndef BASE_UTF8_H
#define BASE_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buffer.h"

enum { UTF8_REPLACEMENT = 0xFFFD };

/* Decodes the first of `size` > 0 bytes: *code is the character, or U+FFFD where there is none. Returns its bytes. */
size_t utf8_decode(const char *bytes, size_t size, uint32_t *code);

bool utf8_valid(const char *text, size_t size);

/* Characters of a text that is valid; 0 for NULL. */
size_t utf8_count(const char *text);

/* Appends the text, repaired. */
gptoss_status utf8_repair(const char *text, size_t size, buffer *out, gptoss_error *err);

/* The same for readers who take a NUL for the end: each becomes U+FFFD, too. */
gptoss_status utf8_repair_text(const char *text, size_t size, buffer *out, gptoss_error *err);

/* Bytes in, whole characters out: what may still become a character is held back. Zero-initialize. */
typedef struct utf8_stream {
    uint8_t held[4];
    uint8_t held_size;
} utf8_stream;

/* Appends to `out` the characters that became whole, repaired. The concatenation of everything appended up to and
 * including utf8_stream_end equals utf8_repair of the concatenated input. */
gptoss_status utf8_stream_add(utf8_stream *stream, const void *bytes, size_t size, buffer *out, gptoss_error *err);

/* The input ends: a character still held back becomes U+FFFD. The stream is empty again. */
gptoss_status utf8_stream_end(utf8_stream *stream, buffer *out, gptoss_error *err);

#endif
