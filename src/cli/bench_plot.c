/* The picture of `bench`: which rows make which line of which chart. */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "cli/bench_report.h"
#include "cli/svg_chart.h"

typedef enum view { PROMPT_BY_DEPTH, GENERATION_BY_DEPTH, GENERATION_BY_STREAMS, VIEWS } view;

/* One chart being collected. */
typedef struct plot {
    view view;
    const bench_row *first[SVG_SERIES_MAX]; /* of each series */
    char labels[SVG_SERIES_MAX][80];
    svg_series series[SVG_SERIES_MAX];
    svg_point *points; /* owned; [series][rows] */
    size_t count;
} plot;

static bool is_wanted(const bench_report *r, view v) {
    const bench_options *o = r->options;
    bool prompts = bench_options_largest(&o->prompt) > 0;
    switch (v) {
    case PROMPT_BY_DEPTH: return prompts && (o->depth.count > 1 || o->gen == 0);
    case GENERATION_BY_DEPTH: return o->gen > 0 && (o->depth.count > 1 || o->streams.count == 1);
    case GENERATION_BY_STREAMS: return o->gen > 0 && o->streams.count > 1;
    default: return false;
    }
}

static uint32_t place_of(view v, const bench_row *row) {
    return v == GENERATION_BY_STREAMS ? row->streams : row->depth;
}

/* Rows that differ in nothing but what the chart is against belong on one line. */
static bool same_line(view v, const bench_row *a, const bench_row *b) {
    return a->tokens == b->tokens && a->threads == b->threads && a->chunk == b->chunk &&
           (v == GENERATION_BY_STREAMS ? a->depth == b->depth : a->streams == b->streams);
}

static void add_part(char *label, size_t size, const char *format, uint32_t value) {
    size_t at = strlen(label);
    if (at > 0) at += (size_t)snprintf(label + at, size - at, ", ");
    snprintf(label + at, size - at, format, value);
}

/* Names only what was swept. */
static void write_label(const bench_options *o, view v, const bench_row *row, char *label, size_t size) {
    label[0] = '\0';
    if (v == PROMPT_BY_DEPTH && o->prompt.count > 1) add_part(label, size, "prompt %u", row->tokens);
    if (v == GENERATION_BY_DEPTH && o->streams.count > 1) add_part(label, size, "streams %u", row->streams);
    if (v == GENERATION_BY_STREAMS && o->depth.count > 1) add_part(label, size, "depth %u", row->depth);
    if (o->engine.thread_list.count > 1) add_part(label, size, "threads %u", row->threads);
    if (o->engine.chunk_list.count > 1) add_part(label, size, "chunk %u", row->chunk);
}

static void add_point(const bench_report *r, plot *p, const bench_row *row) {
    size_t reps = r->options->reps, line = 0;
    while (line < p->count && !same_line(p->view, p->first[line], row)) line++;
    if (line == SVG_SERIES_MAX) return; /* more could not be told apart; the table has them */
    if (line == p->count) {
        p->first[line] = row;
        write_label(r->options, p->view, row, p->labels[line], sizeof p->labels[line]);
        p->series[p->count++] = (svg_series){.label = p->labels[line], .points = p->points + line * r->count};
    }
    svg_series *s = &p->series[line];
    svg_point *points = p->points + line * r->count;
    size_t at = s->count++;
    for (; at > 0 && points[at - 1].x > place_of(p->view, row); at--) points[at] = points[at - 1];
    points[at] =
        (svg_point){place_of(p->view, row), bench_row_median(row, reps), row->speeds[0], row->speeds[reps - 1]};
}

static gptoss_status collect(const bench_report *r, view v, plot *out, gptoss_error *err) {
    *out = (plot){.view = v};
    TRY(mem_array(SVG_SERIES_MAX * r->count, sizeof *out->points, "picture", &out->points, err));
    for (size_t i = 0; i < r->count; i++)
        if (r->rows[i].generate == (v != PROMPT_BY_DEPTH)) add_point(r, out, &r->rows[i]);
    return GPTOSS_OK;
}

gptoss_status bench_report_draw(const bench_report *r, buffer *out, gptoss_error *err) {
    static const char *const titles[VIEWS] = {"Prompt: tokens/s against tokens in the cache",
                                              "Generation: tokens/s against tokens in the cache",
                                              "Generation: tokens/s of all streams together"};
    static const char *const x_labels[VIEWS] = {"tokens in the cache before", "tokens in the cache before", "streams"};
    plot plots[VIEWS] = {0};
    svg_chart charts[VIEWS];
    size_t count = 0;
    gptoss_status status = GPTOSS_OK;
    for (view v = 0; v < VIEWS && status == GPTOSS_OK; v++) {
        if (!is_wanted(r, v)) continue;
        status = collect(r, v, &plots[v], err);
        charts[count++] = (svg_chart){titles[v], x_labels[v], plots[v].series, plots[v].count};
    }
    if (status == GPTOSS_OK) status = svg_charts_write(charts, count, out, err);
    for (view v = 0; v < VIEWS; v++) free(plots[v].points);
    return status;
}
