/* byte_nfa.h: a nondeterministic automaton over bytes, put together from pieces (Thompson, CACM 11(6), 1968). */
#ifndef TEXT_BYTE_NFA_H
#define TEXT_BYTE_NFA_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

enum { BYTE_NFA_NONE = UINT32_MAX };

typedef struct byte_nfa_state {
    uint8_t low, high; /* bytes that lead to `to`; low > high: it is entered without one */
    uint32_t to;       /* BYTE_NFA_NONE: nowhere */
    uint32_t or_to;    /* also entered without a byte; BYTE_NFA_NONE: nowhere */
} byte_nfa_state;

typedef struct byte_nfa {
    byte_nfa_state *states;
    uint32_t count, capacity;
    uint32_t start, accept;
} byte_nfa;

/* Strings lead from `start` to `end`, which leads nowhere yet. */
typedef struct byte_nfa_piece {
    uint32_t start, end;
} byte_nfa_piece;

void byte_nfa_free(byte_nfa *n);

/* Characters low[i] to high[i], as they are written inside a JSON string: UTF-8, or a short escape. */
typedef struct byte_nfa_range {
    uint32_t low, high;
} byte_nfa_range;

/* Each makes a piece of the others, which it uses up. GPTOSS_BAD_INPUT when the automaton becomes too large. */
gptoss_status byte_nfa_empty(byte_nfa *n, byte_nfa_piece *out, gptoss_error *err);
gptoss_status byte_nfa_characters(byte_nfa *n, const byte_nfa_range *ranges, size_t count, byte_nfa_piece *out,
                                  gptoss_error *err);
void byte_nfa_join(byte_nfa *n, byte_nfa_piece *first, byte_nfa_piece second); /* first becomes both */
gptoss_status byte_nfa_either(byte_nfa *n, byte_nfa_piece *first, byte_nfa_piece second, gptoss_error *err);
gptoss_status byte_nfa_optional(byte_nfa *n, byte_nfa_piece *piece, gptoss_error *err);
gptoss_status byte_nfa_repeat(byte_nfa *n, byte_nfa_piece *piece, gptoss_error *err); /* none, one or many */

#endif
