/* quote.h: names and texts from untrusted files, made fit to be shown to people. */
#ifndef GGUF_QUOTE_H
#define GGUF_QUOTE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    QUOTE_NAME = 96,     /* capacity for a name that an error message shows */
    QUOTE_CHARACTER = 8, /* capacity for one character */
    QUOTE_REPLACEMENT = 0xFFFD
};

/* Decodes one UTF-8 character from the `size` > 0 bytes at `bytes` and returns how many of them it took. Bytes that are
 * no UTF-8 (overlong forms and surrogates included) give U+FFFD, one for as many bytes as could begin a character. */
size_t quote_decode(const char *bytes, size_t size, uint32_t *code);

/* False for control characters and for those that reorder or hide the text around them on a terminal. */
bool quote_is_harmless(uint32_t code);

/* Writes a NUL-terminated copy into out[capacity], capacity >= QUOTE_CHARACTER: line breaks and tabs as
 * \n, \r, \t; other harmful characters and invalid UTF-8 as U+FFFD; what does not fit is cut at a whole character and
 * "..." put in its place. Returns `out`. */
const char *quote_text(const char *bytes, size_t size, char *out, size_t capacity);

#endif
