/* What operators ask: whether the server is well, how much it did, and on which ranks. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cjson/cJSON.h>

#include "base/mem.h"
#include "engine/layout.h"
#include "serve/routes.h"

gptoss_status route_health(exchange *x, const char *rest, failure *why) {
    static const char *const names[] = {
        [SERVER_LOADING] = "loading", [SERVER_READY] = "ready", [SERVER_DRAINING] = "draining", [SERVER_LOST] = "lost"};
    const server *s = x->server;
    server_state state = s->state;
    (void)rest;
    cJSON *whole = cJSON_CreateObject();
    cJSON_AddStringToObject(whole, "status", names[state]);
    if (state == SERVER_LOADING) {
        cJSON_AddNumberToObject(whole, "loaded_bytes", (double)s->loaded);
        cJSON_AddNumberToObject(whole, "all_bytes", (double)s->to_load);
    }
    return exchange_answer_json(x, state == SERVER_READY ? 200 : 503, whole, why);
}

gptoss_status route_metrics(exchange *x, const char *rest, failure *why) {
    server *s = x->server;
    buffer text = {0};
    scheduler_stats stats;
    (void)rest;
    bool running = s->state != SERVER_LOADING && s->scheduler;
    if (running) scheduler_read_stats(s->scheduler, &stats);
    gptoss_status status = metrics_write(&s->metrics, running ? &stats : NULL, &text, &why->error);
    if (status == GPTOSS_OK) return exchange_answer_text(x, 200, "text/plain; version=0.0.4", &text, why);
    buffer_free(&text);
    return status;
}

/* What of this process is in memory; 0 where that cannot be learned. */
static double resident_bytes(void) {
    unsigned long pages = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    if (!f) return 0;
    if (fscanf(f, "%*u %lu", &pages) != 1) pages = 0;
    fclose(f);
    return (double)pages * (double)sysconf(_SC_PAGESIZE);
}

static void add_range(cJSON *out, const char *begin, const char *end, plan_range range) {
    cJSON_AddNumberToObject(out, begin, range.begin);
    cJSON_AddNumberToObject(out, end, range.end);
}

static cJSON *describe_rank(const engine *e, int i, const rank_figures *figures) {
    const plan_rank *r = &e->placement.rank[i];
    const rank_facts *f = &e->facts[i];
    char words[120];
    cJSON *rank = cJSON_CreateObject();
    layout_rank(&e->placement, i, words, sizeof words);
    cJSON_AddNumberToObject(rank, "rank", i);
    cJSON_AddNumberToObject(rank, "stage", i / (int)e->placement.shards);
    cJSON_AddNumberToObject(rank, "shard", i % (int)e->placement.shards);
    cJSON_AddStringToObject(rank, "holds", words);
    add_range(rank, "layer_begin", "layer_end", (plan_range){r->layer_begin, r->layer_end});
    add_range(rank, "kv_head_begin", "kv_head_end", r->kv_heads);
    add_range(rank, "expert_begin", "expert_end", r->experts);
    add_range(rank, "embedding_row_begin", "embedding_row_end", r->embedding_rows);
    add_range(rank, "output_row_begin", "output_row_end", r->output_rows);
    cJSON_AddNumberToObject(rank, "mapped_bytes", (double)f->mapped_bytes);
    cJSON_AddNumberToObject(rank, "kv_bytes", (double)f->kv_bytes);
    cJSON_AddNumberToObject(rank, "threads", (double)f->threads);
    cJSON_AddNumberToObject(rank, "waves", (double)figures->waves);
    cJSON_AddNumberToObject(rank, "busy_seconds", figures->busy);
    cJSON_AddNumberToObject(rank, "sum_seconds", figures->sums);
    cJSON_AddNumberToObject(rank, "waited_seconds", figures->waited);
    if (i == 0) cJSON_AddNumberToObject(rank, "resident_bytes", resident_bytes());
    return rank;
}

static void add_pages(cJSON *out, const char *name, uint32_t all, uint32_t running, uint32_t cached) {
    cJSON *pages = cJSON_AddObjectToObject(out, name);
    cJSON_AddNumberToObject(pages, "all", all);
    cJSON_AddNumberToObject(pages, "running", running);
    cJSON_AddNumberToObject(pages, "cached", cached);
}

static void add_stats(cJSON *out, const scheduler_stats *s) {
    cJSON_AddNumberToObject(out, "running", s->running);
    cJSON_AddNumberToObject(out, "waiting", s->waiting);
    cJSON_AddNumberToObject(out, "waves", (double)s->waves);
    cJSON_AddNumberToObject(out, "prompt_tokens", (double)s->prompt_tokens);
    cJSON_AddNumberToObject(out, "cached_prompt_tokens", (double)s->cached_tokens);
    cJSON_AddNumberToObject(out, "generated_tokens", (double)s->generated_tokens);
    cJSON *cache = cJSON_AddObjectToObject(out, "prefix_cache");
    cJSON_AddNumberToObject(cache, "hits", (double)s->cache_hits);
    cJSON_AddNumberToObject(cache, "misses", (double)s->cache_misses);
    cJSON_AddNumberToObject(cache, "evictions", (double)s->cache_evictions);
    cJSON_AddNumberToObject(cache, "resume_points", s->resume_points);
    cJSON *pages = cJSON_AddObjectToObject(out, "kv_pages");
    add_pages(pages, "full", s->full_pages, s->full_pages_running, s->full_pages_cached);
    add_pages(pages, "window", s->window_pages, s->window_pages_running, s->window_pages_cached);
}

gptoss_status route_cluster(exchange *x, const char *rest, failure *why) {
    const server *s = x->server;
    const engine *e = s->engine;
    rank_figures *figures;
    scheduler_stats stats;
    char words[120];
    (void)rest;
    TRY(mem_array((size_t)e->cluster.size, sizeof *figures, "figures", &figures, &why->error));
    scheduler_read_figures(s->scheduler, figures);
    scheduler_read_stats(s->scheduler, &stats);
    cJSON *whole = cJSON_CreateObject(), *ranks = cJSON_CreateArray();
    cJSON_AddStringToObject(whole, "model", s->model.name);
    cJSON_AddNumberToObject(whole, "layers", e->n_layers);
    cJSON_AddNumberToObject(whole, "pid", (double)getpid()); /* of rank 0: where to send SIGTERM */
    layout_grid(&e->placement, words, sizeof words);
    cJSON_AddStringToObject(whole, "grid", words);
    cJSON_AddNumberToObject(whole, "stages", e->placement.stages);
    cJSON_AddNumberToObject(whole, "shards", e->placement.shards);
    for (int i = 0; i < e->cluster.size; i++) cJSON_AddItemToArray(ranks, describe_rank(e, i, &figures[i]));
    free(figures);
    cJSON_AddItemToObject(whole, "ranks", ranks);
    add_stats(whole, &stats);
    return exchange_answer_json(x, 200, whole, why);
}
