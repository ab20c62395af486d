/* json_machine.h: following a JSON text byte by byte through a json_grammar.
 *
 * A text may be read in several ways at once ("anyOf" of two objects that begin alike), so what is known after some
 * bytes is a set of positions. From every position some end can be reached. */
#ifndef TEXT_JSON_MACHINE_H
#define TEXT_JSON_MACHINE_H

#include "text/json_grammar.h"

enum { JSON_MACHINE_POSITIONS = 128 }; /* at once; further readings are given up */

typedef enum json_phase {
    JSON_AT_VALUE,      /* of `node`; begins with the next byte */
    JSON_IN_STRING,     /* state: of json_text; a: characters so far, as far as limits count them */
    JSON_IN_PATTERN,    /* a: state of the pattern */
    JSON_IN_NUMBER,     /* state: see json_machine.c; a: digits of the part at hand */
    JSON_IN_RANGE,      /* the same; number: all digits so far */
    JSON_IN_LITERAL,    /* a, b: texts [a, b) begin like this; c: bytes so far */
    JSON_AT_FIRST_KEY,  /* behind the opening brace */
    JSON_AT_KEY,        /* behind a comma */
    JSON_IN_KEY,        /* a, b, c: as in literals, of the object's by_name; open: others too; state: of json_text */
    JSON_AT_COLON,      /* `node`: the value to come */
    JSON_AT_FIRST_ITEM, /* behind the opening bracket */
    JSON_BEHIND_VALUE,  /* in an object or array */
    JSON_AT_END
} json_phase;

typedef struct json_level { /* an object or array that is open */
    uint32_t node;
    uint32_t at; /* next property that may come; or items so far, counted as far as limits need it */
} json_level;

/* Compared as bytes: what a phase does not use is 0. */
typedef struct json_position {
    uint8_t depth, phase, state, blanks; /* blanks: 0, 1 after a space, 2 + spaces after a line break */
    uint8_t open, negative;
    uint16_t unused;
    uint32_t node, a, b, c;
    int64_t number;
    json_level levels[JSON_GRAMMAR_DEPTH]; /* [depth] */
} json_position;

void json_machine_start(const json_grammar *g, json_position *out);

/* Where out[capacity] leads with one more byte; returns how many positions there are, none when the byte is wrong.
 * `out` must not overlap `in`. */
size_t json_machine_step(const json_grammar *g, const json_position *in, size_t count, uint8_t byte, json_position *out,
                         size_t capacity);

bool json_machine_may_end(const json_grammar *g, const json_position *p);

/* Bytes of the shortest end from here, or some more. It gets smaller with every byte of some end. */
uint32_t json_machine_left(const json_grammar *g, const json_position *p);

#endif
