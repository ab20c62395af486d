#include "text/pattern.h"

#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"

enum { MAX_GROUPS = 40, MAX_REPEAT = 1000, MAX_RANGES = 256, LAST_CHARACTER = 0x10FFFF };

typedef struct reader {
    const char *at, *end;
    byte_nfa *nfa;
    int groups; /* open ones */
} reader;

typedef struct set { /* of characters */
    byte_nfa_range ranges[MAX_RANGES];
    size_t count;
} set;

static gptoss_status refuse(const char *what, gptoss_error *err) {
    return error_set(err, GPTOSS_BAD_INPUT, "%s not supported", what);
}

static gptoss_status wrong(const char *what, gptoss_error *err) { return error_set(err, GPTOSS_BAD_INPUT, "%s", what); }

static bool take(reader *r, const char *text) {
    size_t size = strlen(text);
    if ((size_t)(r->end - r->at) < size || memcmp(r->at, text, size) != 0) return false;
    r->at += size;
    return true;
}

static bool next_is(const reader *r, char c) { return r->at < r->end && *r->at == c; }

static bool is_digit(char c) { return c >= '0' && c <= '9'; }

/* ---- Characters and classes ---- */

static gptoss_status add_range(set *s, uint32_t low, uint32_t high, gptoss_error *err) {
    if (s->count == MAX_RANGES) return wrong("a class has too many parts", err);
    s->ranges[s->count++] = (byte_nfa_range){low, high};
    return GPTOSS_OK;
}

static int by_low(const void *a, const void *b) {
    const byte_nfa_range *x = a, *y = b;
    return (x->low > y->low) - (x->low < y->low);
}

/* Sorts the ranges and joins those that touch. */
static void tidy(set *s) {
    size_t kept = 0;
    if (s->count) qsort(s->ranges, s->count, sizeof *s->ranges, by_low);
    for (size_t i = 0; i < s->count; i++) {
        byte_nfa_range *last = kept ? &s->ranges[kept - 1] : NULL;
        if (last && s->ranges[i].low <= last->high + 1)
            last->high = s->ranges[i].high > last->high ? s->ranges[i].high : last->high;
        else
            s->ranges[kept++] = s->ranges[i];
    }
    s->count = kept;
}

static gptoss_status negate(set *s, gptoss_error *err) {
    set other = {.count = 0};
    uint32_t from = 0;
    tidy(s);
    for (size_t i = 0; i < s->count; i++) {
        if (s->ranges[i].low > from) TRY(add_range(&other, from, s->ranges[i].low - 1, err));
        from = s->ranges[i].high + 1;
    }
    if (from <= LAST_CHARACTER) TRY(add_range(&other, from, LAST_CHARACTER, err));
    *s = other;
    return GPTOSS_OK;
}

/* \d \w \s and, in capitals, what they are not; false when `letter` is none of them. */
static bool is_shorthand(char letter) { return letter && strchr("dDwWsS", letter); }

