/* svg_chart.h: line charts as an SVG picture that suits light and dark pages. */
#ifndef CLI_SVG_CHART_H
#define CLI_SVG_CHART_H

#include "base/buffer.h"

typedef struct svg_point {
    double x, y;      /* not negative, finite */
    double low, high; /* the spread around y, drawn as a thin line */
} svg_point;

typedef struct svg_series {
    const char *label;       /* plain text without markup; may be empty when it is the only one */
    const svg_point *points; /* ascending in x */
    size_t count;            /* at least 1 */
} svg_series;

/* Both axes begin at 0. */
typedef struct svg_chart {
    const char *title, *x_label; /* plain text without markup */
    const svg_series *series;    /* at most SVG_SERIES_MAX, so that each has a colour or a dash of its own */
    size_t count;
} svg_chart;

enum { SVG_SERIES_MAX = 12 };

/* Appends a picture of the charts, one below the other. */
gptoss_status svg_charts_write(const svg_chart *charts, size_t count, buffer *out, gptoss_error *err);

/* The distance between ticks that are round numbers (1, 2 or 5 times a power of ten), about `wanted` of them up to
 * `largest` > 0; at least `least`. */
double svg_tick_step(double largest, int wanted, double least);

#endif
