/* server.h: the HTTP API of rank 0. It listens before the model is loaded, so that a client can ask how far that is,
 * and until the last answer is written. A thread for each connection reads requests and writes answers; everything that
 * runs on the pipeline goes through the scheduler, which the caller drives. */
#ifndef SERVE_SERVER_H
#define SERVE_SERVER_H

#include "engine/engine.h"
#include "engine/scheduler.h"
#include "text/harmony.h"
#include "text/token_mask.h"

typedef struct server_config {
    const char *host, *port;     /* to listen on; an address or name, a number; port "0": any that is free */
    bool insecure;               /* may listen to other machines without a key */
    const char *api_key;         /* NULL: none is asked for */
    const char *cors_origin;     /* NULL: none; "*": all */
    const char *tls_certificate; /* files in PEM form; both NULL: without TLS */
    const char *tls_key;
    uint64_t max_body;             /* bytes of a request */
    uint32_t connections;          /* at once, ... */
    uint32_t connections_per_peer; /* ... and from one address */
    uint32_t idle_seconds;         /* for a connection to send its headers, then its body, then to take each part of
                                      the answer, then to begin the next request; it is closed when it takes longer */
    double drain_seconds;          /* running answers may take so long to end */
    bool no_harmony;               /* completions are raw unless they ask for Harmony */
    bool free_headers;             /* models may write headers that are malformed; they are mended */
    uint32_t answer_tokens;        /* longest answer when a request does not say */
    const char *store;             /* file in which responses are kept; NULL: in memory */
    uint64_t store_limit;          /* bytes of them */
    const char *const *aliases;    /* further names of the model */
    size_t alias_count;
} server_config;

/* What there is to know about the model before it is loaded. Borrowed. */
typedef struct server_model {
    const char *name;
    const tokenizer *tokenizer;
    const harmony *harmony;
    const token_mask *masks;
    uint32_t n_vocab, positions; /* of prompt and answer together */
    uint32_t n_layers;           /* that are run */
    bool expert_0_only;
    uint32_t most_requests; /* at work and waiting */
} server_model;

typedef struct server server;

/* Begins to listen; requests for answers get 503 until server_ready. All that config and model point to must stay.
 * GPTOSS_MISUSE when the address cannot be had, or is open to other machines without a key, when the store cannot be
 * had, and when the files for TLS are not what they should be. */
gptoss_status server_open(const server_config *config, const server_model *model, server **out, gptoss_error *err);

const char *server_address(const server *s); /* "http://127.0.0.1:9899" */

void server_loading(server *s, uint64_t done_bytes, uint64_t all_bytes); /* for /health */

/* From now on requests go to `work`. `e` is for GET /cluster. When somebody asks the process to end (cancel.h),
 * the server takes no more requests and has the scheduler finish. */
void server_ready(server *s, scheduler *work, const engine *e);

/* A rank is lost, so nothing can be answered any more; /health says so for as long as the server lasts. */
void server_lost(server *s);

/* The scheduler has ended: waits until clients have got what was written for them, for a few seconds at most. Then the
 * scheduler may be closed. */
void server_finish(server *s);

void server_close(server *s); /* NULL is fine */

#endif
