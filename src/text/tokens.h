/* tokens.h: a growable list of token ids. */
#ifndef TEXT_TOKENS_H
#define TEXT_TOKENS_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

/* Zero-initialize to get an empty list. */
typedef struct tokens {
    uint32_t *ids;
    size_t count, capacity;
} tokens;

void tokens_free(tokens *list); /* and empty it */

/* `ids` must not point into the list. On failure the list is unchanged. */
gptoss_status tokens_append(tokens *list, const uint32_t *ids, size_t count, gptoss_error *err);

static inline gptoss_status tokens_add(tokens *list, uint32_t id, gptoss_error *err) {
    if (list->count == list->capacity) return tokens_append(list, &id, 1, err);
    list->ids[list->count++] = id;
    return GPTOSS_OK;
}

#endif
