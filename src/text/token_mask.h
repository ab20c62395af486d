/* token_mask.h: which tokens of a vocabulary may come next in a JSON text.
 *
 * A token may come when all its bytes may, one after another. Tokens without a quotation mark cannot leave the string
 * that they are written in, so that for them only the place in the string matters; their masks are computed once and
 * kept. The other tokens are few, and are tried each time. */
#ifndef TEXT_TOKEN_MASK_H
#define TEXT_TOKEN_MASK_H

#include "text/json_machine.h"
#include "text/mask_cache.h"
#include "text/token_trie.h"

/* Of a vocabulary; any number of threads may use it at once. */
typedef struct token_mask {
    const tokenizer *tokenizer; /* borrowed */
    size_t words;               /* of a mask: bit i % 64 of word i / 64 is token i */
    uint64_t *ends;             /* [words] tokens after which nothing comes, as tokenizer_ends_text says */
    uint64_t *normal;           /* [words] all tokens that are text */
    token_trie inside;          /* those without quotation marks and with at most 200 bytes */
    token_trie others;
    uint8_t *characters;  /* [tokens] how many a token of `inside` adds to a string that is between two; 255: none may
                             come */
    uint8_t *last;        /* [tokens] where in a token the last character begins, if it may come in a key; 255 */
    uint32_t single[256]; /* the tokens of one byte */
    mask_cache *strings;  /* by place within a character */
} token_mask;

/* `t` must outlive *out. Takes about a tenth of a second and 5 MB for 200,000 tokens, and up to 13
 * MB more in use. */
gptoss_status token_mask_open(const tokenizer *t, token_mask **out, gptoss_error *err);
void token_mask_close(token_mask *m); /* NULL is fine */

/* Room for a walk; zero-initialize. One walk at a time. */
typedef struct token_walk {
    json_position *positions; /* a stack: the positions at each depth of the walk, one after another */
    size_t capacity;
    size_t *ends;     /* [deepest + 2] where those of each depth end */
    uint16_t *states; /* [deepest + 2] for walks through one string */
    uint64_t *mask;   /* [words] */
} token_walk;

gptoss_status token_walk_open(const token_mask *m, token_walk *out, gptoss_error *err);
void token_walk_close(token_walk *w);

/* Adds to mask[words] the tokens that may come at positions[count] in a text of g. `patterns` keeps masks for g. */
gptoss_status token_mask_json(const token_mask *m, const json_grammar *g, mask_cache *patterns,
                              const json_position *positions, size_t count, token_walk *walk, uint64_t *mask,
                              gptoss_error *err);

static inline void token_mask_set(uint64_t *mask, uint32_t token) { mask[token / 64] |= UINT64_C(1) << token % 64; }

static inline bool token_mask_has(const uint64_t *mask, uint32_t token) { return mask[token / 64] >> token % 64 & 1; }

#endif
