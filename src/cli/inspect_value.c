/* The part of inspect_report.h that prints metadata values. */
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "cli/inspect_report.h"
#include "gguf/quote.h"

static const char *const kind_names[] = {"u8",   "i8",     "u16",   "i16", "u32", "i32", "f32",
                                         "bool", "string", "array", "u64", "i64", "f64"};

const char *inspect_kind_name(gguf_kind kind) { return kind_names[kind]; }

/* `out` is NULL where elements are only stepped over. */
static void put(const inspect_style *style, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void put(const inspect_style *style, const char *format, ...) {
    if (!style->out) return;
    va_list args;
    va_start(args, format);
    vfprintf(style->out, format, args);
    va_end(args);
}

void inspect_print_u64(const inspect_style *style, uint64_t v) {
    const char *quote = style->json && v > UINT64_C(1) << 53 ? "\"" : "";
    put(style, "%s%" PRIu64 "%s", quote, v, quote);
}

static void print_i64(const inspect_style *style, int64_t v) {
    const char *quote = style->json && (v > INT64_C(1) << 53 || v < -(INT64_C(1) << 53)) ? "\"" : "";
    put(style, "%s%" PRId64 "%s", quote, v, quote);
}

/* With as few digits as give the same number back. */
static void print_real(const inspect_style *style, double v, bool is_single) {
    if (!style->out) return;
    const char *quote = style->json ? "\"" : "";
    if (isnan(v)) {
        put(style, "%sNaN%s", quote, quote);
        return;
    }
    if (isinf(v)) {
        put(style, "%s%sInfinity%s", quote, v < 0 ? "-" : "", quote);
        return;
    }
    if (v == nearbyint(v) && fabs(v) < 1e15) { /* 150000, not 1.5e+05 */
        put(style, "%.0f", v);
        return;
    }
    char text[40];
    for (int digits = 1; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, v);
        if (is_single ? strtof(text, NULL) == (float)v : strtod(text, NULL) == v) break;
    }
    put(style, "%s", text);
}

static void put_json_character(FILE *out, uint32_t code, const char *bytes, size_t size) {
    if (code == '\n')
        fputs("\\n", out);
    else if (code == UTF8_REPLACEMENT)
        fputs("\xEF\xBF\xBD", out);
    else if (quote_is_harmless(code))
        fwrite(bytes, 1, size, out);
    else
        fprintf(out, "\\u%04x", code);
}

void inspect_print_string(const inspect_style *style, gguf_text text) {
    if (!style->out) return;
    fputc('"', style->out);
    for (size_t at = 0; at < text.size;) {
        if (!style->json && at >= style->longest) {
            fputs("...", style->out);
            break;
        }
        uint32_t code;
        size_t size = utf8_decode(text.bytes + at, text.size - at, &code);
        char safe[QUOTE_CHARACTER];
        if (code == '"' || code == '\\') fputc('\\', style->out);
        if (style->json)
            put_json_character(style->out, code, text.bytes + at, size);
        else
            fputs(quote_text(text.bytes + at, size, safe, sizeof safe), style->out);
        at += size;
    }
    fputc('"', style->out);
}

static void print_elements(const inspect_style *style, cursor *c, gguf_kind element, uint64_t count);

/* An array within an array: its head stands in the file, too. */
static void print_nested(const inspect_style *style, cursor *c) {
    uint32_t element = 0;
    uint64_t count = 0;
    cursor_u32(c, &element);
    cursor_u64(c, &count);
    if (style->json) {
        put(style, "{\"element\": \"%s\", \"count\": ", inspect_kind_name((gguf_kind)element));
        inspect_print_u64(style, count);
        put(style, ", \"complete\": %s, \"value\": ", count <= style->most ? "true" : "false");
    }
    print_elements(style, c, (gguf_kind)element, count);
    if (style->json) put(style, "}");
}

/* Prints the value at *c, which gguf_open has checked, and moves past it. */
static void print_one(const inspect_style *style, cursor *c, gguf_kind kind) {
    uint8_t b = 0;
    uint16_t h = 0;
    uint32_t w = 0;
    uint64_t q = 0;
    float single;
    double real;
    switch (kind) {
    case GGUF_U8: cursor_u8(c, &b), inspect_print_u64(style, b); break;
    case GGUF_I8: cursor_u8(c, &b), print_i64(style, (int8_t)b); break;
    case GGUF_U16: cursor_u16(c, &h), inspect_print_u64(style, h); break;
    case GGUF_I16: cursor_u16(c, &h), print_i64(style, (int16_t)h); break;
    case GGUF_U32: cursor_u32(c, &w), inspect_print_u64(style, w); break;
    case GGUF_I32: cursor_u32(c, &w), print_i64(style, (int32_t)w); break;
    case GGUF_U64: cursor_u64(c, &q), inspect_print_u64(style, q); break;
    case GGUF_I64: cursor_u64(c, &q), print_i64(style, (int64_t)q); break;
    case GGUF_BOOL: cursor_u8(c, &b), put(style, "%s", b ? "true" : "false"); break;
    case GGUF_F32:
        cursor_u32(c, &w);
        memcpy(&single, &w, sizeof single);
        print_real(style, (double)single, true);
        break;
    case GGUF_F64:
        cursor_u64(c, &q);
        memcpy(&real, &q, sizeof real);
        print_real(style, real, false);
        break;
    case GGUF_STRING:
        cursor_u64(c, &q);
        inspect_print_string(style, (gguf_text){(const char *)c->data + c->at, (size_t)q});
        cursor_skip(c, q);
        break;
    case GGUF_ARRAY: print_nested(style, c); break;
    }
}

static void print_elements(const inspect_style *style, cursor *c, gguf_kind element, uint64_t count) {
    inspect_style silent = *style;
    silent.out = NULL;
    put(style, "[");
    for (uint64_t i = 0; i < count; i++) {
        if (i > 0 && i < style->most) put(style, ", ");
        print_one(i < style->most ? style : &silent, c, element);
    }
    if (count > style->most && !style->json) put(style, ", ...");
    put(style, "]");
}

void inspect_print_value(const inspect_style *style, const gguf_value *value) {
    cursor c = {value->data, value->size, 0};
    if (value->kind == GGUF_ARRAY)
        print_elements(style, &c, value->element, value->count);
    else
        print_one(style, &c, value->kind);
}
