#include "cli/serve_options.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { OWN_OPTIONS = 28, KEY_BYTES = 4096 };

static size_t describe(serve_options *o, option *table) {
    const double count_max = 1u << 30, bytes_max = 0x1p50;
    const option own[] = {
        {"bind", OPTION_TEXT, &o->bind, 0, 0, "HOST:PORT",
         "where to listen (127.0.0.1:9899); port 0: any that is free"},
        {"insecure", OPTION_SWITCH, &o->insecure, 0, 0, NULL, "serve other machines without asking for a key"},
        {"api-key", OPTION_TEXT, &o->api_key, 0, 0, "KEY", "serve only those who send it"},
        {"api-key-file", OPTION_PATH, &o->api_key_file, 0, 0, "FILE", "the same, in the first line of a file"},
        {"tls-cert", OPTION_PATH, &o->tls_cert, 0, 0, "FILE",
         "serve over TLS: the certificate, then its chain, as PEM"},
        {"tls-key", OPTION_PATH, &o->tls_key, 0, 0, "FILE", "and its private key, as PEM without a password"},
        {"cors-origin", OPTION_TEXT, &o->cors_origin, 0, 0, "ORIGIN",
         "web pages that may call: * or https://HOST (no slash behind)"},
        {"alias", OPTION_LIST, &o->aliases, 0, 0, "NAME", "one more name of the model; may be repeated"},
        {"parallel", OPTION_COUNT, &o->parallel, 1, 1024, "N", "answers at work at once (8)"},
        {"queue", OPTION_COUNT, &o->queue, 0, 65536, "N", "requests that may wait for their turn (64)"},
        {"max-tokens", OPTION_COUNT, &o->max_tokens, 1, count_max, "N",
         "longest answer when a request sets none (4096)"},
        {"no-harmony", OPTION_SWITCH, &o->no_harmony, 0, 0, NULL,
         "/v1/completions sends raw prompts and returns raw text"},
        {"constrain-headers", OPTION_TEXT, &o->constrain_headers, 0, 0, "on|off",
         "keep the headers that the model writes well formed (on); off: mend them afterwards"},
        {"store", OPTION_PATH, &o->store, 0, 0, "FILE", "keep responses of /v1/responses there; by default in memory"},
        {"store-limit", OPTION_COUNT, &o->store_limit, 1, bytes_max, "BYTES",
         "of kept responses; beyond it the oldest are dropped (256m)"},
        {"max-body", OPTION_COUNT, &o->max_body, 1024, 1u << 30, "BYTES", "longest request (8m)"},
        {"connections", OPTION_COUNT, &o->connections, 1, 16384, "N", "at once (512)"},
        {"connections-per-peer", OPTION_COUNT, &o->connections_per_peer, 1, 16384, "N", "from one address (256)"},
        {"idle-timeout", OPTION_COUNT, &o->idle_timeout, 1, 86400, "SECONDS",
         "for headers, a body, taking an answer, the next request, each (60)"},
        {"drain-timeout", OPTION_COUNT, &o->drain_timeout, 0, 86400, "SECONDS",
         "for running answers after SIGTERM (60)"},
        {"kv-memory", OPTION_COUNT, &o->kv_memory, 1, bytes_max, "BYTES",
         "KV cache of each rank (a quarter of its memory)"},
        {"resume-points", OPTION_COUNT, &o->resume_points, 0, 65536, "N",
         "beginnings of prompts that are remembered (64)"},
    };
    _Static_assert(sizeof own / sizeof *own <= OWN_OPTIONS, "the table of flags is full");
    return engine_options_table(&o->engine, own, sizeof own / sizeof *own, table);
}

/* "127.0.0.1:9899", "[::1]:9899", "host:0". */
static gptoss_status read_address(serve_options *o, gptoss_error *err) {
    const char *text = o->bind, *colon = strrchr(text, ':'), *host_end = colon;
    const char *wanted = "--bind wants HOST:PORT, such as 127.0.0.1:9899 or [::1]:9899";
    if (!colon) return error_set(err, GPTOSS_MISUSE, "%s, not \"%.60s\"", wanted, text);
    if (text[0] == '[' && colon > text + 1 && colon[-1] == ']') {
        text++;
        host_end--;
    }
    char *end = NULL;
    unsigned long port = strtoul(colon + 1, &end, 10);
    bool is_port = colon[1] >= '0' && colon[1] <= '9' && *end == '\0' && port <= 65535;
    size_t size = (size_t)(host_end - text);
    if (!is_port || size == 0 || size >= sizeof o->host)
        return error_set(err, GPTOSS_MISUSE, "%s, not \"%.60s\"", wanted, o->bind);
    memcpy(o->host, text, size);
    o->host[size] = '\0';
    snprintf(o->port, sizeof o->port, "%lu", port);
    return GPTOSS_OK;
}

