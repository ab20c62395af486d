/* Any grid of ranks says what one rank says: the same tokens, alone and in company, from the same logits but for the
 * order in which float32 sums are made, and from the same bits where stages are not split. */
#include <unistd.h>

#include "engine/engine.h"
#include "engine/scheduler.h"
#include "gguf/synth.h"
#include "kernels/isa.h"
#include "random.h"
#include "support.h"

enum { POSITIONS = 64, CHUNK = 16, TALKERS = 6, ANSWER = 6, LONGEST = 40 };

static cluster world;
static const cluster lone = {.size = 1, .local_size = 1};
static char tiny[128]; /* a model with more layers, heads and experts than the golden ones */

/* One sequence: what it asks, and what came of it. */
typedef struct talker {
    uint32_t prompt[LONGEST], n_prompt, answer[ANSWER], n_answer, n_vocab;
    float *logits; /* [n_prompt + ANSWER][n_vocab] */
    uint32_t rows;
    bool ended;
} talker;

static bool note_token(void *context, const scheduler_token *t) {
    talker *who = context;
    assert_int_equal(t->step, who->n_answer);
    who->answer[who->n_answer++] = t->token;
    return true;
}

static void note_logits(void *context, uint32_t position, uint32_t rows, const float *logits) {
    talker *who = context;
    assert_int_equal(position, who->rows);
    memcpy(who->logits + (size_t)position * who->n_vocab, logits, (size_t)rows * who->n_vocab * sizeof *logits);
    who->rows += rows;
}

static void note_end(void *context, const scheduler_result *result) {
    talker *who = context;
    assert_int_equal(result->end, SCHEDULER_LENGTH);
    who->ended = true;
}

/* Lets all[count] talk at the same time. */
static void talk(engine *e, talker *all, uint32_t count) {
    scheduler *s;
    assert_ok(scheduler_open(e->pipeline, &(scheduler_config){.waiting = TALKERS}, &s, err));
    for (uint32_t i = 0; i < count; i++) {
        all[i].n_answer = all[i].rows = 0;
        all[i].ended = false;
        const scheduler_request r = {.prompt = all[i].prompt,
                                     .n_prompt = all[i].n_prompt,
                                     .max_tokens = ANSWER,
                                     .sampling = sampler_defaults(),
                                     .context = &all[i],
                                     .on_token = note_token,
                                     .on_logits = note_logits,
                                     .on_end = note_end};
        assert_ok(scheduler_submit(s, &r, NULL, err));
    }
    scheduler_finish(s);
    assert_ok(scheduler_run(s, err));
    gptoss_error why = {0};
    if (!scheduler_check(s, &why)) fail_msg("%s", why.text);
    scheduler_close(s);
    for (uint32_t i = 0; i < count; i++) assert_true(all[i].ended && all[i].rows == all[i].n_prompt + ANSWER - 1);
}

/* ---- one model on one grid ---- */

typedef struct model {
    const char *path;
    uint32_t layers, kv_heads; /* the most stages and shards */
    double close;              /* how close logits of split stages are */
} model;

static engine_config config_of(const model *m, uint32_t stages, uint32_t shards) {
    return (engine_config){.path = m->path,
                           .threads = 1,
                           .sequences = TALKERS,
                           .chunk = CHUNK,
                           .logits_rows = CHUNK,
                           .stages = stages,
                           .shards = shards};
}

static void expect_same(const talker *got, const talker *want, uint32_t shards, double close, const char *path) {
    size_t count = (size_t)want->rows * want->n_vocab;
    assert_int_equal(got->rows, want->rows);
    double error = relative_error(got->logits, want->logits, count);
    if (!(error <= close)) fail_msg("%s: logits of %u shards are %g away", path, shards, error);
    if (shards == 1) assert_memory_equal(got->logits, want->logits, count * sizeof *got->logits);
    assert_memory_equal(got->answer, want->answer, sizeof got->answer);
}

