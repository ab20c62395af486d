/* The drawing of plan_report.h: a row a rank; on the left its memory and what fills it, on the right its time. */
#include "cli/plan_report.h"

enum {
    WIDTH = 960,
    TOP = 104,
    ROW = 46,
    BAR = 22,
    MEMORY_LEFT = 170,
    MEMORY_RIGHT = 640,
    TIME_LEFT = 680,
    TIME_RIGHT = 880
};

static const char STYLE[] =
    "<style>\n"
    "  svg { font: 12px system-ui, sans-serif; }\n"
    "  .page { fill: #ffffff; } text { fill: #333333; } .small { fill: #666666; font-size: 11px; }\n"
    "  .title { font-size: 15px; font-weight: 600; }\n"
    "  .room { fill: #f0f1f3; stroke: #999999; }\n"
    "  .layer { fill: #5b9bd5; stroke: #ffffff; stroke-width: 0.7; } .ends { fill: #e08a3c; }\n"
    "  .kv { fill: #4aa36c; } .own { fill: #9aa0a6; } .time { fill: #8a6bb0; }\n"
    "  @media (prefers-color-scheme: dark) {\n"
    "    .page { fill: #14171a; } text { fill: #dddddd; } .small { fill: #a0a6ac; }\n"
    "    .room { fill: #23282d; stroke: #6a7076; } .layer { stroke: #14171a; }\n"
    "  }\n"
    "</style>\n"
    "<rect class=\"page\" width=\"100%\" height=\"100%\"/>\n";

static double gib(uint64_t bytes) { return (double)bytes / (double)(1 << 30); }

typedef struct scales {
    double bytes, nanoseconds; /* a pixel */
} scales;

static scales fit(const plan_report *r) {
    double bytes = 1, time = 1;
    for (uint32_t i = 0; i < r->placement.stages; i++) {
        const plan_rank *s = &r->placement.rank[i];
        double held = (double)(s->weights + s->kv + r->model.own), memory = (double)r->nodes[i].memory;
        if (held > bytes) bytes = held;
        if (memory > bytes) bytes = memory;
        if ((double)s->nanoseconds > time) time = (double)s->nanoseconds;
    }
    return (scales){bytes / (MEMORY_RIGHT - MEMORY_LEFT), time / (TIME_RIGHT - TIME_LEFT)};
}

/* A piece of a bar; *x moves behind it. */
static gptoss_status put_piece(buffer *out, const char *kind, double *x, int y, double width, gptoss_error *err) {
    if (width <= 0) return GPTOSS_OK;
    TRY(buffer_printf(out, err, "<rect class=\"%s\" x=\"%.2f\" y=\"%d\" width=\"%.2f\" height=\"%d\"/>", kind, *x, y,
                      width, BAR));
    *x += width;
    return GPTOSS_OK;
}

static gptoss_status put_row(const plan_report *r, uint32_t i, scales scale, buffer *out, gptoss_error *err) {
    const plan_rank *s = &r->placement.rank[i];
    const node_facts *n = &r->nodes[i];
    int y = TOP + ROW * (int)i;
    double x = MEMORY_LEFT;
    uint32_t last = r->placement.stages - 1;
    TRY(buffer_printf(out, err, "<text x=\"16\" y=\"%d\">%u  %.20s</text>", y + 10, i, n->name));
    if (s->layer_end - s->layer_begin == 1)
        TRY(buffer_printf(out, err, "<text class=\"small\" x=\"16\" y=\"%d\">layer %u</text>\n", y + 25,
                          s->layer_begin));
    else
        TRY(buffer_printf(out, err, "<text class=\"small\" x=\"16\" y=\"%d\">layers %u to %u</text>\n", y + 25,
                          s->layer_begin, s->layer_end - 1));
    TRY(put_piece(out, "room", &x, y, (double)n->memory / scale.bytes, err));
    x = MEMORY_LEFT;
    if (i == 0) TRY(put_piece(out, "ends", &x, y, (double)r->model.embedding / scale.bytes, err));
    for (uint32_t j = s->layer_begin; j < s->layer_end; j++)
        TRY(put_piece(out, "layer", &x, y, (double)r->model.layers[j].held / scale.bytes, err));
    if (i == last) TRY(put_piece(out, "ends", &x, y, (double)r->model.output / scale.bytes, err));
    TRY(put_piece(out, "kv", &x, y, (double)s->kv / scale.bytes, err));
    TRY(put_piece(out, "own", &x, y, (double)r->model.own / scale.bytes, err));
    TRY(buffer_printf(out, err, "\n<text class=\"small\" x=\"%d\" y=\"%d\">%.2f of %.1f GiB</text>", MEMORY_LEFT,
                      y + BAR + 12, gib(s->weights + s->kv + r->model.own), gib(n->memory)));
    x = TIME_LEFT;
    TRY(put_piece(out, "time", &x, y, (double)s->nanoseconds / scale.nanoseconds, err));
    return buffer_printf(out, err, "<text x=\"%.1f\" y=\"%d\">%.1f ms</text>\n", x + 6, y + 15,
                         (double)s->nanoseconds / 1e6);
}

static gptoss_status put_legend(buffer *out, gptoss_error *err) {
    static const struct {
        const char *kind, *label;
    } items[] = {
        {"layer", "layers"}, {"ends", "embedding, output"}, {"kv", "KV cache"}, {"own", "buffers"}, {"room", "free"}};
    static const int widths[] = {70, 140, 85, 75, 0};
    int x = MEMORY_LEFT;
    for (size_t i = 0; i < sizeof items / sizeof *items; x += widths[i++])
        TRY(buffer_printf(out, err,
                          "<rect class=\"%s\" x=\"%d\" y=\"%d\" width=\"12\" height=\"12\"/>"
                          "<text x=\"%d\" y=\"%d\">%s</text>\n",
                          items[i].kind, x, TOP - 30, x + 17, TOP - 20, items[i].label));
    return buffer_printf(out, err, "<text x=\"%d\" y=\"%d\">time for a token</text>\n", TIME_LEFT, TOP - 20);
}

gptoss_status plan_report_draw(const plan_report *r, buffer *out, gptoss_error *err) {
    int height = TOP + ROW * (int)r->placement.stages + 16;
    scales scale = fit(r);
    TRY(buffer_printf(out, err,
                      "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" viewBox=\"0 0 %d %d\">\n",
                      WIDTH, height, WIDTH, height));
    TRY(buffer_append_text(out, STYLE, err));
    TRY(buffer_printf(out, err, "<text class=\"title\" x=\"16\" y=\"28\">%u layers on %u ranks: %.1f tokens/s",
                      r->model.n_layers, r->placement.stages, r->forecast.one_stream));
    if (r->streams > 1)
        TRY(buffer_printf(out, err, ", %.1f with %u sequences at once", r->forecast.all_streams, r->streams));
    TRY(buffer_printf(out, err,
                      "</text>\n<text class=\"small\" x=\"16\" y=\"48\">predicted; a token of one sequence takes %.1f "
                      "ms, %.1f ms of it on the network</text>\n",
                      1e3 * r->forecast.token_seconds, 1e3 * r->forecast.network_seconds));
    TRY(put_legend(out, err));
    for (uint32_t i = 0; i < r->placement.stages; i++) TRY(put_row(r, i, scale, out, err));
    return buffer_append_text(out, "</svg>\n", err);
}
