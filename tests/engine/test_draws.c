/* Tokens that are drawn: which may be, how often each is, and that seeds decide. */
#include <math.h>
#include <stdbool.h>

#include "base/clock.h"
#include "engine/chooser.h"
#include "random.h"
#include "support.h"

/* ---- which may be drawn, by brute force ---- */

typedef struct ranked {
    uint32_t token;
    double logit, probability;
} ranked;

static int likelier_first(const void *a, const void *b) {
    const ranked *x = a, *y = b;
    if (x->logit != y->logit) return x->logit > y->logit ? -1 : 1;
    return x->token < y->token ? -1 : 1;
}

/* Sorts all tokens, cuts the list as the settings say, one after the other; returns how many are left, their
 * probabilities being those of a draw. `order` has room for count. */
static uint32_t allowed(const float *logits, uint32_t count, const sampler_settings *set, ranked *order) {
    for (uint32_t i = 0; i < count; i++) order[i] = (ranked){.token = i, .logit = logits[i]};
    qsort(order, count, sizeof *order, likelier_first);
    uint32_t kept = set->top_k && set->top_k < count ? set->top_k : count;
    double total = 0, sum = 0;
    for (uint32_t i = 0; i < kept; i++) total += exp((order[i].logit - order[0].logit) / set->temperature);
    for (uint32_t i = 0; i < kept; i++)
        order[i].probability = exp((order[i].logit - order[0].logit) / set->temperature) / total;
    for (uint32_t i = 0; i < kept; i++) {
        if (i > 0 && (sum >= set->top_p || order[i].probability < set->min_p * order[0].probability))
            kept = i;
        else
            sum += order[i].probability;
    }
    for (uint32_t i = 0; i < kept; i++) order[i].probability /= sum;
    return kept;
}

/* Draws often: nothing outside the set comes, everything inside does, about as often as it should: the sum of
 * (seen - expected)^2 / expected, which for n tokens is near n - 1, stays within 6 standard deviations. */
static void check_draws(const float *logits, uint32_t count, sampler_settings settings, uint32_t draws) {
    ranked *order = malloc(count * sizeof *order);
    uint32_t *seen = calloc(count, sizeof *seen), kept = allowed(logits, count, &settings, order);
    sampler *s = chooser_open(settings, count);
    for (uint32_t i = 0; i < draws; i++) seen[chooser_next(s, logits, NULL)]++;
    double chi_square = 0, pooled_seen = 0, pooled_expected = 0, freedom = -1;
    for (uint32_t i = 0; i < kept; i++) {
        double expected = order[i].probability * draws, got = seen[order[i].token];
        seen[order[i].token] = 0;
        if (expected > 40 && got == 0) fail_msg("token %u, expected %g times, never came", order[i].token, expected);
        if (expected < 10) { /* too rare to judge alone */
            pooled_seen += got;
            pooled_expected += expected;
            continue;
        }
        chi_square += (got - expected) * (got - expected) / expected;
        freedom++;
    }
    if (pooled_expected >= 10) {
        chi_square += (pooled_seen - pooled_expected) * (pooled_seen - pooled_expected) / pooled_expected;
        freedom++;
    }
    if (!(chi_square <= freedom + 6 * sqrt(2 * fmax(freedom, 1))))
        fail_msg("%u of %u tokens, temperature %g, top-k %u, top-p %g, min-p %g: chi-square is %g with %g degrees of "
                 "freedom",
                 kept, count, settings.temperature, settings.top_k, settings.top_p, settings.min_p, chi_square,
                 freedom);
    for (uint32_t i = 0; i < count; i++)
        if (seen[i]) fail_msg("token %u came, but only %u of %u tokens may", i, kept, count);
    sampler_close(s);
    free(order);
    free(seen);
}

