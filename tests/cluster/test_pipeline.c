/* Golden models as pipelines: the logits of every rank count have the bits that one process computes alone. */
#include <mpi.h>

#include "base/cancel.h"
#include "cluster/pipeline.h"
#include "kernels/isa.h"
#include "support.h"

enum { POSITIONS = 128, CHUNK = 7 };

static cluster world;

/* This rank's part of a model. */
typedef struct part {
    hparams hp;
    weights *weights;
    team *team;
    stage *stage;
} part;

static part open_part(const char *path, uint32_t rank, uint32_t ranks, uint32_t chunk) {
    part p;
    gguf_file *file;
    assert_ok(gguf_open(path, &file, err));
    assert_ok(hparams_read(file, &p.hp, err));
    assert_ok(weights_check(file, &p.hp, p.hp.n_layers, err));
    slice what = {p.hp.n_layers * rank / ranks, p.hp.n_layers * (rank + 1) / ranks, rank == 0, rank == ranks - 1,
                  false};
    assert_ok(weights_open(file, &p.hp, what, &p.weights, err));
    assert_ok(team_open(1, &p.team, err));
    assert_ok(stage_open(&p.hp, p.weights, p.team, POSITIONS, chunk, &p.stage, err));
    gguf_close(file);
    return p;
}

static void close_part(part *p) {
    stage_close(p->stage);
    team_close(p->team);
    weights_close(p->weights);
}

/* logits[positions][n_vocab] as one process computes them, in one chunk; the caller frees them. */
static float *logits_alone(const golden *g) {
    part p = open_part(g->path, 0, 1, POSITIONS);
    float *x = malloc(g->positions * p.hp.d_model * sizeof *x),
          *logits = malloc(g->positions * g->n_vocab * sizeof *logits);
    stage_embed(p.stage, g->tokens, (uint32_t)g->positions, x);
    assert_int_equal(stage_forward(p.stage, 0, (uint32_t)g->positions, x), GPTOSS_OK);
    stage_logits(p.stage, x, (uint32_t)g->positions, logits);
    free(x);
    close_part(&p);
    return logits;
}

/* Rank 0: sends all tokens through, `chunk` at a time, `under_way` waves at once, and checks the logits of the last
 * `rows` of each wave (all of it when it has fewer). */
static void check_run(pipeline *p, const golden *g, const float *want, uint32_t chunk, uint32_t under_way,
                      uint32_t rows) {
    uint32_t sent = 0, done = 0, count = (uint32_t)g->positions;
    while (done < count) {
        uint32_t waves = (sent - done + chunk - 1) / chunk;
        if (sent < count && waves < under_way) {
            uint32_t n = count - sent < chunk ? count - sent : chunk;
            assert_ok(pipeline_submit(p, g->tokens + sent, sent, n, n < rows ? n : rows, err));
            sent += n;
            continue;
        }
        float *logits;
        uint32_t n = count - done < chunk ? count - done : chunk, got = n < rows ? n : rows;
        assert_ok(pipeline_collect(p, &logits, err));
        done += n;
        assert_memory_equal(logits, want + (done - got) * g->n_vocab, got * g->n_vocab * sizeof *logits);
    }
}

static void ranks_change_no_bit(void **state) {
    (void)state;
    for (const char *const *name = golden_names; *name; name++) {
        golden g;
        golden_load(*name, &g);
        part mine = open_part(g.path, (uint32_t)world.rank, (uint32_t)world.size, CHUNK);
        pipeline_limits limits = {.chunk = CHUNK, .logits_rows = CHUNK};
        pipeline *p;
        assert_ok(pipeline_open(&world, &mine.hp, mine.stage, limits, &p, err));
        if (world.rank == 0) {
            assert_int_equal(pipeline_depth(p), world.size);
            float *want = logits_alone(&g);
            assert_true(relative_error(want, g.logits, g.positions * g.n_vocab) < 2e-6);
            uint32_t depth = pipeline_depth(p);
            check_run(p, &g, want, CHUNK, depth, CHUNK); /* as full as it gets */
            if (name == golden_names) {                  /* the sequence starts again at position 0: */
                check_run(p, &g, want, CHUNK, 1, CHUNK); /* one wave at a time */
                check_run(p, &g, want, 1, depth, 1);     /* token by token */
                check_run(p, &g, want, 5, depth, 1);     /* only the last token's logits ... */
                check_run(p, &g, want, 3, depth, 0);     /* ... or none */
            }
            pipeline_stop(p);
            free(want);
        } else {
            assert_ok(pipeline_work(p, err));
        }
        pipeline_close(p);
        close_part(&mine);
        golden_free(&g);
    }
}

/* Opens the f32 model as a pipeline; rank 0 then runs `at_rank_0`, the others work until it stops them. */
static void with_pipeline(pipeline_limits limits, void (*at_rank_0)(pipeline *p, const golden *g)) {
    golden g;
    golden_load("f32", &g);
    part mine = open_part(g.path, (uint32_t)world.rank, (uint32_t)world.size, limits.chunk);
    pipeline *p;
    assert_ok(pipeline_open(&world, &mine.hp, mine.stage, limits, &p, err));
    if (world.rank == 0) {
        at_rank_0(p, &g);
        pipeline_stop(p);
    } else {
        assert_ok(pipeline_work(p, err));
    }
    pipeline_close(p);
    close_part(&mine);
    golden_free(&g);
}

