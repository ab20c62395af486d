/* client.h: a small HTTP client for tests, with which one can also be rude, and the server that it talks to. */
#ifndef TESTS_SERVE_CLIENT_H
#define TESTS_SERVE_CLIENT_H

#include <stdbool.h>

#include <cjson/cJSON.h>

#include "base/buffer.h"
#include "process.h"

typedef struct served { /* the program, serving the demo model under mpirun */
    process process;
    int port;
    pid_t rank0;
} served;

/* Starts it on a free port with the flags given (NULL-terminated), and waits until it listens and is ready. */
served served_start(int ranks, const char *const *flags);

/* The same for four sequences of max_kv tokens on stages or, where shards are 2, on two shards. */
served served_start_grid(int ranks, int shards, const char *max_kv);

served served_start_command(const char *const *command); /* the same for a whole command line of one's own */

/* Sends rank 0 a SIGTERM and waits for the end of all: the result of mpirun. */
process_result served_stop(served *s);

process_result served_wait(served *s); /* the same for one that ends by itself */

/* served_stop as the teardown of a group of tests: 0 if it ended with status 0 and had nothing to say, otherwise -1,
 * after printing what it said. */
int served_stop_well(served *s);

typedef struct client_answer {
    int http;       /* 0: the connection was closed without an answer */
    buffer headers; /* as they came */
    buffer body;    /* chunks joined */
    bool whole;     /* it ended as it should */
} client_answer;

int client_connect(int port);
void client_send(int socket, const char *bytes, size_t size); /* a server that closed is no failure */

/* Reads one answer; closes the socket. */
client_answer client_receive(int socket);

/* A whole exchange. headers: lines that end in \r\n, or NULL. body may be NULL. */
client_answer client_ask(int port, const char *method, const char *path, const char *headers, const char *body);

/* The same with a body of JSON; the answer's status must be `http`. The caller deletes what it says. */
cJSON *client_json(int port, const char *method, const char *path, const char *body, int http);

double client_metric(int port, const char *name); /* what /metrics says of it; fails when that is nothing */

/* A body for /v1/completions whose answer ends after `length` tokens and no sooner: tokens that end a text are
 * forbidden. The caller frees it. */
char *client_endless(int port, int length, bool streams);

/* The same for /v1/responses: the answer is one message. fields: further ones, as "\"stream\":true". */
char *client_endless_response(int port, int length, const char *fields);

void client_answer_free(client_answer *a);

/* client_text(whole, "choices.0.message.content"): NULL when there is no such text. */
const cJSON *client_at(const cJSON *whole, const char *path);
const char *client_text(const cJSON *whole, const char *path);
double client_number(const cJSON *whole, const char *path); /* NaN when there is none */

/* The events of a stream: the JSON after each "data: ". Fails when it does not end in [DONE]. */
cJSON *client_events(const buffer *body);

/* The same of /v1/responses, where events have their type in front, too, and are numbered from `first` on. */
cJSON *client_response_events(const buffer *body, int first);

#endif
