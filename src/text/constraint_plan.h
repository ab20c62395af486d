/* constraint_plan.h: what a constraint's rules come to: the headers that may be written, and what follows each. */
#ifndef TEXT_CONSTRAINT_PLAN_H
#define TEXT_CONSTRAINT_PLAN_H

#include <stdatomic.h>

#include "text/constraint.h"

typedef enum constraint_role {
    CONSTRAINT_ANALYSIS,
    CONSTRAINT_PREAMBLE,
    CONSTRAINT_FINAL,
    CONSTRAINT_CALL,
    CONSTRAINT_TOOL
} constraint_role;

/* A kind of message. */
typedef struct constraint_kind {
    constraint_role role;  /* CONSTRAINT_TOOL: a call of a built-in tool */
    json_grammar *grammar; /* of its text; NULL: any */
    mask_cache patterns;   /* of the grammar */
    bool wanted;           /* as far as the rules are concerned */
} constraint_kind;

/* A header after "<|start|>assistant": text, and special tokens as bytes that no text has: CONSTRAINT_SPECIAL + i. */
enum { CONSTRAINT_SPECIAL = 0xF8 };

typedef struct constraint_header {
    char *text;
    uint32_t size;
    uint32_t kind;
} constraint_header;

/* Shared by a constraint and its clones, read-only. */
typedef struct constraint_plan {
    atomic_size_t users;
    harmony harmony;
    const token_mask *masks;
    constraint_rules rules; /* without what it borrows */
    constraint_kind *kinds;
    constraint_header *headers; /* sorted by text; none is the beginning of another */
    uint32_t kind_count, header_count, header_capacity;
    uint32_t end_of_call, end_of_answer; /* tokens */
    uint32_t margin;                     /* bytes by which one token can put off the end */
    uint32_t pattern_work;               /* that is left, while it is opened: see pattern_open */
} constraint_plan;

gptoss_status constraint_plan_open(const harmony *h, const token_mask *m, const constraint_rules *rules,
                                   constraint_plan **out, gptoss_error *err);
void constraint_plan_close(constraint_plan *p); /* when the last user is gone */

static inline uint32_t constraint_kind_size(const constraint_kind *k) {
    return k->grammar ? k->grammar->nodes[k->grammar->root].size : 0;
}

#endif
