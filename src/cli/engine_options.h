/* engine_options.h: the flags that say which model runs, how ranks share it, and with what they compute: the same rows,
 * checks and settings for `run`, `serve` and `bench`. */
#ifndef CLI_ENGINE_OPTIONS_H
#define CLI_ENGINE_OPTIONS_H

#include "cli/config_file.h"
#include "cli/grid_option.h"
#include "cli/link_option.h"
#include "cli/options.h"
#include "cli/places.h"
#include "engine/engine.h"

enum { ENGINE_OPTIONS_MAX = 20 }; /* rows at most, beside those of a command's own */

/* Whose flags they are. */
typedef enum engine_use {
    ENGINE_RUNS,    /* one prompt */
    ENGINE_SERVES,  /* the prompts of others */
    ENGINE_MEASURES /* random tokens: no flags of KV caches and folders, but lists where others take one number */
} engine_use;

typedef struct engine_options {
    engine_use use;
    config_file config;
    const char *gguf;
    uint64_t max_kv;          /* 0: what the model was made for */
    const char *kv_type_name; /* or NULL */
    kv_type kv_type;          /* what it names */
    grid_option grid;
    uint64_t chunk, threads;               /* 0: chosen */
    option_counts chunk_list, thread_list; /* of ENGINE_MEASURES, instead of those */
    const char *cpu_bind;                  /* NULL: core */
    topology_bind bind;                    /* what it names */
    const char *isa;                       /* NULL: GPTOSS_ISA, or the best of each rank */
    link_option link;
    uint64_t layers; /* 0: all */
    bool moe_fallback;
    const char *cache;        /* folder; NULL: the user's */
    const char *prompt_cache; /* folder, or NULL */
    const char *weights_name; /* or NULL */
    weights_origin weights;   /* what it names */
    bool help;
} engine_options;

/* environment_gguf: the value of GPT_OSS_GGUF_PATH or NULL. */
engine_options engine_options_defaults(engine_use use, const char *environment_gguf);

/* All rows of a command, in the order of its help: --gguf, own[n], what goes for engines, --config and --help. Targets
 * are in *o. Returns how many there are: at most ENGINE_OPTIONS_MAX more than n. */
size_t engine_options_table(engine_options *o, const option *own, size_t n, option *table);

/* Checks what the flags say of a run on as many ranks, and makes this rank's kernels use the --isa. GPTOSS_MISUSE names
 * the flag. Not collective. */
gptoss_status engine_options_settle(engine_options *o, int ranks, gptoss_error *err);

/* Collective, after the command's own checks too, which ended with `status` on this rank. All ranks get the same, with
 * the place in the file of --config where that is to blame. */
gptoss_status engine_options_agree(const engine_options *o, const cluster *c, gptoss_status status, gptoss_error *err);

/* Collective. Finds this rank's files, and delays messages if the flags say so. *where is to be closed even after a
 * failure. */
gptoss_status engine_options_prepare(const engine_options *o, const cluster *c, places *where, gptoss_error *err);

/* What they make of *config; the rest of it stays. *config borrows from o and where. */
void engine_options_apply(const engine_options *o, const places *where, engine_config *config);

/* Positions of a sequence, at most. */
uint32_t engine_options_length(const engine_options *o, const hparams *hp);

void engine_options_free(engine_options *o);

#endif
