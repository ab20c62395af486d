#include "gguf/quote.h"

#include <string.h>

#include "base/utf8.h"

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
        size_t length = utf8_decode(bytes + at, size - at, &code);
        const char *piece = bytes + at;
        size_t piece_size = length;
        if (code == '\n' || code == '\r' || code == '\t') {
            piece = code == '\n' ? "\\n" : code == '\r' ? "\\r" : "\\t";
            piece_size = 2;
        } else if (code == UTF8_REPLACEMENT || !quote_is_harmless(code)) {
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
