/* What ranks find out about their machines and links, and that they measure once. */
#include <math.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/survey.h"
#include "support.h"

static cluster world;

static void facts_of_all_ranks_arrive_at_rank_0(void **state) {
    (void)state;
    node_facts *all = calloc((size_t)world.size, sizeof *all);
    assert_ok(survey_all(&world, 1, NULL, false, all, err));
    for (int i = 0; world.rank == 0 && i < world.size; i++) {
        assert_string_equal(all[i].name, world.machine);
        assert_true(all[i].memory > 0 && all[i].memory * (uint64_t)world.local_size <= UINT64_C(1) << 50);
        assert_int_equal(all[i].cores, 1);
        assert_true(all[i].read_rate > 1e6 && !all[i].is_assumed);
        assert_true(all[i].layer_seconds > 0 && all[i].layer_seconds < 0.1);
        assert_true(all[i].wake_seconds >= 0 && all[i].wake_seconds < 1);
        assert_true(all[i].link.latency > 0 && all[i].link.latency < 10 && all[i].link.bandwidth > 1e3);
    }
    free(all);
}

/* A kept figure is believed; a broken one is measured again and put right. */
static void speeds_are_kept(void **state) {
    (void)state;
    if (world.rank > 0) return;
    char folder[64], cache[96], command[256];
    snprintf(folder, sizeof folder, "%s/gptoss-survey-XXXXXX", P_tmpdir);
    assert_non_null(mkdtemp(folder));
    snprintf(cache, sizeof cache, "%s/deep/cache", folder);
    team *t;
    node_facts first, second;
    assert_ok(team_open(1, &t, err));
    survey_rank(&world, t, cache, false, &first);
    survey_rank(&world, t, cache, false, &second);
    assert_true((uint64_t)(first.read_rate + 0.5) == (uint64_t)second.read_rate);
    assert_true(second.layer_seconds > 0 && fabs(first.layer_seconds - second.layer_seconds) <= 1e-8);
    const struct {
        const char *text;
        bool believed;
    } cases[] = {{"123456789", true}, {"nonsense", false}, {"-5", false},
                 {"1e300", false},    {"nan", false},      {"", false}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        snprintf(command, sizeof command, "for f in %s/speed-*; do echo '%s' > $f; done", cache, cases[i].text);
        assert_int_equal(system(command), 0);
        survey_rank(&world, t, cache, false, &second);
        assert_true((second.read_rate == 123456789) == cases[i].believed);
        survey_rank(&world, t, cache, false, &first);
        assert_true((uint64_t)(first.read_rate + 0.5) == (uint64_t)(second.read_rate + 0.5));
    }
    snprintf(command, sizeof command, "for f in %s/speed-*; do echo 123456789 > $f; done", cache);
    assert_int_equal(system(command), 0);
    survey_rank(&world, t, cache, true, &first); /* asked to measure all the same, and to keep that */
    survey_rank(&world, t, cache, false, &second);
    assert_true(first.read_rate != 123456789);
    assert_true((uint64_t)(first.read_rate + 0.5) == (uint64_t)second.read_rate);
    survey_rank(&world, t, "/proc/nowhere", false, &second); /* a cache that cannot be */
    assert_true(second.read_rate > 1e6);
    team_close(t);
    snprintf(command, sizeof command, "rm -r '%s'", folder);
    assert_int_equal(system(command), 0);
}

static void expect_same(const node_facts *a, const node_facts *b) {
    assert_string_equal(a->name, b->name);
    assert_true(a->memory == b->memory && a->cores == b->cores && a->read_rate == b->read_rate);
    assert_true(a->layer_seconds == b->layer_seconds && a->wake_seconds == b->wake_seconds);
    assert_true(a->link.latency == b->link.latency && a->link.bandwidth == b->link.bandwidth);
}

/* Every rank finds what each of them measured the first time; where one has lost it, that link alone is measured anew.
 */
