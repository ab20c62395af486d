#include "serve/server.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <microhttpd.h>

#include "base/cancel.h"
#include "base/clock.h"
#include "base/mem.h"
#include "serve/exchange.h"
#include "serve/listen.h"
#include "serve/routes.h"

enum {
    HEADER_BYTES = 64 << 10,  /* of a request line and its headers */
    STACK_BYTES = 512 << 10,  /* of a connection's thread */
    KEEPER_MILLISECONDS = 20, /* between looks at whether the process should end, and who is late */
    FINISH_SECONDS = 5        /* for clients to take what was written for them */
};

/* ---- requests, in the threads of their connections ---- */

static enum MHD_Result keep_body(exchange *x, const char *data, size_t size) {
    enum { PATIENCE = 64 << 20 };
    const server_config *config = &x->server->config;
    x->body_seen += size;
    if (x->body_seen > config->max_body + PATIENCE) return MHD_NO;
    if (x->body_seen > config->max_body) {
        buffer_free(&x->body);
        return MHD_YES;
    }
    return buffer_append(&x->body, data, size, NULL) == GPTOSS_OK ? MHD_YES : MHD_NO;
}

static deadline *deadline_of(struct MHD_Connection *connection) {
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    return info ? info->socket_context : NULL;
}

/* Connections begin with the deadline for their first headers. */
static void on_connection(void *context, struct MHD_Connection *connection, void **mine,
                          enum MHD_ConnectionNotificationCode code) {
    server *s = context;
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    if (code == MHD_CONNECTION_NOTIFY_STARTED) {
        *mine = info ? deadlines_add(&s->deadlines, info->connect_fd) : NULL;
    } else {
        deadlines_remove(&s->deadlines, *mine);
        *mine = NULL;
    }
}

/* A request line has come: the rest of the headers gets a time of its own. */
static void *on_request_line(void *context, const char *uri, struct MHD_Connection *connection) {
    server *s = context;
    (void)uri;
    deadlines_begin(&s->deadlines, deadline_of(connection));
    return NULL;
}

static exchange *begin(server *s, struct MHD_Connection *connection) {
    exchange *x;
    if (mem_array(1, sizeof *x, "a request", &x, NULL) != GPTOSS_OK) return NULL;
    *x = (exchange){.server = s, .connection = connection, .deadline = deadline_of(connection)};
    deadlines_begin(&s->deadlines, x->deadline); /* for the body */
    s->exchanges++;
    return x;
}

static enum MHD_Result on_request(void *context, struct MHD_Connection *connection, const char *path,
                                  const char *method, const char *version, const char *data, size_t *size,
                                  void **state) {
    exchange *x = *state;
    bool is_new = !x;
    (void)version;
    if (is_new && !(x = begin(context, connection))) return MHD_NO;
    *state = x;
    x->path = path;
    x->method = method;
    if (is_new) {
        failure why = {0};
        if (routes_admit(x, &why) == GPTOSS_OK) return MHD_YES;
        exchange_answer_failure(x, &why);
        return x->queued ? MHD_YES : MHD_NO;
    }
    if (*size > 0) {
        enum MHD_Result result = keep_body(x, data, *size);
        *size = 0;
        return result;
    }
    deadlines_lift(&x->server->deadlines, x->deadline); /* the answer takes as long as it takes */
    routes_answer(x);
    deadlines_begin(&x->server->deadlines, x->deadline); /* for the client to take it */
    return x->queued ? MHD_YES : MHD_NO;
}

static void on_completed(void *context, struct MHD_Connection *connection, void **state,
                         enum MHD_RequestTerminationCode code) {
    server *s = context;
    exchange *x = *state;
    (void)code;
    if (!x) return;
    (void)connection;
    deadlines_begin(&s->deadlines, x->deadline); /* for the next request */
    buffer_free(&x->body);
    free(x);
    *state = NULL;
    s->exchanges--;
}

/* MHD would write on standard error what strangers do wrong. */
static void be_quiet(void *context, const char *format, va_list arguments) {
    (void)context;
    (void)format;
    (void)arguments;
}

static bool has_tls(const server *s) { return s->config.tls_certificate != NULL; }

