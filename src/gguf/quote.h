/* quote.h: names and texts from untrusted files, made fit to be shown to people. */
#ifndef GGUF_QUOTE_H
#define GGUF_QUOTE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    QUOTE_NAME = 96,     /* capacity for a name that an error message shows */
    QUOTE_CHARACTER = 8, /* capacity for one character */
};

/* False for control characters and for those that reorder or hide the text around them on a terminal. */
bool quote_is_harmless(uint32_t code);

/* Writes a NUL-terminated copy into out[capacity], capacity >= QUOTE_CHARACTER: line breaks and tabs as
 * \n, \r, \t; other harmful characters and invalid UTF-8 as U+FFFD; what does not fit is cut at a whole character and
 * "..." put in its place. Returns `out`. */
const char *quote_text(const char *bytes, size_t size, char *out, size_t capacity);

#endif
