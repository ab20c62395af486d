/* responses_request.h: the body of POST /v1/responses. */
#ifndef SERVE_RESPONSES_REQUEST_H
#define SERVE_RESPONSES_REQUEST_H

#include "serve/chat_request.h"
#include "serve/store.h"

typedef struct responses_request {
    chat_request chat; /* what the model is asked */
    bool store, background;
    bool truncate; /* leave out the beginning of a conversation that is too long */
    cJSON *items;  /* owned: the conversation, that of the previous response first ... */
    int earlier;   /* ... which has so many items */
    cJSON *echo;   /* owned: the fields of a response that say what was asked for */
} responses_request;

/* Reads and checks a body; it is taken, also by a failure. n_vocab: of the tokenizer. The previous response is looked
 * up in s. *out must be freed after a failure, too. */
gptoss_status responses_request_read(cJSON *body, uint32_t n_vocab, store *s, responses_request *out, failure *why);
void responses_request_free(responses_request *r);

#endif
