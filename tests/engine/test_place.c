/* Ranks of unequal speed get unequal shares, and the same comes out. Machines are made up: their speeds stand in the
 * cache as if they had been measured. */
#include <math.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cluster/link.h"
#include "engine/engine.h"
#include "engine/generate.h"
#include "model/rate.h"
#include "support.h"

enum { POSITIONS = 5 };

static cluster world;
static char cache[96];

/* As the machine of that name would have been measured with one thread. */
static void pretend_speed(const char *machine, double rate) {
    char path[256];
    snprintf(path, sizeof path, "%s/speed-%s-%s-1x1", cache, machine, rate_isa());
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fprintf(f, "%.0f\n", rate);
    fclose(f);
}

/* As the link behind this rank's machine would have been. */
static void pretend_link(double latency_us) {
    char path[256];
    snprintf(path, sizeof path, "%s/link-made-up-%d-1x1-made-up-%d-1x1", cache, world.rank,
             (world.rank + 1) % world.size);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fprintf(f, "%.3f us, 1000000000 bytes a second, 1.000 us to wake\n", latency_us);
    fclose(f);
}

typedef struct result {
    uint32_t stages, shards;
    uint64_t bounds[8]; /* of rank i: [bounds[2i], bounds[2i + 1]) */
    float *logits;      /* [POSITIONS][n_vocab] */
    uint32_t n_vocab;
} result;

static bool no_token(void *context, uint32_t step, uint32_t token, const sampler_report *report) {
    (void)context, (void)step, (void)token, (void)report;
    return false;
}

static void run_on(const cluster *c, bool choose, plan_goal goal, result *out) {
    const engine_config config = {.path = TEST_DATA "/golden/f32.gguf",
                                  .threads = 1,
                                  .chunk = 8,
                                  .logits_rows = 8,
                                  .choose = choose,
                                  .goal = goal,
                                  .cache_dir = cache};
    engine e;
    assert_ok(engine_open(c, &config, &e, err));
    assert_ok(engine_start(&e, 64, err));
    *out = (result){.n_vocab = e.hp.n_vocab, .stages = e.placement.stages, .shards = e.placement.shards};
    if (c->rank > 0) {
        assert_ok(pipeline_work(e.pipeline, err));
    } else {
        const uint32_t ids[] = {5, 6, 7, 8, 9};
        FILE *dump = tmpfile();
        assert_non_null(dump);
        const generate_request request = {.prompt = ids,
                                          .n_prompt = POSITIONS,
                                          .chunk = 8,
                                          .sampling = sampler_defaults(),
                                          .dump = dump,
                                          .on_token = no_token};
        generate_result ignored;
        assert_ok(generate(e.pipeline, &request, &ignored, err));
        size_t count = POSITIONS * e.hp.n_vocab;
        out->logits = malloc(count * sizeof *out->logits);
        rewind(dump);
        assert_int_equal(fread(out->logits, sizeof *out->logits, count, dump), count);
        fclose(dump);
        for (int i = 0; i < c->size; i++) {
            out->bounds[2 * i] = e.placement.rank[i].layer_begin;
            out->bounds[2 * i + 1] = e.placement.rank[i].layer_end;
        }
        pipeline_stop(e.pipeline);
    }
    engine_close(&e);
}

static cluster machines_apart(void) {
    cluster apart = world; /* each rank on a machine of its own */
    apart.local_rank = 0;
    apart.local_size = 1;
    snprintf(apart.machine, sizeof apart.machine, "made-up-%d", world.rank);
    return apart;
}

static void shares_follow_speeds(void **state) {
    (void)state;
    const cluster apart = machines_apart();
    result together, uneven;
    run_on(&world, false, PLAN_FOR_THROUGHPUT, &together);
    for (int fast = 0; fast < world.size; fast++)
        for (plan_goal goal = PLAN_FOR_THROUGHPUT; goal <= PLAN_FOR_LATENCY; goal++) {
            pretend_speed(apart.machine, world.rank == fast ? 40e9 : 10e9);
            run_on(&apart, false, goal, &uneven);
            if (world.rank == 0) {
                uint64_t layers = uneven.bounds[2 * fast + 1] - uneven.bounds[2 * fast];
                assert_int_equal(layers, 4 - ((uint64_t)world.size - 1)); /* all others have one */
                assert_memory_equal(uneven.logits, together.logits, POSITIONS * together.n_vocab * sizeof(float));
                free(uneven.logits);
            }
        }
    free(together.logits);
}

