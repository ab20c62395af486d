#include "cli/bench_report.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <cjson/cJSON.h>

#include "base/plural.h"
#include "cli/bind_option.h"

static const char *const phase_names[BENCH_PHASES] = {
    [BENCH_ATTENTION] = "attention", [BENCH_EXPERTS] = "experts",   [BENCH_OUTPUT] = "output",
    [BENCH_WAITING] = "waiting",     [BENCH_TRANSFER] = "transfer", [BENCH_OTHER] = "other"};

void bench_report_free(bench_report *r) {
    for (size_t i = 0; i < r->count; i++) {
        free(r->rows[i].speeds);
        free(r->rows[i].ranks);
    }
    free(r->rows);
    *r = (bench_report){0};
}

double bench_row_median(const bench_row *row, size_t reps) {
    return reps % 2 ? row->speeds[reps / 2] : (row->speeds[reps / 2 - 1] + row->speeds[reps / 2]) / 2;
}

static double median(const bench_report *r, const bench_row *row) { return bench_row_median(row, r->options->reps); }
static double least(const bench_row *row) { return row->speeds[0]; }
static double most(const bench_report *r, const bench_row *row) { return row->speeds[r->options->reps - 1]; }

double bench_row_share(const bench_report *r, const bench_row *row) {
    if (!row->generate || row->streams > 1 || row->read_bytes <= 0) return NAN;
    return median(r, row) * (double)r->bytes_per_token / row->read_bytes;
}

/* ---- simulations ---- */

static bool is_simulation(const bench_report *r, const bench_row *row) {
    return r->options->pace.simulated && row->generate;
}

/* Seconds that all work on a token if none waits: the stages in turn, each as long as the slowest of its shards, then
 * all ranks together on its logits. */
static double work_of_stages(const bench_report *r, const bench_row *row) {
    double sum = 0, output = 0;
    int shards = r->ranks / (int)r->stages;
    for (int rank = 0; rank < r->ranks; rank += shards) {
        double slowest = 0;
        for (int shard = 0; shard < shards; shard++) {
            const double *phases = row->ranks[rank + shard].phases;
            double layers = phases[BENCH_ATTENTION] + phases[BENCH_EXPERTS];
            if (layers > slowest) slowest = layers;
            if (phases[BENCH_OUTPUT] > output) output = phases[BENCH_OUTPUT];
        }
        sum += slowest;
    }
    return sum + output;
}

/* As many waves as there are stages, or streams if these are fewer, and none ever waits. */
static double ideal_speed(const bench_report *r, const bench_row *row) {
    uint32_t waves = row->streams < r->stages ? row->streams : r->stages;
    return waves / work_of_stages(r, row);
}

/* Seconds that a hop takes beside the stages' work; with one wave under way, which comes back to rank 0 in the end. */
static double hop_seconds(const bench_report *r, const bench_row *row) {
    return (1 / median(r, row) - work_of_stages(r, row)) / r->stages;
}

static const char *kind(const bench_row *row) { return row->generate ? "generate" : "prompt"; }

/* ---- the table ---- */

void bench_report_print_head(const bench_report *r) {
    const char *name = strrchr(r->options->engine.gguf, '/');
    printf("%s: %u layer%s, %.3f GB of weights read a token\n", name ? name + 1 : r->options->engine.gguf, r->n_layers,
           plural(r->n_layers), (double)r->bytes_per_token / 1e9);
    printf("%d rank%s%s%s, kernels %s, threads bound to %s; ready %.2f s after the start\n", r->ranks,
           r->ranks == 1 ? "" : "s", r->ranks == 1 ? "" : ", ", r->ranks == 1 ? "" : r->grid, r->isa,
           r->options->engine.bind == BIND_CORE   ? "a core each"
           : r->options->engine.bind == BIND_NUMA ? "NUMA nodes"
                                                  : "nothing",
           r->start_seconds);
    printf("tokens/s: median of %llu (least, most); GB/s: all threads of all ranks reading their weights\n\n",
           (unsigned long long)r->options->reps);
    printf("%-14s %6s %7s %7s %5s %9s %9s %9s %6s %6s\n", "", "depth", "streams", "threads", "chunk", "tokens/s",
           "least", "most", "GB/s", "share");
    fflush(stdout);
}

static void print_phases(const bench_report *r, const bench_row *row, int rank) {
    printf("   ");
    if (r->ranks > 1) printf(" rank %d:", rank);
    for (int i = 0; i < BENCH_PHASES; i++)
        printf("%s %s %.2f", i ? "," : "", phase_names[i], 1e3 * row->ranks[rank].phases[i]);
    puts(" ms a token");
}

void bench_report_print_row(const bench_report *r, const bench_row *row) {
    char what[32], share[24] = "";
    snprintf(what, sizeof what, "%s %u", kind(row), row->tokens);
    if (!isnan(bench_row_share(r, row))) snprintf(share, sizeof share, " %5.0f%%", 100 * bench_row_share(r, row));
    printf("%-14s %6u %7u %7u %5u %9.2f %9.2f %9.2f %6.1f%s\n", what, row->depth, row->streams, row->threads,
           row->chunk, median(r, row), least(row), most(r, row), row->read_bytes / 1e9, share);
    for (int rank = 0; rank < r->ranks; rank++) print_phases(r, row, rank);
    if (is_simulation(r, row)) {
        printf("    simulated: %.1f %% of the %.2f tokens/s that %u stage%s could do",
               100 * median(r, row) / ideal_speed(r, row), ideal_speed(r, row), r->stages, plural(r->stages));
        if (row->streams == 1) printf("; a hop takes %.1f us", 1e6 * hop_seconds(r, row));
        puts("");
    }
    fflush(stdout);
}

