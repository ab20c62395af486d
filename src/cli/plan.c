/* gptoss-dist plan: which rank would hold what, and how fast that would be. No weights are read. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "base/plural.h"
#include "cli/agreed_options.h"
#include "cli/cache_dir.h"
#include "cli/commands.h"
#include "cli/grid_option.h"
#include "cli/model_option.h"
#include "cli/options.h"
#include "cli/plan_report.h"
#include "cli/rank_path.h"
#include "cli/streams.h"
#include "engine/planning.h"
#include "engine/survey.h"
#include "model/weights.h"
#include "plan/advice.h"
#include "plan/model_needs.h"

enum { NODES_FILE_LIMIT = 1 << 20 };

typedef struct arguments {
    const char *gguf, *nodes, *memory, *goal_name, *kv_type_name, *svg, *cache;
    uint64_t ranks, stages, shards, max_kv, parallel, layers, threads;
    uint64_t memory_bytes; /* what --memory says; 0: nothing */
    plan_goal goal;
    kv_type kv_type;
    bool moe_fallback, measure, json, help;
} arguments;

static void print_help(const option *options, size_t count) {
    printf(
        "gptoss-dist plan --gguf FILE [FLAGS]: which rank would hold what of a model, and how fast that would be.\n"
        "Under mpirun it plans for the machines that are here, alone for this one, with --nodes for any others.\n\n");
    options_print_help(options, count);
    printf("\nA nodes file: {\"nodes\": [{\"name\": \"front\", \"memory\": \"16G\", \"cores\": 4, \"read_gb_s\": 20},\n"
           "                         {\"name\": \"office\", \"count\": 3, \"memory\": \"8G\"}],\n"
           "               \"link\": {\"latency_us\": 150, \"gbit_s\": 1}}\n"
           "Only \"memory\" must be there.\n");
}

static gptoss_status check(arguments *a, gptoss_error *err) {
    TRY(model_option_check(a->gguf, err));
    if (a->memory && !nodes_read_bytes(a->memory, &a->memory_bytes))
        return error_set(err, GPTOSS_MISUSE, "--memory wants bytes, such as 4G, not \"%.40s\"", a->memory);
    TRY(goal_option_read(a->goal_name, &a->goal, err));
    TRY(kv_type_option_read(a->kv_type_name, &a->kv_type, err));
    if (a->ranks && a->nodes)
        return error_set(err, GPTOSS_MISUSE,
                         "--ranks and --nodes exclude each other: the file tells how many there are");
    return GPTOSS_OK;
}

/* Collective. *model owns the name of the model where rank 0 told it. */
static gptoss_status parse(const cluster *c, int argc, char **argv, arguments *a, buffer *model, gptoss_error *err) {
    const double most = 1 << 30;
    const option options[] = {
        {"gguf", OPTION_PATH, &a->gguf, 0, 0, "FILE", "the model; or set GPT_OSS_GGUF_PATH"},
        {"nodes", OPTION_PATH, &a->nodes, 0, 0, "FILE.json", "machines that are not here; see below"},
        {"ranks", OPTION_COUNT, &a->ranks, 1, NODES_MOST, "N", "as if N machines were like this one"},
        {"stages", OPTION_COUNT, &a->stages, 1, NODES_MOST, "P",
         "cut the layers into P stages; by default what is fastest"},
        {"shards", OPTION_COUNT, &a->shards, 1, NODES_MOST, "T",
         "split each stage's heads and experts between T ranks"},
        {"memory", OPTION_TEXT, &a->memory, 0, 0, "BYTES", "as if each rank had so much, such as 4G"},
        {"for", OPTION_TEXT, &a->goal_name, 0, 0, "GOAL",
         "throughput (default: even stages) or latency (one sequence)"},
        {"max-kv", OPTION_COUNT, &a->max_kv, 1, most, "N", "tokens of a sequence to leave memory for (4096)"},
        {"parallel", OPTION_COUNT, &a->parallel, 1, 4096, "N", "sequences at once (1)"},
        {"kv-type", OPTION_TEXT, &a->kv_type_name, 0, 0, "TYPE", "of cached keys and values, as for run"},
        {"layers", OPTION_COUNT, &a->layers, 1, LAYERS_OPTION_MAX, "L", "only the first L layers"},
        {"moe-fallback", OPTION_SWITCH, &a->moe_fallback, 0, 0, NULL, "expert 0 alone"},
        {"threads", OPTION_COUNT, &a->threads, 1, THREADS_OPTION_MAX, "N", THREADS_OPTION_HELP},
        {"cache", OPTION_PATH, &a->cache, 0, 0, "DIR", "where measured speeds are kept"},
        {"measure", OPTION_SWITCH, &a->measure, 0, 0, NULL, "measure speeds again, also for later runs"},
        {"json", OPTION_SWITCH, &a->json, 0, 0, NULL, "print one JSON object"},
        {"svg", OPTION_PATH, &a->svg, 0, 0, "FILE", "draw it"},
        {"help", OPTION_SWITCH, &a->help, 0, 0, NULL, "this text"},
    };
    const size_t count = sizeof options / sizeof options[0];
    TRY(cluster_agree(c, options_parse(options, count, argc, argv, NULL, err), err));
    TRY(agreed_options(c, options, count, model, err));
    if (!a->help) return cluster_agree(c, check(a, err), err);
    if (c->rank == 0) print_help(options, count);
    return GPTOSS_OK;
}

