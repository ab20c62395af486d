#include "cli/json_line.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/utf8.h"

/* A place in the text being read. */
typedef struct reader {
    const char *text;
    size_t size, at;
} reader;

static bool at_end(const reader *r) { return r->at == r->size; }

static void skip_space(reader *r) {
    while (!at_end(r) && memchr(" \t\n\r", r->text[r->at], 4)) r->at++;
}

/* Takes the character if it is next. */
static bool take(reader *r, char c) {
    if (at_end(r) || r->text[r->at] != c) return false;
    r->at++;
    return true;
}

static gptoss_status wrong(const reader *r, const char *what, gptoss_error *err) {
    if (at_end(r)) return error_set(err, GPTOSS_BAD_INPUT, "not JSON: it ends where %s is expected", what);
    char c = r->text[r->at];
    if (c > ' ' && c < 0x7F) return error_set(err, GPTOSS_BAD_INPUT, "not JSON: '%c' where %s is expected", c, what);
    return error_set(err, GPTOSS_BAD_INPUT, "not JSON: byte 0x%02X where %s is expected", (uint8_t)c, what);
}

static gptoss_status read_end(reader *r, gptoss_error *err) {
    skip_space(r);
    return at_end(r) ? GPTOSS_OK : wrong(r, "the end", err);
}

/* Four hexadecimal digits. */
static bool take_hex(reader *r, uint32_t *out) {
    uint32_t value = 0;
    if (r->size - r->at < 4) return false;
    for (size_t i = 0; i < 4; i++) {
        char c = r->text[r->at + i], lower = (char)(c | 0x20);
        bool digit = c >= '0' && c <= '9';
        if (!digit && (lower < 'a' || lower > 'f')) return false;
        value = value << 4 | (uint32_t)(digit ? c - '0' : lower - 'a' + 10);
    }
    r->at += 4;
    *out = value;
    return true;
}

static gptoss_status append_character(uint32_t c, buffer *out, gptoss_error *err) {
    uint8_t bytes[4];
    size_t size = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    for (size_t i = size; i-- > 1; c >>= 6) bytes[i] = (uint8_t)(0x80 | (c & 0x3F));
    static const uint8_t lead[] = {0, 0, 0xC0, 0xE0, 0xF0};
    bytes[0] = (uint8_t)(lead[size] | c);
    return buffer_append(out, bytes, size, err);
}

/* What follows "\u". */
static gptoss_status read_code(reader *r, buffer *out, gptoss_error *err) {
    uint32_t code, low;
    if (!take_hex(r, &code)) return wrong(r, "a code of four hexadecimal digits", err);
    if (code >= 0xD800 && code < 0xDC00) {
        reader pair = *r;
        if (take(&pair, '\\') && take(&pair, 'u') && take_hex(&pair, &low) && low >= 0xDC00 && low < 0xE000) {
            *r = pair;
            code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
        }
    }
    return append_character(code >= 0xD800 && code < 0xE000 ? 0xFFFD : code, out, err);
}

/* What follows a backslash. */
static gptoss_status read_escape(reader *r, buffer *out, gptoss_error *err) {
    static const char letters[] = "\"\\/bfnrt", meanings[] = "\"\\/\b\f\n\r\t";
    if (take(r, 'u')) return read_code(r, out, err);
    const char *letter = at_end(r) || !r->text[r->at] ? NULL : strchr(letters, r->text[r->at]);
    if (!letter) return wrong(r, "an escaped character", err);
    r->at++;
    return buffer_append(out, &meanings[letter - letters], 1, err);
}

static gptoss_status read_string(reader *r, buffer *out, gptoss_error *err) {
    skip_space(r);
    if (!take(r, '"')) return wrong(r, "a string in quotes", err);
    while (!take(r, '"')) {
        size_t start = r->at;
        while (!at_end(r) && r->text[r->at] != '"' && r->text[r->at] != '\\' && (uint8_t)r->text[r->at] >= 0x20)
            r->at++;
        TRY(buffer_append(out, r->text + start, r->at - start, err));
        if (take(r, '\\'))
            TRY(read_escape(r, out, err));
        else if (at_end(r) || r->text[r->at] != '"')
            return wrong(r, "a character or a closing quote", err);
    }
    return read_end(r, err);
}

static gptoss_status read_id(reader *r, tokens *out, gptoss_error *err) {
    uint64_t id = 0;
    size_t start;
    skip_space(r);
    for (start = r->at; !at_end(r) && r->text[r->at] >= '0' && r->text[r->at] <= '9'; r->at++) {
        id = 10 * id + (uint64_t)(r->text[r->at] - '0');
        if (id >= UINT32_MAX) return error_set(err, GPTOSS_BAD_INPUT, "a token id is out of range");
    }
    if (r->at == start) return wrong(r, "a token id", err);
    return tokens_add(out, (uint32_t)id, err);
}

static gptoss_status read_ids(reader *r, tokens *out, gptoss_error *err) {
    skip_space(r);
    if (!take(r, '[')) return wrong(r, "an array of token ids", err);
    skip_space(r);
    if (take(r, ']')) return read_end(r, err);
    do {
        TRY(read_id(r, out, err));
        skip_space(r);
    } while (take(r, ','));
    if (!take(r, ']')) return wrong(r, "a comma or a closing bracket", err);
    return read_end(r, err);
}

gptoss_status json_line_read_string(const char *text, size_t size, buffer *out, size_t *where, gptoss_error *err) {
    reader r = {text, size, 0};
    gptoss_status status = read_string(&r, out, err);
    if (where) *where = r.at;
    return status;
}

gptoss_status json_line_read_ids(const char *text, size_t size, tokens *out, size_t *where, gptoss_error *err) {
    reader r = {text, size, 0};
    gptoss_status status = read_ids(&r, out, err);
    if (where) *where = r.at;
    return status;
}

static gptoss_status write_valid(const char *text, size_t size, buffer *out, gptoss_error *err) {
    TRY(buffer_append(out, "\"", 1, err));
    for (size_t at = 0; at < size;) {
        size_t plain = at;
        while (plain < size && text[plain] != '"' && text[plain] != '\\' && (uint8_t)text[plain] >= 0x20) plain++;
        TRY(buffer_append(out, text + at, plain - at, err));
        if (plain == size) break;
        char c = text[plain];
        if (c == '"' || c == '\\')
            TRY(buffer_printf(out, err, "\\%c", c));
        else if (c == '\n')
            TRY(buffer_append(out, "\\n", 2, err));
        else
            TRY(buffer_printf(out, err, "\\u%04x", (unsigned)c));
        at = plain + 1;
    }
    return buffer_append(out, "\"", 1, err);
}

gptoss_status json_line_write_string(const char *text, size_t size, buffer *out, gptoss_error *err) {
    if (utf8_valid(text, size)) return write_valid(text, size, out, err);
    buffer repaired = {0};
    gptoss_status status = utf8_repair(text, size, &repaired, err);
    if (status == GPTOSS_OK) status = write_valid(repaired.data, repaired.size, out, err);
    buffer_free(&repaired);
    return status;
}

gptoss_status json_line_write_ids(const uint32_t *ids, size_t count, buffer *out, gptoss_error *err) {
    TRY(buffer_append(out, "[", 1, err));
    for (size_t i = 0; i < count; i++) {
        char digits[16];
        int size = snprintf(digits, sizeof digits, "%s%u", i ? "," : "", ids[i]);
        TRY(buffer_append(out, digits, (size_t)size, err));
    }
    return buffer_append(out, "]", 1, err);
}
