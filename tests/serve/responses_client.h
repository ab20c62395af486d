/* responses_client.h: what the tests of /v1/responses ask a server, and how they look at what it says. */
#ifndef TESTS_SERVE_RESPONSES_CLIENT_H
#define TESTS_SERVE_RESPONSES_CLIENT_H

#include "serve/client.h"

#define RESPONSES "/v1/responses"

/* A question to which the demo model always gives the same answer. */
#define QUESTION "\"input\":\"What is 2+2?\",\"temperature\":0"
#define ANSWER "2 + 2 = 4."

/* "/v1/responses/ID" and the rest. Lost at the thread's next call. */
const char *responses_path(const char *id, const char *rest);

/* The caller deletes what these return. http: the status that it must have. */
cJSON *responses_ask(int port, const char *body, int http);
cJSON *responses_get(int port, const char *id, const char *rest, int http);
cJSON *responses_get_ended(int port, const char *id); /* waits until it has */

/* The events of a whole stream; the first one's number is `first`. */
cJSON *responses_stream(int port, const char *method, const char *path, const char *body, int first);

/* Sends a request; closing the socket is the caller's. */
int responses_begin(int port, const char *body);

/* Reads some bytes of a stream. The response's id, and the number of the last event that has begun to come. */
int responses_read_part(int socket, size_t bytes, char id[64]);

/* ---- in what they say: borrowed ---- */

const cJSON *responses_item(const cJSON *response, const char *type); /* the first output item; or NULL */
const char *responses_answer_text(const cJSON *response);
const char *responses_status(const cJSON *response);
const cJSON *responses_last(const cJSON *events);

/* Appends the texts of all deltas of a type. */
void responses_join(const cJSON *events, const char *type, buffer *out);

#endif
