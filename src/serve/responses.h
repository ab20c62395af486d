/* responses.h: what the server has for /v1/responses beyond one request: the store, and who writes into it. */
#ifndef SERVE_RESPONSES_H
#define SERVE_RESPONSES_H

#include "serve/failure.h"
#include "serve/responses_live.h"
#include "serve/store.h"

typedef struct responses {
    store *store;
    responses_live live;
} responses;

/* Opens the store (see store_open). Responses that an earlier process left behind have failed from now on. */
gptoss_status responses_open(const char *path, uint64_t limit, responses **out, gptoss_error *err);

/* Waits until background responses are written down. The scheduler has ended all turns. */
void responses_finish(responses *r);
void responses_close(responses *r); /* NULL is fine */

/* An answer that is a stream of the events of a kept response after number `after`, and goes on until it ends. */
struct exchange;
gptoss_status responses_follow(struct exchange *x, const char *id, int64_t after, failure *why);

#endif