static void frequencies_follow_probabilities(void **state) {
    (void)state;
    uint64_t seed = 2;
    float *logits = chooser_logits(&seed, 60, 2);
    sampler_settings settings = sampler_defaults();
    settings.temperature = 0.8;
    settings.seed = 1000;
    check_draws(logits, 60, settings, 200000);
    settings.top_k = 20; /* another way through the code */
    settings.temperature = 2.5;
    check_draws(logits, 60, settings, 200000);
    free(logits);
}

static void only_allowed_tokens_are_drawn_and_all_of_them(void **state) {
    (void)state;
    uint64_t seed = 3;
    for (int round = 0; round < 250; round++) {
        uint32_t count = 1 + (uint32_t)random_below(&seed, 60);
        float *logits = chooser_logits(&seed, count, (float)(1 + round % 5));
        if (round % 4 == 0)
            for (uint32_t i = 0; i < count; i++) logits[i] = roundf(logits[i]); /* ties */
        if (round % 7 == 0)
            for (uint32_t i = 0; i < count; i++) logits[i] = 4; /* all the same */
        if (round % 9 == 0)
            for (uint32_t i = 1; i < count; i += 3) logits[i] = -INFINITY;
        sampler_settings settings = sampler_defaults();
        settings.seed = random_bits(&seed);
        settings.temperature = 0.2 + 2 * fabs((double)random_float(&seed));
        if (round % 2) settings.top_k = (uint32_t)random_below(&seed, count + 5);
        if (round % 3) settings.top_p = fabs((double)random_float(&seed));
        if (round / 2 % 3 == 1) settings.min_p = fabs((double)random_float(&seed));
        if (round / 2 % 3 == 2) settings.min_p = 0.01;
        check_draws(logits, count, settings, 2000);
        free(logits);
    }
}

static void extreme_limits_leave_the_likeliest(void **state) {
    (void)state;
    const float logits[] = {1, 4, 2, 4, 3};
    for (int way = 0; way < 6; way++) {
        sampler_settings settings = sampler_defaults();
        settings.temperature = 1;
        if (way == 0) settings.top_k = 1;
        if (way == 1) settings.top_p = 0;
        if (way == 2) settings.top_p = 1e-300;
        if (way == 3) settings.top_k = 1, settings.min_p = 1;
        if (way == 4) settings.temperature = 1e-300, settings.top_k = 1;
        if (way == 5) settings.temperature = 1e-300, settings.top_p = 0.5;
        for (settings.seed = 0; settings.seed < 50; settings.seed++) {
            sampler *s = chooser_open(settings, 5);
            assert_int_equal(chooser_next(s, logits, NULL), 1);
            sampler_close(s);
        }
    }
    /* min-p 1 keeps all that are equally likely. */
    sampler_settings settings = sampler_defaults();
    settings.temperature = 1;
    settings.min_p = 1;
    check_draws(logits, 5, settings, 2000);
}

/* So many equal tokens that no floor under the weights narrows them. */
static void flat_distributions_over_a_real_vocabulary(void **state) {
    (void)state;
    enum { COUNT = 200000, DRAWS = 15 };
    float *logits = malloc(COUNT * sizeof *logits);
    for (uint32_t i = 0; i < COUNT; i++) logits[i] = 2.5f;
    for (int way = 0; way < 4; way++) {
        sampler_settings settings = sampler_defaults();
        settings.temperature = 1;
        uint32_t kept = COUNT, largest = 0, smallest = COUNT;
        if (way == 1) settings.top_k = kept = 50;
        if (way == 2) settings.top_p = 0.25, kept = COUNT / 4; /* exact in binary, as are the sums */
        if (way == 3) settings.top_k = 128, settings.top_p = 0.5, kept = 64;
        sampler *s = chooser_open(settings, COUNT);
        for (int i = 0; i < DRAWS; i++) {
            uint32_t token = chooser_next(s, logits, NULL);
            if (token > largest) largest = token;
            if (token < smallest) smallest = token;
        }
        assert_true(largest < kept && largest > kept - 1 - kept / 3);
        assert_true(smallest < kept / 3);
        sampler_close(s);
    }
    free(logits);
}

