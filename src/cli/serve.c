/* serve: the HTTP API, on as many ranks as were started. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cancel.h"
#include "cli/commands.h"
#include "cli/model_option.h"
#include "cli/serve_options.h"
#include "cluster/peers.h"
#include "engine/kv_sizing.h"
#include "engine/prompt_cache.h"
#include "serve/server.h"

enum { MODEL_NAME_BYTES = 256 };

/* What rank 0 does on its own: text, HTTP, scheduling. */
typedef struct front {
    char name[MODEL_NAME_BYTES];
    tokenizer *tokenizer;
    harmony harmony;
    token_mask *masks;
    server *server;
    scheduler *scheduler;
    prefix_snapshot snapshot; /* for --prompt-cache */
} front;

static void front_close(front *f) {
    server_close(f->server);
    prefix_snapshot_free(&f->snapshot);
    scheduler_close(f->scheduler);
    token_mask_close(f->masks);
    tokenizer_close(f->tokenizer);
}

/* The model's general.name, or the file's name. */
static void name_model(const serve_options *o, const gguf_file *file, char out[MODEL_NAME_BYTES]) {
    gguf_text name;
    const gguf_value *value = gguf_find_value(file, "general.name");
    const char *slash = strrchr(o->engine.gguf, '/');
    if (value && gguf_as_text(value, &name) && name.size > 0)
        snprintf(out, MODEL_NAME_BYTES, "%.*s", (int)name.size, name.bytes);
    else
        snprintf(out, MODEL_NAME_BYTES, "%s", slash ? slash + 1 : o->engine.gguf);
}

static gptoss_status open_server(const serve_options *o, const engine *e, front *f, gptoss_error *err) {
    const server_config config = {.host = o->host,
                                  .port = o->port,
                                  .insecure = o->insecure,
                                  .api_key = o->api_key,
                                  .cors_origin = o->cors_origin,
                                  .tls_certificate = o->tls_cert,
                                  .tls_key = o->tls_key,
                                  .max_body = o->max_body,
                                  .connections = (uint32_t)o->connections,
                                  .connections_per_peer = (uint32_t)o->connections_per_peer,
                                  .idle_seconds = (uint32_t)o->idle_timeout,
                                  .drain_seconds = (double)o->drain_timeout,
                                  .no_harmony = o->no_harmony,
                                  .free_headers = o->free_headers,
                                  .answer_tokens = (uint32_t)o->max_tokens,
                                  .store = o->store,
                                  .store_limit = o->store_limit,
                                  .aliases = o->aliases.items,
                                  .alias_count = o->aliases.count};
    const server_model model = {.name = f->name,
                                .tokenizer = f->tokenizer,
                                .harmony = &f->harmony,
                                .masks = f->masks,
                                .n_vocab = e->hp.n_vocab,
                                .n_layers = e->n_layers,
                                .expert_0_only = e->config.expert_0_only,
                                .positions = engine_options_length(&o->engine, &e->hp),
                                .most_requests = (uint32_t)(o->parallel + o->queue)};
    return server_open(&config, &model, &f->server, err);
}

/* *f is zeroed; what was opened when this fails is released by front_close. */
static gptoss_status front_open(const serve_options *o, const engine *e, front *f, gptoss_error *err) {
    TRY(max_kv_option_check(o->engine.max_kv, &e->hp, err));
    TRY(tokenizer_open(e->file, &f->tokenizer, err));
    if (tokenizer_count(f->tokenizer) > e->hp.n_vocab)
        return error_set(err, GPTOSS_BAD_INPUT, "%s has a vocabulary of %u tokens but embeddings for %u",
                         o->engine.gguf, tokenizer_count(f->tokenizer), e->hp.n_vocab);
    TRY(harmony_open(f->tokenizer, &f->harmony, err));
    TRY(token_mask_open(f->tokenizer, &f->masks, err));
    name_model(o, e->file, f->name);
    return open_server(o, e, f, err);
}

static void on_load(void *context, uint64_t done, uint64_t all) {
    const front *f = context;
    server_loading(f->server, done, all);
}

