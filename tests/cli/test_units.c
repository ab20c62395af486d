/* Times and rates as people write them, and what is refused. */
#include "cli/link_option.h"
#include "support.h"

static link_model read_model(const char *text) {
    link_option o = {.text = text};
    assert_ok(link_option_read(&o, err));
    return o.model;
}

static void times_and_rates_are_read(void **state) {
    (void)state;
    static const struct {
        const char *text;
        double latency, bandwidth;
    } cases[] = {
        {"latency=200us,bandwidth=1Gbit", 200e-6, 125e6},
        {"bandwidth=125MB/s,latency=0.2ms", 0.2e-3, 125e6},
        {"latency=150ns", 150e-9, 0},
        {"latency=1s", 1, 0},
        {"latency=0s", 0, 0},
        {"latency=.5s", 0.5, 0},
        {"bandwidth=100Mbit/s", 0, 12.5e6},
        {"bandwidth=56kbit", 0, 7e3},
        {"bandwidth=8bit", 0, 1},
        {"bandwidth=2GB", 0, 2e9},
        {"bandwidth=2.5KB", 0, 2.5e3},
        {"bandwidth=1B/s", 0, 1},
        {NULL, 0, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        link_model m = read_model(cases[i].text);
        if (!(m.latency > cases[i].latency * 0.999999 - 1e-15 && m.latency < cases[i].latency * 1.000001 + 1e-15))
            fail_msg("%s: latency %g", cases[i].text, m.latency);
        if (!(m.bandwidth >= cases[i].bandwidth * 0.999999 && m.bandwidth <= cases[i].bandwidth * 1.000001))
            fail_msg("%s: bandwidth %g", cases[i].text, m.bandwidth);
    }
}

/* Each names the flag, and what in it is wrong. */
static void everything_else_is_refused(void **state) {
    (void)state;
    static const struct {
        const char *text, *names;
    } cases[] = {
        {"", "\"\""},
        {"latency", "\"latency\""},
        {"=1s", "\"=1s\""},
        {"delay=1s", "\"delay=1s\""},
        {"latency=", "latency is a time"},
        {"latency=200", "latency is a time"},
        {"latency=us", "latency is a time"},
        {"latency=-1us", "latency is a time"},
        {"latency=nan", "latency is a time"},
        {"latency=infs", "latency is a time"},
        {"latency=1 s", "latency is a time"},
        {"latency=1sx", "latency is a time"},
        {"latency=1s/s", "latency is a time"},
        {"latency=1Gbit", "latency is a time"},
        {"latency=2e9s", "out of range"},
        {"latency=1e999s", "out of range"},
        {"latency=1s,latency=1s", "twice"},
        {"latency=1s,", "\"\""},
        {",latency=1s", "\"\""},
        {"bandwidth=1ms", "bandwidth is a rate"},
        {"bandwidth=1G", "bandwidth is a rate"},
        {"bandwidth=/s", "bandwidth is a rate"},
        {"bandwidth=1/s", "bandwidth is a rate"},
        {"bandwidth=0bit", "out of range"},
        {"bandwidth=1e30GB", "out of range"},
        {"latency=00000000000000000000000000000000000000000000000000000000000000000000000000000001s", "see --help"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        gptoss_error err = {0};
        link_option o = {.text = cases[i].text};
        assert_int_equal(link_option_read(&o, &err), GPTOSS_MISUSE);
        if (!strstr(err.text, "--link-model") || !strstr(err.text, cases[i].names))
            fail_msg("case %zu: %s", i, err.text);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(times_and_rates_are_read),
                                       cmocka_unit_test(everything_else_is_refused)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
