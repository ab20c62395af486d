/* What operators ask: whether the server is well, how much it did, and on which ranks. */
#include <unistd.h>

#include <cjson/cJSON.h>

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

gptoss_status route_cluster(exchange *x, const char *rest, failure *why) {
    const engine *e = x->server->engine;
    scheduler_stats stats;
    char words[120];
    (void)rest;
    scheduler_read_stats(x->server->scheduler, &stats);
    cJSON *whole = cJSON_CreateObject(), *ranks = cJSON_CreateArray();
    cJSON_AddStringToObject(whole, "model", x->server->model.name);
    cJSON_AddNumberToObject(whole, "layers", e->n_layers);
    cJSON_AddNumberToObject(whole, "pid", (double)getpid()); /* of rank 0: where to send SIGTERM */
    layout_grid(&e->placement, words, sizeof words);
    cJSON_AddStringToObject(whole, "grid", words);
    for (int i = 0; i < e->cluster.size; i++) {
        const plan_rank *r = &e->placement.rank[i];
        const rank_facts *f = &e->facts[i];
        cJSON *rank = cJSON_CreateObject();
        layout_rank(&e->placement, i, words, sizeof words);
        cJSON_AddNumberToObject(rank, "rank", i);
        cJSON_AddStringToObject(rank, "holds", words);
        cJSON_AddNumberToObject(rank, "layer_begin", r->layer_begin);
        cJSON_AddNumberToObject(rank, "layer_end", r->layer_end);
        cJSON_AddNumberToObject(rank, "kv_head_begin", r->kv_heads.begin);
        cJSON_AddNumberToObject(rank, "kv_head_end", r->kv_heads.end);
        cJSON_AddNumberToObject(rank, "expert_begin", r->experts.begin);
        cJSON_AddNumberToObject(rank, "expert_end", r->experts.end);
        cJSON_AddNumberToObject(rank, "mapped_bytes", (double)f->mapped_bytes);
        cJSON_AddNumberToObject(rank, "kv_bytes", (double)f->kv_bytes);
        cJSON_AddNumberToObject(rank, "threads", (double)f->threads);
        cJSON_AddItemToArray(ranks, rank);
    }
    cJSON_AddItemToObject(whole, "ranks", ranks);
    cJSON_AddNumberToObject(whole, "running", stats.running);
    cJSON_AddNumberToObject(whole, "waiting", stats.waiting);
    return exchange_answer_json(x, 200, whole, why);
}
