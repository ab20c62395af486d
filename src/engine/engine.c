#include "engine/engine.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/cancel.h"
#include "base/mem.h"
#include "base/plural.h"
#include "cluster/link.h"
#include "engine/kv_sizing.h"
#include "engine/place.h"
#include "engine/planning.h"
#include "engine/prompt_cache.h"
#include "engine/supply.h"
#include "plan/machine.h"

static bool may_lack_file(const engine *e) {
    if (e->config.weights == WEIGHTS_STREAM) return e->cluster.rank != 0;
    return e->config.weights == WEIGHTS_AUTO && e->cluster.size > 1 && access(e->config.path, F_OK) != 0 &&
           errno == ENOENT;
}

static gptoss_status read_file(engine *e, gptoss_error *err) {
    if (may_lack_file(e)) return GPTOSS_OK;
    TRY(gguf_open(e->config.path, &e->file, err));
    TRY(hparams_read(e->file, &e->hp, err));
    TRY(extent_read(e->file, &e->hp, &e->extent, err));
    return model_sizes_read(e->file, &e->hp, &e->sizes, err);
}

static gptoss_status check_model(engine *e, gptoss_error *err) {
    if (e->config.n_layers > e->hp.n_layers)
        return error_set(err, GPTOSS_MISUSE, "--layers %u is more than the %u layer%s of %s", e->config.n_layers,
                         e->hp.n_layers, plural(e->hp.n_layers), e->config.path);
    e->n_layers = e->config.n_layers ? e->config.n_layers : e->hp.n_layers;
    return e->file ? weights_check(e->file, &e->hp, e->n_layers, err) : GPTOSS_OK;
}

/* A launcher binds ranks by rules of its own, which leave cores idle; a process started by hand keeps what it was
 * given. */
static gptoss_status choose_cores(engine *e, gptoss_error *err) {
    if (!e->cluster.has_mpi) return topology_open(&e->topology, err);
    return topology_open_share(e->cluster.local_rank, e->cluster.local_size, &e->topology, err);
}

static void bind_step(void *context, int worker, int workers) {
    const engine *e = context;
    topology_bind_thread(e->topology, e->config.bind, worker, workers);
}

static gptoss_status start_team(engine *e, gptoss_error *err) {
    TRY(choose_cores(e, err));
    TRY(team_open(e->config.threads ? (int)e->config.threads : topology_cores(e->topology), &e->team, err));
    link_use_threads(team_size(e->team));
    if (e->cluster.size > 1) team_between(e->team, link_progress);
    team_run(e->team, bind_step, e);
    return GPTOSS_OK;
}

gptoss_status engine_open(const cluster *c, const engine_config *config, engine *out, gptoss_error *err) {
    *out = (engine){.cluster = *c, .config = *config};
    TRY(cluster_agree(c, read_file(out, err), err));
    TRY(supply_learn(out, err));
    TRY(cluster_agree(c, check_model(out, err), err));
    TRY(cluster_agree(c, start_team(out, err), err));
    TRY(place_ranks(out, err));
    if (!out->config.chunk) out->config.chunk = planning_chunk(out->placement.stages);
    return supply_fetch(out, err);
}

uint64_t engine_bytes_per_token(const engine *e) {
    uint64_t bytes = e->sizes.output;
    for (uint32_t i = 0; i < e->n_layers; i++) bytes += model_sizes_layer_read(&e->sizes, i, e->config.expert_0_only);
    return bytes;
}

static bool on_load(void *context, uint64_t done, uint64_t all) {
    const engine_config *config = context;
    if (config->on_load) config->on_load(config->load_context, done, all);
    return !cancel_requested();
}

/* Reading ahead pays when the slice can stay in memory, beside those of the machine's other ranks; otherwise the last
 * pages read would drive out the first. */
static gptoss_status load_weights(engine *e, gptoss_error *err) {
    uint64_t share = machine_usable(machine_memory("") / (uint64_t)e->cluster.local_size);
    if (gguf_map_bytes(e->weights->map) < share) gguf_map_load(e->weights->map, on_load, &e->config);
    return cancel_requested() ? error_set(err, GPTOSS_CANCELLED, "interrupted while reading the weights") : GPTOSS_OK;
}

/* A pool for one sequence has room for the kept pages, too, and for the copy that the sequence begins with; but theirs
 * is a quarter of the memory at most. */
static gptoss_status find_prompts(engine *e, kv_demand *demand, gptoss_error *err) {
    uint32_t kept;
    if (!e->config.prompt_cache) return GPTOSS_OK;
    TRY(prompt_cache_open(e, &demand->room, &kept, &e->prompts, err));
    if (demand->memory > 0 || demand->room.pages[KV_FULL] > 0) return GPTOSS_OK;
    const slice *what = &e->slice;
    uint64_t bytes = kv_cache_page_bytes(&e->hp, what->layer_begin, what->layer_end, &demand->room, KV_FULL);
    uint64_t most = kv_usual_memory(e->cluster.local_size) / (bytes ? bytes : 1);
    demand->room.pages[KV_FULL] = kv_room_paging(&e->hp, &demand->room).pages[KV_FULL] + 1;
    demand->room.pages[KV_FULL] += kept < most ? kept : (uint32_t)most;
    return GPTOSS_OK;
}

