/* engine.h: a model opened by all ranks together, each holding its slice. What `run` and `serve` stand on.
 *
 * Opening has two steps, so that rank 0 can read a prompt with the file's tokenizer, and refuse it, before any rank
 * maps weights. All functions are collective unless they say otherwise: every rank calls them, with the same arguments,
 * and gets the same status; the text of an error is left on the one rank that has it to tell (see cluster_agree). */
#ifndef ENGINE_ENGINE_H
#define ENGINE_ENGINE_H

#include "cluster/pipeline.h"
#include "plan/placement.h"
#include "plan/topology.h"

/* Where a rank's weights come from. */
typedef enum weights_origin {
    WEIGHTS_AUTO,  /* its file; where there is none, from another rank, by way of the cache folder */
    WEIGHTS_LOCAL, /* its file */
    WEIGHTS_STREAM /* rank 0's file, for all other ranks by way of the cache folder */
} weights_origin;

typedef struct engine_config {
    const char *path;             /* borrowed */
    uint32_t n_layers;            /* run the first n layers only; 0: all */
    bool expert_0_only;           /* see slice */
    uint32_t stages, shards;      /* the grid, together as many as ranks; 0: chosen, or stages of one shard each */
    bool choose;                  /* the grid, where it is not given, and slices for `goal`, as `plan` does; ranks and
                                     links are measured for it */
    const char *expert_placement; /* a file, borrowed; see expert_placement.h. NULL: chosen */
    uint32_t threads;             /* of this rank; 0: one a physical core of its share of the machine */
    uint32_t sequences;           /* at work at once; 0: one */
    uint32_t planned_kv; /* positions of each that layers are dealt for, so that the cut is the same from run to run;
                            0: 4096 */
    plan_goal goal;      /* of the cut */
    weights_origin weights;
    const char *cache_dir;    /* where measurements and received slices are kept; borrowed, NULL: nowhere */
    topology_bind bind;       /* of its threads */
    uint32_t chunk;           /* tokens a wave; 0: the usual ones, in the engine's from engine_open on, and may be
                                 changed there before engine_start */
    kv_type kv_type;          /* of the KV cache */
    uint64_t kv_memory;       /* bytes of each rank's KV cache, at most; 0: what all sequences at full length need */
    uint32_t resume_points;   /* of the prefix cache: room for as many; see scheduler_config */
    const char *prompt_cache; /* folder where resume points outlive the program; borrowed, NULL: they do not */
    uint32_t kv_pages[KV_KINDS], kv_page_bits[KV_KINDS]; /* see kv_room; 0: chosen */
    uint32_t logits_rows;                                /* see pipeline_config; no more than `chunk` */
    void (*on_load)(void *context, uint64_t done_bytes, uint64_t all_bytes); /* while weights are read; may be NULL */
    /* while slices go from rank to rank: what is being done; may be NULL */
    void (*on_supply)(void *context, const char *what, uint64_t done_bytes, uint64_t all_bytes);
    void *load_context; /* of both */
} engine_config;

/* What it takes a rank to hold its part; on rank 0 of all of them. */
typedef struct rank_facts {
    uint64_t mapped_bytes; /* of the file, in whole pages */
    uint64_t kv_bytes;     /* reserved; touched as the sequence grows */
    uint64_t threads;
} rank_facts;

typedef struct prompt_cache prompt_cache; /* see prompt_cache.h */

typedef struct engine {
    cluster cluster;
    engine_config config;
    hparams hp;
    uint32_t n_layers;
    model_sizes sizes;       /* of the whole model, whatever this rank's file holds */
    extent extent;           /* what it holds */
    placement placement;     /* who holds what, the same on all ranks; owned */
    grid grid;               /* where this rank is in it */
    slice slice;             /* what this rank needs of the file */
    char *slice_path;        /* of the file, when it came from another rank; owned */
    uint64_t missing_memory; /* on rank 0: bytes that some rank lacks to hold its slice; it will be slow */
    gguf_file *file;         /* closed by engine_start; until then rank 0 may read the vocabulary */
    weights *weights;
    topology *topology;
    team *team;
    group *group; /* of this rank's stage */
    stage *stage;
    pipeline *pipeline;
    prompt_cache *prompts; /* NULL without config.prompt_cache */
    kv_room room;          /* of the KV cache, the same on all ranks but for the heads; set by engine_start */
    rank_facts *facts;     /* [cluster.size] on rank 0, NULL elsewhere */
} engine;

/* Opens and checks the file, makes sure that all ranks were given the same one, or slices of it, agrees on a grid, and
 * hands slices to ranks without a file.
 * *out must be closed even after a failure. */
gptoss_status engine_open(const cluster *c, const engine_config *config, engine *out, gptoss_error *err);

/* Maps this rank's slice and makes room for the sequences, of up to `positions` tokens each;
 * afterwards the pipeline is ready. */
gptoss_status engine_start(engine *e, uint32_t positions, gptoss_error *err);

/* Bytes of weights that one token makes all ranks read together: shared matrices and the experts it uses. Not
 * collective; after engine_open. */
uint64_t engine_bytes_per_token(const engine *e);

/* Not collective. */
void engine_close(engine *e);

#endif