/* ---- comma-separated values: a line a row and rank, the speed the same for all ranks ---- */

void bench_report_print_csv(const bench_report *r) {
    printf("work,tokens,depth,streams,threads,chunk,tps,tps_min,tps_max,read_gbps,share,rank");
    for (int i = 0; i < BENCH_PHASES; i++) printf(",%s_ms", phase_names[i]);
    puts("");
    for (size_t i = 0; i < r->count; i++) {
        const bench_row *row = &r->rows[i];
        for (int rank = 0; rank < r->ranks; rank++) {
            printf("%s,%u,%u,%u,%u,%u,%.6g,%.6g,%.6g,%.6g,", kind(row), row->tokens, row->depth, row->streams,
                   row->threads, row->chunk, median(r, row), least(row), most(r, row), row->read_bytes / 1e9);
            if (!isnan(bench_row_share(r, row))) printf("%.4f", bench_row_share(r, row));
            printf(",%d", rank);
            for (int p = 0; p < BENCH_PHASES; p++) printf(",%.6g", 1e3 * row->ranks[rank].phases[p]);
            puts("");
        }
    }
}

/* ---- JSON ---- */

/* Six significant digits: more would be noise. */
static void add_number(cJSON *object, const char *name, double value) {
    char text[32];
    snprintf(text, sizeof text, "%.6g", value);
    cJSON_AddNumberToObject(object, name, strtod(text, NULL));
}

static cJSON *row_json(const bench_report *r, const bench_row *row) {
    cJSON *o = cJSON_CreateObject();
    cJSON_AddStringToObject(o, "work", kind(row));
    cJSON_AddNumberToObject(o, "tokens", row->tokens);
    cJSON_AddNumberToObject(o, "depth", row->depth);
    cJSON_AddNumberToObject(o, "streams", row->streams);
    cJSON_AddNumberToObject(o, "threads", row->threads);
    cJSON_AddNumberToObject(o, "chunk", row->chunk);
    add_number(o, "tps", median(r, row));
    add_number(o, "tps_min", least(row));
    add_number(o, "tps_max", most(r, row));
    add_number(o, "read_gbps", row->read_bytes / 1e9);
    if (!isnan(bench_row_share(r, row))) add_number(o, "share", bench_row_share(r, row));
    if (is_simulation(r, row)) add_number(o, "ideal_tps", ideal_speed(r, row));
    if (is_simulation(r, row) && row->streams == 1) add_number(o, "hop_us", 1e6 * hop_seconds(r, row));
    cJSON *ranks = cJSON_AddArrayToObject(o, "phases_ms_per_token"); /* one object a rank */
    for (int rank = 0; rank < r->ranks; rank++) {
        cJSON *phases = cJSON_CreateObject();
        for (int p = 0; p < BENCH_PHASES; p++) add_number(phases, phase_names[p], 1e3 * row->ranks[rank].phases[p]);
        cJSON_AddItemToArray(ranks, phases);
    }
    return o;
}

/* The first row of a kind stands for all in the short form of the result. */
static void add_first_speed(cJSON *o, const bench_report *r, const char *name, bool generate) {
    for (size_t i = 0; i < r->count; i++)
        if (r->rows[i].generate == generate) {
            add_number(o, name, median(r, &r->rows[i]));
            return;
        }
    cJSON_AddNullToObject(o, name);
}

gptoss_status bench_report_print_json(const bench_report *r, gptoss_error *err) {
    cJSON *o = cJSON_CreateObject();
    add_first_speed(o, r, "prompt_tps", false);
    add_first_speed(o, r, "gen_tps", true);
    add_number(o, "read_gbps", r->rows[0].read_bytes / 1e9);
    cJSON_AddNumberToObject(o, "bytes_per_token", (double)r->bytes_per_token);
    add_number(o, "start_s", r->start_seconds);
    cJSON_AddNumberToObject(o, "ranks", r->ranks);
    cJSON_AddStringToObject(o, "grid", r->grid);
    cJSON_AddNumberToObject(o, "threads", r->rows[0].threads);
    cJSON_AddNumberToObject(o, "layers", r->n_layers);
    cJSON_AddNumberToObject(o, "reps", (double)r->options->reps);
    cJSON_AddStringToObject(o, "isa", r->isa);
    cJSON_AddStringToObject(o, "cpu_bind", bind_option_name(r->options->engine.bind));
    cJSON *rows = cJSON_AddArrayToObject(o, "rows");
    for (size_t i = 0; i < r->count; i++) cJSON_AddItemToArray(rows, row_json(r, &r->rows[i]));
    char *text = cJSON_PrintUnformatted(o);
    cJSON_Delete(o);
    if (!text) return error_set(err, GPTOSS_NO_MEMORY, "cannot format a JSON object");
    puts(text);
    cJSON_free(text);
    return GPTOSS_OK;
}
