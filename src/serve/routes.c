#include "serve/routes.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <microhttpd.h>

typedef gptoss_status route_handler(exchange *x, const char *rest, failure *why);

typedef struct route {
    const char *method, *path; /* a "*" stands for anything that is not empty, "{}" for what has no "/" */
    route_handler *handler;
    bool needs_model, open; /* open: also without the key */
} route;

static const route routes[] = {
    {"GET", "/health", route_health, false, true},
    {"GET", "/metrics", route_metrics, false, false},
    {"GET", "/cluster", route_cluster, true, false},
    {"GET", "/v1/models", route_models, false, false},
    {"GET", "/v1/models/*", route_model, false, false},
    {"POST", "/v1/chat/completions", route_chat, true, false},
    {"POST", "/v1/completions", route_completions, true, false},
    {"POST", "/v1/responses", route_responses, true, false},
    {"GET", "/v1/responses/{}", route_response, false, false},
    {"DELETE", "/v1/responses/{}", route_response_delete, false, false},
    {"POST", "/v1/responses/{}/cancel", route_response_cancel, false, false},
    {"GET", "/v1/responses/{}/input_items", route_response_items, false, false},
    {"POST", "/tokenize", route_tokenize, false, false},
    {"POST", "/detokenize", route_detokenize, false, false},
    {"POST", "/apply-template", route_apply_template, false, false},
};
enum { ROUTES = sizeof routes / sizeof *routes };

enum { REST_BYTES = 512 }; /* more than any name or id has */

/* Whether the route's path is this one; `rest` receives what stands for its "*" or "{}", cut off where it is too long,
 * or "". */
static bool match(const route *r, const char *path, char rest[REST_BYTES]) {
    size_t before = strcspn(r->path, "*{"), size = strlen(path);
    const char *after = r->path + before + strcspn(r->path + before, "*}");
    rest[0] = '\0';
    if (!*after) return strcmp(path, r->path) == 0;
    size_t after_size = strlen(++after);
    if (size <= before + after_size || strncmp(path, r->path, before) != 0) return false;
    if (strcmp(path + size - after_size, after) != 0) return false;
    size_t rest_size = size - before - after_size;
    if (r->path[before] == '{' && memchr(path + before, '/', rest_size)) return false;
    if (rest_size >= REST_BYTES) rest_size = REST_BYTES - 1;
    memcpy(rest, path + before, rest_size);
    rest[rest_size] = '\0';
    return true;
}

static const char *header(const exchange *x, const char *name) {
    return MHD_lookup_connection_value(x->connection, MHD_HEADER_KIND, name);
}

/* ---- before the body ---- */

/* Takes as long wherever the texts differ. */
static bool same_key(const char *given, const char *key) {
    size_t given_size = strlen(given), size = strlen(key);
    unsigned char differs = given_size != size;
    for (size_t i = 0; i < given_size; i++) differs |= (unsigned char)(given[i] ^ key[size ? i % size : 0]);
    return !differs;
}

static bool is_open(const exchange *x) {
    if (strcmp(x->method, "OPTIONS") == 0) return true; /* browsers ask without a key */
    char rest[REST_BYTES];
    for (int i = 0; i < ROUTES; i++)
        if (routes[i].open && match(&routes[i], x->path, rest)) return true;
    return false;
}

static gptoss_status check_key(const exchange *x, failure *why) {
    const char *key = x->server->config.api_key, *given = header(x, "Authorization");
    if (!key || is_open(x)) return GPTOSS_OK;
    if (!given || strncasecmp(given, "Bearer ", 7) != 0)
        return failure_set(why, 401, NULL, "invalid_api_key",
                           "this server wants a key: send it as \"Authorization: Bearer KEY\"");
    if (!same_key(given + 7, key)) return failure_set(why, 401, NULL, "invalid_api_key", "the API key is wrong");
    return GPTOSS_OK;
}

gptoss_status routes_admit(const exchange *x, failure *why) {
    enum { PATIENCE = 64 << 20 }; /* bytes beyond the limit that are read, so that a client comes to read the answer */
    TRY(check_key(x, why));
    const char *length = header(x, "Content-Length");
    uint64_t most = x->server->config.max_body;
    if (length && strtoull(length, NULL, 10) > most + PATIENCE)
        return failure_set(why, 413, NULL, "body_too_large", "the body is larger than %llu bytes",
                           (unsigned long long)most);
    return GPTOSS_OK;
}

/* ---- the whole request ---- */

static gptoss_status check_body(const exchange *x, failure *why) {
    uint64_t most = x->server->config.max_body;
    if (x->body_seen > most)
        return failure_set(why, 413, NULL, "body_too_large", "the body of %llu bytes is larger than %llu bytes",
                           (unsigned long long)x->body_seen, (unsigned long long)most);
    const char *type = header(x, "Content-Type");
    static const char wanted[] = "application/json";
    size_t size = sizeof wanted - 1;
    if (strcmp(x->method, "POST") != 0 || !type) return GPTOSS_OK;
    if (strncasecmp(type, wanted, size) != 0 || (type[size] && !strchr("; \t", type[size])))
        return failure_set(why, 415, NULL, "unsupported_media_type", "the body must be application/json, not %.80s",
                           type);
    return GPTOSS_OK;
}

gptoss_status routes_check_state(const server *s, failure *why) {
    server_state state = s->state;
    switch (state) {
    case SERVER_READY: return GPTOSS_OK;
    case SERVER_LOADING:
        return failure_set(why, 503, NULL, "loading", "the model is being loaded; GET /health tells how far");
    case SERVER_LOST:
        return failure_set(why, 503, NULL, "cluster_lost", "a rank of the cluster is lost; the server is ending");
    default: return failure_set(why, 503, NULL, "draining", "the server is stopping and takes no more requests");
    }
}

static gptoss_status answer_options(exchange *x, failure *why) {
    buffer nothing = {0};
    return exchange_answer_text(x, 204, "text/plain", &nothing, why);
}

static gptoss_status dispatch(exchange *x, failure *why) {
    const char *method = strcmp(x->method, "HEAD") == 0 ? "GET" : x->method, *other = NULL;
    if (strcmp(method, "OPTIONS") == 0) return answer_options(x, why);
    for (int i = 0; i < ROUTES; i++) {
        const route *r = &routes[i];
        char rest[REST_BYTES];
        if (!match(r, x->path, rest)) continue;
        if (strcmp(r->method, method) != 0) {
            other = r->method;
            continue;
        }
        TRY(check_body(x, why));
        if (r->needs_model) TRY(routes_check_state(x->server, why));
        return r->handler(x, rest, why);
    }
    if (other)
        return failure_set(why, 405, NULL, "method_not_allowed", "%.100s wants %s, not %.20s", x->path, other,
                           x->method);
    return failure_set(why, 404, NULL, "not_found", "there is no %.20s %.200s here", x->method, x->path);
}

void routes_answer(exchange *x) {
    failure why = {0};
    if (dispatch(x, &why) != GPTOSS_OK) exchange_answer_failure(x, &why);
}