static void misuse_at_rank_0(pipeline *p, const golden *g) {
    gptoss_error why = {0};
    float *logits;
    assert_int_equal(pipeline_collect(p, &logits, &why), GPTOSS_INTERNAL); /* nothing under way */
    assert_int_equal(pipeline_submit(p, g->tokens, 0, 0, 0, &why), GPTOSS_INTERNAL);
    assert_int_equal(pipeline_submit(p, g->tokens, 0, 9, 1, &why), GPTOSS_INTERNAL); /* longer than a chunk */
    assert_int_equal(pipeline_submit(p, g->tokens, 0, 1, 2, &why), GPTOSS_INTERNAL); /* more logits than tokens */
    assert_int_equal(pipeline_submit(p, g->tokens, 0, 8, 4, &why), GPTOSS_INTERNAL); /* more than the limit */
    for (uint32_t i = 0; i < pipeline_depth(p); i++) assert_ok(pipeline_submit(p, g->tokens + i, i, 1, 1, err));
    assert_int_equal(pipeline_submit(p, g->tokens, pipeline_depth(p), 1, 1, &why), GPTOSS_INTERNAL); /* full */
    for (uint32_t i = 0; i < pipeline_depth(p); i++) assert_ok(pipeline_collect(p, &logits, err));
    assert_int_equal(pipeline_collect(p, &logits, &why), GPTOSS_INTERNAL);
}

static void waves_that_do_not_fit_are_refused(void **state) {
    (void)state;
    with_pipeline((pipeline_limits){.chunk = 8, .logits_rows = 3}, misuse_at_rank_0);
}

static void leave_waves_under_way(pipeline *p, const golden *g) {
    for (uint32_t i = 0; i < pipeline_depth(p); i++) assert_ok(pipeline_submit(p, g->tokens + i, i, 1, 1, err));
}

static void stopping_collects_what_is_under_way(void **state) {
    (void)state;
    with_pipeline((pipeline_limits){.chunk = 4, .logits_rows = 1}, leave_waves_under_way);
}

static void nothing_at_all(pipeline *p, const golden *g) {
    (void)p;
    (void)g;
}

static void a_pipeline_can_stop_unused(void **state) {
    (void)state;
    with_pipeline((pipeline_limits){.chunk = 4, .logits_rows = 1}, nothing_at_all);
}

static void messages_beyond_2_gib_are_misuse(void **state) {
    (void)state;
    hparams hp = {.d_model = 2880, .n_vocab = 201088};
    pipeline *p = NULL;
    const pipeline_limits limits[] = {{.chunk = 3000, .logits_rows = 3000}, {.chunk = UINT32_MAX, .logits_rows = 1}};
    for (int i = 0; i < 2; i++) {
        gptoss_error err = {0};
        assert_int_equal(pipeline_open(&world, &hp, NULL, limits[i], &p, &err), GPTOSS_MISUSE);
        assert_non_null(strstr(err.text, "--chunk"));
        assert_null(p);
    }
}

/* A signal reaches one rank only; here the last. Its wave comes back as cancelled, and all ranks still stop in order.
 */
static void be_told_of_the_end(pipeline *p, const golden *g) {
    float *logits;
    gptoss_error why = {0};
    for (uint32_t i = 0; i < pipeline_depth(p); i++) assert_ok(pipeline_submit(p, g->tokens + i, i, 1, 1, err));
    for (uint32_t i = 0; i < pipeline_depth(p); i++) {
        assert_int_equal(pipeline_collect(p, &logits, &why), GPTOSS_CANCELLED);
        assert_true(strlen(why.text) > 0);
    }
}

static void a_cancelled_rank_is_heard_of(void **state) {
    (void)state;
    if (world.rank == world.size - 1) cancel_request();
    MPI_Barrier(MPI_COMM_WORLD);
    with_pipeline((pipeline_limits){.chunk = 4, .logits_rows = 4}, be_told_of_the_end);
}

int main(void) {
    isa_use(ISA_REFERENCE); /* the golden logits are held to float32 */
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ranks_change_no_bit),
        cmocka_unit_test(waves_that_do_not_fit_are_refused),
        cmocka_unit_test(stopping_collects_what_is_under_way),
        cmocka_unit_test(a_pipeline_can_stop_unused),
        cmocka_unit_test(messages_beyond_2_gib_are_misuse),
        cmocka_unit_test(a_cancelled_rank_is_heard_of), /* last: the wish to stop stays */
    };
    gptoss_error err;
    if (cluster_open(true, &world, &err) != GPTOSS_OK) return 1;
    int failures = cmocka_run_group_tests(tests, NULL, NULL);
    cluster_close(&world);
    return failures;
}
