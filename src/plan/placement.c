#include "plan/placement.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/plural.h"
#include "plan/cut.h"
#include "plan/deal.h"
#include "plan/forecast.h"
#include "plan/rows.h"

static const uint64_t MOST_STEPS = UINT64_C(1) << 28, MOST_SPANS = UINT64_C(1) << 24;
static const double WORTH_IT = 1.02; /* measured speeds vary by so much */

plan_node plan_node_default(void) {
    const plan_range all = {0, UINT32_MAX};
    return (plan_node){.memory = UINT64_MAX,
                       .read_rate = 10e9,
                       .link = {.bandwidth = 10e9},
                       .layers = all,
                       .kv_heads = all,
                       .experts = all,
                       .embedding_rows = all,
                       .output_rows = all};
}

bool plan_goal_by_name(const char *name, plan_goal *out) {
    bool latency = strcmp(name, "latency") == 0;
    if (!latency && strcmp(name, "throughput") != 0) return false;
    *out = latency ? PLAN_FOR_LATENCY : PLAN_FOR_THROUGHPUT;
    return true;
}

uint32_t placement_most_shards(const plan_model *m) {
    uint32_t heads = m->n_kv_heads / m->kv_head_step;
    if (heads > DEAL_MOST) return 1;
    return m->n_experts > 1 && m->n_experts < heads ? m->n_experts : heads;
}

uint64_t placement_weights(const plan_model *m) {
    uint64_t bytes = m->n_vocab * (m->embedding_row + m->output_row);
    for (uint32_t j = 0; j < m->n_layers; j++)
        bytes += m->layers[j].common + m->layers[j].heads + m->n_experts * m->layers[j].expert;
    return bytes;
}

/* ---- one grid ---- */

typedef struct work {
    cut_problem cut;
    uint32_t n;
    uint64_t *reserve, *output; /* [n], owned; see cut_problem */
    rows_taker *takers;         /* [n], owned */
    plan_range *rows;           /* [n], owned */
    plan_rank *rank;            /* [n], owned; what comes out */
} work;

static gptoss_status work_open(const plan_model *m, const plan_node *nodes, uint32_t stages, uint32_t shards,
                               plan_goal goal, work *w, gptoss_error *err) {
    uint32_t n = stages * shards;
    *w = (work){.n = n, .cut = {.model = m, .nodes = nodes, .stages = stages, .shards = shards, .goal = goal}};
    TRY(mem_array(n, sizeof *w->reserve, "plan", &w->reserve, err));
    TRY(mem_array(n, sizeof *w->output, "plan", &w->output, err));
    TRY(mem_array(n, sizeof *w->takers, "plan", &w->takers, err));
    TRY(mem_array(n, sizeof *w->rows, "plan", &w->rows, err));
    TRY(mem_array(n, sizeof *w->rank, "plan", &w->rank, err));
    w->cut.reserve = w->reserve;
    w->cut.output = w->output;
    return GPTOSS_OK;
}

static void work_close(work *w) {
    free(w->reserve);
    free(w->output);
    free(w->takers);
    free(w->rows);
    free(w->rank);
}

static uint64_t bytes_of(plan_range rows, uint64_t each) { return (rows.end - rows.begin) * each; }

static uint64_t steps_in(uint64_t bytes, uint64_t row, uint32_t step) {
    return row ? bytes / (row * step) : UINT64_MAX;
}

/* Bytes that a rank has left beside what it was dealt so far. */
static uint64_t room_left(const work *w, uint32_t r) {
    uint64_t used = w->cut.model->own + w->rank[r].weights + w->rank[r].kv, memory = w->cut.nodes[r].memory;
    return memory > used ? memory - used : 0;
}

/* Deals the embedding, which takes no time to speak of, evenly to the first stage, as far as there is room. */
static bool deal_embedding(work *w, bool any_memory) {
    const plan_model *m = w->cut.model;
    uint32_t step = w->cut.shards > 1 ? m->row_step : m->n_vocab; /* alone it has all or none */
    for (uint32_t t = 0; t < w->cut.shards; t++)
        w->takers[t] = (rows_taker){.each = 1,
                                    .room = any_memory ? UINT64_MAX : steps_in(room_left(w, t), m->embedding_row, step),
                                    .has = w->cut.nodes[t].embedding_rows};
    return rows_deal(m->n_vocab, step, w->takers, w->cut.shards, false, w->rows);
}

static uint64_t step_time(const work *w, uint32_t r) {
    uint64_t time =
        cut_nanoseconds((double)w->cut.model->output_row * w->cut.model->row_step, w->cut.nodes[r].read_rate);
    return time > 0 ? time : 1;
}