static void links_are_kept(void **state) {
    (void)state;
    int number = (int)getpid();
    char cache[96], command[256];
    cluster_broadcast(&world, &number, sizeof number);
    snprintf(cache, sizeof cache, "%s/gptoss-links-%d-%d", P_tmpdir, number, world.rank);
    cluster apart = world; /* each rank on a machine of its own, with a cache of its own */
    apart.local_rank = 0;
    apart.local_size = 1;
    snprintf(apart.machine, sizeof apart.machine, "made-up-%d", world.rank);
    node_facts *first = calloc((size_t)world.size, sizeof *first), *second = calloc((size_t)world.size, sizeof *first);
    assert_ok(survey_all(&apart, 1, cache, false, first, err));
    assert_ok(survey_all(&apart, 1, cache, false, second, err));
    for (int i = 0; i < world.size; i++) expect_same(&first[i], &second[i]);
    if (world.rank == 1) {
        snprintf(command, sizeof command, "for f in %s/link-*; do echo nonsense > $f; done", cache);
        assert_int_equal(system(command), 0);
    }
    assert_ok(survey_all(&apart, 1, cache, false, second, err));
    for (int i = 0; i < world.size; i++) {
        assert_true(second[i].link.latency > 0 && second[i].link.bandwidth > 1e3);
        if (i != 1) expect_same(&first[i], &second[i]);
    }
    free(first);
    free(second);
    snprintf(command, sizeof command, "rm -r '%s'", cache);
    assert_int_equal(system(command), 0);
}

/* The latency of the link behind this rank when the file that is kept of it says so. */
static double latency_when_kept(const cluster *c, const char *cache, const char *line, const char *age) {
    char command[512];
    node_facts *all = calloc((size_t)c->size, sizeof *all);
    snprintf(command, sizeof command, "for f in %s/link-*; do echo '%s' > $f; touch -d '%s' $f; done", cache, line,
             age);
    cluster_agree(c, GPTOSS_OK, NULL);
    if (system(command) != 0) fail_msg("%s", command);
    cluster_agree(c, GPTOSS_OK, NULL);
    assert_ok(survey_all(c, 1, cache, false, all, err));
    double latency = all[c->rank].link.latency;
    free(all);
    return latency;
}

/* What is old, or was measured while the machine had other things to do, is measured anew. */
static void links_are_not_believed_for_ever(void **state) {
    (void)state;
    const char *line = "777 us, 5000000000 bytes a second, 3 us to wake";
    const char *busy = "7777 us, 5000000000 bytes a second, 3 us to wake", *far = "7777 us, 50000 bytes a second, 3 us";
    int number = (int)getpid();
    char cache[96], command[256];
    if (world.size == 1) return;
    cluster_broadcast(&world, &number, sizeof number);
    snprintf(cache, sizeof cache, "%s/gptoss-old-links-%d-%d", P_tmpdir, number, world.rank);
    cluster apart = world;
    apart.local_rank = 0;
    apart.local_size = 1;
    for (int together = 0; together < 2; together++) {
        snprintf(command, sizeof command, "rm -rf '%s'; mkdir '%s'", cache, cache);
        assert_int_equal(system(command), 0);
        snprintf(apart.machine, sizeof apart.machine, "made-up-%d", together ? 0 : world.rank);
        node_facts *all = calloc((size_t)world.size, sizeof *all);
        const char *to = together ? "made-up-0" : NULL;
        assert_ok(survey_all(&apart, 1, cache, false, all, err));
        /* Whatever it was like, a file of its name is there. */
        snprintf(command, sizeof command, "touch '%s/link-%s-%dx1-%s-%dx1'", cache, all[world.rank].name,
                 together ? world.size : 1, to ? to : all[(world.rank + 1) % world.size].name,
                 together ? world.size : 1);
        assert_int_equal(system(command), 0);
        free(all);
        assert_true(latency_when_kept(&apart, cache, line, "6 days ago") == 777e-6);
        assert_true(latency_when_kept(&apart, cache, line, "8 days ago") != 777e-6);
        assert_true(latency_when_kept(&apart, cache, line, "8 days") != 777e-6); /* of a clock that was wrong */
        assert_true((latency_when_kept(&apart, cache, busy, "now") == 7777e-6) == !together);
        assert_true((latency_when_kept(&apart, cache, far, "now") == 7777e-6) == !together);
    }
    snprintf(command, sizeof command, "rm -r '%s'", cache);
    assert_int_equal(system(command), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(facts_of_all_ranks_arrive_at_rank_0),
        cmocka_unit_test(speeds_are_kept),
        cmocka_unit_test(links_are_kept),
        cmocka_unit_test(links_are_not_believed_for_ever),
    };
    gptoss_error err;
    if (cluster_open(getenv("OMPI_COMM_WORLD_SIZE") != NULL, &world, &err) != GPTOSS_OK) return 1;
    int failures = cmocka_run_group_tests(tests, NULL, NULL);
    cluster_close(&world);
    return failures;
}
