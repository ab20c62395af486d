#include "text/byte_dfa.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "gguf/vocab_map.h"
#include "text/json_text.h"

enum {
    MAX_STATES = 16000,
    MAX_WORK = 5000000, /* of one automaton: a few hundredths of a second */
    KEPT_WORK = 8,      /* what an entry of the table counts that stays */
    NO_SET = UINT32_MAX
};

/* A set of states of the nfa, as the deterministic automaton's state: a run of `members`. */
typedef struct state_set {
    uint32_t first, count;
    uint32_t chars; /* characters read so far, as far as they matter */
    uint8_t text;   /* state of json_text: whether a character begins here */
    bool accepts;
} state_set;

typedef struct builder {
    const byte_nfa *nfa;
    uint32_t min, max;
    byte_dfa *dfa;
    state_set *sets; /* [MAX_STATES] by state of the dfa */
    uint32_t *members, member_count, member_capacity;
    uint32_t *table; /* sets by hash, a power of two larger than 2 * MAX_STATES */
    uint32_t *stack; /* [nfa->count] */
    uint32_t *seen;  /* [nfa->count] the last round that met a state */
    uint32_t round;
    uint32_t work, most_work; /* so far, and at most in exploring */
} builder;

enum { TABLE = 1 << 15 };

void byte_dfa_close(byte_dfa *d) {
    free(d->next);
    free(d->left);
    *d = (byte_dfa){0};
}

/* Bytes that no range tells apart form a class. */
static void find_classes(const byte_nfa *n, byte_dfa *d) {
    bool begins[257] = {[0] = true};
    for (uint32_t i = 0; i < n->count; i++)
        if (n->states[i].low <= n->states[i].high) begins[n->states[i].low] = begins[n->states[i].high + 1] = true;
    uint8_t last = 0;
    for (unsigned byte = 0; byte < 256; byte++) {
        if (byte && begins[byte]) last++;
        d->class_of[byte] = last;
    }
    d->classes = (uint16_t)(last + 1);
}

static gptoss_status too_complex(gptoss_error *err) { return error_set(err, GPTOSS_BAD_INPUT, "it is too complex"); }

static gptoss_status add_member(builder *b, uint32_t state, gptoss_error *err) {
    if (b->member_count == b->member_capacity) {
        uint32_t capacity = b->member_capacity ? 2 * b->member_capacity : 1024;
        TRY(mem_resize(&b->members, capacity, sizeof *b->members, "pattern", err));
        b->member_capacity = capacity;
    }
    b->members[b->member_count++] = state;
    return GPTOSS_OK;
}

/* Appends `state` and all that is entered from it without a byte, unless met in this round; only states that a byte
 * leads on from, and the accepting one, become members. */
static gptoss_status add_closure(builder *b, uint32_t state, gptoss_error *err) {
    uint32_t count = 0;
    b->stack[count++] = state;
    while (count > 0) {
        uint32_t at = b->stack[--count];
        if (at == BYTE_NFA_NONE || b->seen[at] == b->round) continue;
        b->seen[at] = b->round;
        if (++b->work > b->most_work) return too_complex(err);
        const byte_nfa_state *s = &b->nfa->states[at];
        if (s->low <= s->high || at == b->nfa->accept) TRY(add_member(b, at, err));
        if (s->low <= s->high) continue;
        if (s->to != BYTE_NFA_NONE) b->stack[count++] = s->to;
        if (s->or_to != BYTE_NFA_NONE) b->stack[count++] = s->or_to;
    }
    return GPTOSS_OK;
}