/* Slow machines with quick links had better share layers, those with slow links not. Links are taken from the cache. */
static void links_decide_on_the_grid(void **state) {
    (void)state;
    static const struct {
        double latency_us;
        uint32_t stages, shards;
    } cases[] = {{1, 1, 2}, {1e6, 2, 1}};
    const cluster apart = machines_apart();
    result plain, chosen;
    if (world.size != 2) return;
    pretend_speed(apart.machine, 1e7);
    run_on(&apart, false, PLAN_FOR_LATENCY, &plain);
    assert_int_equal(plain.stages, 2); /* nothing is chosen */
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        pretend_link(cases[i].latency_us);
        run_on(&apart, true, PLAN_FOR_LATENCY, &chosen);
        assert_int_equal(chosen.stages, cases[i].stages);
        assert_int_equal(chosen.shards, cases[i].shards);
        for (size_t n = 0; world.rank == 0 && n < POSITIONS * (size_t)plain.n_vocab; n++) {
            float want = plain.logits[n], got = chosen.logits[n];
            if (chosen.shards == 1 ? got != want : !(fabsf(got - want) < 1e-3f)) fail_msg("%g is not %g", got, want);
        }
        free(chosen.logits);
    }
    free(plain.logits);
}

static void write_experts(const char *path, const char *text) {
    FILE *f = world.rank == 0 ? fopen(path, "w") : NULL;
    if (f) fprintf(f, "{\"shards\": [%s]}", text);
    if (f) assert_int_equal(fclose(f), 0);
}

/* Rank 1 has no memory to speak of: it lacks what it must have, but a file shall not give it more. */
static void listed_experts_are_checked_against_memory(void **state) {
    (void)state;
    static const struct {
        const char *experts;
        gptoss_status want;
    } cases[] = {{"\"0-6\", \"7\"", GPTOSS_OK}, {"\"0\", \"1-7\"", GPTOSS_NO_MEMORY}};
    cluster uneven = world;
    char path[128];
    if (world.size != 2) return;
    uneven.local_rank = 0;
    uneven.local_size = world.rank == 0 ? 1 : 1 << 20;
    snprintf(path, sizeof path, "%s/experts.json", cache);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        engine e;
        gptoss_error why = {0};
        write_experts(path, cases[i].experts);
        const engine_config config = {.path = TEST_DATA "/golden/f32.gguf",
                                      .threads = 1,
                                      .chunk = 8,
                                      .logits_rows = 8,
                                      .stages = 1,
                                      .shards = 2,
                                      .expert_placement = path};
        assert_int_equal(engine_open(&uneven, &config, &e, &why), cases[i].want);
        if (world.rank == 0 && cases[i].want == GPTOSS_OK) {
            assert_true(e.missing_memory > 0);
            assert_int_equal(e.placement.rank[1].experts.begin, 7);
        } else if (world.rank == 0) {
            assert_non_null(strstr(why.text, "experts.json"));
            assert_non_null(strstr(why.text, " GiB more on each rank"));
            assert_non_null(strstr(why.text, "without --expert-placement"));
        }
        engine_close(&e);
    }
}

static void work_nothing(void *context, int worker, int workers) { (void)context, (void)worker, (void)workers; }

/* Rank 0 sends to rank 1 and works until a file tells that all is there. */
static void long_messages_move_while_the_team_works(void **state) {
    (void)state;
    enum { BYTES = 3 << 20 };
    const engine_config config = {.path = TEST_DATA "/golden/f32.gguf", .threads = 1, .chunk = 8, .logits_rows = 8};
    engine e;
    MPI_Request request;
    char told[128];
    uint8_t *message = calloc(BYTES, 1);
    snprintf(told, sizeof told, "%s/told", cache);
    assert_ok(engine_open(&world, &config, &e, err));
    if (world.rank == 0) {
        link_send(message, BYTES, 1, 21, &request);
        while (access(told, F_OK) != 0) team_run(e.team, work_nothing, NULL);
        link_wait(&request);
    } else if (world.rank == 1) {
        link_receive(message, BYTES, 0, 21, &request);
        assert_int_equal(link_wait(&request), BYTES);
        fclose(fopen(told, "w"));
    }
    engine_close(&e);
    free(message);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(shares_follow_speeds),
                                       cmocka_unit_test(links_decide_on_the_grid),
                                       cmocka_unit_test(listed_experts_are_checked_against_memory),
                                       cmocka_unit_test(long_messages_move_while_the_team_works)};
    gptoss_error err;
    setenv("OMPI_MCA_btl_vader_single_copy_mechanism", "none", 0); /* long messages come in parts */
    if (cluster_open(getenv("OMPI_COMM_WORLD_SIZE") != NULL, &world, &err) != GPTOSS_OK) return 1;
    int number = (int)getpid();
    cluster_broadcast(&world, &number, sizeof number);
    snprintf(cache, sizeof cache, "%s/gptoss-place-%d", P_tmpdir, number);
    mkdir(cache, 0777);
    int failures = cmocka_run_group_tests(tests, NULL, NULL);
    cluster_agree(&world, GPTOSS_OK, NULL);
    char command[128];
    snprintf(command, sizeof command, "rm -r '%s'", cache);
    if (world.rank == 0 && system(command) != 0) failures++;
    cluster_close(&world);
    return failures;
}
