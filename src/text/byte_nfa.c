#include "text/byte_nfa.h"

#include <stdlib.h>

#include "base/mem.h"

enum { MAX_STATES = 30000 };

void byte_nfa_free(byte_nfa *n) {
    free(n->states);
    *n = (byte_nfa){0};
}

static gptoss_status add(byte_nfa *n, byte_nfa_state state, uint32_t *out, gptoss_error *err) {
    if (n->count == MAX_STATES) return error_set(err, GPTOSS_BAD_INPUT, "it is too long or repeats too much");
    if (n->count == n->capacity) {
        uint32_t capacity = n->capacity ? 2 * n->capacity : 64;
        TRY(mem_resize(&n->states, capacity, sizeof *n->states, "pattern", err));
        n->capacity = capacity;
    }
    n->states[n->count] = state;
    *out = n->count++;
    return GPTOSS_OK;
}

/* A state that is entered and left without a byte. */
static gptoss_status add_joint(byte_nfa *n, uint32_t to, uint32_t or_to, uint32_t *out, gptoss_error *err) {
    return add(n, (byte_nfa_state){1, 0, to, or_to}, out, err);
}

gptoss_status byte_nfa_empty(byte_nfa *n, byte_nfa_piece *out, gptoss_error *err) {
    TRY(add_joint(n, BYTE_NFA_NONE, BYTE_NFA_NONE, &out->end, err));
    out->start = out->end;
    return GPTOSS_OK;
}

/* A piece's end leads nowhere, so that its `to` is free. */
void byte_nfa_join(byte_nfa *n, byte_nfa_piece *first, byte_nfa_piece second) {
    n->states[first->end].to = second.start;
    first->end = second.end;
}

gptoss_status byte_nfa_either(byte_nfa *n, byte_nfa_piece *first, byte_nfa_piece second, gptoss_error *err) {
    uint32_t start = 0, end = 0;
    TRY(add_joint(n, first->start, second.start, &start, err));
    TRY(add_joint(n, BYTE_NFA_NONE, BYTE_NFA_NONE, &end, err));
    n->states[first->end].to = n->states[second.end].to = end;
    *first = (byte_nfa_piece){start, end};
    return GPTOSS_OK;
}

gptoss_status byte_nfa_optional(byte_nfa *n, byte_nfa_piece *piece, gptoss_error *err) {
    byte_nfa_piece nothing = {0};
    TRY(byte_nfa_empty(n, &nothing, err));
    return byte_nfa_either(n, piece, nothing, err);
}

gptoss_status byte_nfa_repeat(byte_nfa *n, byte_nfa_piece *piece, gptoss_error *err) {
    uint32_t loop = 0, end = 0;
    TRY(add_joint(n, BYTE_NFA_NONE, BYTE_NFA_NONE, &end, err));
    TRY(add_joint(n, piece->start, end, &loop, err));
    n->states[piece->end].to = loop;
    *piece = (byte_nfa_piece){loop, end};
    return GPTOSS_OK;
}

/* ---- Characters ---- */

/* The pieces made so far for one set of characters: any of them leads on. */
typedef struct choices {
    byte_nfa *nfa;
    byte_nfa_piece all;
    size_t count;
} choices;

/* Adds the strings of low[0] to high[0], then low[1] to high[1], ... */
static gptoss_status add_sequence(choices *c, const uint8_t *low, const uint8_t *high, size_t size, gptoss_error *err) {
    byte_nfa_piece piece = {0};
    TRY(add_joint(c->nfa, BYTE_NFA_NONE, BYTE_NFA_NONE, &piece.end, err));
    uint32_t next = piece.end;
    for (size_t i = size; i-- > 0;)
        TRY(add(c->nfa, (byte_nfa_state){low[i], high[i], next, BYTE_NFA_NONE}, &next, err));
    piece.start = next;
    if (c->count++ > 0) return byte_nfa_either(c->nfa, &c->all, piece, err);
    c->all = piece;
    return GPTOSS_OK;
}

static size_t encode(uint32_t code, uint8_t *out) {
    if (code < 0x80) return out[0] = (uint8_t)code, 1;
    size_t size = code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    for (size_t i = size; i-- > 1; code >>= 6) out[i] = (uint8_t)(0x80 | (code & 0x3F));
    static const uint8_t lead[] = {0, 0, 0xC0, 0xE0, 0xF0};
    out[0] = (uint8_t)(lead[size] | code);
    return size;
}

/* Adds low to high, whose encodings have the same size: cut where a run of whole blocks of 64, 64^2 ... begins or
 * ends, so that each part is a product of byte ranges. */
static gptoss_status add_same_size(choices *c, uint32_t low, uint32_t high, gptoss_error *err) {
    while (low <= high) {
        uint32_t end = high;
        for (uint32_t block = 64; block <= 64 * 64 * 64 && low / block != end / block; block *= 64) {
            if (low % block) {
                end = low - low % block + block - 1;
                break;
            }
            end -= (end + 1) % block; /* the last character of the last whole block */
        }
        uint8_t first[4], last[4];
        size_t size = encode(low, first);
        encode(end, last);
        TRY(add_sequence(c, first, last, size, err));
        low = end + 1;
    }
    return GPTOSS_OK;
}

static gptoss_status add_plain(choices *c, uint32_t low, uint32_t high, gptoss_error *err) {
    static const byte_nfa_range plain[] = {{0x20, 0x21},    {0x23, 0x5B},     {0x5D, 0x7F},       {0x80, 0x7FF},
                                           {0x800, 0xD7FF}, {0xE000, 0xFFFF}, {0x10000, 0x10FFFF}};
    for (size_t i = 0; i < sizeof plain / sizeof *plain; i++) {
        uint32_t from = low > plain[i].low ? low : plain[i].low, to = high < plain[i].high ? high : plain[i].high;
        if (from <= to) TRY(add_same_size(c, from, to, err));
    }
    return GPTOSS_OK;
}

gptoss_status byte_nfa_characters(byte_nfa *n, const byte_nfa_range *ranges, size_t count, byte_nfa_piece *out,
                                  gptoss_error *err) {
    static const char escapes[][2] = {{'"', '"'},  {'\\', '\\'}, {'\b', 'b'}, {'\f', 'f'},
                                      {'\n', 'n'}, {'\r', 'r'},  {'\t', 't'}};
    choices c = {.nfa = n};
    for (size_t i = 0; i < count; i++) {
        TRY(add_plain(&c, ranges[i].low, ranges[i].high, err));
        for (size_t j = 0; j < sizeof escapes / sizeof *escapes; j++) {
            uint8_t text[] = {'\\', (uint8_t)escapes[j][1]};
            if (ranges[i].low <= (uint8_t)escapes[j][0] && ranges[i].high >= (uint8_t)escapes[j][0])
                TRY(add_sequence(&c, text, text, 2, err));
        }
    }
    if (c.count == 0) { /* nothing can be written: a start from which nothing leads to the end */
        TRY(add_joint(n, BYTE_NFA_NONE, BYTE_NFA_NONE, &out->start, err));
        return add_joint(n, BYTE_NFA_NONE, BYTE_NFA_NONE, &out->end, err);
    }
    *out = c.all;
    return GPTOSS_OK;
}