/* Of the whole stage: its ranks wait for each other. */
static uint64_t busy_time(const work *w, uint32_t r) {
    uint64_t most = 0;
    for (uint32_t t = 0; t < w->cut.shards; t++) {
        uint64_t time = w->rank[r / w->cut.shards * w->cut.shards + t].nanoseconds;
        if (time > most) most = time;
    }
    return most;
}

/* Deals the output to all ranks, as far as there is room beside what they have. */
static bool deal_output(work *w, bool any_memory) {
    const plan_model *m = w->cut.model;
    uint32_t step = w->n > 1 ? m->row_step : m->n_vocab;
    for (uint32_t r = 0; r < w->n; r++)
        w->takers[r] = (rows_taker){.busy = busy_time(w, r),
                                    .each = step_time(w, r),
                                    .room = any_memory ? UINT64_MAX : steps_in(room_left(w, r), m->output_row, step),
                                    .has = w->cut.nodes[r].output_rows};
    return rows_deal(m->n_vocab, step, w->takers, w->n, w->cut.goal == PLAN_FOR_THROUGHPUT, w->rows);
}

static void take_embedding(work *w) {
    for (uint32_t t = 0; t < w->cut.shards; t++) {
        w->rank[t].embedding_rows = w->rows[t];
        w->rank[t].weights += bytes_of(w->rows[t], w->cut.model->embedding_row);
    }
}

static uint64_t rows_time(const work *w, uint32_t r, plan_range rows) {
    uint32_t step = w->cut.model->row_step;
    return (rows.end - rows.begin + step - 1) / step * step_time(w, r);
}

static void take_output(work *w) {
    for (uint32_t r = 0; r < w->n; r++) {
        w->rank[r].output_rows = w->rows[r];
        w->rank[r].weights += bytes_of(w->rows[r], w->cut.model->output_row);
        w->rank[r].nanoseconds += rows_time(w, r, w->rows[r]);
    }
}

/* Rows as they are dealt best, before any layer is, become bytes to keep free and time. */
static void reserve_rows(work *w) {
    const plan_model *m = w->cut.model;
    memset(w->rank, 0, w->n * sizeof *w->rank);
    if (deal_embedding(w, false)) take_embedding(w);
    if (deal_output(w, false))
        for (uint32_t r = 0; r < w->n; r++) {
            w->reserve[r] = bytes_of(w->rows[r], m->output_row);
            w->output[r] = rows_time(w, r, w->rows[r]);
        }
    for (uint32_t t = 0; t < w->cut.shards; t++) w->reserve[t] += w->rank[t].weights;
}

/* Rows go where layers leave room. That they find it is a matter of the sum, but for steps that are cut off. */
static void reserve_sums(work *w) {
    const plan_model *m = w->cut.model;
    uint64_t embedding = m->n_vocab * m->embedding_row;
    memset(w->reserve, 0, w->n * sizeof *w->reserve);
    if (w->cut.shards == 1)
        w->reserve[0] = embedding;
    else
        w->cut.first = embedding + w->cut.shards * m->row_step * m->embedding_row;
}

static cut_result find_in_grid(work *w, gptoss_error *err) {
    if (w->cut.goal == PLAN_FOR_ANYTHING) {
        reserve_sums(w);
    } else {
        reserve_rows(w);
        cut_result result = cut_find(&w->cut, w->rank, err);
        if (result == CUT_FOUND) return result;
        reserve_sums(w);
    }
    return cut_find(&w->cut, w->rank, err);
}

/* ---- what is wrong ---- */

static gptoss_status refuse_gap(plan_range before, uint32_t rank_before, plan_range behind, uint32_t rank_behind,
                                const char *what, gptoss_error *err) {
    if (before.end == behind.begin - 1)
        return error_set(err, GPTOSS_BAD_INPUT,
                         "%s %u is missing: the slice of rank %u ends before it, that of rank %u begins behind it",
                         what, before.end, rank_before, rank_behind);
    return error_set(err, GPTOSS_BAD_INPUT,
                     "%ss %u to %u are missing: the slice of rank %u ends before them, that of rank %u begins behind "
                     "them",
                     what, before.end, behind.begin - 1, rank_before, rank_behind);
}

