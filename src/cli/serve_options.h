/* serve_options.h: what the command line of `serve` asks for. */
#ifndef CLI_SERVE_OPTIONS_H
#define CLI_SERVE_OPTIONS_H

#include "base/buffer.h"
#include "cli/engine_options.h"
#include "cli/options.h"

typedef struct serve_options {
    engine_options engine;
    const char *bind;         /* HOST:PORT */
    char host[256], port[16]; /* what it names */
    const char *api_key, *api_key_file, *cors_origin, *store, *tls_cert, *tls_key;
    buffer key; /* owned: read from the file */
    option_texts aliases;
    const char *constrain_headers; /* on or off */
    bool insecure, no_harmony, free_headers;
    uint64_t max_body, connections, connections_per_peer, idle_timeout, drain_timeout;
    uint64_t parallel, queue, max_tokens, kv_memory, resume_points, store_limit;
} serve_options;

/* Collective: all ranks get the same status. argv[0] is the subcommand. environment_gguf: the value of
 * GPT_OSS_GGUF_PATH or NULL. GPTOSS_MISUSE names the flag, or where a file named by --config says it. */
gptoss_status serve_options_parse(const cluster *c, int argc, char **argv, const char *environment_gguf,
                                  serve_options *out, gptoss_error *err);
void serve_options_free(serve_options *o);
void serve_options_print_help(void);

#endif
