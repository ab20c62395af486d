#include "cli/svg_chart.h"

#include <math.h>

enum { WIDTH = 820, HEIGHT = 300, LEFT = 64, RIGHT = 620, TOP = 48, BOTTOM = 248, COLOURS = 6, LEGEND_LINE = 18 };

/* Colours that tell apart on both backgrounds, also for the colour-blind; further series repeat them dashed. */
static const char STYLE[] = "<style>\n"
                            "  svg { font: 12px system-ui, sans-serif; }\n"
                            "  .page { fill: #ffffff; }\n"
                            "  text { fill: #333333; }\n"
                            "  .title { font-size: 15px; font-weight: 600; }\n"
                            "  .grid { stroke: #dddddd; } .axis { stroke: #777777; }\n"
                            "  .line { fill: none; stroke-width: 2; } .spread { stroke-width: 1.5; }\n"
                            "  .dashed { stroke-dasharray: 6 4; }\n"
                            "  .s0 { stroke: #0b62a8; } .s1 { stroke: #b8480a; } .s2 { stroke: #1a7f4b; }\n"
                            "  .s3 { stroke: #8a3ea3; } .s4 { stroke: #8a6d00; } .s5 { stroke: #555555; }\n"
                            "  @media (prefers-color-scheme: dark) {\n"
                            "    .page { fill: #14171a; } text { fill: #dddddd; }\n"
                            "    .grid { stroke: #33383d; } .axis { stroke: #8b9198; }\n"
                            "    .s0 { stroke: #5db0f0; } .s1 { stroke: #f08c4a; } .s2 { stroke: #55c98b; }\n"
                            "    .s3 { stroke: #cf8be6; } .s4 { stroke: #d9b93b; } .s5 { stroke: #aaaaaa; }\n"
                            "  }\n"
                            "</style>\n"
                            "<rect class=\"page\" width=\"100%\" height=\"100%\"/>\n";

/* Where values lie on the page. */
typedef struct axes {
    double x_step, x_end, y_step, y_end;
    int top; /* of this chart on the page */
} axes;

double svg_tick_step(double largest, int wanted, double least) {
    double step = largest / wanted, power = pow(10, floor(log10(step))), lead = step / power;
    lead = lead <= 1.001 ? 1 : lead <= 2.001 ? 2 : lead <= 5.001 ? 5 : 10;
    return lead * power > least ? lead * power : least;
}

static double place_x(const axes *a, double x) { return LEFT + (RIGHT - LEFT) * x / a->x_end; }
static double place_y(const axes *a, double y) { return a->top + BOTTOM - (BOTTOM - TOP) * y / a->y_end; }

static axes fit_axes(const svg_chart *c, int top) {
    double x = 0, y = 0;
    for (size_t i = 0; i < c->count; i++)
        for (size_t j = 0; j < c->series[i].count; j++) {
            x = fmax(x, c->series[i].points[j].x);
            y = fmax(y, c->series[i].points[j].high);
        }
    if (x <= 0) x = 1;
    if (y <= 0) y = 1;
    axes a = {.x_step = svg_tick_step(x, 6, 1), .y_step = svg_tick_step(y, 5, 0), .top = top};
    a.x_end = fmax(x * 1.02, 1);
    a.y_end = a.y_step * ceil(y / a.y_step - 1e-9);
    return a;
}

static gptoss_status write_grid(const svg_chart *c, const axes *a, buffer *out, gptoss_error *err) {
    TRY(buffer_printf(out, err, "<text class=\"title\" x=\"%d\" y=\"%d\">%s</text>\n", LEFT, a->top + 24, c->title));
    for (int i = 0; i * a->y_step <= a->y_end * 1.0001; i++) {
        double y = place_y(a, i * a->y_step);
        TRY(buffer_printf(out, err,
                          "<line class=\"%s\" x1=\"%d\" x2=\"%d\" y1=\"%.1f\" y2=\"%.1f\"/>"
                          "<text text-anchor=\"end\" x=\"%d\" y=\"%.1f\">%.10g</text>\n",
                          i ? "grid" : "axis", LEFT, RIGHT, y, y, LEFT - 8, y + 4, i * a->y_step));
    }
    for (int i = 0; i * a->x_step <= a->x_end; i++) {
        double x = place_x(a, i * a->x_step);
        TRY(buffer_printf(out, err,
                          "<line class=\"axis\" x1=\"%.1f\" x2=\"%.1f\" y1=\"%d\" y2=\"%d\"/>"
                          "<text text-anchor=\"middle\" x=\"%.1f\" y=\"%d\">%.10g</text>\n",
                          x, x, a->top + BOTTOM, a->top + BOTTOM + 5, x, a->top + BOTTOM + 20, i * a->x_step));
    }
    return buffer_printf(out, err, "<text text-anchor=\"middle\" x=\"%d\" y=\"%d\">%s</text>\n", (LEFT + RIGHT) / 2,
                         a->top + BOTTOM + 40, c->x_label);
}

static gptoss_status write_series(const svg_series *s, size_t index, const axes *a, buffer *out, gptoss_error *err) {
    int colour = (int)(index % COLOURS);
    const char *dashed = index >= COLOURS ? " dashed" : "";
    TRY(buffer_printf(out, err, "<polyline class=\"line s%d%s\" points=\"", colour, dashed));
    for (size_t i = 0; i < s->count; i++)
        TRY(buffer_printf(out, err, "%s%.1f,%.1f", i ? " " : "", place_x(a, s->points[i].x),
                          place_y(a, s->points[i].y)));
    TRY(buffer_append_text(out, "\"/>\n", err));
    for (size_t i = 0; i < s->count; i++) {
        const svg_point *p = &s->points[i];
        double x = place_x(a, p->x);
        TRY(buffer_printf(out, err,
                          "<line class=\"spread s%d\" x1=\"%.1f\" x2=\"%.1f\" y1=\"%.1f\" y2=\"%.1f\"/>"
                          "<circle class=\"line s%d\" cx=\"%.1f\" cy=\"%.1f\" r=\"3\"/>\n",
                          colour, x, x, place_y(a, p->low), place_y(a, p->high), colour, x, place_y(a, p->y)));
    }
    if (!s->label[0]) return GPTOSS_OK;
    int y = a->top + TOP + 6 + LEGEND_LINE * (int)index;
    return buffer_printf(out, err,
                         "<line class=\"line s%d%s\" x1=\"%d\" x2=\"%d\" y1=\"%d\" y2=\"%d\"/>"
                         "<text x=\"%d\" y=\"%d\">%s</text>\n",
                         colour, dashed, RIGHT + 16, RIGHT + 40, y - 4, y - 4, RIGHT + 46, y, s->label);
}

gptoss_status svg_charts_write(const svg_chart *charts, size_t count, buffer *out, gptoss_error *err) {
    TRY(buffer_printf(out, err,
                      "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" viewBox=\"0 0 %d %d\">\n",
                      WIDTH, HEIGHT * (int)count, WIDTH, HEIGHT * (int)count));
    TRY(buffer_append_text(out, STYLE, err));
    for (size_t i = 0; i < count; i++) {
        axes a = fit_axes(&charts[i], HEIGHT * (int)i);
        TRY(write_grid(&charts[i], &a, out, err));
        for (size_t j = 0; j < charts[i].count; j++) TRY(write_series(&charts[i].series[j], j, &a, out, err));
    }
    return buffer_append_text(out, "</svg>\n", err);
}