static gptoss_status add_shorthand(set *s, char letter, gptoss_error *err) {
    static const byte_nfa_range digits[] = {{'0', '9'}}, words[] = {{'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}},
                                spaces[] = {{9, 13},          {' ', ' '},       {0xA0, 0xA0},     {0x1680, 0x1680},
                                            {0x2000, 0x200A}, {0x2028, 0x2029}, {0x202F, 0x202F}, {0x205F, 0x205F},
                                            {0x3000, 0x3000}, {0xFEFF, 0xFEFF}};
    char kind = (char)(letter | 0x20);
    const byte_nfa_range *ranges = kind == 'd' ? digits : kind == 'w' ? words : spaces;
    size_t count = kind == 'd' ? 1 : kind == 'w' ? 4 : sizeof spaces / sizeof *spaces;
    set own = {.count = 0};
    for (size_t i = 0; i < count; i++) TRY(add_range(&own, ranges[i].low, ranges[i].high, err));
    if (letter != kind) TRY(negate(&own, err));
    for (size_t i = 0; i < own.count; i++) TRY(add_range(s, own.ranges[i].low, own.ranges[i].high, err));
    return GPTOSS_OK;
}

static gptoss_status read_hex(reader *r, size_t digits, uint32_t *code, gptoss_error *err) {
    *code = 0;
    for (size_t i = 0; i < digits; i++) {
        char c = r->at < r->end ? *r->at++ : ' ', low = (char)(c | 0x20);
        if (!is_digit(c) && !(low >= 'a' && low <= 'f')) return wrong("an escape lacks hexadecimal digits", err);
        *code = *code * 16 + (uint32_t)(is_digit(c) ? c - '0' : low - 'a' + 10);
    }
    return GPTOSS_OK;
}

/* What follows a backslash and stands for one character. */
static gptoss_status read_escape(reader *r, bool in_class, uint32_t *code, gptoss_error *err) {
    static const char letters[] = "fnrtv0", codes[] = {'\f', '\n', '\r', '\t', '\v', '\0'};
    if (r->at == r->end) return wrong("it ends in a backslash", err);
    char c = *r->at++;
    const char *found = c ? strchr(letters, c) : NULL;
    if (found) return *code = (uint32_t)codes[found - letters], GPTOSS_OK;
    if (c == 'b' && in_class) return *code = '\b', GPTOSS_OK;
    if (c == 'x') return read_hex(r, 2, code, err);
    if (c == 'u' && next_is(r, '{')) return refuse("\\u{...} is", err);
    if (c == 'u') return read_hex(r, 4, code, err);
    if (c == 'b' || c == 'B') return refuse("\\b, the border of a word, is", err);
    if (c == 'p' || c == 'P') return refuse("\\p, a property of characters, is", err);
    if (c == 'k' || (c >= '1' && c <= '9')) return refuse("a reference back is", err);
    if ((c | 0x20) >= 'a' && (c | 0x20) <= 'z' && !(c & 0x80)) return refuse("this escape of a letter is", err);
    r->at--;
    r->at += utf8_decode(r->at, (size_t)(r->end - r->at), code);
    return GPTOSS_OK;
}

/* One character of a class, or a shorthand, which is added right away: then *single is false. */
static gptoss_status read_member(reader *r, set *s, uint32_t *code, bool *single, gptoss_error *err) {
    *single = true;
    if (r->at == r->end) return wrong("a class is not closed", err);
    if (!take(r, "\\")) {
        r->at += utf8_decode(r->at, (size_t)(r->end - r->at), code);
        return GPTOSS_OK;
    }
    *single = !(r->at < r->end && is_shorthand(*r->at));
    return *single ? read_escape(r, true, code, err) : add_shorthand(s, *r->at++, err);
}

/* A class, behind its opening bracket. */
static gptoss_status read_class(reader *r, set *s, gptoss_error *err) {
    bool negated = take(r, "^");
    while (!take(r, "]")) {
        uint32_t low, high;
        bool single, range;
        TRY(read_member(r, s, &low, &single, err));
        if (!single) continue;
        range = r->at + 1 < r->end && r->at[0] == '-' && r->at[1] != ']';
        high = low;
        if (range) {
            r->at++;
            TRY(read_member(r, s, &high, &single, err));
            if (!single || high < low) return wrong("a class has a range that runs backwards", err);
        }
        TRY(add_range(s, low, high, err));
    }
    return negated ? negate(s, err) : GPTOSS_OK;
}

static gptoss_status any_character(set *s, bool lines_too, gptoss_error *err) {
    if (lines_too) return add_range(s, 0, LAST_CHARACTER, err);
    TRY(add_range(s, '\n', '\n', err));
    TRY(add_range(s, '\r', '\r', err));
    TRY(add_range(s, 0x2028, 0x2029, err));
    return negate(s, err);
}

/* ---- Structure ---- */

static gptoss_status read_either(reader *r, bool outermost, byte_nfa_piece *out, gptoss_error *err);

static gptoss_status read_group(reader *r, byte_nfa_piece *out, gptoss_error *err) {
    if (take(r, "?=") || take(r, "?!")) return refuse("looking ahead is", err);
    if (take(r, "?<=") || take(r, "?<!")) return refuse("looking behind is", err);
    if (take(r, "?<")) return refuse("the name of a group is", err);
    if (!take(r, "?:") && next_is(r, '?')) return refuse("this kind of group is", err);
    if (++r->groups > MAX_GROUPS) return wrong("groups are nested too deeply", err);
    TRY(read_either(r, false, out, err));
    r->groups--;
    return take(r, ")") ? GPTOSS_OK : wrong("a group is not closed", err);
}

static gptoss_status read_atom(reader *r, byte_nfa_piece *out, gptoss_error *err) {
    set s = {.count = 0};
    uint32_t code;
    if (take(r, "(")) return read_group(r, out, err);
    if (next_is(r, '^') || next_is(r, '$')) return refuse("\"^\" or \"$\" inside is", err);
    if (next_is(r, '*') || next_is(r, '+') || next_is(r, '?')) return wrong("a quantifier has nothing before it", err);
    if (take(r, "["))
        TRY(read_class(r, &s, err));
    else if (take(r, "."))
        TRY(any_character(&s, false, err));
    else if (take(r, "\\")) {
        if (r->at < r->end && is_shorthand(*r->at)) {
            TRY(add_shorthand(&s, *r->at++, err));
        } else {
            TRY(read_escape(r, false, &code, err));
            TRY(add_range(&s, code, code, err));
        }
    } else {
        r->at += utf8_decode(r->at, (size_t)(r->end - r->at), &code);
        TRY(add_range(&s, code, code, err));
    }
    tidy(&s);
    return byte_nfa_characters(r->nfa, s.ranges, s.count, out, err);
}

static bool read_number(reader *r, uint32_t *out) {
    if (r->at == r->end || !is_digit(*r->at)) return false;
    for (*out = 0; r->at < r->end && is_digit(*r->at); r->at++)
        if (*out <= MAX_REPEAT) *out = *out * 10 + (uint32_t)(*r->at - '0');
    return true;
}

/* How often an atom repeats; once when no quantifier follows. *most is UINT32_MAX when there is no limit. */
static gptoss_status read_quantifier(reader *r, uint32_t *least, uint32_t *most, gptoss_error *err) {
    const char *start = r->at;
    *least = *most = 1;
    if (take(r, "*"))
        *least = 0, *most = UINT32_MAX;
    else if (take(r, "+"))
        *most = UINT32_MAX;
    else if (take(r, "?"))
        *least = 0;
    else if (take(r, "{")) {
        bool counted = read_number(r, least), comma = take(r, ",");
        *most = comma ? UINT32_MAX : *least;
        if (comma && next_is(r, '}') == false) counted = counted && read_number(r, most);
        if (!counted || !take(r, "}")) { /* a brace that means itself */
            r->at = start;
            *least = *most = 1;
            return GPTOSS_OK;
        }
        if (*least > MAX_REPEAT || (*most > MAX_REPEAT && *most != UINT32_MAX))
            return wrong("it repeats something more than 1000 times", err);
        if (*most < *least) return wrong("a quantifier's limits are in the wrong order", err);
    } else {
        return GPTOSS_OK;
    }
    take(r, "?");
    return GPTOSS_OK;
}

/* An atom with its quantifier. Copies are made by reading the atom again. */
static gptoss_status read_repeated(reader *r, byte_nfa_piece *out, gptoss_error *err) {
    const char *start = r->at, *end;
    uint32_t least, most;
    byte_nfa_piece piece;
    TRY(read_atom(r, &piece, err));
    TRY(read_quantifier(r, &least, &most, err));
    end = r->at;
    if (least == 1 && most == 1) return *out = piece, GPTOSS_OK;
    TRY(byte_nfa_empty(r->nfa, out, err));
    uint32_t copies = most == UINT32_MAX ? least + 1 : most;
    for (uint32_t i = 0; i < copies; i++) {
        r->at = start;
        TRY(read_atom(r, &piece, err));
        if (i >= least && most == UINT32_MAX) TRY(byte_nfa_repeat(r->nfa, &piece, err));
        if (i >= least && most != UINT32_MAX) TRY(byte_nfa_optional(r->nfa, &piece, err));
        byte_nfa_join(r->nfa, out, piece);
    }
    r->at = end;
    return GPTOSS_OK;
}

static gptoss_status anything(reader *r, byte_nfa_piece *out, gptoss_error *err) {
    set s = {.count = 0};
    TRY(any_character(&s, true, err));
    TRY(byte_nfa_characters(r->nfa, s.ranges, s.count, out, err));
    return byte_nfa_repeat(r->nfa, out, err);
}

/* Atoms one after another. The outermost ones may match in the midst of a string, unless they are anchored. */
static gptoss_status read_sequence(reader *r, bool outermost, byte_nfa_piece *out, gptoss_error *err) {
    byte_nfa_piece piece;
    TRY(byte_nfa_empty(r->nfa, out, err));
    if (outermost && !take(r, "^")) TRY(anything(r, out, err));
    while (r->at < r->end && !next_is(r, '|') && !next_is(r, ')')) {
        if (outermost && next_is(r, '$') && (r->at + 1 == r->end || r->at[1] == '|')) {
            r->at++;
            return GPTOSS_OK;
        }
        TRY(read_repeated(r, &piece, err));
        byte_nfa_join(r->nfa, out, piece);
    }
    if (!outermost) return GPTOSS_OK;
    TRY(anything(r, &piece, err));
    byte_nfa_join(r->nfa, out, piece);
    return GPTOSS_OK;
}

static gptoss_status read_either(reader *r, bool outermost, byte_nfa_piece *out, gptoss_error *err) {
    byte_nfa_piece other;
    TRY(read_sequence(r, outermost, out, err));
    while (take(r, "|")) {
        TRY(read_sequence(r, outermost, &other, err));
        TRY(byte_nfa_either(r->nfa, out, other, err));
    }
    return GPTOSS_OK;
}

static gptoss_status read_pattern(const char *pattern, byte_nfa *nfa, gptoss_error *err) {
    reader r = {.at = pattern, .end = pattern + strlen(pattern), .nfa = nfa};
    byte_nfa_piece whole;
    if (r.end - r.at > PATTERN_BYTES) return wrong("it is longer than 8192 bytes", err);
    if (!utf8_valid(pattern, strlen(pattern))) return wrong("it is not UTF-8", err);
    TRY(read_either(&r, true, &whole, err));
    if (r.at < r.end) return wrong("a parenthesis closes nothing", err);
    nfa->start = whole.start;
    nfa->accept = whole.end;
    return GPTOSS_OK;
}

gptoss_status pattern_open(const char *pattern, uint32_t min, uint32_t max, uint32_t *work, byte_dfa *out,
                           gptoss_error *err) {
    byte_nfa nfa = {0};
    uint32_t own = PATTERN_WORK;
    if (!work) work = &own;
    if (*work == 0) return wrong("those before it were too complex together", err);
    gptoss_status status = read_pattern(pattern, &nfa, err);
    *work -= nfa.count < *work ? nfa.count : *work;
    if (status == GPTOSS_OK) status = byte_dfa_open(&nfa, min, max, work, out, err);
    byte_nfa_free(&nfa);
    return status;
}