/* Why no cut fits the files that the nodes have. */
static gptoss_status refuse_files(const work *w, gptoss_error *err) {
    const plan_node *nodes = w->cut.nodes;
    const plan_model *m = w->cut.model;
    uint32_t shards = w->cut.shards, last = w->n - 1;
    if (nodes[0].layers.begin > 0)
        return error_set(err, GPTOSS_BAD_INPUT,
                         "rank 0 needs layer 0, the embedding and the tokenizer; its slice begins with layer %u",
                         nodes[0].layers.begin);
    if (nodes[last].layers.end < m->n_layers)
        return error_set(err, GPTOSS_BAD_INPUT, "rank %u, the last one, needs layer %u; its slice ends with layer %u",
                         last, m->n_layers - 1, nodes[last].layers.end - 1);
    for (uint32_t r = shards; r < w->n; r++)
        if (nodes[r].layers.begin > nodes[r - shards].layers.end)
            return refuse_gap(nodes[r - shards].layers, r - shards, nodes[r].layers, r, "layer", err);
    for (uint32_t r = 1; r < w->n; r++) {
        if (r % shards == 0) continue;
        if (nodes[r].experts.begin > nodes[r - 1].experts.end)
            return refuse_gap(nodes[r - 1].experts, r - 1, nodes[r].experts, r, "expert", err);
        if (nodes[r].kv_heads.begin > nodes[r - 1].kv_heads.end)
            return refuse_gap(nodes[r - 1].kv_heads, r - 1, nodes[r].kv_heads, r, "KV head", err);
    }
    for (uint32_t r = 0; r < w->n && shards == 1; r++)
        if (nodes[r].kv_heads.begin > 0 || nodes[r].kv_heads.end < m->n_kv_heads)
            return error_set(
                err, GPTOSS_BAD_INPUT,
                "the slice of rank %u has not all KV heads of its layers: it is for one of several shards; "
                "ask for the stages and shards that it was cut for",
                r);
    return error_set(
        err, GPTOSS_BAD_INPUT,
        "the slices of the ranks do not follow each other in a grid of %u stage%s x %u shard%s: each stage "
        "needs layers behind those of the stage before it, each shard experts and heads behind those of "
        "the shard before it",
        w->cut.stages, plural(w->cut.stages), shards, plural(shards));
}

static gptoss_status refuse_memory(gptoss_error *err) {
    return error_set(err, GPTOSS_NO_MEMORY, "the model does not fit the memory of these machines");
}

/* A matrix that is not complete in the files of those that could have it. */
static gptoss_status refuse_rows(const work *w, const char *what, uint32_t takers, gptoss_error *err) {
    return error_set(err, GPTOSS_BAD_INPUT, "row %u of the %s is in no slice of a rank that could have it",
                     w->rows[takers - 1].end, what);
}

static gptoss_status check_rows(work *w, gptoss_error *err) {
    if (!deal_embedding(w, true)) return refuse_rows(w, "embedding", w->cut.shards, err);
    if (!deal_output(w, true)) return refuse_rows(w, "output", w->n, err);
    return GPTOSS_OK;
}

static gptoss_status place_rows(work *w, gptoss_error *err) {
    if (!deal_embedding(w, false)) return refuse_memory(err);
    take_embedding(w);
    if (!deal_output(w, false)) return refuse_memory(err);
    take_output(w);
    return GPTOSS_OK;
}

static gptoss_status place_in_grid(work *w, gptoss_error *err) {
    cut_result result = find_in_grid(w, err);
    if (result == CUT_FAILED) return GPTOSS_NO_MEMORY;
    if (result == CUT_NO_FILES) return refuse_files(w, err);
    TRY(check_rows(w, err));
    return result == CUT_FOUND ? place_rows(w, err) : refuse_memory(err);
}

static bool is_small_enough(const plan_model *m, uint32_t stages, uint32_t shards) {
    uint64_t spans = (uint64_t)stages * m->n_layers * m->n_layers, heads = m->n_kv_heads / m->kv_head_step;
    return shards == 1 ? spans <= MOST_STEPS : spans <= MOST_SPANS && spans * shards * heads * heads <= MOST_STEPS;
}

static gptoss_status place(const plan_model *m, const plan_node *nodes, uint32_t stages, uint32_t shards,
                           const plan_wish *wish, placement *out, gptoss_error *err) {
    work w;
    if (!is_small_enough(m, stages, shards))
        return error_set(err, GPTOSS_MISUSE, "%u stage%s x %u shard%s and %u layer%s are too many to plan for", stages,
                         plural(stages), shards, plural(shards), m->n_layers, plural(m->n_layers));
    gptoss_status status = work_open(m, nodes, stages, shards, wish->goal, &w, err);
    if (status == GPTOSS_OK) status = place_in_grid(&w, err);
    if (status == GPTOSS_OK) {
        *out = (placement){stages, shards, w.rank};
        w.rank = NULL;
    }
    work_close(&w);
    return status;
}

