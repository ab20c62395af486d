/* The drawing of plan_report.h: a row a stage, its shards side by side; of each rank its memory and what fills it, and
 * below it its time. */
#include "base/plural.h"
#include "cli/plan_report.h"
#include "engine/layout.h"

enum {
    LEFT = 116, /* of the first shard */
    LEAST_WIDTH = 960,
    LEAST_CELL = 260, /* of a shard */
    GAP = 24,         /* between shards */
    TOP = 104,
    ROW = 84,
    MEMORY_BAR = 22,
    TIME_BAR = 10,
    TIME_TEXT = 56
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
    int cell;                  /* pixels for a shard, the gap behind it included */
    double bytes, nanoseconds; /* a pixel */
} scales;

static scales fit(const plan_report *r) {
    double bytes = 1, time = 1;
    int cell = (LEAST_WIDTH - LEFT) / (int)r->placement.shards;
    if (cell < LEAST_CELL) cell = LEAST_CELL;
    for (uint32_t i = 0; i < r->ranks; i++) {
        const plan_rank *s = &r->placement.rank[i];
        double held = (double)(s->weights + s->kv + r->model.own), memory = (double)r->nodes[i].memory;
        if (held > bytes) bytes = held;
        if (memory > bytes) bytes = memory;
        if ((double)s->nanoseconds > time) time = (double)s->nanoseconds;
    }
    return (scales){cell, bytes / (cell - GAP), time / (cell - GAP - TIME_TEXT)};
}

/* A piece of a bar; *x moves behind it. */
static gptoss_status put_piece(buffer *out, const char *kind, double *x, int y, double width, int height,
                               gptoss_error *err) {
    if (width <= 0) return GPTOSS_OK;
    TRY(buffer_printf(out, err, "<rect class=\"%s\" x=\"%.2f\" y=\"%d\" width=\"%.2f\" height=\"%d\"/>", kind, *x, y,
                      width, height));
    *x += width;
    return GPTOSS_OK;
}

static gptoss_status put_memory(const plan_report *r, uint32_t i, scales scale, int left, int y, buffer *out,
                                gptoss_error *err) {
    const plan_rank *s = &r->placement.rank[i];
    double x = left;
    uint64_t embedding = (s->embedding_rows.end - s->embedding_rows.begin) * r->model.embedding_row;
    uint64_t output = (s->output_rows.end - s->output_rows.begin) * r->model.output_row;
    double layer = (double)(s->weights - embedding - output) / (s->layer_end - s->layer_begin);
    TRY(put_piece(out, "room", &x, y, (double)r->nodes[i].memory / scale.bytes, MEMORY_BAR, err));
    x = left;
    TRY(put_piece(out, "ends", &x, y, (double)embedding / scale.bytes, MEMORY_BAR, err));
    for (uint32_t j = s->layer_begin; j < s->layer_end; j++)
        TRY(put_piece(out, "layer", &x, y, layer / scale.bytes, MEMORY_BAR, err));
    TRY(put_piece(out, "ends", &x, y, (double)output / scale.bytes, MEMORY_BAR, err));
    TRY(put_piece(out, "kv", &x, y, (double)s->kv / scale.bytes, MEMORY_BAR, err));
    return put_piece(out, "own", &x, y, (double)r->model.own / scale.bytes, MEMORY_BAR, err);
}

static gptoss_status put_range(buffer *out, const char *what, const char *many, plan_range range, gptoss_error *err) {
    if (range.end == range.begin) return buffer_printf(out, err, "no %s", many);
    if (range.end - range.begin == 1) return buffer_printf(out, err, "%s %u", what, range.begin);
    return buffer_printf(out, err, "%s %u to %u", many, range.begin, range.end - 1);
}

