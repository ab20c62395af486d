/* json_list.h: a JSON array that may become long, as the log probabilities of an answer do: kept as text, which takes
 * a tenth of the memory of a tree. */
#ifndef SERVE_JSON_LIST_H
#define SERVE_JSON_LIST_H

#include <stdbool.h>
#include <stdint.h>

#include <cjson/cJSON.h>

#include "base/buffer.h"

typedef struct json_list { /* zero-initialize */
    buffer text;           /* "[" and the items with commas between; nothing at first */
} json_list;

gptoss_status json_list_add(json_list *l, cJSON *item, gptoss_error *err); /* takes the item; NULL: memory ran out */

/* The array for a larger tree that is only printed: what it holds cannot be looked into. NULL when memory runs out. */
cJSON *json_list_copy(const json_list *l);
cJSON *json_list_take(json_list *l); /* and empties it */

static inline bool json_list_is_empty(const json_list *l) { return l->text.size == 0; }

void json_list_free(json_list *l); /* and empties it */

/* Such an array of numbers, the caller's. */
gptoss_status json_list_of_numbers(const uint32_t *numbers, size_t count, cJSON **out, gptoss_error *err);

#endif
