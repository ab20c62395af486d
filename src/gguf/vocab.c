#include "gguf/vocab.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "base/mem.h"
#include "gguf/vocab_map.h"

enum {
    TOKEN_MAX = 512,  /* bytes of one ranked token; the longest of o200k has 128 */
    FIRST_MOVED = 256 /* code point of the first byte that is not its own character */
};

static bool is_own_character(unsigned byte) {
    return (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
}

/* The bytes that are moved, in order: 0-32, 127-160, 173. */
static unsigned moved_index(unsigned byte) { return byte <= 32 ? byte : byte <= 160 ? byte - 127 + 33 : 67; }
static unsigned moved_byte(unsigned index) { return index <= 32 ? index : index < 67 ? index - 33 + 127 : 173; }

size_t vocab_spell(const uint8_t *bytes, size_t size, char *out) {
    char *p = out;
    for (size_t i = 0; i < size; i++) {
        unsigned c = is_own_character(bytes[i]) ? bytes[i] : FIRST_MOVED + moved_index(bytes[i]);
        if (c < 0x80) {
            *p++ = (char)c;
        } else {
            *p++ = (char)(0xC0 | c >> 6);
            *p++ = (char)(0x80 | (c & 0x3F));
        }
    }
    return (size_t)(p - out);
}

bool vocab_unspell(const char *text, size_t size, uint8_t *out, size_t *out_size) {
    size_t n = 0;
    for (size_t i = 0; i < size;) {
        unsigned c = (uint8_t)text[i++];
        if (c >= 0x80) {
            if (c < 0xC2 || c > 0xDF || i == size || ((uint8_t)text[i] & 0xC0) != 0x80) return false;
            c = (c & 0x1F) << 6 | ((uint8_t)text[i++] & 0x3F);
        }
        if (c >= FIRST_MOVED + 68 || (c < FIRST_MOVED && !is_own_character(c))) return false;
        out[n++] = (uint8_t)(c < FIRST_MOVED ? c : moved_byte(c - FIRST_MOVED));
    }
    *out_size = n;
    return true;
}

gguf_text vocab_text(const vocab_texts *texts, size_t index) {
    size_t start = index ? texts->ends[index - 1] : 0;
    return (gguf_text){texts->bytes + start, texts->ends[index] - start};
}

void vocab_free(vocab *v) {
    free(v->tokens.bytes), free(v->tokens.ends);
    free(v->merges.bytes), free(v->merges.ends);
    free(v->types);
    *v = (vocab){0};
}

/* A vocab_texts under construction. */
typedef struct texts {
    buffer bytes;
    uint32_t *ends;
    size_t count, capacity;
} texts;

static void texts_free(texts *t) {
    buffer_free(&t->bytes);
    free(t->ends);
    *t = (texts){0};
}

/* Ends the text whose bytes were appended to t->bytes. */
static gptoss_status texts_end(texts *t, gptoss_error *err) {
    if (t->bytes.size > UINT32_MAX) return error_set(err, GPTOSS_BAD_INPUT, "the vocabulary is larger than 4 GiB");
    if (t->count == t->capacity) {
        size_t capacity = t->capacity ? 2 * t->capacity : 1024;
        TRY(mem_resize(&t->ends, capacity, sizeof *t->ends, "vocabulary", err));
        t->capacity = capacity;
    }
    t->ends[t->count++] = (uint32_t)t->bytes.size;
    return GPTOSS_OK;
}

static vocab_texts texts_finish(texts *t) {
    vocab_texts done = {t->bytes.data, t->ends, t->count};
    *t = (texts){0};
    return done;
}

static gguf_text text_at(const texts *t, size_t index) {
    vocab_texts all = {t->bytes.data, t->ends, t->count};
    return vocab_text(&all, index);
}

static int base64_digit(char c) {
    if (c >= 'A' && c <= 'Z') return c - 'A';
    if (c >= 'a' && c <= 'z') return c - 'a' + 26;
    if (c >= '0' && c <= '9') return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

/* out[size / 4 * 3] at most; false when the text is not whole, padded base64. */
static bool base64_decode(const char *text, size_t size, uint8_t *out, size_t *out_size) {
    if (size == 0 || size % 4) return false;
    size_t padding = text[size - 1] != '=' ? 0 : text[size - 2] != '=' ? 1 : 2, n = 0;
    uint32_t bits = 0;
    for (size_t i = 0; i < size; i++) {
        int digit = i >= size - padding ? 0 : base64_digit(text[i]);
        if (digit < 0) return false;
        bits = bits << 6 | (uint32_t)digit;
        if (i % 4 == 3)
            for (int shift = 16; shift >= 0; shift -= 8) out[n++] = (uint8_t)(bits >> shift);
    }
    *out_size = n - padding;
    return true;
}

/* Appends the token of one line ("BASE64 RANK", without the newline), as raw bytes; its rank must be ranked->count. */
static gptoss_status add_line(texts *ranked, const char *line, size_t size, gptoss_error *err) {
    uint8_t bytes[TOKEN_MAX];
    char rank[24];
    int rank_size = snprintf(rank, sizeof rank, "%zu", ranked->count);
    size_t token_size, number = ranked->count + 1;
    const char *space = memchr(line, ' ', size);
    size_t encoded = space ? (size_t)(space - line) : size;
    if (!space || encoded / 4 * 3 > TOKEN_MAX || !base64_decode(line, encoded, bytes, &token_size))
        return error_set(err, GPTOSS_BAD_INPUT, "line %zu: not a token in base64, a space and its rank", number);
    if (size - encoded - 1 != (size_t)rank_size || memcmp(space + 1, rank, (size_t)rank_size) != 0)
        return error_set(err, GPTOSS_BAD_INPUT, "line %zu: rank %.*s where %s is next", number,
                         (int)(size - encoded - 1 < 20 ? size - encoded - 1 : 20), space + 1, rank);
    TRY(buffer_append(&ranked->bytes, bytes, token_size, err));
    return texts_end(ranked, err);
}

static gptoss_status read_ranks(const char *text, size_t size, texts *ranked, gptoss_error *err) {
    for (size_t at = 0; at < size;) {
        const char *newline = memchr(text + at, '\n', size - at);
        size_t length = newline ? (size_t)(newline - (text + at)) : size - at;
        size_t next = at + length + 1;
        if (length && text[at + length - 1] == '\r') length--;
        if (length) TRY(add_line(ranked, text + at, length, err));
        at = next;
    }
    if (ranked->count == 0) return error_set(err, GPTOSS_BAD_INPUT, "there are no tokens in it");
    return GPTOSS_OK;
}

static gptoss_status index_ranks(const texts *ranked, vocab_map *ranks, gptoss_error *err) {
    for (size_t i = 0; i < ranked->count; i++) {
        gguf_text token = text_at(ranked, i);
        uint32_t first;
        if (!vocab_map_add(ranks, token.bytes, (uint32_t)token.size, (uint32_t)i, &first))
            return error_set(err, GPTOSS_BAD_INPUT, "line %zu: the same token as line %u", i + 1, first + 1);
    }
    return GPTOSS_OK;
}

static gptoss_status append_spelled(buffer *out, gguf_text bytes, gptoss_error *err) {
    char spelled[2 * TOKEN_MAX];
    size_t size = vocab_spell((const uint8_t *)bytes.bytes, bytes.size, spelled);
    return buffer_append(out, spelled, size, err);
}

/* Every way to cut `token` into two tokens, those with lower-ranked left and then right parts first. */
static gptoss_status add_merges(const vocab_map *ranks, gguf_text token, texts *merges, gptoss_error *err) {
    struct cut {
        uint32_t left, right;
        size_t at;
    } cuts[TOKEN_MAX];
    size_t count = 0;
    for (size_t at = 1; at < token.size; at++) {
        struct cut cut = {.at = at};
        if (!vocab_map_find(ranks, token.bytes, at, &cut.left)) continue;
        if (!vocab_map_find(ranks, token.bytes + at, token.size - at, &cut.right)) continue;
        size_t place = count++;
        while (place > 0 && cuts[place - 1].left > cut.left) { /* two cuts never share their left part */
            cuts[place] = cuts[place - 1];
            place--;
        }
        cuts[place] = cut;
    }
    for (size_t i = 0; i < count; i++) {
        TRY(append_spelled(&merges->bytes, (gguf_text){token.bytes, cuts[i].at}, err));
        TRY(buffer_append(&merges->bytes, " ", 1, err));
        TRY(append_spelled(&merges->bytes, (gguf_text){token.bytes + cuts[i].at, token.size - cuts[i].at}, err));
        TRY(texts_end(merges, err));
    }
    return GPTOSS_OK;
}

/* Names by their distance from the first special id. */
static const char *const special_names[] = {
    [0] = "startoftext", [1] = "endoftext", [4] = "return",   [5] = "constrain", [7] = "channel",
    [8] = "start",       [9] = "end",       [10] = "message", [14] = "call",     [20] = "endofprompt"};

static gptoss_status add_specials(texts *tokens, gptoss_error *err) {
    for (size_t i = 0; i < VOCAB_SPECIALS; i++) {
        const char *name = i < sizeof special_names / sizeof *special_names ? special_names[i] : NULL;
        if (name)
            TRY(buffer_printf(&tokens->bytes, err, "<|%s|>", name));
        else
            TRY(buffer_printf(&tokens->bytes, err, "<|reserved_%zu|>", tokens->count));
        TRY(texts_end(tokens, err));
    }
    return GPTOSS_OK;
}

gptoss_status vocab_from_tiktoken(const char *text, size_t size, vocab *out, gptoss_error *err) {
    texts ranked = {0}, tokens = {0}, merges = {0};
    vocab_map ranks = {0};
    int32_t *types = NULL;
    gptoss_status status = read_ranks(text, size, &ranked, err);
    if (status == GPTOSS_OK) status = vocab_map_open(&ranks, ranked.count, err);
    if (status == GPTOSS_OK) status = index_ranks(&ranked, &ranks, err);
    for (size_t i = 0; status == GPTOSS_OK && i < ranked.count; i++) {
        gguf_text token = text_at(&ranked, i);
        status = append_spelled(&tokens.bytes, token, err);
        if (status == GPTOSS_OK) status = texts_end(&tokens, err);
        if (status == GPTOSS_OK) status = add_merges(&ranks, token, &merges, err);
    }
    if (status == GPTOSS_OK) status = add_specials(&tokens, err);
    if (status == GPTOSS_OK) status = mem_array(tokens.count, sizeof *types, "token types", &types, err);
    if (status == GPTOSS_OK) {
        for (size_t i = 0; i < tokens.count; i++) types[i] = i < ranked.count ? VOCAB_NORMAL : VOCAB_CONTROL;
        *out = (vocab){.types = types, .tokens = texts_finish(&tokens), .merges = texts_finish(&merges)};
    }
    vocab_map_close(&ranks);
    texts_free(&ranked), texts_free(&tokens), texts_free(&merges);
    return status;
}