static gptoss_status put_rank(const plan_report *r, uint32_t i, scales scale, buffer *out, gptoss_error *err) {
    const plan_rank *s = &r->placement.rank[i];
    const node_facts *n = &r->nodes[i];
    uint32_t shards = r->placement.shards;
    int left = LEFT + scale.cell * (int)(i % shards), y = TOP + ROW * (int)(i / shards);
    double x = left;
    TRY(buffer_printf(out, err, "<text x=\"%d\" y=\"%d\">%u  %.20s</text>", left, y + 10, i, n->name));
    TRY(put_memory(r, i, scale, left, y + 15, out, err));
    TRY(buffer_printf(out, err, "\n<text class=\"small\" x=\"%d\" y=\"%d\">%.2f of %.1f GiB", left,
                      y + 15 + MEMORY_BAR + 12, gib(s->weights + s->kv + r->model.own), gib(n->memory)));
    if (shards > 1) {
        TRY(buffer_append_text(out, "; ", err));
        TRY(put_range(out, "expert", "experts", s->experts, err));
        TRY(buffer_append_text(out, ", ", err));
        TRY(put_range(out, "head", "heads", s->kv_heads, err));
    }
    TRY(buffer_append_text(out, "</text>\n", err));
    TRY(put_piece(out, "time", &x, y + 54, (double)s->nanoseconds / scale.nanoseconds, TIME_BAR, err));
    return buffer_printf(out, err, "<text class=\"small\" x=\"%.1f\" y=\"%d\">%.1f ms</text>\n", x + 6, y + 63,
                         (double)s->nanoseconds / 1e6);
}

static gptoss_status put_stage(const plan_report *r, uint32_t stage, scales scale, buffer *out, gptoss_error *err) {
    uint32_t shards = r->placement.shards;
    const plan_rank *s = &r->placement.rank[stage * shards];
    TRY(buffer_printf(out, err, "<text class=\"small\" x=\"16\" y=\"%d\">", TOP + ROW * (int)stage + 30));
    TRY(put_range(out, "layer", "layers", (plan_range){s->layer_begin, s->layer_end}, err));
    TRY(buffer_append_text(out, "</text>\n", err));
    for (uint32_t t = 0; t < shards; t++) TRY(put_rank(r, stage * shards + t, scale, out, err));
    return GPTOSS_OK;
}

static gptoss_status put_legend(buffer *out, gptoss_error *err) {
    static const struct {
        const char *kind, *label;
        int width;
    } items[] = {{"layer", "layers", 70}, {"ends", "embedding, output", 140},
                 {"kv", "KV cache", 85},  {"own", "buffers", 75},
                 {"room", "free", 60},    {"time", "time for a token", 0}};
    int x = LEFT;
    for (size_t i = 0; i < sizeof items / sizeof *items; x += items[i++].width)
        TRY(buffer_printf(out, err,
                          "<rect class=\"%s\" x=\"%d\" y=\"%d\" width=\"12\" height=\"12\"/>"
                          "<text x=\"%d\" y=\"%d\">%s</text>\n",
                          items[i].kind, x, TOP - 38, x + 17, TOP - 28, items[i].label));
    return GPTOSS_OK;
}

gptoss_status plan_report_draw(const plan_report *r, buffer *out, gptoss_error *err) {
    scales scale = fit(r);
    int height = TOP + ROW * (int)r->placement.stages, width = LEFT + scale.cell * (int)r->placement.shards;
    TRY(buffer_printf(out, err,
                      "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" viewBox=\"0 0 %d %d\">\n",
                      width, height, width, height));
    char grid[80];
    layout_grid(&r->placement, grid, sizeof grid);
    TRY(buffer_append_text(out, STYLE, err));
    TRY(buffer_printf(out, err, "<text class=\"title\" x=\"16\" y=\"28\">%u layer%s in %s: %.1f tokens/s",
                      r->model.n_layers, plural(r->model.n_layers), grid, r->forecast.one_stream));
    if (r->streams > 1)
        TRY(buffer_printf(out, err, ", %.1f with %u sequences at once", r->forecast.all_streams, r->streams));
    TRY(buffer_printf(out, err,
                      "</text>\n<text class=\"small\" x=\"16\" y=\"48\">predicted; a token of one sequence takes %.1f "
                      "ms, %.1f ms of it on the network</text>\n",
                      1e3 * r->forecast.token_seconds, 1e3 * r->forecast.network_seconds));
    TRY(put_legend(out, err));
    for (uint32_t i = 0; i < r->placement.stages; i++) TRY(put_stage(r, i, scale, out, err));
    return buffer_append_text(out, "</svg>\n", err);
}
