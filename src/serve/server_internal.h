/* server_internal.h: what routes see of the server. */
#ifndef SERVE_SERVER_INTERNAL_H
#define SERVE_SERVER_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "serve/deadlines.h"
#include "serve/metrics.h"
#include "serve/responses.h"
#include "serve/server.h"
#include "serve/tls.h"

struct MHD_Daemon;

typedef enum server_state { SERVER_LOADING, SERVER_READY, SERVER_DRAINING, SERVER_LOST } server_state;

struct server {
    server_config config;
    server_model model;
    long long started; /* UNIX time */
    _Atomic server_state state;
    _Atomic uint64_t loaded, to_load; /* bytes */
    scheduler *scheduler;             /* and engine: set before the state becomes SERVER_READY */
    const engine *engine;
    metrics metrics;
    responses *responses;
    tls_identity tls; /* empty without TLS */
    struct MHD_Daemon *daemon;
    deadlines deadlines;   /* of connections */
    atomic_uint exchanges; /* that clients wait for */
    pthread_t keeper;
    bool has_keeper;
    atomic_bool closing;
    char address[300];
};

#endif