static void open_talkers(talker *all, uint32_t n_vocab) {
    uint64_t seed = 77;
    for (uint32_t i = 0; i < TALKERS; i++) {
        talker *who = &all[i];
        who->n_vocab = n_vocab;
        who->n_prompt = i == 0 ? LONGEST : 1 + (uint32_t)random_below(&seed, LONGEST);
        for (uint32_t n = 0; n < who->n_prompt; n++) who->prompt[n] = (uint32_t)random_below(&seed, n_vocab);
        who->logits = malloc((size_t)(who->n_prompt + ANSWER) * n_vocab * sizeof *who->logits);
    }
}

static void close_talkers(talker *all) {
    for (uint32_t i = 0; i < TALKERS; i++) free(all[i].logits);
}

/* Rank 0, while the others wait: what one rank says. */
static void talk_to_one_rank(const model *m, talker *all) {
    engine e;
    const engine_config config = config_of(m, 1, 1);
    assert_ok(engine_open(&lone, &config, &e, err));
    assert_ok(engine_start(&e, POSITIONS, err));
    open_talkers(all, e.hp.n_vocab);
    talk(&e, all, TALKERS);
    pipeline_stop(e.pipeline);
    engine_close(&e);
}

static void try_grid(const model *m, uint32_t stages, uint32_t shards, const talker *want) {
    engine e;
    const engine_config config = config_of(m, stages, shards);
    assert_ok(engine_open(&world, &config, &e, err));
    assert_int_equal(e.placement.stages, stages);
    assert_int_equal(e.placement.shards, shards);
    assert_ok(engine_start(&e, POSITIONS, err));
    if (world.rank > 0) {
        assert_ok(pipeline_work(e.pipeline, err));
    } else {
        talker got[TALKERS] = {0};
        open_talkers(got, e.hp.n_vocab);
        talk(&e, got, 1);
        expect_same(&got[0], &want[0], shards, m->close, m->path);
        talk(&e, got, TALKERS);
        for (uint32_t i = 0; i < TALKERS; i++) expect_same(&got[i], &want[i], shards, m->close, m->path);
        close_talkers(got);
        pipeline_stop(e.pipeline);
    }
    engine_close(&e);
}

/* A grid that the model does not allow: all ranks are told, and one of them has the text. */
static void expect_refusal(const model *m, uint32_t stages, uint32_t shards) {
    engine e;
    const engine_config config = config_of(m, stages, shards);
    gptoss_error why = {0};
    gptoss_status status = engine_open(&world, &config, &e, &why);
    if (status == GPTOSS_OK) status = engine_start(&e, POSITIONS, &why);
    if (status != GPTOSS_MISUSE && status != GPTOSS_BAD_INPUT)
        fail_msg("%s: %u x %u: status %d: %s", m->path, stages, shards, (int)status, why.text);
    uint64_t told = why.text[0] != '\0', all[16];
    cluster_gather(&world, &told, 1, all);
    for (int r = 1; r < world.size && world.rank == 0; r++) all[0] += all[r];
    if (world.rank == 0) assert_int_equal(all[0], 1);
    engine_close(&e);
}

static void try_all_grids(const model *m) {
    talker want[TALKERS] = {0};
    if (world.rank == 0) talk_to_one_rank(m, want);
    for (uint32_t shards = 1; shards <= (uint32_t)world.size; shards++) {
        uint32_t stages = (uint32_t)world.size / shards;
        if (stages * shards != (uint32_t)world.size) continue;
        if (stages > m->layers || shards > m->kv_heads)
            expect_refusal(m, stages, shards);
        else
            try_grid(m, stages, shards, want);
    }
    if (world.rank == 0) close_talkers(want);
}

/* ---- models ---- */

static void golden_models_say_the_same_on_every_grid(void **state) {
    (void)state;
    for (const char *const *name = golden_names; *name; name++) {
        char path[600];
        snprintf(path, sizeof path, "%s/golden/%s.gguf", TEST_DATA, *name);
        /* Columns of the output projection, of both KV heads, are a single block of these K-quants. */
        bool is_whole = strcmp(*name, "like-q4_k_m") == 0 || strcmp(*name, "like-q5_k_m") == 0;
        try_all_grids(&(model){.path = path, .layers = 4, .kv_heads = is_whole ? 1 : 2, .close = 1e-5});
    }
}