static int ascending(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

/* Makes the members from `first` on a state of the dfa, or finds the one that is the same; *out is its number. */
static gptoss_status add_set(builder *b, uint32_t first, uint32_t chars, uint8_t text, uint16_t *out,
                             gptoss_error *err) {
    uint32_t count = b->member_count - first;
    *out = BYTE_DFA_DEAD;
    if (count == 0) return GPTOSS_OK;
    qsort(b->members + first, count, sizeof *b->members, ascending);
    uint64_t hash = vocab_map_mix(chars, count);
    for (uint32_t i = 0; i < count; i++) hash = vocab_map_mix(hash, b->members[first + i]);
    uint32_t slot = (uint32_t)hash & (TABLE - 1);
    for (; b->table[slot] != NO_SET; slot = (slot + 1) & (TABLE - 1)) {
        const state_set *s = &b->sets[b->table[slot]];
        if (s->count != count || s->chars != chars || s->text != text ||
            memcmp(b->members + s->first, b->members + first, count * sizeof *b->members) != 0)
            continue;
        b->member_count = first;
        *out = (uint16_t)b->table[slot];
        return GPTOSS_OK;
    }
    if (b->dfa->states == MAX_STATES) return too_complex(err);
    state_set set = {.first = first, .count = count, .chars = chars, .text = text};
    for (uint32_t i = 0; i < count; i++) set.accepts |= b->members[first + i] == b->nfa->accept;
    set.accepts = set.accepts && chars >= b->min;
    *out = b->dfa->states++;
    b->sets[*out] = set;
    b->table[slot] = *out;
    return GPTOSS_OK;
}

/* The state that `byte` leads to from state `from`. */
static gptoss_status step(builder *b, uint32_t from, uint8_t byte, uint16_t *out, gptoss_error *err) {
    state_set set = b->sets[from];
    uint32_t first = b->member_count, limit = b->max != UINT32_MAX ? b->max : b->min;
    uint8_t text = json_text_step(set.text, byte);
    *out = BYTE_DFA_DEAD;
    if (byte == '"' && set.text != JSON_TEXT_ESCAPE) return GPTOSS_OK;
    if (set.text == JSON_TEXT_BETWEEN) {
        if (b->max != UINT32_MAX && set.chars == b->max) return GPTOSS_OK;
        if (set.chars < limit) set.chars++;
    }
    b->round++;
    for (uint32_t i = 0; i < set.count; i++) {
        const byte_nfa_state *s = &b->nfa->states[b->members[set.first + i]];
        if (byte >= s->low && byte <= s->high) TRY(add_closure(b, s->to, err));
        if (++b->work > b->most_work) return too_complex(err);
    }
    return add_set(b, first, set.chars, text, out, err);
}

static gptoss_status explore(builder *b, gptoss_error *err) {
    uint16_t start, capacity = 0;
    b->dfa->states = 1; /* the dead one */
    b->round = 1;
    TRY(add_closure(b, b->nfa->start, err));
    TRY(add_set(b, 0, 0, JSON_TEXT_BETWEEN, &start, err));
    for (uint16_t state = 0; state < b->dfa->states; state++) {
        if (b->dfa->states > capacity) {
            capacity = (uint16_t)(b->dfa->states > MAX_STATES / 2 ? MAX_STATES : 2 * b->dfa->states);
            TRY(mem_resize(&b->dfa->next, (size_t)capacity * b->dfa->classes, sizeof *b->dfa->next, "pattern", err));
        }
        uint16_t *row = b->dfa->next + (size_t)state * b->dfa->classes;
        memset(row, 0, b->dfa->classes * sizeof *row);
        if (state == BYTE_DFA_DEAD) continue;
        for (unsigned byte = 0; byte < 256; byte++) {
            uint8_t group = b->dfa->class_of[byte];
            if (byte && group == b->dfa->class_of[byte - 1]) continue;
            TRY(step(b, state, (uint8_t)byte, &row[group], err));
        }
    }
    return GPTOSS_OK;
}

/* Fills in left[], round by round, and cuts what leads nowhere. */
static gptoss_status measure(builder *b, gptoss_error *err) {
    byte_dfa *d = b->dfa;
    TRY(mem_array(d->states, sizeof *d->left, "pattern", &d->left, err));
    for (uint16_t i = 0; i < d->states; i++) d->left[i] = i && b->sets[i].accepts ? 0 : UINT16_MAX;
    bool changed = true;
    while (changed) {
        changed = false;
        for (uint16_t i = d->states; i-- > 1;) {
            uint16_t best = d->left[i];
            for (uint16_t c = 0; c < d->classes; c++) {
                uint16_t left = d->left[d->next[(size_t)i * d->classes + c]];
                if (left < best && left + 1 < best) best = (uint16_t)(left + 1);
            }
            changed |= best != d->left[i];
            d->left[i] = best;
        }
        if ((b->work += (uint32_t)d->states * d->classes) > 4 * MAX_WORK) return too_complex(err);
    }
    for (size_t i = 0; i < (size_t)d->states * d->classes; i++)
        if (d->left[d->next[i]] == UINT16_MAX) d->next[i] = BYTE_DFA_DEAD;
    if (d->states > 1 && d->left[BYTE_DFA_START] == UINT16_MAX) d->states = 1;
    return GPTOSS_OK;
}

static gptoss_status build(builder *b, gptoss_error *err) {
    TRY(mem_array(MAX_STATES, sizeof *b->sets, "pattern", &b->sets, err));
    TRY(mem_array(TABLE, sizeof *b->table, "pattern", &b->table, err));
    TRY(mem_array(2 * (size_t)b->nfa->count + 2, sizeof *b->stack, "pattern", &b->stack, err));
    TRY(mem_array(b->nfa->count, sizeof *b->seen, "pattern", &b->seen, err));
    for (size_t i = 0; i < TABLE; i++) b->table[i] = NO_SET;
    find_classes(b->nfa, b->dfa);
    TRY(explore(b, err));
    return measure(b, err);
}

gptoss_status byte_dfa_open(const byte_nfa *nfa, uint32_t min, uint32_t max, uint32_t *work, byte_dfa *out,
                            gptoss_error *err) {
    byte_dfa dfa = {0};
    builder b = {.nfa = nfa, .min = min, .max = max, .dfa = &dfa, .most_work = *work < MAX_WORK ? *work : MAX_WORK};
    gptoss_status status = build(&b, err);
    if (status == GPTOSS_OK) b.work += KEPT_WORK * (uint32_t)dfa.states * dfa.classes;
    *work -= b.work < *work ? b.work : *work;
    free(b.sets);
    free(b.members);
    free(b.table);
    free(b.stack);
    free(b.seen);
    if (status != GPTOSS_OK) {
        byte_dfa_close(&dfa);
        return status;
    }
    *out = dfa;
    return GPTOSS_OK;
}
