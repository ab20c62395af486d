#include "text/json_text.h"

#include <stdbool.h>

enum {
    ONE_MORE = 1, /* byte of the character is missing */
    TWO_MORE,     /* bytes are */
    AFTER_E0,     /* no overlong forms */
    AFTER_ED,     /* no surrogates */
    AFTER_F0,     /* no overlong forms */
    THREE_MORE,   /* bytes are missing */
    AFTER_F4,     /* nothing beyond U+10FFFF */
    AFTER_U = 9,  /* \u */
    AFTER_U_0,    /* \u0: it must not become \u0000 */
    AFTER_U_00,
    AFTER_U_000,
    AFTER_U_D,         /* \ud: no surrogates */
    THREE_DIGITS_MORE, /* are missing */
    TWO_DIGITS_MORE,
    ONE_DIGIT_MORE
};

static bool within(uint8_t byte, uint8_t low, uint8_t high) { return byte >= low && byte <= high; }

static bool is_hex(uint8_t c) { return within(c, '0', '9') || within(c | 0x20, 'a', 'f'); }

/* A byte that begins a character. */
static uint8_t begin(uint8_t byte) {
    if (byte == '\\') return JSON_TEXT_ESCAPE;
    if (byte < 0x20 || byte == '"') return JSON_TEXT_DEAD;
    if (byte < 0x80) return JSON_TEXT_BETWEEN;
    if (within(byte, 0xC2, 0xDF)) return ONE_MORE;
    if (byte == 0xE0) return AFTER_E0;
    if (byte == 0xED) return AFTER_ED;
    if (within(byte, 0xE1, 0xEF)) return TWO_MORE;
    if (byte == 0xF0) return AFTER_F0;
    if (within(byte, 0xF1, 0xF3)) return THREE_MORE;
    return byte == 0xF4 ? AFTER_F4 : JSON_TEXT_DEAD;
}

static uint8_t escape(uint8_t byte) {
    switch (byte) {
    case '"':
    case '\\':
    case '/':
    case 'b':
    case 'f':
    case 'n':
    case 'r':
    case 't': return JSON_TEXT_BETWEEN;
    case 'u': return AFTER_U;
    }
    return JSON_TEXT_DEAD;
}

static uint8_t hex_digit(uint8_t state, uint8_t byte) {
    if (!is_hex(byte)) return JSON_TEXT_DEAD;
    switch (state) {
    case AFTER_U: return byte == '0' ? AFTER_U_0 : (byte | 0x20) == 'd' ? AFTER_U_D : THREE_DIGITS_MORE;
    case AFTER_U_0: return byte == '0' ? AFTER_U_00 : TWO_DIGITS_MORE;
    case AFTER_U_00: return byte == '0' ? AFTER_U_000 : ONE_DIGIT_MORE;
    case AFTER_U_000: return byte == '0' ? JSON_TEXT_DEAD : JSON_TEXT_BETWEEN;
    case AFTER_U_D: return within(byte, '0', '7') ? TWO_DIGITS_MORE : JSON_TEXT_DEAD;
    case THREE_DIGITS_MORE: return TWO_DIGITS_MORE;
    case TWO_DIGITS_MORE: return ONE_DIGIT_MORE;
    }
    return JSON_TEXT_BETWEEN; /* the last digit */
}

uint8_t json_text_step(uint8_t state, uint8_t byte) {
    bool more = within(byte, 0x80, 0xBF);
    switch (state) {
    case JSON_TEXT_BETWEEN: return begin(byte);
    case ONE_MORE: return more ? JSON_TEXT_BETWEEN : JSON_TEXT_DEAD;
    case TWO_MORE: return more ? ONE_MORE : JSON_TEXT_DEAD;
    case THREE_MORE: return more ? TWO_MORE : JSON_TEXT_DEAD;
    case AFTER_E0: return within(byte, 0xA0, 0xBF) ? ONE_MORE : JSON_TEXT_DEAD;
    case AFTER_ED: return within(byte, 0x80, 0x9F) ? ONE_MORE : JSON_TEXT_DEAD;
    case AFTER_F0: return within(byte, 0x90, 0xBF) ? TWO_MORE : JSON_TEXT_DEAD;
    case AFTER_F4: return within(byte, 0x80, 0x8F) ? TWO_MORE : JSON_TEXT_DEAD;
    case JSON_TEXT_ESCAPE: return escape(byte);
    }
    return hex_digit(state, byte);
}

uint32_t json_text_left(uint8_t state) {
    static const uint8_t left[JSON_TEXT_STATES] = {0, 1, 2, 2, 2, 3, 3, 3, 1, 4, 3, 2, 1, 3, 3, 2, 1};
    return left[state];
}
