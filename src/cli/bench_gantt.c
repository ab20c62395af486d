#include "cli/bench_gantt.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "base/mem.h"
#include "cli/streams.h"
#include "cli/svg_chart.h"

enum { SPANS = 500 /* of a rank that are drawn */, LEFT = 76, WIDTH = 1000, TOP = 84, ROW = 26, BAR = 18, COLOURS = 6 };

static const char STYLE[] =
    "<style>\n"
    "  svg { font: 12px system-ui, sans-serif; }\n"
    "  .page { fill: #ffffff; } text { fill: #333333; } .small { fill: #666666; font-size: 11px; }\n"
    "  .title { font-size: 15px; font-weight: 600; } .tick { stroke: #dddddd; } .idle { fill: #f0f1f3; }\n"
    "  .w0 { fill: #5b9bd5; } .w1 { fill: #e08a3c; } .w2 { fill: #4aa36c; } .w3 { fill: #8a6bb0; }\n"
    "  .w4 { fill: #c85a6e; } .w5 { fill: #b59b2c; } .transfer { fill: #9aa0a6; }\n"
    "  @media (prefers-color-scheme: dark) {\n"
    "    .page { fill: #14171a; } text { fill: #dddddd; } .small { fill: #a0a6ac; }\n"
    "    .tick { stroke: #33383d; } .idle { fill: #23282d; }\n"
    "  }\n"
    "</style>\n"
    "<rect class=\"page\" width=\"100%\" height=\"100%\"/>\n";

typedef struct gantt {
    trace_span *spans; /* [ranks][SPANS], owned, on rank 0 */
    size_t *counts;    /* [ranks], owned */
    int ranks;
    double begin, end; /* of what is drawn */
} gantt;

/* Where a rank has more spans than are drawn, nothing behind its last one is, of no rank. */
static void take(void *context, int rank, const trace_span *spans, size_t count, uint64_t lost) {
    gantt *g = context;
    size_t kept = count < SPANS ? count : SPANS;
    (void)lost;
    memcpy(g->spans + (size_t)rank * SPANS, spans, kept * sizeof *spans);
    g->counts[rank] = kept;
    if (kept == 0) return;
    if (spans[0].begin < g->begin) g->begin = spans[0].begin;
    if (kept < count && spans[kept - 1].end < g->end) g->end = spans[kept - 1].end;
}

/* All was drawn: until the last span of any rank. */
static void find_end(gantt *g) {
    if (g->end < INFINITY) return;
    g->end = g->begin;
    for (int r = 0; r < g->ranks; r++) {
        const trace_span *last = g->spans + (size_t)r * SPANS + g->counts[r] - 1;
        if (g->counts[r] > 0 && last->end > g->end) g->end = last->end;
    }
}

static double x_of(const gantt *g, double time) { return LEFT + (time - g->begin) / (g->end - g->begin) * WIDTH; }

/* Layers fill the row, logits its lower half; waiting is left empty. */
static gptoss_status put_span(const gantt *g, int rank, const trace_span *s, buffer *out, gptoss_error *err) {
    static const int heights[TRACE_KINDS] = {BAR, BAR / 2, 0, BAR / 3};
    if (s->kind >= TRACE_KINDS || heights[s->kind] == 0 || s->begin >= g->end) return GPTOSS_OK;
    double left = x_of(g, s->begin), right = x_of(g, s->end < g->end ? s->end : g->end);
    int height = heights[s->kind], y = TOP + ROW * rank + BAR - height;
    if (s->kind == TRACE_TRANSFER)
        TRY(buffer_append_text(out, "<rect class=\"transfer\"", err));
    else
        TRY(buffer_printf(out, err, "<rect class=\"w%u\"", s->wave % COLOURS));
    return buffer_printf(out, err,
                         " x=\"%.2f\" y=\"%d\" width=\"%.2f\" height=\"%d\"><title>wave %" PRIu32 ", %s: %" PRIu32
                         " tokens, %.3f ms</title></rect>\n",
                         left, y, right - left, height, s->wave, trace_kind_name(s->kind), s->tokens,
                         1e3 * (s->end - s->begin));
}

static gptoss_status put_axis(const gantt *g, buffer *out, gptoss_error *err) {
    double all = 1e3 * (g->end - g->begin), step = svg_tick_step(all, 8, 1e-6);
    int bottom = TOP + ROW * g->ranks;
    for (int i = 0; i * step <= all * (1 + 1e-9); i++) {
        double x = LEFT + i * step / all * WIDTH;
        TRY(buffer_printf(out, err,
                          "<line class=\"tick\" x1=\"%.1f\" x2=\"%.1f\" y1=\"%d\" y2=\"%d\"/>"
                          "<text class=\"small\" x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%g ms</text>\n",
                          x, x, TOP - 8, bottom, x, TOP - 14, i * step));
    }
    return GPTOSS_OK;
}

static gptoss_status draw(const gantt *g, buffer *out, gptoss_error *err) {
    int height = TOP + ROW * g->ranks + 16, width = LEFT + WIDTH + 40;
    TRY(buffer_printf(out, err,
                      "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" viewBox=\"0 0 %d %d\">\n",
                      width, height, width, height));
    TRY(buffer_append_text(out, STYLE, err));
    TRY(buffer_printf(
        out, err,
        "<text class=\"title\" x=\"16\" y=\"26\">what ranks did in the first %.3g ms</text>\n"
        "<text class=\"small\" x=\"16\" y=\"44\">a colour a wave; full height: layers, half: logits, grey: "
        "what was sent and is awaited</text>\n",
        1e3 * (g->end - g->begin)));
    for (int r = 0; r < g->ranks; r++)
        TRY(buffer_printf(out, err,
                          "<text x=\"16\" y=\"%d\">rank %d</text>"
                          "<rect class=\"idle\" x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\"/>\n",
                          TOP + ROW * r + 13, r, LEFT, TOP + ROW * r, WIDTH, BAR));
    if (g->end > g->begin) {
        TRY(put_axis(g, out, err));
        for (int r = 0; r < g->ranks; r++)
            for (size_t i = 0; i < g->counts[r]; i++) TRY(put_span(g, r, &g->spans[(size_t)r * SPANS + i], out, err));
    }
    return buffer_append_text(out, "</svg>\n", err);
}

static gptoss_status write_drawing(gantt *g, FILE *to, const char *path, gptoss_error *err) {
    buffer picture = {0};
    find_end(g);
    gptoss_status status = draw(g, &picture, err);
    if (status == GPTOSS_OK) status = streams_write(to, path, &picture, err);
    buffer_free(&picture);
    return status;
}

gptoss_status bench_gantt_write(const cluster *c, trace *t, FILE *to, const char *path, gptoss_error *err) {
    gantt g = {.ranks = c->size, .begin = INFINITY, .end = INFINITY};
    gptoss_status status = GPTOSS_OK;
    if (c->rank == 0) {
        status = mem_array((size_t)c->size * SPANS, sizeof *g.spans, "trace", &g.spans, err);
        if (status == GPTOSS_OK) status = mem_array((size_t)c->size, sizeof *g.counts, "trace", &g.counts, err);
    }
    status = cluster_agree(c, status, err);
    if (status == GPTOSS_OK) status = trace_collect(c, t, take, &g, err);
    if (status == GPTOSS_OK) {
        if (c->rank == 0) status = write_drawing(&g, to, path, err);
        status = cluster_agree(c, status, err);
    }
    free(g.spans);
    free(g.counts);
    return status;
}
