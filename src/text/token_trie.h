/* token_trie.h: the bytes of many tokens as one tree, laid out in the order of a walk through it.
 *
 * Node i stands for a string of depth[i] bytes that ends in byte[i]; its children follow it, and skip[i] is the first
 * node that does not begin with it. A walk is a loop: go to i + 1 where the string may go on, to skip[i] where not. */
#ifndef TEXT_TOKEN_TRIE_H
#define TEXT_TOKEN_TRIE_H

#include <stdint.h>

#include "text/tokenizer.h"

enum { TOKEN_TRIE_NONE = UINT32_MAX };

typedef struct token_trie {
    uint8_t *byte;
    uint16_t *depth; /* from 1 */
    uint32_t *skip;
    uint32_t *token; /* the token that is this string, or TOKEN_TRIE_NONE */
    uint32_t count;
    uint16_t deepest;
} token_trie;

/* The tree of tokens ids[count] of t; their bytes may be up to 65535. */
gptoss_status token_trie_open(const tokenizer *t, const uint32_t *ids, size_t count, token_trie *out,
                              gptoss_error *err);
void token_trie_close(token_trie *trie); /* a zeroed one is fine */

#endif
