/* The part of gguf.h that decodes metadata values. */
#include <string.h>

#include "gguf/gguf.h"

size_t gguf_kind_bytes(gguf_kind kind) {
    switch (kind) {
    case GGUF_U8:
    case GGUF_I8:
    case GGUF_BOOL: return 1;
    case GGUF_U16:
    case GGUF_I16: return 2;
    case GGUF_U32:
    case GGUF_I32:
    case GGUF_F32: return 4;
    case GGUF_U64:
    case GGUF_I64:
    case GGUF_F64: return 8;
    case GGUF_STRING:
    case GGUF_ARRAY: return 0;
    }
    return 0;
}

/* A number as the file holds it. */
typedef struct number {
    enum { NATURAL, NEGATIVE, REAL } sort;
    uint64_t natural;
    int64_t negative;
    double real;
} number;

static number from_u64(uint64_t v) { return (number){.sort = NATURAL, .natural = v}; }

static number from_i64(int64_t v) {
    return v < 0 ? (number){.sort = NEGATIVE, .negative = v} : (number){.sort = NATURAL, .natural = (uint64_t)v};
}

static bool next_number(cursor *c, gguf_kind kind, number *out) {
    uint8_t b;
    uint16_t h;
    uint32_t w;
    uint64_t q;
    switch (kind) {
    case GGUF_U8: return cursor_u8(c, &b) && (*out = from_u64(b), true);
    case GGUF_I8: return cursor_u8(c, &b) && (*out = from_i64((int8_t)b), true);
    case GGUF_U16: return cursor_u16(c, &h) && (*out = from_u64(h), true);
    case GGUF_I16: return cursor_u16(c, &h) && (*out = from_i64((int16_t)h), true);
    case GGUF_U32: return cursor_u32(c, &w) && (*out = from_u64(w), true);
    case GGUF_I32: return cursor_u32(c, &w) && (*out = from_i64((int32_t)w), true);
    case GGUF_U64: return cursor_u64(c, &q) && (*out = from_u64(q), true);
    case GGUF_I64: return cursor_u64(c, &q) && (*out = from_i64((int64_t)q), true);
    case GGUF_F32: {
        float f;
        if (!cursor_u32(c, &w)) return false;
        memcpy(&f, &w, sizeof f);
        *out = (number){.sort = REAL, .real = (double)f};
        return true;
    }
    case GGUF_F64: {
        double d;
        if (!cursor_u64(c, &q)) return false;
        memcpy(&d, &q, sizeof d);
        *out = (number){.sort = REAL, .real = d};
        return true;
    }
    case GGUF_BOOL:
    case GGUF_STRING:
    case GGUF_ARRAY: return false;
    }
    return false;
}

static bool next_u64(cursor *c, gguf_kind kind, uint64_t *out) {
    number n;
    cursor ahead = *c;
    if (!next_number(&ahead, kind, &n) || n.sort != NATURAL) return false;
    *c = ahead;
    *out = n.natural;
    return true;
}

static bool next_f64(cursor *c, gguf_kind kind, double *out) {
    number n;
    if (!next_number(c, kind, &n)) return false;
    *out = n.sort == REAL ? n.real : n.sort == NATURAL ? (double)n.natural : (double)n.negative;
    return true;
}

static bool next_text(cursor *c, gguf_text *out) {
    uint64_t length;
    cursor ahead = *c;
    if (!cursor_u64(&ahead, &length)) return false;
    const char *bytes = (const char *)ahead.data + ahead.at;
    if (!cursor_skip(&ahead, length)) return false;
    *c = ahead;
    *out = (gguf_text){bytes, (size_t)length};
    return true;
}

bool gguf_as_u64(const gguf_value *value, uint64_t *out) {
    if (!value) return false;
    cursor c = {value->data, value->size, 0};
    return next_u64(&c, value->kind, out);
}

bool gguf_as_f64(const gguf_value *value, double *out) {
    if (!value) return false;
    cursor c = {value->data, value->size, 0};
    return next_f64(&c, value->kind, out);
}

bool gguf_as_bool(const gguf_value *value, bool *out) {
    if (!value || value->kind != GGUF_BOOL) return false;
    *out = value->data[0] != 0;
    return true;
}

bool gguf_as_text(const gguf_value *value, gguf_text *out) {
    if (!value || value->kind != GGUF_STRING) return false;
    cursor c = {value->data, value->size, 0};
    return next_text(&c, out);
}

gguf_iterator gguf_elements(const gguf_value *array) {
    if (!array || array->kind != GGUF_ARRAY) return (gguf_iterator){.element = GGUF_ARRAY};
    return (gguf_iterator){{array->data, array->size, 0}, array->element, array->count};
}

bool gguf_next_text(gguf_iterator *it, gguf_text *out) {
    if (it->left == 0 || it->element != GGUF_STRING || !next_text(&it->at, out)) return false;
    it->left--;
    return true;
}

bool gguf_next_u64(gguf_iterator *it, uint64_t *out) {
    if (it->left == 0 || !next_u64(&it->at, it->element, out)) return false;
    it->left--;
    return true;
}

bool gguf_next_f64(gguf_iterator *it, double *out) {
    if (it->left == 0 || !next_f64(&it->at, it->element, out)) return false;
    it->left--;
    return true;
}