static gptoss_status start_daemon(server *s, int socket, gptoss_error *err) {
    const server_config *c = &s->config;
    unsigned flags = MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_THREAD_PER_CONNECTION | MHD_USE_POLL |
                     MHD_USE_ERROR_LOG | MHD_USE_ITC | (has_tls(s) ? MHD_USE_TLS : 0);
    struct MHD_OptionItem tls[] = {
        {MHD_OPTION_HTTPS_MEM_CERT, 0, s->tls.certificate.data},
        {MHD_OPTION_HTTPS_MEM_KEY, 0, s->tls.key.data},
        {MHD_OPTION_HTTPS_PRIORITIES, 0, "NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2"},
        {MHD_OPTION_END, 0, NULL},
    };
    s->daemon = MHD_start_daemon(flags, 0, NULL, NULL, on_request, s, MHD_OPTION_EXTERNAL_LOGGER, be_quiet, NULL,
                                 MHD_OPTION_LISTEN_SOCKET, socket, MHD_OPTION_CONNECTION_LIMIT, c->connections,
                                 MHD_OPTION_PER_IP_CONNECTION_LIMIT, c->connections_per_peer,
                                 MHD_OPTION_NOTIFY_CONNECTION, on_connection, s, MHD_OPTION_URI_LOG_CALLBACK,
                                 on_request_line, s, MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)HEADER_BYTES,
                                 MHD_OPTION_THREAD_STACK_SIZE, (size_t)STACK_BYTES, MHD_OPTION_NOTIFY_COMPLETED,
                                 on_completed, s, MHD_OPTION_ARRAY, has_tls(s) ? tls : tls + 3, MHD_OPTION_END);
    if (s->daemon) return GPTOSS_OK;
    close(socket);
    return error_set(err, GPTOSS_IO, "cannot start the HTTP server on %s", s->address);
}

/* ---- its life ---- */

static const double LOST_SECONDS = 0.5; /* for those who ask just then; mpirun ends its ranks after a second */

static void nap(void) { nanosleep(&(struct timespec){.tv_nsec = KEEPER_MILLISECONDS * 1000000L}, NULL); }

/* Looks whether the process should end, and which clients are late, in a thread of its own. */
static void *keep(void *context) {
    server *s = context;
    double give_up = 0;
    while (!s->closing) {
        nap();
        deadlines_look(&s->deadlines);
        if (!cancel_finish_requested() || s->state == SERVER_LOADING) continue;
        if (s->state == SERVER_READY) {
            s->state = SERVER_DRAINING;
            give_up = clock_seconds() + s->config.drain_seconds;
            scheduler_finish(s->scheduler);
        } else if (give_up > 0 && clock_seconds() > give_up) {
            give_up = 0;
            scheduler_stop(s->scheduler);
        }
    }
    return NULL;
}

gptoss_status server_open(const server_config *config, const server_model *model, server **out, gptoss_error *err) {
    server *s;
    int socket = -1;
    TRY(mem_array(1, sizeof *s, "the server", &s, err));
    s->config = *config;
    s->model = *model;
    s->started = (long long)time(NULL);
    deadlines_open(&s->deadlines, config->idle_seconds);
    gptoss_status status = responses_open(config->store, config->store_limit, &s->responses, err);
    if (status == GPTOSS_OK && has_tls(s))
        status = tls_identity_read(config->tls_certificate, config->tls_key, &s->tls, err);
    if (status == GPTOSS_OK)
        status = listen_open(config->host, config->port, config->insecure || config->api_key,
                             has_tls(s) ? "https" : "http", &socket, s->address, sizeof s->address, err);
    if (status == GPTOSS_OK) status = start_daemon(s, socket, err);
    if (status == GPTOSS_OK) {
        s->has_keeper = pthread_create(&s->keeper, NULL, keep, s) == 0;
        if (!s->has_keeper) status = error_set(err, GPTOSS_NO_MEMORY, "cannot start a thread of the HTTP server");
    }
    if (status != GPTOSS_OK) {
        server_close(s);
        return status;
    }
    *out = s;
    return GPTOSS_OK;
}

const char *server_address(const server *s) { return s->address; }

void server_loading(server *s, uint64_t done_bytes, uint64_t all_bytes) {
    s->loaded = done_bytes;
    s->to_load = all_bytes;
}

void server_ready(server *s, scheduler *work, const engine *e) {
    s->scheduler = work;
    s->engine = e;
    s->state = SERVER_READY;
}

void server_lost(server *s) { s->state = SERVER_LOST; }

void server_finish(server *s) {
    bool lost = s->state == SERVER_LOST;
    double began = clock_seconds();
    if (!lost) s->state = SERVER_DRAINING;
    responses_finish(s->responses);
    while (s->exchanges > 0 && clock_seconds() - began < FINISH_SECONDS) nap();
    while (lost && clock_seconds() - began < LOST_SECONDS) nap();
    /* Ends the connections that are left. None waits for an answer any more, as all have ended. */
    if (s->daemon) MHD_stop_daemon(s->daemon);
    s->daemon = NULL;
}

void server_close(server *s) {
    if (!s) return;
    s->closing = true;
    if (s->has_keeper) pthread_join(s->keeper, NULL);
    if (s->daemon) MHD_stop_daemon(s->daemon);
    responses_close(s->responses);
    deadlines_close(&s->deadlines);
    tls_identity_free(&s->tls);
    free(s);
}
