#include "base/cursor.h"

#include <string.h>

bool cursor_skip(cursor *c, uint64_t bytes) {
    if (bytes > cursor_left(c)) return false;
    c->at += (size_t)bytes;
    return true;
}

bool cursor_bytes(cursor *c, void *out, size_t bytes) {
    if (bytes > cursor_left(c)) return false;
    if (bytes) memcpy(out, c->data + c->at, bytes);
    c->at += bytes;
    return true;
}

static bool little_endian(cursor *c, size_t bytes, uint64_t *out) {
    if (bytes > cursor_left(c)) return false;
    uint64_t v = 0;
    for (size_t i = 0; i < bytes; i++) v |= (uint64_t)c->data[c->at + i] << (8 * i);
    c->at += bytes;
    *out = v;
    return true;
}

bool cursor_u8(cursor *c, uint8_t *out) { return cursor_bytes(c, out, 1); }

bool cursor_u16(cursor *c, uint16_t *out) {
    uint64_t v;
    if (!little_endian(c, 2, &v)) return false;
    *out = (uint16_t)v;
    return true;
}

bool cursor_u32(cursor *c, uint32_t *out) {
    uint64_t v;
    if (!little_endian(c, 4, &v)) return false;
    *out = (uint32_t)v;
    return true;
}

bool cursor_u64(cursor *c, uint64_t *out) { return little_endian(c, 8, out); }
