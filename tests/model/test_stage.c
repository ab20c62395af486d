/* The arithmetic of whole models, held to float64 logits; and that it does not depend on chunks, threads or slices. */
#include <math.h>

#include "base/cancel.h"
#include "kernels/isa.h"
#include "model/stage.h"
#include "reference.h"
#include "runs.h"
#include "support.h"

enum { POSITIONS = 128 };

static kv_type cache_type = KV_DEFAULT;

/* A model cut into `stages` slices of the first n_layers layers, all in this process. */
typedef struct model {
    hparams hp;
    uint32_t n_stages;
    team *team;
    weights *weights[4];
    stage *stages[4];
} model;

static void model_open(const char *path, uint32_t n_layers, uint32_t stages, uint32_t chunk, int threads, bool expert_0,
                       model *m) {
    gguf_file *file;
    assert_ok(gguf_open(path, &file, err));
    assert_ok(hparams_read(file, &m->hp, err));
    if (n_layers == 0) n_layers = m->hp.n_layers;
    assert_ok(weights_check(file, &m->hp, n_layers, err));
    assert_ok(team_open(threads, &m->team, err));
    m->n_stages = stages;
    for (uint32_t i = 0; i < stages; i++) {
        const slice what =
            slice_of_layers(&m->hp, n_layers * i / stages, n_layers * (i + 1) / stages, n_layers, expert_0);
        assert_ok(weights_open(file, &m->hp, what, &m->weights[i], err));
        const kv_room room = {.sequences = 1, .positions = POSITIONS, .chunk = chunk, .type = cache_type};
        assert_ok(stage_open(&m->hp, m->weights[i], m->team, &room, NULL, &m->stages[i], err));
    }
    gguf_close(file);
}

static void model_close(model *m) {
    for (uint32_t i = 0; i < m->n_stages; i++) {
        stage_close(m->stages[i]);
        weights_close(m->weights[i]);
    }
    team_close(m->team);
}

static float *model_logits(model *m, const uint32_t *tokens, size_t count, uint32_t chunk) {
    float *logits = malloc(count * m->hp.n_vocab * sizeof *logits);
    float *x = malloc(chunk * m->hp.d_model * sizeof *x);
    const wave_limits limits = stage_limits(m->stages[0]);
    runs waves;
    runs_open(&limits, &waves);
    for (uint32_t at = 0; at < count; at += chunk) {
        uint32_t n = count - at < chunk ? (uint32_t)(count - at) : chunk;
        const wave *w = runs_one(&waves, tokens + at, n, at, n);
        stage_embed(m->stages[0], w->tokens, n, x);
        for (uint32_t i = 0; i < m->n_stages; i++) assert_int_equal(stage_forward(m->stages[i], w, x), GPTOSS_OK);
        stage_logits(m->stages[m->n_stages - 1], x, n, logits + at * m->hp.n_vocab);
    }
    runs_close(&waves);
    free(x);
    return logits;
}

static float *run(const golden *g, uint32_t n_layers, uint32_t stages, uint32_t chunk, int threads, bool expert_0) {
    model m;
    model_open(g->path, n_layers, stages, chunk, threads, expert_0, &m);
    float *logits = model_logits(&m, g->tokens, g->positions, chunk);
    model_close(&m);
    return logits;
}

static void golden_models_reproduce_their_logits(void **state) {
    (void)state;
    isa_use(ISA_REFERENCE);
    for (const char *const *name = golden_names; *name; name++) {
        golden g;
        golden_load(*name, &g);
        float *logits = run(&g, 0, 1, 100, 1, false);
        double error = relative_error(logits, g.logits, g.positions * g.n_vocab);
        print_message("%s: relative error %.2g\n", *name, error);
        assert_true(error < 2e-6);
        free(logits);
        golden_free(&g);
    }
}

/* Mean over positions of sum p log(p / q), p the golden distribution; in double precision, NaN if any logit is. */
static double mean_divergence(const golden *g, const float *logits) {
    double sum = 0;
    for (size_t i = 0; i < g->positions; i++) {
        const float *want = g->logits + i * g->n_vocab, *got = logits + i * g->n_vocab;
        double want_sum = 0, got_sum = 0, divergence = 0;
        for (size_t v = 0; v < g->n_vocab; v++) {
            want_sum += exp((double)want[v]);
            got_sum += exp((double)got[v]);
        }
        for (size_t v = 0; v < g->n_vocab; v++)
            divergence += exp((double)want[v]) / want_sum * ((want[v] - log(want_sum)) - (got[v] - log(got_sum)));
        sum += divergence;
    }
    return sum / (double)g->positions;
}