/* Rank 0 alone answers, and so needs the key. */
static gptoss_status read_key(serve_options *o, int rank, gptoss_error *err) {
    if (o->api_key && o->api_key_file)
        return error_set(err, GPTOSS_MISUSE, "--api-key and --api-key-file exclude each other: give one of them");
    if (rank > 0) return GPTOSS_OK;
    if (o->api_key_file) {
        TRY(buffer_read_file(&o->key, o->api_key_file, KEY_BYTES, err));
        o->api_key = o->key.data ? o->key.data : "";
        if (o->key.data) o->key.data[strcspn(o->key.data, "\r\n")] = '\0';
    }
    if (o->api_key && !o->api_key[0]) return error_set(err, GPTOSS_MISUSE, "the API key is empty");
    return GPTOSS_OK;
}

/* "https://example.org:8443", as browsers send it: with a path, or a slash at its end, it would never be the same. */
static bool is_origin(const char *text) {
    const char *host = strncmp(text, "https://", 8) == 0 ? text + 8 : strncmp(text, "http://", 7) == 0 ? text + 7 : "";
    for (const char *c = host; *c; c++)
        if (*c <= ' ' || *c > '~' || strchr("/?#,\"", *c)) return false;
    return *host != '\0' || strcmp(text, "*") == 0;
}

static gptoss_status check_names(const serve_options *o, gptoss_error *err) {
    if (o->cors_origin && !is_origin(o->cors_origin))
        return error_set(err, GPTOSS_MISUSE,
                         "--cors-origin is * or what browsers send, such as https://example.org, without a path or a "
                         "slash at its end, not \"%.60s\"",
                         o->cors_origin);
    for (size_t i = 0; i < o->aliases.count; i++)
        if (!o->aliases.items[i][0]) return error_set(err, GPTOSS_MISUSE, "--alias wants a name that is not empty");
    return GPTOSS_OK;
}

static gptoss_status read_headers(serve_options *o, gptoss_error *err) {
    o->free_headers = strcmp(o->constrain_headers, "off") == 0;
    if (o->free_headers || strcmp(o->constrain_headers, "on") == 0) return GPTOSS_OK;
    return error_set(err, GPTOSS_MISUSE, "--constrain-headers is on or off, not \"%.60s\"", o->constrain_headers);
}

static gptoss_status settle(serve_options *o, const cluster *c, gptoss_error *err) {
    TRY(engine_options_settle(&o->engine, c->size, err));
    TRY(read_address(o, err));
    TRY(read_key(o, c->rank, err));
    TRY(check_names(o, err));
    TRY(read_headers(o, err));
    if (!o->tls_cert != !o->tls_key)
        return error_set(err, GPTOSS_MISUSE, "--tls-cert and --tls-key belong together: give both, or neither");
    if (o->engine.prompt_cache && o->resume_points == 0)
        return error_set(err, GPTOSS_MISUSE, "--prompt-cache has nothing to keep with --resume-points 0");
    return GPTOSS_OK;
}

gptoss_status serve_options_parse(const cluster *c, int argc, char **argv, const char *environment_gguf,
                                  serve_options *out, gptoss_error *err) {
    *out = (serve_options){.engine = engine_options_defaults(ENGINE_SERVES, environment_gguf),
                           .bind = "127.0.0.1:9899",
                           .constrain_headers = "on",
                           .max_body = 8 << 20,
                           .connections = 512,
                           .connections_per_peer = 256,
                           .idle_timeout = 60,
                           .drain_timeout = 60,
                           .parallel = 8,
                           .queue = 64,
                           .max_tokens = 4096,
                           .store_limit = 256 << 20,
                           .resume_points = 64};
    option table[OWN_OPTIONS + ENGINE_OPTIONS_MAX];
    size_t count = describe(out, table);
    TRY(config_file_options(c, table, count, argc, argv, &out->engine.config, err));
    return engine_options_agree(&out->engine, c, out->engine.help ? GPTOSS_OK : settle(out, c, err), err);
}

void serve_options_free(serve_options *o) {
    free(o->aliases.items);
    buffer_free(&o->key);
    engine_options_free(&o->engine);
}

void serve_options_print_help(void) {
    serve_options o = {.engine.use = ENGINE_SERVES};
    option table[OWN_OPTIONS + ENGINE_OPTIONS_MAX];
    puts("gptoss-dist serve --gguf FILE [flags]: answers programs over HTTP, in the forms of OpenAI's API.\n"
         "Start it with mpirun -np N to share the model between N ranks; rank 0 listens.\n");
    options_print_help(table, describe(&o, table));
}
