#include "cli/engine_options.h"

#include <stdlib.h>
#include <string.h>

#include "cli/bind_option.h"
#include "cli/isa_option.h"
#include "cli/model_option.h"
#include "cli/weights_option.h"

engine_options engine_options_defaults(engine_use use, const char *environment_gguf) {
    const option_counts chosen = {{0}, 1};
    return (engine_options){.use = use,
                            .gguf = environment_gguf && environment_gguf[0] ? environment_gguf : NULL,
                            .chunk_list = chosen,
                            .thread_list = chosen};
}

/* ---- rows ---- */

static option *add(option *at, const option *rows, size_t n) {
    memcpy(at, rows, n * sizeof *rows);
    return at + n;
}
#define ADD(at, rows) add(at, rows, sizeof(rows) / sizeof *(rows))

static option *add_cache_of_tokens(engine_options *o, option *at) {
    const double count_max = 1u << 30, least = o->use == ENGINE_SERVES ? 2 : 1;
    const option rows[] = {
        {"max-kv", OPTION_COUNT, &o->max_kv, least, count_max, "N",
         "longest prompt and answer together; by default what the model was made for"},
        {"kv-type", OPTION_TEXT, &o->kv_type_name, 0, 0, "TYPE",
         "of cached keys and values: f32, i16, f16 or q8_0 (i16 in layers that see all positions, f32 in others)"},
    };
    return ADD(at, rows);
}

static option *add_grid(engine_options *o, option *at) {
    const option rows[] = {
        {"stages", OPTION_COUNT, &o->grid.stages, 1, 4096, "P", GRID_OPTION_STAGES},
        {"shards", OPTION_COUNT, &o->grid.shards, 1, 4096, "T", GRID_OPTION_SHARDS},
        {"expert-placement", OPTION_PATH, &o->grid.expert_placement, 0, 0, "FILE",
         "which shard has which experts: {\"shards\": [\"0-19\", \"20-31\"]}"},
        {"for", OPTION_TEXT, &o->grid.goal_name, 0, 0, "GOAL", GRID_OPTION_FOR},
    };
    return ADD(at, rows);
}

static option *add_work(engine_options *o, option *at) {
    const bool lists = o->use == ENGINE_MEASURES, serves = o->use == ENGINE_SERVES;
    const option_kind kind = lists ? OPTION_COUNTS : OPTION_COUNT;
    const char *number = lists ? "N,..." : "N";
    const option rows[] = {
        {"chunk", kind, lists ? (void *)&o->chunk_list : (void *)&o->chunk, 1, 65536, number,
         serves ? "tokens of prompts read at a time (512 in one stage, 128 in several)"
                : "tokens of the prompt read at a time (512 in one stage, 128 in several)"},
        {"threads", kind, lists ? (void *)&o->thread_list : (void *)&o->threads, 1, THREADS_OPTION_MAX, number,
         THREADS_OPTION_HELP},
        {"cpu-bind", OPTION_TEXT, &o->cpu_bind, 0, 0, "HOW", "threads to cores: core (default), numa or none"},
        {"isa", OPTION_TEXT, &o->isa, 0, 0, "NAME", ISA_OPTION_HELP},
        {"link-model", OPTION_TEXT, &o->link.text, 0, 0, "MODEL", LINK_OPTION_HELP},
        {"layers", OPTION_COUNT, &o->layers, 1, LAYERS_OPTION_MAX, "L", "run only the first L layers"},
    };
    return ADD(at, rows);
}

static option *add_weights(engine_options *o, option *at) {
    const bool serves = o->use == ENGINE_SERVES;
    const option rows[] = {
        {"moe-fallback", OPTION_SWITCH, &o->moe_fallback, 0, 0, NULL, "expert 0 alone, for nodes with little memory"},
        {"cache", OPTION_PATH, &o->cache, 0, 0, "DIR", "where received slices and measured speeds are kept"},
        {"prompt-cache", OPTION_PATH, &o->prompt_cache, 0, 0, "DIR",
         serves ? "keep what was read of prompts there, from one start to the next"
                : "keep what was read of prompts there, from one run to the next"},
        {"weights", OPTION_TEXT, &o->weights_name, 0, 0, "FROM",
         "auto (default): another rank sends a rank without the file its slice; local: all have it; stream: rank 0 "
         "has it"},
    };
    return ADD(at, rows);
}

size_t engine_options_table(engine_options *o, const option *own, size_t n, option *table) {
    const option first[] = {{"gguf", OPTION_PATH, &o->gguf, 0, 0, "FILE",
                             "the model, or a slice; %r is the rank; or set GPT_OSS_GGUF_PATH"}};
    const option last[] = {
        {"config", OPTION_PATH, &o->config.path, 0, 0, "FILE",
         "these options from a file of rank 0: name = value lines"},
        {"help", OPTION_SWITCH, &o->help, 0, 0, NULL, "this text"},
    };
    option *at = add(ADD(table, first), own, n);
    if (o->use != ENGINE_MEASURES) at = add_cache_of_tokens(o, at);
    at = add_work(o, add_grid(o, at));
    if (o->use != ENGINE_MEASURES) at = add_weights(o, at);
    return (size_t)(ADD(at, last) - table);
}

/* ---- what they say ---- */

gptoss_status engine_options_settle(engine_options *o, int ranks, gptoss_error *err) {
    TRY(model_option_check(o->gguf, err));
    TRY(kv_type_option_read(o->kv_type_name, &o->kv_type, err));
    TRY(weights_option_read(o->weights_name, &o->weights, err));
    TRY(link_option_read(&o->link, err));
    TRY(grid_option_settle(&o->grid, ranks, err));
    TRY(isa_option_apply(o->isa, getenv("GPTOSS_ISA"), err));
    return bind_option_read(o->cpu_bind, &o->bind, err);
}

gptoss_status engine_options_agree(const engine_options *o, const cluster *c, gptoss_status status, gptoss_error *err) {
    if (status != GPTOSS_OK) config_file_locate(&o->config, err);
    return cluster_agree(c, status, err);
}

gptoss_status engine_options_prepare(const engine_options *o, const cluster *c, places *where, gptoss_error *err) {
    TRY(cluster_agree(c, places_find(o->gguf, o->cache, c->rank, where, err), err));
    return link_option_apply(c, &o->link, err);
}

void engine_options_apply(const engine_options *o, const places *where, engine_config *config) {
    config->path = where->gguf;
    config->cache_dir = where->cache;
    config->n_layers = (uint32_t)o->layers;
    config->expert_0_only = o->moe_fallback;
    config->threads = (uint32_t)o->threads;
    config->bind = o->bind;
    config->chunk = (uint32_t)o->chunk;
    config->kv_type = o->kv_type;
    config->planned_kv = (uint32_t)o->max_kv;
    config->weights = o->weights;
    config->prompt_cache = o->prompt_cache;
    grid_option_apply(&o->grid, config);
}

uint32_t engine_options_length(const engine_options *o, const hparams *hp) {
    return o->max_kv ? (uint32_t)o->max_kv : hp->context;
}

void engine_options_free(engine_options *o) { config_file_free(&o->config); }
