/* responses_items.h: the items of a conversation, as /v1/responses has them: messages, calls of functions and their
 * results, reasoning. Here they come from strangers in any of the forms that OpenAI allows, and are kept in one. */
#ifndef SERVE_RESPONSES_ITEMS_H
#define SERVE_RESPONSES_ITEMS_H

#include "serve/chat_request.h"
#include "serve/store.h"

enum {
    RESPONSES_ITEMS = 4096,         /* in a conversation: of 32 tokens each they would fill the longest context */
    RESPONSES_KEPT_BYTES = 32 << 20 /* in a conversation, of what comes from the store */
};

/* Reads the "input" of a body, a string or an array of items, and appends the items in the form in which they are kept:
 * with ids and with contents in parts. `items` holds those of earlier responses, `kept` bytes: results of functions may
 * answer their calls. References are looked up in s. */
gptoss_status responses_items_read(const cJSON *input, store *s, size_t kept, cJSON *items, failure *why);

/* Adds them to the conversation of r. They are items that were read here or written by responses_answer.h. */
gptoss_status responses_items_tell(const cJSON *items, chat_request *r, failure *why);

/* The items from `first` on as the store keeps them; freed by responses_items_free, also after a failure. */
gptoss_status responses_items_print(const cJSON *first, store_item **out, size_t *count, gptoss_error *err);
void responses_items_free(store_item *items, size_t count);

#endif
