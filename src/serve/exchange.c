#include "serve/exchange.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cjson/cJSON.h>
#include <microhttpd.h>

#include "base/mem.h"

/* ---- answers ---- */

static void add_common_headers(const exchange *x, struct MHD_Response *r) {
    const char *origin = x->server->config.cors_origin;
    if (!origin) return;
    MHD_add_response_header(r, "Access-Control-Allow-Origin", origin);
    /* Clients have headers of their own, such as the X-Stainless-* of OpenAI's packages: whatever a page asks for. */
    const char *asked = MHD_lookup_connection_value(x->connection, MHD_HEADER_KIND, "Access-Control-Request-Headers");
    if (!asked || MHD_add_response_header(r, "Access-Control-Allow-Headers", asked) != MHD_YES)
        MHD_add_response_header(r, "Access-Control-Allow-Headers", "Authorization, Content-Type");
    MHD_add_response_header(r, "Access-Control-Expose-Headers", "Retry-After");
    MHD_add_response_header(r, "Access-Control-Allow-Methods", "GET, POST, DELETE, OPTIONS");
    if (strcmp(origin, "*") != 0) MHD_add_response_header(r, "Vary", "Origin");
}

static void queue(exchange *x, unsigned http, struct MHD_Response *r) {
    add_common_headers(x, r);
    x->queued = MHD_queue_response(x->connection, http, r) == MHD_YES;
    MHD_destroy_response(r);
    metrics_add_response(&x->server->metrics, http);
}

static gptoss_status no_memory(failure *why) {
    return failure_set(why, 503, NULL, NULL, "the server has run out of memory for this answer");
}

gptoss_status exchange_answer_text(exchange *x, unsigned http, const char *type, buffer *text, failure *why) {
    struct MHD_Response *r =
        MHD_create_response_from_buffer(text->size, text->data ? text->data : "", MHD_RESPMEM_MUST_COPY);
    buffer_free(text);
    if (!r) return no_memory(why);
    MHD_add_response_header(r, "Content-Type", type);
    queue(x, http, r);
    return GPTOSS_OK;
}

static struct MHD_Response *json_response(cJSON *whole) {
    char *text = whole ? cJSON_PrintUnformatted(whole) : NULL;
    cJSON_Delete(whole);
    if (!text) return NULL;
    struct MHD_Response *r = MHD_create_response_from_buffer(strlen(text), text, MHD_RESPMEM_MUST_COPY);
    cJSON_free(text);
    if (r) MHD_add_response_header(r, "Content-Type", "application/json");
    return r;
}

gptoss_status exchange_answer_json(exchange *x, unsigned http, cJSON *whole, failure *why) {
    struct MHD_Response *r = json_response(whole);
    if (!r) return no_memory(why);
    queue(x, http, r);
    return GPTOSS_OK;
}

void exchange_answer_failure(exchange *x, const failure *why) {
    int http = failure_http(why);
    struct MHD_Response *r = json_response(failure_json(why));
    if (!r) return; /* not even that: the connection is closed */
    char seconds[16];
    int wait = why->retry_after ? why->retry_after : http == 429 || http == 503 ? 1 : 0;
    snprintf(seconds, sizeof seconds, "%d", wait);
    if (wait) MHD_add_response_header(r, "Retry-After", seconds);
    if (http == 401) MHD_add_response_header(r, "WWW-Authenticate", "Bearer");
    queue(x, (unsigned)http, r);
}

/* ---- an answer that grows ---- */

typedef struct flow {
    exchange_stream stream;
    deadlines *deadlines;
    deadline *deadline; /* of the connection */
    buffer pending;     /* written by `more`, from `sent` on not yet by the connection */
    size_t sent;
    bool ended;
} flow;

static ssize_t read_flow(void *context, uint64_t position, char *out, size_t most) {
    flow *f = context;
    (void)position;
    while (f->sent == f->pending.size) {
        if (f->ended) return MHD_CONTENT_READER_END_OF_STREAM;
        buffer_clear(&f->pending);
        f->sent = 0;
        deadlines_lift(f->deadlines, f->deadline);
        f->ended = !f->stream.more(f->stream.context, &f->pending);
    }
    deadlines_begin(f->deadlines, f->deadline); /* for the client to take it */
    size_t size = f->pending.size - f->sent;
    if (size > most) size = most;
    memcpy(out, f->pending.data + f->sent, size);
    f->sent += size;
    return (ssize_t)size;
}

static void close_flow(void *context) {
    flow *f = context;
    f->stream.close(f->stream.context);
    buffer_free(&f->pending);
    free(f);
}

gptoss_status exchange_answer_stream(exchange *x, const exchange_stream *stream, failure *why) {
    enum { BLOCK = 32 << 10 };
    flow *f;
    TRY(mem_array(1, sizeof *f, "an answer", &f, &why->error));
    *f = (flow){.stream = *stream, .deadlines = &x->server->deadlines, .deadline = x->deadline};
    struct MHD_Response *r = MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, BLOCK, read_flow, f, close_flow);
    if (!r) {
        free(f);
        return no_memory(why);
    }
    MHD_add_response_header(r, "Content-Type", "text/event-stream");
    MHD_add_response_header(r, "Cache-Control", "no-cache");
    MHD_add_response_header(r, "X-Accel-Buffering", "no"); /* proxies must not hold back parts */
    queue(x, 200, r);
    return GPTOSS_OK;
}

const char *exchange_query(const exchange *x, const char *name) {
    return MHD_lookup_connection_value(x->connection, MHD_GET_ARGUMENT_KIND, name);
}

int exchange_socket(const exchange *x) {
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(x->connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    return info ? info->connect_fd : -1;
}