/* One likely token and a vocabulary of others, each of them rare, together more likely than the one. */
static void long_tails_are_not_cut_off(void **state) {
    (void)state;
    enum { COUNT = 200001, DRAWS = 15 };
    float *logits = malloc(COUNT * sizeof *logits);
    ranked *order = malloc(COUNT * sizeof *order);
    for (uint32_t i = 1; i < COUNT; i++) logits[i] = -9.9f; /* 5e-5 of the likeliest, 10 times as likely together */
    logits[0] = 0;
    for (int way = 0; way < 4; way++) {
        sampler_settings settings = sampler_defaults();
        settings.temperature = 1;
        if (way == 0) settings.top_p = 0.5;
        if (way == 1) settings.top_k = 100000;
        if (way == 2) settings.min_p = 2e-5;
        if (way == 3) settings.min_p = 8e-5;
        uint32_t kept = allowed(logits, COUNT, &settings, order), largest = 0, distinct = 0;
        sampler *s = chooser_open(settings, COUNT);
        for (int i = 0; i < DRAWS; i++) {
            uint32_t token = chooser_next(s, logits, NULL);
            distinct += token != largest;
            if (token > largest) largest = token;
        }
        assert_true(largest < kept);
        if (way == 3)
            assert_int_equal(kept, 1);
        else
            assert_true(distinct > DRAWS / 3 && largest > kept - kept / 3);
        sampler_close(s);
    }
    free(logits);
    free(order);
    /* Exactly as many tokens as top-k allows, the last of them rare. */
    const float few[] = {0, -9.5f, -9.6f};
    sampler_settings settings = sampler_defaults();
    settings.temperature = 1;
    settings.top_k = 2;
    check_draws(few, 3, settings, 200000);
}

/* Real-sized and skewed: the token at the edge of top-p is kept, the next one is not. */
static void the_edge_of_top_p_is_exact_in_a_real_vocabulary(void **state) {
    (void)state;
    enum { HEAVY = 8 };
    float *logits = malloc(REAL_VOCABULARY * sizeof *logits);
    for (uint32_t i = 0; i < REAL_VOCABULARY; i++) logits[i] = -30; /* together 1e-8 of the rest */
    for (uint32_t i = 0; i < HEAVY; i++) logits[100000 - 1000 * i] = (float)-log(1 + i);
    double harmonic = 0, share;
    for (uint32_t i = 0; i < HEAVY; i++) harmonic += 1.0 / (1 + i);
    for (uint32_t keep = 1; keep <= HEAVY; keep += 3) {
        share = 0;
        for (uint32_t i = 0; i < keep; i++) share += 1.0 / (1 + i) / harmonic;
        sampler_settings settings = sampler_defaults();
        settings.temperature = 1;
        settings.top_p = share - 1e-4;
        settings.seed = keep;
        bool seen[HEAVY] = {false};
        sampler *s = chooser_open(settings, REAL_VOCABULARY);
        for (int i = 0; i < 40; i++) {
            uint32_t token = chooser_next(s, logits, NULL), place = (100000 - token) / 1000;
            assert_true(token % 1000 == 0 && place < keep);
            seen[place] = true;
        }
        for (uint32_t i = 0; i < keep; i++) assert_true(seen[i]);
        sampler_close(s);
    }
    free(logits);
}

/* ---- seeds ---- */

static void the_same_seed_gives_the_same_tokens(void **state) {
    (void)state;
    enum { COUNT = 500, STEPS = 300 };
    uint64_t seed = 4;
    float *logits = chooser_logits(&seed, COUNT, 2);
    uint32_t tokens[3][STEPS], same = 0;
    for (int run = 0; run < 3; run++) {
        sampler_settings settings = sampler_defaults();
        settings.temperature = 1;
        settings.seed = run < 2 ? 77 : 78;
        sampler *s = chooser_open(settings, COUNT);
        for (int i = 0; i < STEPS; i++) tokens[run][i] = chooser_next(s, logits, NULL);
        sampler_close(s);
    }
    assert_memory_equal(tokens[0], tokens[1], sizeof tokens[0]);
    for (int i = 0; i < STEPS; i++) same += tokens[0][i] == tokens[2][i];
    assert_true(same < STEPS / 5);
    free(logits);
}