static void a_larger_model_says_the_same_on_every_grid(void **state) {
    (void)state;
    try_all_grids(&(model){.path = tiny, .layers = 8, .kv_heads = 4, .close = 1e-5});
}

/* Where activations are rounded, one that lies between two steps may fall to either side. */
static void rounded_activations_stay_close(void **state) {
    (void)state;
    isa_use(isa_best());
    try_all_grids(&(model){.path = tiny, .layers = 8, .kv_heads = 4, .close = 1e-2});
    try_all_grids(&(model){.path = TEST_DATA "/golden/q8_0-mxfp4.gguf", .layers = 4, .kv_heads = 2, .close = 1e-2});
    isa_use(ISA_REFERENCE);
}

static void stay_silent(void *context, const scheduler_result *result) {
    (void)context;
    assert_int_equal(result->end, SCHEDULER_LENGTH);
}

static bool take_any(void *context, const scheduler_token *t) {
    (void)context;
    (void)t;
    return true;
}

/* Answers share the waves of a single stage, however many may be under way: it reads its weights for each of them. */
static void answers_share_the_waves_of_a_single_stage(void **state) {
    (void)state;
    const model m = {.path = TEST_DATA "/golden/f32.gguf"};
    const engine_config config = config_of(&m, 1, (uint32_t)world.size);
    if (world.size > 2) return; /* heads */
    engine e;
    assert_ok(engine_open(&world, &config, &e, err));
    assert_ok(engine_start(&e, POSITIONS, err));
    if (world.rank > 0) {
        assert_ok(pipeline_work(e.pipeline, err));
    } else {
        scheduler *s;
        scheduler_stats stats;
        const uint32_t prompt = 5;
        const scheduler_request r = {.prompt = &prompt,
                                     .n_prompt = 1,
                                     .max_tokens = ANSWER,
                                     .sampling = sampler_defaults(),
                                     .on_token = take_any,
                                     .on_end = stay_silent};
        assert_ok(scheduler_open(e.pipeline, &(scheduler_config){.waiting = TALKERS}, &s, err));
        for (uint32_t i = 0; i < TALKERS; i++) assert_ok(scheduler_submit(s, &r, NULL, err));
        scheduler_finish(s);
        assert_ok(scheduler_run(s, err));
        scheduler_read_stats(s, &stats);
        assert_int_equal(stats.waves, ANSWER);
        scheduler_close(s);
        pipeline_stop(e.pipeline);
    }
    engine_close(&e);
}

static void write_tiny(void) {
    int number = (int)getpid();
    cluster_broadcast(&world, &number, sizeof number);
    snprintf(tiny, sizeof tiny, "%s/gptoss-grids-%d.gguf", P_tmpdir, number);
    gptoss_error why = {0};
    synth_report report;
    synth_options options = {.shape = *synth_find_shape("tiny"),
                             .type_attn = TYPE_Q8_0,
                             .type_experts = TYPE_MXFP4,
                             .replace = true,
                             .threads = 1};
    gptoss_status status = world.rank == 0 ? synth_write(tiny, &options, &report, &why) : GPTOSS_OK;
    if (cluster_agree(&world, status, NULL) != GPTOSS_OK) fail_msg("%s", why.text);
}

int main(void) {
    isa_use(ISA_REFERENCE);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(golden_models_say_the_same_on_every_grid),
        cmocka_unit_test(a_larger_model_says_the_same_on_every_grid),
        cmocka_unit_test(rounded_activations_stay_close),
        cmocka_unit_test(answers_share_the_waves_of_a_single_stage),
    };
    gptoss_error err;
    if (cluster_open(getenv("OMPI_COMM_WORLD_SIZE") != NULL, &world, &err) != GPTOSS_OK) return 1;
    write_tiny();
    int failures = cmocka_run_group_tests(tests, NULL, NULL);
    cluster_agree(&world, GPTOSS_OK, NULL);
    if (world.rank == 0) unlink(tiny);
    cluster_close(&world);
    return failures;
}
