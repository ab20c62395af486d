#include "cli/plan_report.h"

#include "base/plural.h"
#include "engine/layout.h"
#include <cjson/cJSON.h>
#include <stdlib.h>
#include <string.h>

static double gib(uint64_t bytes) { return (double)bytes / (double)(1 << 30); }
static double milliseconds(const plan_rank *s) { return (double)s->nanoseconds / 1e6; }

static const char *goal_name(const plan_report *r) { return r->goal == PLAN_FOR_LATENCY ? "latency" : "throughput"; }

static uint64_t weight_bytes(const plan_report *r) {
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < r->ranks; i++) bytes += r->placement.rank[i].weights;
    return bytes;
}

static uint64_t kv_bytes(const plan_report *r) {
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < r->ranks; i++) bytes += r->placement.rank[i].kv;
    return bytes;
}

/* ---- for people ---- */

/* "3", "0-7", "-" for nothing. */
static const char *range_text(plan_range range, char *text, size_t size) {
    if (range.end == range.begin)
        snprintf(text, size, "-");
    else if (range.end - range.begin == 1)
        snprintf(text, size, "%u", range.begin);
    else
        snprintf(text, size, "%u-%u", range.begin, range.end - 1);
    return text;
}

static void print_row(FILE *out, const plan_report *r, uint32_t i, int name_width) {
    const plan_rank *s = &r->placement.rank[i];
    const node_facts *n = &r->nodes[i];
    char layers[24], experts[24], heads[24];
    fprintf(out, "%4u  %-*s  %6.1f  %5u  %s%5.1f  %8s  %7s  %8s  %7.2f  %6.2f  %4.0f %%  %8.2f\n", i, name_width,
            n->name, gib(n->memory), n->cores, n->is_assumed ? "~" : " ", n->read_rate / 1e9,
            range_text((plan_range){s->layer_begin, s->layer_end}, layers, sizeof layers),
            range_text(s->experts, experts, sizeof experts), range_text(s->kv_heads, heads, sizeof heads),
            gib(s->weights), gib(s->kv), 100 * (double)(s->weights + s->kv + r->model.own) / (double)n->memory,
            milliseconds(s));
}

static void print_speeds(FILE *out, const plan_report *r) {
    const forecast *f = &r->forecast;
    fprintf(out, "\none sequence: %.1f tokens/s (%.1f ms a token", f->one_stream, 1e3 * f->token_seconds);
    if (r->ranks > 1) fprintf(out, ", %.1f ms of it on the network", 1e3 * f->network_seconds);
    fputs(")\n", out);
    if (r->streams > 1) fprintf(out, "%u sequences at once: %.1f tokens/s together\n", r->streams, f->all_streams);
    bool assumed = false;
    for (uint32_t i = 0; i < r->ranks; i++) assumed = assumed || r->nodes[i].is_assumed;
    if (assumed) fputs("~ nobody measured this speed: it is assumed from the number of cores\n", out);
}

void plan_report_print_table(FILE *out, const plan_report *r) {
    const plan_link *link = &r->nodes[0].link;
    int name_width = 4;
    for (uint32_t i = 0; i < r->ranks; i++)
        if ((int)strlen(r->nodes[i].name) > name_width) name_width = (int)strlen(r->nodes[i].name);
    char grid[80];
    layout_grid(&r->placement, grid, sizeof grid);
    fprintf(out, "%s: %u layer%s, %u expert%s, %.2f GiB; KV cache for %u x %u tokens; for %s\n", r->path,
            r->model.n_layers, plural(r->model.n_layers), r->hp.n_experts, plural(r->hp.n_experts),
            gib(placement_weights(&r->model)), r->streams, r->kv_positions, goal_name(r));
    fprintf(out, "%s%s\n\n", grid,
            r->placement.shards > 1 ? "; run and serve make it when they are given --stages and --shards, too" : "");
    fprintf(out, "%4s  %-*s  %6s  %5s  %6s  %8s  %7s  %8s  %7s  %6s  %6s  %8s\n", "rank", name_width, "node", "GiB",
            "cores", "GB/s", "layers", "experts", "KV heads", "weights", "KV GiB", "used", "ms");
    for (uint32_t i = 0; i < r->ranks; i++) {
        if (i > 0 && r->placement.shards > 1 && i % r->placement.shards == 0) fputs("\n", out);
        print_row(out, r, i, name_width);
    }
    fprintf(out, "%4s  %-*s  %6s  %5s  %6s  %8u  %7s  %8s  %7.2f  %6.2f  %6s  %8.2f\n", "all", name_width, "", "", "",
            "", r->model.n_layers, "", "", gib(weight_bytes(r)), gib(kv_bytes(r)), "",
            1e3 * (r->forecast.token_seconds - r->forecast.network_seconds));
    if (r->ranks > 1)
        fprintf(out, "\nfrom rank 0 to the next: %.3g us, %.3g Gbit/s\n", 1e6 * link->latency,
                link->bandwidth * 8 / 1e9);
    print_speeds(out, r);
}

