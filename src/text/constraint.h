/* constraint.h: which tokens a model may write next, so that its turn is a valid one.
 *
 * Headers of messages stay well formed and name only what there is; the final message, and what is passed to
 * functions, follow their JSON Schemas (in the form that json_grammar.h describes). Reasoning is never constrained, nor
 * are preambles and plain answers, except that no special token other than the one that ends them gets into them.
 *
 * At each step the sampler asks for the mask of allowed tokens, and then tells which one it took. There is always at
 * least one, until the turn is over. */
#ifndef TEXT_CONSTRAINT_H
#define TEXT_CONSTRAINT_H

#include "text/harmony.h"
#include "text/token_mask.h"

typedef enum constraint_choice {
    CONSTRAINT_AUTO,     /* the model may call functions */
    CONSTRAINT_NONE,     /* it must not */
    CONSTRAINT_REQUIRED, /* it must call one */
    CONSTRAINT_NAMED     /* it must call rules.name */
} constraint_choice;

typedef struct constraint_rules {
    bool plain; /* no Harmony: the text is JSON from its first token on. `json` or `schema` must be given, and nothing
                   else below counts. */
    const harmony_function *functions; /* their names are letters, digits, _, - and ., at most 64 */
    size_t function_count;
    constraint_choice choice;
    const char *name;           /* without "functions." */
    bool parallel;              /* several calls in a turn */
    bool browser, python;       /* the built-in tools are there */
    bool json;                  /* the final message is a JSON object */
    const struct cJSON *schema; /* it satisfies this schema; NULL: none */
    bool lenient;               /* a schema that cannot be followed means some JSON object */
} constraint_rules;

typedef struct constraint constraint;

/* `h` and `m` belong to one vocabulary and must outlive the constraint; nothing of *rules is needed afterwards.
 * Arguments of a function that is `strict` satisfy its schema, which is one of an object unless it says otherwise. So
 * do those of others where the schema is one that can be followed; where not, they are some JSON object. Functions that
 * are `barred` are not called.
 * GPTOSS_BAD_INPUT names the part of a schema that is wrong or not supported; GPTOSS_MISUSE a name or choice. */
gptoss_status constraint_open(const harmony *h, const token_mask *m, const constraint_rules *rules, constraint **out,
                              gptoss_error *err);
void constraint_close(constraint *c); /* NULL is fine */

/* The same rules at the same place, going its own way from here. Different threads may use c and *out at once. */
gptoss_status constraint_clone(const constraint *c, constraint **out, gptoss_error *err);
void constraint_reset(constraint *c); /* back to the beginning of a turn; the limit is gone */

/* From now on at most so many tokens come: when they run short, only what leads to the shortest valid end is allowed.
 * A turn that must call a function, or end in JSON, then does so if there were enough of them to begin with: as many as
 * constraint_least says. */
void constraint_limit(constraint *c, uint64_t most);
uint64_t constraint_least(const constraint *c);

/* Fills mask[m->words]: bit i % 64 of word i / 64 says whether token i is allowed. */
gptoss_status constraint_mask(constraint *c, uint64_t *mask, gptoss_error *err);

/* Whether a token is allowed, as far as there is no limit: what a mask would say, without making one. */
bool constraint_allows(constraint *c, uint32_t token);

/* Whether the limit takes tokens away now, and the mask as it would be without one. */
bool constraint_runs_short(const constraint *c);
gptoss_status constraint_mask_unlimited(constraint *c, uint64_t *mask, gptoss_error *err);

/* The token that was taken. GPTOSS_BAD_INPUT, and nothing changes, when it is not allowed. */
gptoss_status constraint_accept(constraint *c, uint32_t token, gptoss_error *err);

typedef enum constraint_state {
    CONSTRAINT_GOES_ON,  /* the turn cannot end here */
    CONSTRAINT_MAY_END,  /* the token that ends the turn is among the allowed ones */
    CONSTRAINT_MUST_END, /* no others are allowed */
    CONSTRAINT_ENDED     /* it was taken: no token is allowed any more */
} constraint_state;

constraint_state constraint_where(const constraint *c);

#endif
