#include "base/utf8.h"

#include <string.h>

typedef enum unit_kind { UNIT_CHARACTER, UNIT_BROKEN, UNIT_TORN } unit_kind;

/* The first unit of bytes[size], size > 0: a character, or the longest run that begins like one but goes on wrongly
 * (UNIT_BROKEN, at least one byte) or is cut by the end of the input (UNIT_TORN). *code is the character or U+FFFD.
 * Returns the unit's size. */
static size_t next_unit(const uint8_t *bytes, size_t size, unit_kind *kind, uint32_t *code) {
    uint8_t lead = bytes[0], low = 0x80, high = 0xBF; /* bounds of the second byte */
    size_t need = lead < 0x80 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
    if (lead == 0xE0) low = 0xA0;  /* no overlong forms */
    if (lead == 0xED) high = 0x9F; /* no surrogates */
    if (lead == 0xF0) low = 0x90;
    if (lead == 0xF4) high = 0x8F; /* nothing beyond U+10FFFF */
    *kind = UNIT_BROKEN;
    *code = UTF8_REPLACEMENT;
    if ((lead >= 0x80 && lead < 0xC2) || lead > 0xF4) return 1;
    uint32_t value = need == 1 ? lead : lead & (0x7Fu >> need);
    for (size_t i = 1; i < need; i++) {
        if (i == size) {
            *kind = UNIT_TORN;
            return i;
        }
        if (bytes[i] < low || bytes[i] > high) return i;
        value = value << 6 | (bytes[i] & 0x3Fu);
        low = 0x80;
        high = 0xBF;
    }
    *kind = UNIT_CHARACTER;
    *code = value;
    return need;
}

size_t utf8_decode(const char *bytes, size_t size, uint32_t *code) {
    unit_kind kind;
    return next_unit((const uint8_t *)bytes, size, &kind, code);
}

/* Bytes of whole characters at the start. */
static size_t valid_prefix(const uint8_t *bytes, size_t size) {
    size_t at = 0;
    while (at < size) {
        unit_kind kind;
        uint32_t code;
        size_t unit = next_unit(bytes + at, size - at, &kind, &code);
        if (kind != UNIT_CHARACTER) break;
        at += unit;
    }
    return at;
}

bool utf8_valid(const char *text, size_t size) { return valid_prefix((const uint8_t *)text, size) == size; }

size_t utf8_count(const char *text) {
    size_t count = 0;
    for (; text && *text; text++) count += ((unsigned char)*text & 0xC0) != 0x80;
    return count;
}

/* Appends the characters of bytes[size], repaired, except a torn one at the end; *used tells where that begins. */
static gptoss_status append_units(const uint8_t *bytes, size_t size, buffer *out, size_t *used, gptoss_error *err) {
    size_t at = 0;
    while (at < size) {
        size_t valid = valid_prefix(bytes + at, size - at);
        TRY(buffer_append(out, bytes + at, valid, err));
        at += valid;
        if (at == size) break;
        unit_kind kind;
        uint32_t code;
        size_t unit = next_unit(bytes + at, size - at, &kind, &code);
        if (kind == UNIT_TORN) break;
        TRY(buffer_append_text(out, "\uFFFD", err));
        at += unit;
    }
    *used = at;
    return GPTOSS_OK;
}

gptoss_status utf8_repair(const char *text, size_t size, buffer *out, gptoss_error *err) {
    size_t used;
    TRY(append_units((const uint8_t *)text, size, out, &used, err));
    return used == size ? GPTOSS_OK : buffer_append_text(out, "\uFFFD", err);
}

gptoss_status utf8_repair_text(const char *text, size_t size, buffer *out, gptoss_error *err) {
    const char *nul;
    while (size > 0 && (nul = memchr(text, '\0', size))) {
        TRY(utf8_repair(text, (size_t)(nul - text), out, err));
        TRY(buffer_append_text(out, "\uFFFD", err));
        size -= (size_t)(nul + 1 - text);
        text = nul + 1;
    }
    return utf8_repair(text, size, out, err);
}

gptoss_status utf8_stream_add(utf8_stream *stream, const void *bytes, size_t size, buffer *out, gptoss_error *err) {
    const uint8_t *p = bytes;
    size_t at = 0, used;
    while (stream->held_size > 0 && at < size) { /* one byte at a time until what was held back is decided */
        stream->held[stream->held_size++] = p[at++];
        TRY(append_units(stream->held, stream->held_size, out, &used, err));
        stream->held_size = (uint8_t)(stream->held_size - used);
        memmove(stream->held, stream->held + used, stream->held_size);
    }
    TRY(append_units(p + at, size - at, out, &used, err));
    size_t torn = size - at - used;
    if (torn) {
        memcpy(stream->held, p + at + used, torn);
        stream->held_size = (uint8_t)torn;
    }
    return GPTOSS_OK;
}

gptoss_status utf8_stream_end(utf8_stream *stream, buffer *out, gptoss_error *err) {
    if (stream->held_size > 0) TRY(buffer_append_text(out, "\uFFFD", err));
    stream->held_size = 0;
    return GPTOSS_OK;
}
