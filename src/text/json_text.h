/* json_text.h: the inside of a JSON string, byte by byte.
 *
 * What is accepted is narrower than RFC 8259, so that every string has a plain reading: UTF-8 must be well formed;
 * \uXXXX may be anything but a surrogate (characters beyond U+FFFF stand for themselves) or U+0000. */
#ifndef TEXT_JSON_TEXT_H
#define TEXT_JSON_TEXT_H

#include <stdint.h>

enum {
    JSON_TEXT_BETWEEN = 0, /* characters: the string may end */
    JSON_TEXT_ESCAPE = 8,  /* behind a backslash; states from here on are within an escape */
    JSON_TEXT_STATES = 17,
    JSON_TEXT_DEAD = 255
};

/* The state after `byte`, which is not the closing quote: JSON_TEXT_DEAD when it cannot follow. */
uint8_t json_text_step(uint8_t state, uint8_t byte);

/* The least bytes until JSON_TEXT_BETWEEN. */
uint32_t json_text_left(uint8_t state);

#endif
