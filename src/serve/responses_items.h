/* responses_items.h: the items of a conversation, as /v1/responses has them: messages, calls of functions and their
 * results, reasoning. Here they come from strangers in any of the forms that OpenAI allows, and are kept in one. */
#ifndef SERVE_RESPONSES_ITEMS_H
#define SERVE_RESPONSES_ITEMS_H

#include "serve/chat_request.h"

enum { RESPONSES_ITEMS = 4096 }; /* in a conversation: of 32 tokens each they would fill the longest context */

/* Reads the "input" of a body, a string or an array of items, and appends the items in the form in which they are kept:
 * with ids and with contents in parts. `items` holds those of earlier responses: results of functions may answer their
 * calls. */
gptoss_status responses_items_read(const cJSON *input, cJSON *items, failure *why);

/* Adds them to the conversation of r. They are items that were read here or written by responses_answer.h. */
gptoss_status responses_items_tell(const cJSON *items, chat_request *r, failure *why);

#endif
