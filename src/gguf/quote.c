#include "gguf/quote.h"

#include <string.h>

size_t quote_decode(const char *bytes, size_t size, uint32_t *code) {
    const unsigned char *b = (const unsigned char *)bytes;
    *code = QUOTE_REPLACEMENT;
    if (b[0] < 0x80) {
        *code = b[0];
        return 1;
    }
    size_t more = b[0] >= 0xC2 && b[0] <= 0xDF ? 1 : (b[0] & 0xF0) == 0xE0 ? 2 : b[0] >= 0xF0 && b[0] <= 0xF4 ? 3 : 0;
    if (!more) return 1;
    /* The second byte's range shuts out overlong forms, surrogates and numbers past U+10FFFF. */
    unsigned char low = b[0] == 0xE0 ? 0xA0 : b[0] == 0xF0 ? 0x90 : 0x80;
    unsigned char high = b[0] == 0xED ? 0x9F : b[0] == 0xF4 ? 0x8F : 0xBF;
    uint32_t value = b[0] & (0x3Fu >> more);
    for (size_t i = 1; i <= more; i++) {
        if (i == size || b[i] < low || b[i] > high) return i;
        value = value << 6 | (b[i] & 0x3Fu);
        low = 0x80;
        high = 0xBF;
    }
    *code = value;
    return 1 + more;
}

bool quote_is_harmless(uint32_t c) {
    bool is_control = c < 0x20 || (c >= 0x7F && c < 0xA0);
    bool is_invisible = c == 0xAD || c == 0x61C || (c >= 0x200B && c <= 0x200F) || (c >= 0x2028 && c <= 0x202E) ||
                        (c >= 0x2060 && c <= 0x206F) || c == 0xFEFF;
    return !is_control && !is_invisible;
}

const char *quote_text(const char *bytes, size_t size, char *out, size_t capacity) {
    static const char ellipsis[] = "...";
    size_t used = 0, cut = 0; /* cut: where the ellipsis would still fit */
    for (size_t at = 0; at < size;) {
        uint32_t code;
        size_t length = quote_decode(bytes + at, size - at, &code);
        const char *piece = bytes + at;
        size_t piece_size = length;
        if (code == '\n' || code == '\r' || code == '\t') {
            piece = code == '\n' ? "\\n" : code == '\r' ? "\\r" : "\\t";
            piece_size = 2;
        } else if (code == QUOTE_REPLACEMENT || !quote_is_harmless(code)) {
            piece = "\xEF\xBF\xBD";
            piece_size = 3;
        }
        if (used + piece_size >= capacity) {
            memcpy(out + cut, ellipsis, sizeof ellipsis);
            return out;
        }
        memcpy(out + used, piece, piece_size);
        used += piece_size;
        if (used + sizeof ellipsis <= capacity) cut = used;
        at += length;
    }
    out[used] = '\0';
    return out;
}