static double divergence_with(isa which, kv_type type, const char *name) {
    golden g;
    isa_use(which);
    cache_type = type;
    golden_load(name, &g);
    float *prefill = run(&g, 0, 1, 100, 1, false), *decode = run(&g, 0, 1, 1, 1, false);
    cache_type = KV_DEFAULT;
    assert_memory_equal(prefill, decode, g.positions * g.n_vocab * sizeof *prefill);
    double divergence = mean_divergence(&g, prefill);
    print_message("%s, %s cache, %s: mean KL divergence %.2g nats, relative error %.2g\n", isa_name(which),
                  kv_type_name(type), name, divergence, relative_error(prefill, g.logits, g.positions * g.n_vocab));
    free(prefill);
    free(decode);
    golden_free(&g);
    return divergence;
}

/* What rounding activations, and keys and values, to 16 bits costs, in prefill (chunk 100) and in decode (chunk 1). */
static void every_instruction_set_stays_close_to_the_golden_distributions(void **state) {
    (void)state;
    for (isa which = 0; which < ISA_COUNT; which++) {
        if (!isa_available(which)) continue;
        for (const char *const *name = golden_names; *name; name++)
            assert_true(divergence_with(which, KV_DEFAULT, *name) < 1e-6);
    }
}

/* With 16 bits everywhere an expert that is all but tied with another can take its place: one token in some hundred for
 * binary16, fewer for i16. */
static void other_caches_stay_near(void **state) {
    (void)state;
    for (const char *const *name = golden_names; *name; name++) {
        assert_true(divergence_with(isa_best(), KV_F32, *name) < 1e-6);
        assert_true(divergence_with(isa_best(), KV_I16, *name) < 1e-3);
        assert_true(divergence_with(isa_best(), KV_F16, *name) < 1e-3);
        assert_true(divergence_with(isa_best(), KV_Q8_0, *name) < 2e-3);
    }
}

static void chunks_threads_and_stages_change_no_bit(void **state) {
    (void)state;
    isa_use(isa_best());
    for (const char *const *name = golden_names; *name; name++) {
        golden g;
        golden_load(*name, &g);
        size_t bytes = g.positions * g.n_vocab * sizeof(float);
        float *whole = run(&g, 0, 1, 100, 1, false);
        const struct {
            uint32_t stages, chunk;
            int threads;
        } ways[] = {{1, 7, 1}, {1, 1, 2}, {2, 100, 1}, {3, 7, 3}, {4, 1, 1}, {1, 100, 5}};
        for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
            float *logits = run(&g, 0, ways[i].stages, ways[i].chunk, ways[i].threads, false);
            assert_memory_equal(logits, whole, bytes);
            free(logits);
        }
        free(whole);
        golden_free(&g);
    }
}

/* Partial models and the fallback to expert 0 have no golden file; the float64 reference, itself held to the golden
 * files here, says what they should give. */
static void partial_models_equal_the_reference(void **state) {
    (void)state;
    isa_use(ISA_REFERENCE);
    for (const char *const *name = golden_names; *name; name++) {
        golden g;
        golden_load(*name, &g);
        g.positions = 50; /* three windows; the reference keeps no cache and takes its time */
        size_t count = g.positions * g.n_vocab;
        float *want = malloc(count * sizeof *want);
        model whole;
        model_open(g.path, 0, 1, 1, 1, false, &whole);
        reference_logits(&whole.hp, whole.weights[0], 4, false, g.tokens, g.positions, want);
        assert_true(relative_error(want, g.logits, count) < 1e-6);
        for (int way = 0; way < 4; way++) { /* 1, 2, 3 layers; then all of them with expert 0 */
            uint32_t n_layers = way < 3 ? (uint32_t)way + 1 : 4;
            reference_logits(&whole.hp, whole.weights[0], n_layers, way == 3, g.tokens, g.positions, want);
            float *got = run(&g, n_layers, n_layers > 1 ? 2 : 1, 33, 2, way == 3);
            double error = relative_error(got, want, count);
            if (!(error < 2e-6)) fail_msg("%s, %u layers: relative error %g", *name, n_layers, error);
            free(got);
        }
        model_close(&whole);
        free(want);
        golden_free(&g);
    }
}

static void cancelling_ends_a_forward_pass(void **state) {
    (void)state;
    golden g;
    golden_load("f32", &g);
    model m;
    model_open(g.path, 0, 1, 1, 1, false, &m);
    float *x = calloc(m.hp.d_model, sizeof *x);
    const wave_limits limits = stage_limits(m.stages[0]);
    runs waves;
    runs_open(&limits, &waves);
    cancel_request();
    assert_int_equal(stage_forward(m.stages[0], runs_one(&waves, g.tokens, 1, 0, 0), x), GPTOSS_CANCELLED);
    runs_close(&waves);
    free(x);
    model_close(&m);
    golden_free(&g);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(golden_models_reproduce_their_logits),
        cmocka_unit_test(every_instruction_set_stays_close_to_the_golden_distributions),
        cmocka_unit_test(other_caches_stay_near),
        cmocka_unit_test(chunks_threads_and_stages_change_no_bit),
        cmocka_unit_test(partial_models_equal_the_reference),
        cmocka_unit_test(cancelling_ends_a_forward_pass), /* last: the wish to stop stays */
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
