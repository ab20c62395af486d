/* Charts: ticks at round numbers that cover the data, points where the axes say, and nothing outside the page. */
#include "cli/svg_chart.h"
#include "support.h"

static void ticks_are_round_and_about_as_many_as_wanted(void **state) {
    (void)state;
    static const struct {
        double largest, step;
    } cases[] = {{10, 2}, {9, 2}, {5, 1}, {1, 0.2}, {0.5, 0.1}, {0.013, 0.005}, {8000, 2000}, {47, 10}, {1e6, 2e5}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        double step = svg_tick_step(cases[i].largest, 5, 0);
        if (!(step > 0.999999 * cases[i].step && step < 1.000001 * cases[i].step))
            fail_msg("up to %g: steps of %g, not %g", cases[i].largest, step, cases[i].step);
    }
    for (double largest = 1e-6; largest < 1e9; largest *= 1.37) {
        double ticks = largest / svg_tick_step(largest, 5, 0);
        if (!(ticks >= 1.99 && ticks <= 5.01)) fail_msg("up to %g: %g ticks", largest, ticks);
    }
    assert_true(svg_tick_step(3, 6, 1) == 1); /* no half streams */
}

/* The attribute `name` of the element at *at, and *at moved behind it. */
static double attribute(const char **at, const char *name) {
    char head[32];
    snprintf(head, sizeof head, " %s=\"", name);
    *at = strstr(*at, head);
    assert_non_null(*at);
    *at += strlen(head);
    return strtod(*at, NULL);
}

static void points_lie_in_proportion(void **state) {
    (void)state;
    const svg_point points[] = {{0, 10, 9, 11}, {50, 5, 5, 5}, {100, 0, 0, 0}};
    const svg_series series = {"", points, 3};
    const svg_chart chart = {"Title", "x", &series, 1};
    buffer svg = {0};
    assert_ok(svg_charts_write(&chart, 1, &svg, err));
    double x[3], y[3];
    const char *at = svg.data;
    for (int i = 0; i < 3; i++) {
        at = strstr(at, "<circle");
        assert_non_null(at);
        x[i] = attribute(&at, "cx");
        y[i] = attribute(&at, "cy");
    }
    assert_true(x[1] - x[0] > 100 && y[1] - y[0] > 50); /* to the right and down */
    assert_true(x[2] - x[1] > x[1] - x[0] - 0.3 && x[2] - x[1] < x[1] - x[0] + 0.3);
    assert_true(y[2] - y[1] > y[1] - y[0] - 0.3 && y[2] - y[1] < y[1] - y[0] + 0.3);
    assert_non_null(strstr(svg.data, ">Title</text>"));
    assert_non_null(strstr(svg.data, "prefers-color-scheme: dark"));
    buffer_free(&svg);
}

/* Also at the edges: one point at the origin, a speed of nothing, as many lines as there may be. */
static void nothing_leaves_the_page(void **state) {
    (void)state;
    svg_point points[SVG_SERIES_MAX];
    svg_series series[SVG_SERIES_MAX];
    for (int i = 0; i < SVG_SERIES_MAX; i++) {
        points[i] = (svg_point){i * 1000, i * 7, i * 6, i * 8};
        series[i] = (svg_series){"a line", &points[i], 1};
    }
    const svg_chart charts[] = {{"One", "x", series, 1}, {"All", "x", series, SVG_SERIES_MAX}};
    buffer svg = {0};
    assert_ok(svg_charts_write(charts, 2, &svg, err));
    static const char *const names[] = {"x", "y", "cx", "cy", "x1", "x2", "y1", "y2"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char head[16];
        const char *at = svg.data;
        for (snprintf(head, sizeof head, " %s=\"", names[i]); strstr(at, head);) {
            double value = attribute(&at, names[i]);
            if (!(value >= 0 && value <= (strchr(names[i], 'x') ? 820 : 600))) fail_msg("%s is %g", names[i], value);
        }
    }
    assert_null(strstr(svg.data, "nan"));
    assert_null(strstr(svg.data, "inf"));
    buffer_free(&svg);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ticks_are_round_and_about_as_many_as_wanted),
        cmocka_unit_test(points_lie_in_proportion),
        cmocka_unit_test(nothing_leaves_the_page),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
