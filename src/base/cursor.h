/* cursor.h: a bounded walk through untrusted bytes: file headers and wire messages, little-endian. */
#ifndef BASE_CURSOR_H
#define BASE_CURSOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Borrows `data`; never reads past data[size]. Every call returns false, and moves nothing, when too little is left. */
typedef struct cursor {
    const uint8_t *data;
    size_t size, at;
} cursor;

static inline size_t cursor_left(const cursor *c) { return c->size - c->at; }

bool cursor_skip(cursor *c, uint64_t bytes);
bool cursor_bytes(cursor *c, void *out, size_t bytes);
bool cursor_u8(cursor *c, uint8_t *out);
bool cursor_u16(cursor *c, uint16_t *out);
bool cursor_u32(cursor *c, uint32_t *out);
bool cursor_u64(cursor *c, uint64_t *out);

#endif