/* ---- for programs ---- */

static void add_number(cJSON *object, const char *name, double value) {
    char text[32];
    snprintf(text, sizeof text, "%.6g", value);
    cJSON_AddNumberToObject(object, name, strtod(text, NULL));
}

static void add_range(cJSON *object, const char *name, plan_range range) {
    const int bounds[] = {(int)range.begin, (int)range.end};
    cJSON_AddItemToObject(object, name, cJSON_CreateIntArray(bounds, 2));
}

static cJSON *rank_json(const plan_report *r, uint32_t i) {
    const plan_rank *s = &r->placement.rank[i];
    const node_facts *n = &r->nodes[i];
    cJSON *o = cJSON_CreateObject();
    cJSON_AddNumberToObject(o, "rank", i);
    cJSON_AddNumberToObject(o, "stage", i / r->placement.shards);
    cJSON_AddNumberToObject(o, "shard", i % r->placement.shards);
    cJSON_AddStringToObject(o, "node", n->name);
    cJSON_AddNumberToObject(o, "memory_bytes", (double)n->memory);
    cJSON_AddNumberToObject(o, "cores", n->cores);
    add_number(o, "read_gb_s", n->read_rate / 1e9);
    cJSON_AddBoolToObject(o, "read_is_assumed", n->is_assumed);
    add_range(o, "layers", (plan_range){s->layer_begin, s->layer_end});
    add_range(o, "experts", s->experts);
    add_range(o, "kv_heads", s->kv_heads);
    add_range(o, "embedding_rows", s->embedding_rows);
    add_range(o, "output_rows", s->output_rows);
    cJSON_AddNumberToObject(o, "weight_bytes", (double)s->weights);
    cJSON_AddNumberToObject(o, "kv_bytes", (double)s->kv);
    cJSON_AddNumberToObject(o, "own_bytes", (double)r->model.own);
    add_number(o, "ms", milliseconds(s));
    add_number(o, "link_latency_us", 1e6 * n->link.latency);
    add_number(o, "link_gbit_s", n->link.bandwidth * 8 / 1e9);
    add_number(o, "layer_us", 1e6 * n->layer_seconds);
    add_number(o, "wake_us", 1e6 * n->wake_seconds);
    return o;
}

gptoss_status plan_report_print_json(FILE *out, const plan_report *r, gptoss_error *err) {
    cJSON *o = cJSON_CreateObject();
    cJSON_AddStringToObject(o, "goal", goal_name(r));
    cJSON_AddNumberToObject(o, "stages", r->placement.stages);
    cJSON_AddNumberToObject(o, "shards", r->placement.shards);
    cJSON_AddNumberToObject(o, "layers", r->model.n_layers);
    cJSON_AddNumberToObject(o, "kv_positions", r->kv_positions);
    cJSON_AddNumberToObject(o, "streams", r->streams);
    cJSON_AddNumberToObject(o, "weight_bytes", (double)weight_bytes(r));
    cJSON_AddNumberToObject(o, "kv_bytes", (double)kv_bytes(r));
    add_number(o, "ms_per_token", 1e3 * r->forecast.token_seconds);
    add_number(o, "network_ms_per_token", 1e3 * r->forecast.network_seconds);
    add_number(o, "tps", r->forecast.one_stream);
    add_number(o, "tps_all_streams", r->forecast.all_streams);
    cJSON *ranks = cJSON_AddArrayToObject(o, "ranks");
    for (uint32_t i = 0; i < r->ranks; i++) cJSON_AddItemToArray(ranks, rank_json(r, i));
    char *text = cJSON_PrintUnformatted(o);
    cJSON_Delete(o);
    if (!text) return error_set(err, GPTOSS_NO_MEMORY, "cannot format a JSON object");
    fprintf(out, "%s\n", text);
    cJSON_free(text);
    return GPTOSS_OK;
}
