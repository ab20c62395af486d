/* bench: how fast this machine, or these machines, read prompts and generate. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "cli/bench_gantt.h"
#include "cli/bench_options.h"
#include "cli/bench_report.h"
#include "cli/bench_trace.h"
#include "cli/commands.h"
#include "cli/streams.h"
#include "cli/terminal.h"
#include "engine/bench.h"
#include "engine/layout.h"
#include "kernels/isa.h"

/* One command's work. All ranks go through it in step; rank 0 alone reports. */
typedef struct session {
    const bench_options *options;
    places where; /* of this rank */
    const cluster *cluster;
    engine engine;        /* reopened for each number of threads and each chunk */
    bench *bench;         /* of that engine */
    double read_bytes;    /* a second, with that engine's threads */
    bench_times *scratch; /* [ranks] */
    bench_report report;
    FILE *plot, *trace_file;
    trace *trace; /* or NULL */
    progress progress;
    uint64_t to_measure, measured;
} session;

static bool reports(const session *s) { return s->cluster->rank == 0; }
static bool prints_table(const session *s) { return reports(s) && !s->options->json && !s->options->csv; }

static int compare_numbers(const void *a, const void *b) {
    const double *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

/* ---- one row ---- */

static gptoss_status measure_once(session *s, const bench_row *row, uint32_t tokens, gptoss_error *err) {
    if (row->generate) return bench_generate(s->bench, row->depth, row->streams, tokens, s->scratch, err);
    return bench_prompt(s->bench, row->depth, tokens, s->scratch, err);
}

static void note(session *s, bench_row *row, size_t rep) {
    double tokens = (double)row->tokens * row->streams, reps = (double)s->options->reps;
    row->speeds[rep] = tokens / (s->scratch[0].seconds > 0 ? s->scratch[0].seconds : 1e-9);
    for (int r = 0; r < s->cluster->size; r++) {
        row->ranks[r].seconds += s->scratch[r].seconds / tokens / reps;
        for (int p = 0; p < BENCH_PHASES; p++) row->ranks[r].phases[p] += s->scratch[r].phases[p] / tokens / reps;
    }
}

/* A short round first, which nobody counts: it touches buffers and wakes the processor up. */
static gptoss_status measure_row(session *s, bench_row *row, gptoss_error *err) {
    uint32_t warm_up = row->generate ? 2 : row->chunk;
    TRY(bench_fill(s->bench, row->depth, row->streams, err));
    TRY(bench_set_pace(s->bench, &s->options->pace, row->generate, row->depth, row->tokens, err));
    TRY(measure_once(s, row, warm_up < row->tokens ? warm_up : row->tokens, err));
    bench_use_trace(s->bench, s->trace);
    for (size_t rep = 0; rep < s->options->reps; rep++) {
        TRY(measure_once(s, row, row->tokens, err));
        if (!reports(s)) continue;
        note(s, row, rep);
        progress_update(&s->progress, ++s->measured);
    }
    bench_use_trace(s->bench, NULL);
    return bench_set_pace(s->bench, &(bench_pace){.simulated = false}, row->generate, row->depth, row->tokens, err);
}

static gptoss_status add_row(session *s, bench_row row, gptoss_error *err) {
    bench_report *r = &s->report;
    size_t reps = s->options->reps;
    gptoss_status status = GPTOSS_OK;
    row.threads = (uint32_t)team_size(s->engine.team);
    row.read_bytes = s->read_bytes;
    if (reports(s)) {
        bench_row *place = &r->rows[r->count];
        status = mem_array(reps, sizeof *row.speeds, "results", &row.speeds, err);
        if (status == GPTOSS_OK)
            status = mem_array((size_t)s->cluster->size, sizeof *row.ranks, "results", &row.ranks, err);
        *place = row;
        r->count++;
    }
    TRY(cluster_agree(s->cluster, status, err));
    TRY(measure_row(s, reports(s) ? &r->rows[r->count - 1] : &row, err));
    if (reports(s)) qsort(r->rows[r->count - 1].speeds, reps, sizeof(double), compare_numbers);
    if (prints_table(s)) {
        progress_end(&s->progress);
        bench_report_print_row(r, &r->rows[r->count - 1]);
    }
    return GPTOSS_OK;
}

/* ---- one engine ---- */

static gptoss_status measure_engine(session *s, uint32_t chunk, gptoss_error *err) {
    const bench_options *o = s->options;
    for (size_t d = 0; d < o->depth.count; d++) {
        bench_row row = {.depth = (uint32_t)o->depth.items[d], .chunk = chunk, .streams = 1};
        for (size_t i = 0; i < o->prompt.count; i++) {
            row.tokens = (uint32_t)o->prompt.items[i];
            if (row.tokens > 0) TRY(add_row(s, row, err));
        }
        row.generate = true;
        row.tokens = (uint32_t)o->gen;
        for (size_t i = 0; i < o->streams.count && o->gen > 0; i++) {
            row.streams = (uint32_t)o->streams.items[i];
            TRY(add_row(s, row, err));
        }
    }
    return GPTOSS_OK;
}

static gptoss_status check_depth(const session *s, uint64_t positions, gptoss_error *err) {
    if (positions <= s->engine.hp.context) return GPTOSS_OK;
    return error_set(err, GPTOSS_MISUSE,
                     "--depth with --prompt or --gen makes sequences of %llu tokens; the model was "
                     "made for %u",
                     (unsigned long long)positions, s->engine.hp.context);
}

static void begin_report(session *s, uint64_t bytes_per_token, double start_seconds) {
    bench_report *r = &s->report;
    if (r->bytes_per_token) return; /* begun with the first engine */
    r->options = s->options;
    r->n_layers = s->engine.n_layers;
    r->ranks = s->cluster->size;
    r->stages = s->engine.placement.stages;
    grid_option_describe(&s->options->engine.grid, &s->engine.placement, r->grid, sizeof r->grid);
    r->isa = isa_name(isa_used());
    r->bytes_per_token = bytes_per_token;
    r->start_seconds = start_seconds;
    if (prints_table(s)) bench_report_print_head(r);
}

/* s->engine is closed by the caller. */
static gptoss_status open_and_measure(session *s, uint32_t threads, uint32_t chunk, gptoss_error *err) {
    const bench_options *o = s->options;
    uint64_t streams = bench_options_largest(&o->streams), prompt = bench_options_largest(&o->prompt);
    uint64_t positions = bench_options_largest(&o->depth) + (prompt > o->gen ? prompt : o->gen);
    engine_config config = {.sequences = (uint32_t)streams, .logits_rows = (uint32_t)streams};
    engine_options_apply(&o->engine, &s->where, &config);
    config.threads = threads;
    config.chunk = chunk;
    TRY(engine_open(s->cluster, &config, &s->engine, err));
    if (streams > s->engine.config.chunk) s->engine.config.chunk = (uint32_t)streams;
    TRY(cluster_agree(s->cluster, check_depth(s, positions, err), err));
    uint64_t bytes_per_token = engine_bytes_per_token(&s->engine);
    TRY(engine_start(&s->engine, (uint32_t)positions, err));
    begin_report(s, bytes_per_token, clock_process_age());
    TRY(bench_open(&s->engine, o->seed, &s->bench, err));
    TRY(bench_read_memory(s->bench, &s->read_bytes, err));
    return measure_engine(s, s->engine.config.chunk, err);
}

static gptoss_status measure_all(session *s, gptoss_error *err) {
    const option_counts *threads = &s->options->engine.thread_list, *chunks = &s->options->engine.chunk_list;
    gptoss_status status = GPTOSS_OK;
    for (size_t t = 0; t < threads->count && status == GPTOSS_OK; t++)
        for (size_t c = 0; c < chunks->count && status == GPTOSS_OK; c++) {
            status = open_and_measure(s, (uint32_t)threads->items[t], (uint32_t)chunks->items[c], err);
            bench_close(s->bench);
            engine_close(&s->engine);
            s->bench = NULL;
        }
    return status;
}

/* ---- the whole ---- */

/* What can fail on rank 0 alone is tried before anything is measured. */
static gptoss_status open_session(session *s, gptoss_error *err) {
    const bench_options *o = s->options;
    if (o->trace) TRY(trace_open(BENCH_TRACE_SPANS, &s->trace, err));
    if (!reports(s)) return GPTOSS_OK;
    uint64_t rows = bench_options_rows(o);
    TRY(mem_array(rows, sizeof *s->report.rows, "results", &s->report.rows, err));
    TRY(mem_array((size_t)s->cluster->size, sizeof *s->scratch, "results", &s->scratch, err));
    progress_begin(&s->progress, "measuring", rows * o->reps);
    if (o->plot) TRY(streams_create("--plot", o->plot, &s->plot, err));
    return o->trace ? streams_create("--trace", o->trace, &s->trace_file, err) : GPTOSS_OK;
}

static void close_session(session *s) {
    if (s->plot) fclose(s->plot);
    if (s->trace_file) fclose(s->trace_file);
    trace_close(s->trace);
    bench_report_free(&s->report);
    free(s->scratch);
    places_close(&s->where);
}

static gptoss_status write_plot(session *s, gptoss_error *err) {
    buffer picture = {0};
    gptoss_status status = bench_report_draw(&s->report, &picture, err);
    if (status == GPTOSS_OK) status = streams_write(s->plot, s->options->plot, &picture, err);
    buffer_free(&picture);
    return status;
}

static gptoss_status finish_report(session *s, gptoss_error *err) {
    if (s->options->csv) bench_report_print_csv(&s->report);
    if (s->options->json) TRY(bench_report_print_json(&s->report, err));
    return s->plot ? write_plot(s, err) : GPTOSS_OK;
}

/* A drawing, or by any other name than *.svg a trace. */
static gptoss_status write_trace(session *s, gptoss_error *err) {
    const char *path = s->options->trace;
    size_t length = strlen(path);
    bool draw = length >= 4 && strcmp(path + length - 4, ".svg") == 0;
    return (draw ? bench_gantt_write : bench_trace_write)(s->cluster, s->trace, s->trace_file, path, err);
}

static gptoss_status run(const bench_options *o, const cluster *c, gptoss_error *err) {
    session s = {.options = o, .cluster = c};
    gptoss_status status = engine_options_prepare(&o->engine, c, &s.where, err);
    /* Without the flag too: it tells transfers apart. */
    if (status == GPTOSS_OK && !o->engine.link.text) status = link_model_use(c, &o->engine.link.model, err);
    if (status == GPTOSS_OK) status = cluster_agree(c, open_session(&s, err), err);
    if (status == GPTOSS_OK) status = measure_all(&s, err);
    progress_end(&s.progress);
    if (status == GPTOSS_OK && s.trace) status = write_trace(&s, err);
    if (status == GPTOSS_OK && reports(&s)) status = finish_report(&s, err);
    close_session(&s);
    return status;
}

int bench_command(cluster *c, int argc, char **argv) {
    gptoss_error err = {0};
    bench_options options;
    gptoss_status status = bench_options_parse(c, argc, argv, getenv("GPT_OSS_GGUF_PATH"), &options, &err);
    if (status == GPTOSS_OK && options.engine.help) {
        if (c->rank == 0) bench_options_print_help();
    } else if (status == GPTOSS_OK) {
        status = run(&options, c, &err);
    }
    bench_options_free(&options);
    int code = status == GPTOSS_OK ? 0 : command_fail(&err);
    cluster_leave(c, status);
    return code;
}
