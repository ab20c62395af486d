/* byte_dfa.h: a deterministic automaton over bytes: which strings a regular expression accepts. */
#ifndef TEXT_BYTE_DFA_H
#define TEXT_BYTE_DFA_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "text/byte_nfa.h"

enum { BYTE_DFA_DEAD = 0, BYTE_DFA_START = 1 }; /* states */

typedef struct byte_dfa {
    uint8_t class_of[256]; /* bytes of one class lead the same way */
    uint16_t classes, states;
    uint16_t *next; /* [states][classes]; from every state but the dead one an accepting state can be reached */
    uint16_t *left; /* [states] the least bytes to an accepting state: 0 when the state accepts */
} byte_dfa;

static inline uint16_t byte_dfa_step(const byte_dfa *d, uint16_t state, uint8_t byte) {
    return d->next[(size_t)state * d->classes + d->class_of[byte]];
}

/* The automaton of the strings that `nfa`, whose bytes are the inside of a JSON string, accepts and that have `min` to
 * `max` characters (UINT32_MAX: no limit). GPTOSS_BAD_INPUT when it would take too long to build or become too large,
 * or more work than *work says: states and transitions looked at, those that stay counted several times. What was done
 * is taken off, also by a failure. When no string is accepted, out->states is 1. */
gptoss_status byte_dfa_open(const byte_nfa *nfa, uint32_t min, uint32_t max, uint32_t *work, byte_dfa *out,
                            gptoss_error *err);
void byte_dfa_close(byte_dfa *d); /* a zeroed one is fine */

#endif