static void on_supply(void *context, const char *what, uint64_t done, uint64_t all) {
    (void)what;
    on_load(context, done, all);
}

static gptoss_status work(const serve_options *o, engine *e, front *f, gptoss_error *err) {
    const scheduler_config config = {.waiting = (uint32_t)o->queue,
                                     .chunk = e->config.chunk,
                                     .resume_points = (uint32_t)o->resume_points,
                                     .kept = prompt_cache_image(e->prompts)};
    char chosen[120];
    gptoss_status status = scheduler_open(e->pipeline, &config, &f->scheduler, err);
    if (status == GPTOSS_OK) {
        server_ready(f->server, f->scheduler, e);
        grid_option_describe(&o->engine.grid, &e->placement, chosen, sizeof chosen);
        if (e->config.choose) fprintf(stderr, "gptoss-dist: %s\n", chosen);
        fprintf(stderr, "gptoss-dist: %s listens on %s (process %ld)\n", f->name, server_address(f->server),
                (long)getpid());
        status = scheduler_run(f->scheduler, err);
        scheduler_stop(f->scheduler); /* after a failure: none comes too late to be told */
        if (status == GPTOSS_PEER) server_lost(f->server);
        server_finish(f->server);
    }
    if (status == GPTOSS_OK && e->prompts) status = scheduler_snapshot(f->scheduler, &f->snapshot, err);
    peers_release();
    if (status != GPTOSS_PEER) pipeline_stop(e->pipeline); /* otherwise there is nobody to hear it */
    return status;
}

/* Where ranks were lost, or a second signal ended the work, not all of them would come here. */
static void keep_prompts(const engine *e, const front *f, gptoss_status status) {
    bool together = status != GPTOSS_PEER && status != GPTOSS_INTERNAL && !cancel_requested();
    if (e->prompts && together) prompt_cache_keep(e->prompts, e, &f->snapshot);
}

static gptoss_status serve(const serve_options *o, const places *where, cluster *c, gptoss_error *err) {
    front f = {0};
    engine_config config = {.sequences = (uint32_t)o->parallel,
                            .kv_memory = o->kv_memory ? o->kv_memory : kv_usual_memory(c->local_size),
                            .resume_points = (uint32_t)o->resume_points,
                            .logits_rows = (uint32_t)o->parallel,
                            .on_load = c->rank == 0 ? on_load : NULL,
                            .on_supply = c->rank == 0 ? on_supply : NULL,
                            .load_context = &f};
    engine e;
    engine_options_apply(&o->engine, where, &config);
    if (!config.choose) config.planned_kv = 0; /* not all sequences become that long at once */
    gptoss_status status = engine_open(c, &config, &e, err);
    if (status == GPTOSS_OK) {
        status = c->rank == 0 ? front_open(o, &e, &f, err) : GPTOSS_OK;
        status = cluster_agree(c, status, err);
    }
    if (status == GPTOSS_OK) status = engine_start(&e, engine_options_length(&o->engine, &e.hp), err);
    if (status == GPTOSS_OK) status = peers_watch(c, err);
    if (status == GPTOSS_OK) cancel_allow_finish();
    if (status == GPTOSS_OK) {
        status = c->rank == 0 ? work(o, &e, &f, err) : pipeline_work(e.pipeline, err);
        keep_prompts(&e, &f, status);
    }
    front_close(&f);
    engine_close(&e);
    return status;
}

int serve_command(cluster *c, int argc, char **argv) {
    gptoss_error err = {0};
    serve_options options;
    places where = {0};
    gptoss_status status = serve_options_parse(c, argc, argv, getenv("GPT_OSS_GGUF_PATH"), &options, &err);
    if (status == GPTOSS_OK && options.engine.help) {
        if (c->rank == 0) serve_options_print_help();
    } else if (status == GPTOSS_OK) {
        status = engine_options_prepare(&options.engine, c, &where, &err);
        if (status == GPTOSS_OK) status = serve(&options, &where, c, &err);
    }
    places_close(&where);
    serve_options_free(&options);
    int code = status == GPTOSS_OK ? 0 : command_fail(&err);
    cluster_leave(c, status);
    return code;
}
