/* harmony_borders.h: where prompts of the Harmony format are likely to part from one another, for caches of what was
 * read of them. */
#ifndef TEXT_HARMONY_BORDERS_H
#define TEXT_HARMONY_BORDERS_H

#include "text/tokenizer.h"

enum { HARMONY_BORDERS = 3 };

typedef struct harmony_borders {
    /* Tokens before each, ascending, from 1 to below all: the instructions (the system and developer messages that it
     * begins with), all before the user's last message, that message too; what the model thought and called since is
     * left out of the next turn's prompt. Each includes the <|start|> that comes next in any prompt. */
    uint32_t positions[HARMONY_BORDERS];
    uint32_t count;
    uint32_t start; /* the token <|start|>; 0 when the vocabulary has none, and then there are no borders */
} harmony_borders;

harmony_borders harmony_borders_find(const tokenizer *t, const uint32_t *ids, uint32_t count);

#endif
