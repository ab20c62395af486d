/* exchange.h: one HTTP request and the answer to it. */
#ifndef SERVE_EXCHANGE_H
#define SERVE_EXCHANGE_H

#include <stdbool.h>
#include <sys/types.h>

#include "serve/failure.h"
#include "serve/server_internal.h"

struct cJSON;
struct MHD_Connection;

typedef struct exchange {
    server *server;
    struct MHD_Connection *connection;
    deadline *deadline;        /* of the connection; or NULL */
    const char *method, *path; /* borrowed for the time of the request */
    buffer body;
    uint64_t body_seen; /* bytes, also those that were not kept */
    bool queued;        /* an answer was */
} exchange;

/* A handler answers with one of these, once, or fails. */
gptoss_status exchange_answer_json(exchange *x, unsigned http, struct cJSON *whole, failure *why); /* takes `whole` */
gptoss_status exchange_answer_text(exchange *x, unsigned http, const char *type, buffer *text,
                                   failure *why); /* takes *text */
void exchange_answer_failure(exchange *x, const failure *why);

/* An answer that grows: `more` appends to out what there is, waiting for it if need be; false ends the answer. It is
 * called by the connection's thread; `close` always is, at last. On a failure here nothing was called. */
typedef struct exchange_stream {
    void *context;
    bool (*more)(void *context, buffer *out);
    void (*close)(void *context);
} exchange_stream;
gptoss_status exchange_answer_stream(exchange *x, const exchange_stream *stream, failure *why);

/* The value of "?name=value" in the request's address, or NULL. Borrowed. */
const char *exchange_query(const exchange *x, const char *name);

int exchange_socket(const exchange *x); /* of the client, for mailbox_wait */

#endif
