#include "cli/serve_options.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/isa_option.h"
#include "cli/weights_option.h"

enum { MAX_OPTIONS = 48, KEY_BYTES = 4096 };

static size_t describe(serve_options *o, option *table) {
    const double count_max = 1u << 30, bytes_max = 0x1p50;
    const option all[] = {
        {"gguf", OPTION_PATH, &o->gguf, 0, 0, "FILE",
         "the model, or a slice; %r is the rank; or set GPT_OSS_GGUF_PATH"},
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
        {"max-kv", OPTION_COUNT, &o->max_kv, 2, count_max, "N",
         "longest prompt and answer together; by default what the model was made for"},
        {"kv-memory", OPTION_COUNT, &o->kv_memory, 1, bytes_max, "BYTES",
         "KV cache of each rank (a quarter of its memory)"},
        {"kv-type", OPTION_TEXT, &o->kv_type_name, 0, 0, "TYPE",
         "of cached keys and values: f32, i16, f16 or q8_0 (i16 in layers that see all positions, f32 in others)"},
        {"resume-points", OPTION_COUNT, &o->resume_points, 0, 65536, "N",
         "beginnings of prompts that are remembered (64)"},
        {"no-harmony", OPTION_SWITCH, &o->no_harmony, 0, 0, NULL,
         "/v1/completions sends raw prompts and returns raw text"},
        {"free-headers", OPTION_SWITCH, &o->free_headers, 0, 0, NULL,
         "let models write malformed headers, and mend them"},
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
        {"stages", OPTION_COUNT, &o->grid.stages, 1, 4096, "P", GRID_OPTION_STAGES},
        {"shards", OPTION_COUNT, &o->grid.shards, 1, 4096, "T", GRID_OPTION_SHARDS},
        {"expert-placement", OPTION_PATH, &o->grid.expert_placement, 0, 0, "FILE",
         "which shard has which experts: {\"shards\": [\"0-19\", \"20-31\"]}"},
        {"for", OPTION_TEXT, &o->grid.goal_name, 0, 0, "GOAL", GRID_OPTION_FOR},
        {"chunk", OPTION_COUNT, &o->chunk, 1, 65536, "N",
         "tokens of prompts read at a time (512 in one stage, 128 in several)"},
        {"cache", OPTION_PATH, &o->cache, 0, 0, "DIR", "where received slices and measured speeds are kept"},
        {"prompt-cache", OPTION_PATH, &o->prompt_cache, 0, 0, "DIR",
         "keep what was read of prompts there, from one start to the next"},
        {"weights", OPTION_TEXT, &o->weights_name, 0, 0, "FROM",
         "local: a file on each rank; stream: rank 0 sends slices; auto: it does where the file is missing"},
        {"threads", OPTION_COUNT, &o->threads, 1, 1024, "N", "of each rank; by default one per core of its share"},
        {"cpu-bind", OPTION_TEXT, &o->cpu_bind, 0, 0, "HOW", "threads to cores: core (default), numa or none"},
        {"isa", OPTION_TEXT, &o->isa, 0, 0, "NAME", ISA_OPTION_HELP},
        {"link-model", OPTION_TEXT, &o->link.text, 0, 0, "MODEL", LINK_OPTION_HELP},
        {"layers", OPTION_COUNT, &o->layers, 1, 4096, "L", "run only the first L layers"},
        {"moe-fallback", OPTION_SWITCH, &o->moe_fallback, 0, 0, NULL, "expert 0 alone, for nodes with little memory"},
        {"config", OPTION_PATH, &o->config.path, 0, 0, "FILE",
         "these options from a file of rank 0: name = value lines"},
        {"help", OPTION_SWITCH, &o->help, 0, 0, NULL, "this text"},
    };
    _Static_assert(sizeof all / sizeof *all <= MAX_OPTIONS, "the table of flags is full");
    memcpy(table, all, sizeof all);
    return sizeof all / sizeof *all;
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

static gptoss_status check(serve_options *o, int rank, gptoss_error *err) {
    if (!o->gguf) return error_set(err, GPTOSS_MISUSE, "no model is given: use --gguf FILE or set GPT_OSS_GGUF_PATH");
    TRY(read_address(o, err));
    TRY(read_key(o, rank, err));
    TRY(check_names(o, err));
    if (!o->tls_cert != !o->tls_key)
        return error_set(err, GPTOSS_MISUSE, "--tls-cert and --tls-key belong together: give both, or neither");
    if (o->prompt_cache && o->resume_points == 0)
        return error_set(err, GPTOSS_MISUSE, "--prompt-cache has nothing to keep with --resume-points 0");
    TRY(weights_option_read(o->weights_name, &o->weights, err));
    TRY(link_option_read(&o->link, err));
    if (o->kv_type_name && !kv_type_by_name(o->kv_type_name, &o->kv_type))
        return error_set(err, GPTOSS_MISUSE, "--kv-type is f32, i16, f16 or q8_0, not \"%.40s\"", o->kv_type_name);
    return GPTOSS_OK;
}

gptoss_status serve_options_parse(const cluster *c, int argc, char **argv, const char *environment_gguf,
                                  serve_options *out, gptoss_error *err) {
    *out = (serve_options){.gguf = environment_gguf && environment_gguf[0] ? environment_gguf : NULL,
                           .bind = "127.0.0.1:9899",
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
    option table[MAX_OPTIONS];
    size_t count = describe(out, table);
    TRY(config_file_options(c, table, count, argc, argv, &out->config, err));
    gptoss_status status = out->help ? GPTOSS_OK : check(out, c->rank, err);
    if (status != GPTOSS_OK) config_file_locate(&out->config, err);
    return cluster_agree(c, status, err);
}

void serve_options_free(serve_options *o) {
    free(o->aliases.items);
    buffer_free(&o->key);
    config_file_free(&o->config);
}

void serve_options_print_help(void) {
    serve_options o;
    option table[MAX_OPTIONS];
    puts("gptoss-dist serve --gguf FILE [flags]: answers programs over HTTP, in the forms of OpenAI's API.\n"
         "Start it with mpirun -np N to share the model between N ranks; rank 0 listens.\n");
    options_print_help(table, describe(&o, table));
}
