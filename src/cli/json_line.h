/* json_line.h: the two kinds of JSON that tokenize reads and writes: strings, and arrays of token ids. Unlike cJSON it
 * keeps U+0000 inside strings and takes no more memory for an array than its numbers. */
#ifndef CLI_JSON_LINE_H
#define CLI_JSON_LINE_H

#include "base/buffer.h"
#include "text/tokens.h"

/* Both take text[size] as one whole value, with nothing but white space around it, and append what it means. Otherwise
 * GPTOSS_BAD_INPUT; *where (may be NULL) is the offset of the trouble. Unpaired surrogates (\ud800) become U+FFFD. */
gptoss_status json_line_read_string(const char *text, size_t size, buffer *out, size_t *where, gptoss_error *err);
gptoss_status json_line_read_ids(const char *text, size_t size, tokens *out, size_t *where, gptoss_error *err);

/* Append a value to the text in *out. What is not UTF-8 becomes U+FFFD. */
gptoss_status json_line_write_string(const char *text, size_t size, buffer *out, gptoss_error *err);
gptoss_status json_line_write_ids(const uint32_t *ids, size_t count, buffer *out, gptoss_error *err);

#endif
