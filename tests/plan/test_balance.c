/* Dealing layers to stages, against every possible cut. */
#include "plan/balance.h"
#include "random.h"
#include "support.h"

enum { MOST_LAYERS = 12 };

static uint64_t cost_of_cut(const uint64_t *layer_cost, uint64_t output_cost, uint32_t stages, const uint32_t *bounds) {
    uint64_t worst = 0;
    for (uint32_t s = 0; s < stages; s++) {
        uint64_t cost = s == stages - 1 ? output_cost : 0;
        for (uint32_t i = bounds[s]; i < bounds[s + 1]; i++) cost += layer_cost[i];
        if (cost > worst) worst = cost;
    }
    return worst;
}

/* Looks at every cut into non-empty stages whose first `done` bounds are set: the least cost of the costliest stage,
 * and for each bound the largest value it has in a cut of that cost. */
typedef struct search {
    const uint64_t *layer_cost;
    uint32_t n_layers, stages, cut[MOST_LAYERS + 1], largest[MOST_LAYERS + 1];
    uint64_t output_cost, best;
} search;

static void try_cuts(search *s, uint32_t done) {
    if (done < s->stages) {
        for (uint32_t bound = s->cut[done - 1] + 1; bound + (s->stages - done) <= s->n_layers; bound++) {
            s->cut[done] = bound;
            try_cuts(s, done + 1);
        }
        return;
    }
    s->cut[s->stages] = s->n_layers;
    uint64_t cost = cost_of_cut(s->layer_cost, s->output_cost, s->stages, s->cut);
    if (cost > s->best) return;
    if (cost < s->best) memset(s->largest, 0, sizeof s->largest);
    s->best = cost;
    for (uint32_t i = 0; i <= s->stages; i++)
        if (s->cut[i] > s->largest[i]) s->largest[i] = s->cut[i];
}

static void check(const uint64_t *layer_cost, uint32_t n_layers, uint64_t output_cost, uint32_t stages) {
    uint32_t bounds[MOST_LAYERS + 1];
    assert_ok(balance_layers(layer_cost, n_layers, output_cost, stages, bounds, err));
    assert_int_equal(bounds[0], 0);
    assert_int_equal(bounds[stages], n_layers);
    for (uint32_t s = 0; s < stages; s++) assert_true(bounds[s] < bounds[s + 1]);
    search all = {.layer_cost = layer_cost,
                  .n_layers = n_layers,
                  .output_cost = output_cost,
                  .stages = stages,
                  .best = UINT64_MAX};
    try_cuts(&all, 1);
    assert_int_equal(cost_of_cut(layer_cost, output_cost, stages, bounds), all.best);
    for (uint32_t i = 0; i <= stages; i++) assert_int_equal(bounds[i], all.largest[i]); /* later stages get fewer */
}

static void no_cut_is_better(void **state) {
    (void)state;
    uint64_t seed = 1;
    for (int round = 0; round < 3000; round++) {
        uint64_t costs[MOST_LAYERS];
        uint32_t n_layers = 1 + (uint32_t)random_below(&seed, MOST_LAYERS),
                 stages = 1 + (uint32_t)random_below(&seed, n_layers);
        uint64_t range = UINT64_C(1) << random_below(&seed, 50); /* from all equal to all different */
        for (uint32_t i = 0; i < n_layers; i++) costs[i] = random_below(&seed, range + 1);
        check(costs, n_layers, round % 4 == 0 ? 0 : random_below(&seed, 4 * range), stages);
    }
}

static void equal_layers_and_a_heavy_output(void **state) {
    (void)state;
    uint64_t costs[MOST_LAYERS];
    for (uint32_t i = 0; i < MOST_LAYERS; i++) costs[i] = 80;
    for (uint32_t stages = 1; stages <= MOST_LAYERS; stages++)
        for (uint64_t output = 0; output <= 2000; output += 40) check(costs, MOST_LAYERS, output, stages);
    memset(costs, 0, sizeof costs);
    for (uint32_t stages = 1; stages <= MOST_LAYERS; stages++) check(costs, MOST_LAYERS, 0, stages);
}

/* The 20b model's numbers: 24 layers of 81 MB a token and an output matrix of 616 MB, worth seven and a half layers. */
static void a_real_model_in_four(void **state) {
    (void)state;
    uint64_t costs[24];
    uint32_t bounds[5];
    for (uint32_t i = 0; i < 24; i++) costs[i] = 81000000;
    assert_ok(balance_layers(costs, 24, 616000000, 4, bounds, err));
    const uint32_t want[] = {0, 8, 16, 23, 24};
    assert_memory_equal(bounds, want, sizeof want);
}

static void too_many_or_no_stages_are_misuse(void **state) {
    (void)state;
    const uint64_t costs[] = {1, 2, 3};
    uint32_t bounds[10];
    for (uint32_t stages = 4; stages < 9; stages++) {
        gptoss_error err = {0};
        assert_int_equal(balance_layers(costs, 3, 1, stages, bounds, &err), GPTOSS_MISUSE);
        char asked[20];
        snprintf(asked, sizeof asked, "%u ranks", stages);
        assert_non_null(strstr(err.text, asked));
        assert_non_null(strstr(err.text, "at most 3"));
    }
    gptoss_error err = {0};
    assert_int_equal(balance_layers(costs, 3, 1, 0, bounds, &err), GPTOSS_MISUSE);
    assert_int_equal(balance_layers(costs, 3, 1, UINT32_MAX, bounds, &err), GPTOSS_MISUSE);
    assert_int_equal(balance_layers(costs, 0, 1, 1, bounds, &err), GPTOSS_MISUSE);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_cut_is_better),
        cmocka_unit_test(equal_layers_and_a_heavy_output),
        cmocka_unit_test(a_real_model_in_four),
        cmocka_unit_test(too_many_or_no_stages_are_misuse),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