/* The pages that every rank has room for: all have the same, since their numbers go for all. */
static gptoss_status size_cache(engine *e, uint32_t positions, gptoss_error *err) {
    const engine_config *c = &e->config;
    const slice *what = &e->slice;
    kv_demand demand = {.room = {.sequences = c->sequences ? c->sequences : 1,
                                 .positions = positions,
                                 .chunk = c->chunk,
                                 .type = c->kv_type,
                                 .kv_heads = what->kv_head_end - what->kv_head_begin,
                                 .pages = {c->kv_pages[KV_FULL], c->kv_pages[KV_WINDOW]},
                                 .page_bits = {c->kv_page_bits[KV_FULL], c->kv_page_bits[KV_WINDOW]}},
                        .resume_points = c->resume_points,
                        .memory = c->kv_memory};
    uint32_t pages[KV_KINDS] = {0};
    uint64_t *all = NULL;
    TRY(find_prompts(e, &demand, err));
    gptoss_status status = kv_sizing(&e->hp, what->layer_begin, what->layer_end, &demand, pages, err);
    if (status == GPTOSS_OK) status = mem_array((size_t)e->cluster.size, sizeof *all, "plan", &all, err);
    status = cluster_agree(&e->cluster, status, err);
    if (status == GPTOSS_OK) {
        uint64_t least = pages[KV_FULL], mine = least;
        cluster_gather(&e->cluster, &mine, 1, all);
        for (int r = 0; r < e->cluster.size && e->cluster.rank == 0; r++)
            if (all[r] < least) least = all[r];
        cluster_broadcast(&e->cluster, &least, sizeof least);
        e->room = demand.room;
        e->room.pages[KV_FULL] = (uint32_t)least;
        e->room.pages[KV_WINDOW] = pages[KV_WINDOW];
    }
    free(all);
    return status;
}

static gptoss_status open_pipeline(engine *e, gptoss_error *err) {
    uint32_t *begins;
    TRY(mem_array((size_t)e->cluster.size + 1, sizeof *begins, "pipeline", &begins, err));
    for (int r = 0; r < e->cluster.size; r++) {
        plan_range rows = e->placement.rank[r].output_rows;
        begins[r + 1] = rows.end > rows.begin ? rows.end : begins[r];
    }
    uint32_t most = e->config.chunk, rows = e->config.logits_rows;
    const pipeline_config config = {
        .grid = e->grid, .group = e->group, .logits_rows = rows < most ? rows : most, .output_begins = begins};
    gptoss_status status = pipeline_open(&e->cluster, &e->hp, e->stage, &config, &e->pipeline, err);
    free(begins);
    return status;
}

/* All that can fail before a byte of the weights is read. */
static gptoss_status start_rank(engine *e, gptoss_error *err) {
    TRY(weights_open(e->file, &e->hp, e->slice, &e->weights, err));
    TRY(group_open(&e->grid, (size_t)e->config.chunk * e->hp.d_model, &e->group, err));
    const stage_peers peers = group_peers(e->group);
    TRY(stage_open(&e->hp, e->weights, e->team, &e->room, &peers, &e->stage, err));
    TRY(open_pipeline(e, err));
    if (e->cluster.rank != 0) return GPTOSS_OK;
    return mem_array((size_t)e->cluster.size, sizeof *e->facts, "plan", &e->facts, err);
}

static void gather_facts(engine *e) {
    const slice *s = &e->weights->slice;
    const uint64_t mine[] = {gguf_map_bytes(e->weights->map),
                             kv_cache_bytes(&e->hp, s->layer_begin, s->layer_end, &e->room),
                             (uint64_t)team_size(e->team)};
    _Static_assert(sizeof(rank_facts) == sizeof mine, "facts are gathered as plain numbers");
    cluster_gather(&e->cluster, mine, sizeof mine / sizeof *mine, (uint64_t *)e->facts);
}

gptoss_status engine_start(engine *e, uint32_t positions, gptoss_error *err) {
    TRY(size_cache(e, positions, err));
    gptoss_status status = start_rank(e, err);
    TRY(cluster_agree(&e->cluster, status, err)); /* no rank reads for minutes when another has failed already */
    status = load_weights(e, err);
    TRY(cluster_agree(&e->cluster, status, err));
    gguf_close(e->file);
    e->file = NULL;
    gather_facts(e);
    return e->prompts ? prompt_cache_load(e->prompts, e, err) : GPTOSS_OK;
}

void engine_close(engine *e) {
    prompt_cache_close(e->prompts);
    pipeline_close(e->pipeline);
    stage_close(e->stage);
    group_close(e->group);
    team_close(e->team);
    topology_close(e->topology);
    weights_close(e->weights);
    model_sizes_free(&e->sizes);
    gguf_close(e->file);
    placement_free(&e->placement);
    free(e->facts);
    free(e->slice_path);
    *e = (engine){0};
}