/* ---- the choice of a grid ---- */

static bool is_allowed(const plan_model *m, const plan_wish *wish, uint32_t n, uint32_t shards) {
    if (n % shards != 0 || n / shards > m->n_layers || shards > placement_most_shards(m)) return false;
    return (!wish->shards || wish->shards == shards) && (!wish->stages || wish->stages == n / shards);
}

static gptoss_status refuse_stages(const plan_model *m, const plan_wish *wish, uint32_t n, gptoss_error *err) {
    uint32_t stages = wish->stages ? wish->stages : n / wish->shards;
    uint32_t ranks = m->n_layers * (wish->shards ? wish->shards : 1);
    return error_set(err, GPTOSS_MISUSE, "%u stages cannot share %u layer%s: start at most %u rank%s", stages,
                     m->n_layers, plural(m->n_layers), ranks, plural(ranks));
}

static gptoss_status refuse_grid(const plan_model *m, const plan_wish *wish, uint32_t n, gptoss_error *err) {
    uint32_t most = placement_most_shards(m);
    if (wish->shards > most && m->kv_head_step > 1)
        return error_set(
            err, GPTOSS_MISUSE,
            "%u shards cannot share %u KV head%s, of which %u at a time share blocks of attn_output: ask for "
            "at most %u shard%s",
            wish->shards, m->n_kv_heads, plural(m->n_kv_heads), m->kv_head_step, most, plural(most));
    if (wish->shards > most)
        return error_set(
            err, GPTOSS_MISUSE, "%u shards cannot share %u KV head%s and %u expert%s: ask for at most %u shard%s",
            wish->shards, m->n_kv_heads, plural(m->n_kv_heads), m->n_experts, plural(m->n_experts), most, plural(most));
    if (wish->stages > m->n_layers || (wish->shards && n / wish->shards > m->n_layers))
        return refuse_stages(m, wish, n, err);
    if (wish->stages && wish->shards)
        return error_set(err, GPTOSS_MISUSE, "%u stage%s x %u shard%s are %llu ranks, not the %u that there are",
                         wish->stages, plural(wish->stages), wish->shards, plural(wish->shards),
                         (unsigned long long)wish->stages * wish->shards, n);
    if (wish->stages || wish->shards)
        return error_set(err, GPTOSS_MISUSE, "%u rank%s cannot be dealt to %u %s: start a multiple of that%s", n,
                         plural(n), wish->stages ? wish->stages : wish->shards,
                         wish->stages ? "stages" : "shards a stage",
                         wish->stages ? ", with few enough shards for the model" : "");
    return error_set(err, GPTOSS_MISUSE,
                     "%u ranks form no grid for this model, which has at most %u stage%s (layers) x %u shard%s: start "
                     "at most %u rank%s, or a number that divides better",
                     n, m->n_layers, plural(m->n_layers), most, plural(most), m->n_layers, plural(m->n_layers));
}

static double speed_for(const plan_wish *wish, const forecast *f) {
    return wish->goal == PLAN_FOR_LATENCY ? f->one_stream : f->all_streams;
}

/* Tells of the first grid that fails when all do. */
gptoss_status placement_find(const plan_model *m, const plan_node *nodes, uint32_t n, const plan_wish *wish,
                             placement *out, gptoss_error *err) {
    gptoss_status first = GPTOSS_OK;
    placement best = {0};
    double enough = 0;
    bool tried = false;
    for (uint32_t shards = 1; shards <= n && shards <= placement_most_shards(m); shards++) {
        if (!is_allowed(m, wish, n, shards)) continue;
        placement p;
        gptoss_status status = place(m, nodes, n / shards, shards, wish, &p, tried ? NULL : err);
        if (!tried) first = status;
        tried = true;
        if (status != GPTOSS_OK) continue;
        forecast f;
        if (forecast_of(m, &p, nodes, &wish->traffic, &f, err) != GPTOSS_OK) {
            placement_free(&p);
            placement_free(&best);
            return GPTOSS_NO_MEMORY;
        }
        double speed = speed_for(wish, &f);
        if (best.rank && (wish->goal == PLAN_FOR_ANYTHING || speed < enough)) {
            placement_free(&p);
            continue;
        }
        placement_free(&best);
        best = p;
        enough = WORTH_IT * speed;
    }
    if (!tried) return refuse_grid(m, wish, n, err);
    if (!best.rank) return first;
    *out = best;
    return GPTOSS_OK;
}

void placement_free(placement *p) {
    free(p->rank);
    *p = (placement){0};
}