/* People count their seeds up: the first tokens of successive seeds must look random too. */
static void successive_seeds_are_independent(void **state) {
    (void)state;
    enum { COUNT = 16, SEEDS = 64000 };
    uint32_t first[COUNT] = {0}, pairs[COUNT][COUNT] = {{0}}, before = 0;
    const float logits[COUNT] = {0};
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        sampler_settings settings = sampler_defaults();
        settings.temperature = 1;
        settings.seed = seed;
        sampler *s = chooser_open(settings, COUNT);
        uint32_t token = chooser_next(s, logits, NULL);
        sampler_close(s);
        first[token]++;
        pairs[before][token]++;
        before = token;
    }
    double single = 0, pair = 0;
    for (int i = 0; i < COUNT; i++) {
        single += pow(first[i] - (double)SEEDS / COUNT, 2) * COUNT / SEEDS;
        for (int j = 0; j < COUNT; j++)
            pair += pow(pairs[i][j] - (double)SEEDS / COUNT / COUNT, 2) * COUNT * COUNT / SEEDS;
    }
    assert_true(single < 15 + 6 * sqrt(30));
    assert_true(pair < 255 + 6 * sqrt(510));
}

/* ---- time ---- */

static void print_how_long_a_choice_takes(void **state) {
    (void)state;
    uint64_t seed = 7;
    float *logits = chooser_logits(&seed, REAL_VOCABULARY, 3), *flat = calloc(REAL_VOCABULARY, sizeof *flat);
    static const struct {
        const char *name;
        double temperature, top_p, min_p;
        uint32_t top_k;
        bool report, flat;
    } ways[] = {
        {"greedy", 0, 1, 0, 0, false, false},
        {"greedy with a report", 0, 1, 0, 0, true, false},
        {"temperature 1", 1, 1, 0, 0, false, false},
        {"top-k 40", 1, 1, 0, 40, false, false},
        {"top-p 0.95", 1, 0.95, 0, 0, false, false},
        {"min-p 0.05", 1, 1, 0.05, 0, false, false},
        {"top-p 0.95, flat", 1, 0.95, 0, 0, false, true},
    };
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        enum { TIMES = 5 };
        sampler_settings settings = sampler_defaults();
        settings.temperature = ways[i].temperature;
        settings.top_p = ways[i].top_p;
        settings.min_p = ways[i].min_p;
        settings.top_k = ways[i].top_k;
        sampler *s = chooser_open(settings, REAL_VOCABULARY);
        sampler_candidate top[20];
        double start = clock_seconds();
        for (int n = 0; n < TIMES; n++) {
            sampler_report report = {.top = top, .n_top = 20};
            chooser_next(s, ways[i].flat ? flat : logits, ways[i].report ? &report : NULL);
        }
        print_message("%-22s %6.2f ms a token of %d\n", ways[i].name, (clock_seconds() - start) * 1e3 / TIMES,
                      REAL_VOCABULARY);
        sampler_close(s);
    }
    free(logits);
    free(flat);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(frequencies_follow_probabilities),
        cmocka_unit_test(only_allowed_tokens_are_drawn_and_all_of_them),
        cmocka_unit_test(extreme_limits_leave_the_likeliest),
        cmocka_unit_test(flat_distributions_over_a_real_vocabulary),
        cmocka_unit_test(long_tails_are_not_cut_off),
        cmocka_unit_test(the_edge_of_top_p_is_exact_in_a_real_vocabulary),
        cmocka_unit_test(the_same_seed_gives_the_same_tokens),
        cmocka_unit_test(successive_seeds_are_independent),
        cmocka_unit_test(print_how_long_a_choice_takes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