/* ---- the machines ---- */

typedef struct machines {
    node_facts *items; /* owned */
    uint32_t count;
} machines;

static gptoss_status read_nodes(const char *path, machines *out, gptoss_error *err) {
    buffer text = {0};
    gptoss_status status = buffer_read_file(&text, path, NODES_FILE_LIMIT, err);
    if (status == GPTOSS_OK) {
        status = nodes_parse(text.data ? text.data : "", text.size, &out->items, &out->count, err);
        if (status != GPTOSS_OK) error_prefix(err, status, "%s", path);
    }
    buffer_free(&text);
    return status;
}

/* Of machines like this one. */
static uint32_t ranks_to_plan(const arguments *a) {
    if (a->ranks) return (uint32_t)a->ranks;
    uint64_t ranks = (a->stages ? a->stages : 1) * (a->shards ? a->shards : 1);
    return ranks <= NODES_MOST ? (uint32_t)ranks : 1;
}

/* Collective. All of it arrives at rank 0. */
static gptoss_status look_around(const arguments *a, const cluster *c, machines *out, gptoss_error *err) {
    char *cache = NULL;
    uint32_t size = (uint32_t)c->size, copies = size == 1 ? ranks_to_plan(a) : 1;
    gptoss_status status = mem_array(size * copies, sizeof *out->items, "nodes", &out->items, err);
    if (status == GPTOSS_OK) status = cache_dir_choose(a->cache, &cache, err);
    status = cluster_agree(c, status, err);
    if (status == GPTOSS_OK) status = survey_all(c, (uint32_t)a->threads, cache, a->measure, out->items, err);
    free(cache);
    out->count = size * copies;
    for (uint32_t i = size; status == GPTOSS_OK && i < out->count; i++) out->items[i] = out->items[0];
    return status;
}

/* ---- the plan ---- */

static planning planning_of(const arguments *a, const plan_report *r) {
    return (planning){.ranks = r->ranks,
                      .stages = (uint32_t)a->stages,
                      .shards = (uint32_t)a->shards,
                      .goal = r->goal,
                      .sequences = r->streams,
                      .positions = r->kv_positions,
                      .kv_type = a->kv_type};
}

static bool fits(const plan_model *m, const plan_node *nodes, uint32_t n, plan_wish wish) {
    placement p;
    wish.goal = PLAN_FOR_ANYTHING;
    if (placement_find(m, nodes, n, &wish, &p, NULL) != GPTOSS_OK) return false;
    placement_free(&p);
    return true;
}

/* What would help, in one line of the error. */
static gptoss_status explain_shortage(const plan_report *r, const plan_node *nodes, const plan_wish *wish,
                                      const plan_model *fallback, gptoss_error *err) {
    advice help;
    buffer text = {0};
    TRY(advise(&r->model, nodes, r->ranks, wish, &help, err));
    gptoss_status status = buffer_printf(&text, err, "the model does not fit: ");
    if (status == GPTOSS_OK) status = advice_describe(&help, r->ranks, &text, err);
    if (status == GPTOSS_OK && fits(fallback, nodes, r->ranks, *wish))
        status = buffer_printf(&text, err, "; or expert 0 alone (--moe-fallback)");
    if (status == GPTOSS_OK) status = error_set(err, GPTOSS_NO_MEMORY, "%s", text.data);
    buffer_free(&text);
    return status;
}

static gptoss_status place(const arguments *a, const model_sizes *sizes, plan_report *r, gptoss_error *err) {
    const planning asked = planning_of(a, r);
    const kv_room room = planning_room(&asked, &r->hp);
    const plan_wish wish = planning_wish(&asked, &r->hp);
    plan_node *nodes;
    plan_model fallback = {0};
    TRY(mem_array(r->ranks, sizeof *nodes, "plan", &nodes, err));
    for (uint32_t i = 0; i < r->ranks; i++) nodes[i] = node_for_plan(&r->nodes[i]);
    gptoss_status status = model_needs(sizes, &r->hp, r->model.n_layers, true, &room, &fallback, err);
    if (status == GPTOSS_OK) {
        status = placement_find(&r->model, nodes, r->ranks, &wish, &r->placement, err);
        if (status == GPTOSS_NO_MEMORY) status = explain_shortage(r, nodes, &wish, &fallback, err);
    }
    if (status == GPTOSS_OK) status = forecast_of(&r->model, &r->placement, nodes, &wish.traffic, &r->forecast, err);
    model_needs_free(&fallback);
    free(nodes);
    return status;
}

static gptoss_status show(const arguments *a, const plan_report *r, gptoss_error *err) {
    if (a->json)
        TRY(plan_report_print_json(stdout, r, err));
    else
        plan_report_print_table(stdout, r);
    if (!a->svg) return GPTOSS_OK;
    buffer picture = {0};
    gptoss_status status = plan_report_draw(r, &picture, err);
    FILE *f = NULL;
    if (status == GPTOSS_OK) status = streams_create("--svg", a->svg, &f, err);
    if (status == GPTOSS_OK) status = streams_write(f, a->svg, &picture, err);
    if (f && fclose(f) != 0 && status == GPTOSS_OK)
        status = error_set_errno(err, GPTOSS_IO, errno, "cannot write %s", a->svg);
    buffer_free(&picture);
    return status;
}

static gptoss_status choose_limits(const arguments *a, plan_report *r, gptoss_error *err) {
    if (a->layers > r->hp.n_layers)
        return error_set(err, GPTOSS_MISUSE, "--layers %llu is more than the %u layer%s of %s",
                         (unsigned long long)a->layers, r->hp.n_layers, plural(r->hp.n_layers), a->gguf);
    TRY(max_kv_option_check(a->max_kv, &r->hp, err));
    r->model.n_layers = a->layers ? (uint32_t)a->layers : r->hp.n_layers;
    const planning limits = {.ranks = 1, .positions = (uint32_t)a->max_kv};
    r->kv_positions = planning_room(&limits, &r->hp).positions;
    r->streams = a->parallel ? (uint32_t)a->parallel : 1;
    return GPTOSS_OK;
}

/* The file is open and right; *r is filled in and released by the caller. */
static gptoss_status plan_file(const arguments *a, const gguf_file *file, plan_report *r, gptoss_error *err) {
    model_sizes sizes;
    TRY(choose_limits(a, r, err));
    TRY(weights_check(file, &r->hp, r->model.n_layers, err));
    TRY(model_sizes_read(file, &r->hp, &sizes, err));
    const planning asked = planning_of(a, r);
    const kv_room room = planning_room(&asked, &r->hp);
    gptoss_status status = model_needs(&sizes, &r->hp, r->model.n_layers, a->moe_fallback, &room, &r->model, err);
    if (status == GPTOSS_OK) status = place(a, &sizes, r, err);
    model_sizes_free(&sizes);
    return status;
}

static gptoss_status plan(const arguments *a, machines *m, gptoss_error *err) {
    for (uint32_t i = 0; i < m->count; i++)
        if (a->memory_bytes) m->items[i].memory = a->memory_bytes;
    plan_report r = {
        .path = a->gguf, .expert_0_only = a->moe_fallback, .goal = a->goal, .nodes = m->items, .ranks = m->count};
    gguf_file *file = NULL;
    char *path;
    TRY(rank_path_expand(a->gguf, 0, &path, err));
    gptoss_status status = gguf_open(path, &file, err);
    free(path);
    if (status == GPTOSS_OK) status = hparams_read(file, &r.hp, err);
    if (status == GPTOSS_OK) status = plan_file(a, file, &r, err);
    gguf_close(file);
    if (status == GPTOSS_OK) status = show(a, &r, err);
    placement_free(&r.placement);
    model_needs_free(&r.model);
    return status;
}

/* Collective. With a nodes file there is nothing to ask other ranks. */
static gptoss_status find_machines(const arguments *a, const cluster *c, machines *out, gptoss_error *err) {
    if (!a->nodes) return look_around(a, c, out, err);
    return cluster_agree(c, c->rank == 0 ? read_nodes(a->nodes, out, err) : GPTOSS_OK, err);
}

int plan_command(cluster *c, int argc, char **argv) {
    gptoss_error err = {0};
    arguments a = {.gguf = getenv("GPT_OSS_GGUF_PATH"), .kv_type = KV_DEFAULT};
    buffer model = {0};
    machines m = {0};
    gptoss_status status = parse(c, argc, argv, &a, &model, &err);
    if (status == GPTOSS_OK && !a.help) {
        status = find_machines(&a, c, &m, &err);
        if (status == GPTOSS_OK) status = cluster_agree(c, c->rank == 0 ? plan(&a, &m, &err) : GPTOSS_OK, &err);
    }
    free(m.items);
    buffer_free(&model);
    int code = status == GPTOSS_OK ? 0 : command_fail(&err);
    cluster_leave(c, status);
    return code;
}
