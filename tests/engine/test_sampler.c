/* From logits to tokens: what is taken, what is reported, what settings change, against plain double precision. */
#include <math.h>
#include <stdbool.h>

#include "base/mem.h"
#include "engine/chooser.h"
#include "random.h"
#include "support.h"

/* ---- greedy ---- */

static void greedy_takes_the_largest_and_the_first_of_equals(void **state) {
    (void)state;
    const float logits[][5] = {
        {1, 5, 3, 5, 5}, {7, 7, 7, 7, 7}, {-3, -2, -1, -1, -9}, {-INFINITY, -INFINITY, 0, 0, -1}};
    const uint32_t want[] = {1, 0, 2, 2};
    for (int i = 0; i < 4; i++) {
        sampler *s = chooser_open(sampler_defaults(), 5);
        for (int again = 0; again < 3; again++) assert_int_equal(chooser_next(s, logits[i], NULL), want[i]);
        sampler_close(s);
    }
    sampler_close(NULL);
}

/* ---- the report ---- */

static void check_report(const float *logits, uint32_t count, uint32_t n_top) {
    sampler_candidate *top = calloc(n_top + 1, sizeof *top);
    sampler_report report = {.top = top, .n_top = n_top};
    sampler *s = chooser_open(sampler_defaults(), count);
    uint32_t token = chooser_next(s, logits, &report);
    long double sum = 0;
    double entropy = 0, max = logits[token];
    for (uint32_t i = 0; i < count; i++) sum += expl((long double)logits[i] - max);
    for (uint32_t i = 0; i < count; i++) {
        double logprob = (double)(((long double)logits[i] - max) - logl(sum));
        if (isfinite(logprob)) entropy -= exp(logprob) * logprob;
    }
    assert_true(fabs(report.entropy - entropy) <= 1e-9 * (1 + entropy));
    assert_true(report.entropy >= 0);
    assert_true(fabs(report.logprob - (double)-logl(sum)) <= 2e-7 * (1 + (double)logl(sum)));

    assert_int_equal(report.n_top, n_top < count ? n_top : count);
    if (report.n_top) assert_int_equal(top[0].token, token);
    for (uint32_t n = 0; n < report.n_top; n++) {
        double want = (double)(((long double)logits[top[n].token] - max) - logl(sum));
        if (isfinite(want))
            assert_true(fabs(top[n].logprob - want) <= 2e-7 * (1 + fabs(want)));
        else
            assert_true(top[n].logprob == -INFINITY);
        /* Its place is how many go before it: larger ones, and equal ones with lower numbers. */
        uint32_t place = 0;
        for (uint32_t i = 0; i < count; i++)
            place += logits[i] > logits[top[n].token] || (logits[i] == logits[top[n].token] && i < top[n].token);
        assert_int_equal(place, n);
    }
    sampler_close(s);
    free(top);
}

static void reports_describe_the_models_own_distribution(void **state) {
    (void)state;
    uint64_t seed = 1;
    for (int round = 0; round < 200; round++) {
        uint32_t count = 1 + (uint32_t)random_below(&seed, 300);
        float *logits = chooser_logits(&seed, count, (float)(1 << round % 8) / 4);
        if (round % 3 == 0)
            for (uint32_t i = 0; i < count; i++) logits[i] = roundf(logits[i]); /* ties */
        if (round % 5 == 0)
            for (uint32_t i = 1; i < count; i += 2) logits[i] = -INFINITY; /* forbidden tokens */
        check_report(logits, count, (uint32_t)random_below(&seed, 25));
        check_report(logits, count, count + 5);
        free(logits);
    }
    float *logits = chooser_logits(&seed, REAL_VOCABULARY, 3);
    check_report(logits, REAL_VOCABULARY, 20);
    free(logits);
}

/* As logarithms of probabilities, close logits of unlikely tokens can become the same float. */
static void close_logits_keep_their_order(void **state) {
    (void)state;
    float *logits = calloc(REAL_VOCABULARY, sizeof *logits);
    logits[9] = 0.1f;
    logits[5] = nextafterf(0.1f, 0);
    logits[2] = nextafterf(logits[5], 0);
    check_report(logits, REAL_VOCABULARY, 5);
    free(logits);
}

static void reports_do_not_hear_of_settings(void **state) {
    (void)state;
    const logit_bias bias = {.token = 3, .bias = 100};
    sampler_settings settings = sampler_defaults();
    settings.biases = &bias;
    settings.n_biases = 1;
    settings.temperature = 2;
    settings.top_k = 1;
    settings.frequency_penalty = 1;
    const float logits[] = {1, 1, 1, 1};
    sampler_candidate top[2];
    sampler *s = chooser_open(settings, 4);
    for (int step = 0; step < 5; step++) {
        sampler_report report = {.top = top, .n_top = 2};
        assert_int_equal(chooser_next(s, logits, &report), 3);
        assert_true(fabs(report.entropy - log(4)) < 1e-12);
        assert_true(fabs(report.logprob + log(4)) < 1e-6); /* of token 3 */
        assert_int_equal(top[0].token, 0);
        assert_int_equal(top[1].token, 1);
    }
    sampler_close(s);
}

/* ---- penalties and biases ---- */

/* Greedy choices of a sampler with a history against a plain account of the same history. */
static void penalties_follow_their_formulas(void **state) {
    (void)state;
    enum { COUNT = 80, STEPS = 150 };
    uint64_t seed = 5;
    for (int round = 0; round < 60; round++) {
        sampler_settings settings = sampler_defaults();
        if (round & 1) settings.repetition_penalty = 1 + fabs((double)random_float(&seed));
        if (round & 2) settings.frequency_penalty = 2 * (double)random_float(&seed);
        if (round & 4) settings.presence_penalty = 2 * (double)random_float(&seed);
        logit_bias biases[5], borrowed[5];
        for (int i = 0; i < 5; i++)
            biases[i] = (logit_bias){(uint32_t)random_below(&seed, 10), 5 * random_float(&seed)};
        memcpy(borrowed, biases, sizeof borrowed); /* may name a token twice */
        settings.biases = borrowed;
        settings.n_biases = round & 8 ? 5 : 0;
        sampler *s = chooser_open(settings, COUNT);
        memset(borrowed, 255, sizeof borrowed); /* they were copied */
        bool seen[COUNT] = {false};
        uint32_t generated[COUNT] = {0}, prompt[20];
        for (int i = 0; i < 20; i++) {
            prompt[i] = (uint32_t)random_below(&seed, COUNT);
            seen[prompt[i]] = true;
        }
        sampler_see_prompt(s, prompt, 12);
        sampler_see_prompt(s, prompt + 12, 8);
        for (int step = 0; step < STEPS; step++) {
            float *logits = chooser_logits(&seed, COUNT, 2);
            double best = -INFINITY;
            uint32_t want = 0;
            for (uint32_t i = 0; i < COUNT; i++) {
                double logit = logits[i];
                if (seen[i])
                    logit = logit > 0 ? logit / settings.repetition_penalty : logit * settings.repetition_penalty;
                if (generated[i]) logit -= settings.frequency_penalty * generated[i] + settings.presence_penalty;
                for (size_t b = 0; b < settings.n_biases; b++)
                    if (biases[b].token == i) logit += biases[b].bias;
                if (logit > best) {
                    best = logit;
                    want = i;
                }
            }
            assert_int_equal(chooser_next(s, logits, NULL), want);
            seen[want] = true;
            generated[want]++;
            free(logits);
        }
        sampler_close(s);
    }
}

static void biases_forbid_and_force(void **state) {
    (void)state;
    uint64_t seed = 6;
    static const float strengths[] = {-100, -INFINITY};
    for (int round = 0; round < 60; round++) {
        float *logits = chooser_logits(&seed, 50, 3);
        logits[7] = 20;
        sampler_settings settings = sampler_defaults();
        settings.temperature = round % 3;
        settings.top_k = round % 2 ? 10 : 0;
        settings.top_p = round % 4 ? 1 : 0.99;
        settings.seed = (uint64_t)round;
        const logit_bias forbid = {7, strengths[round % 2]}, force = {33, 100};
        settings.biases = &forbid;
        settings.n_biases = 1;
        sampler *s = chooser_open(settings, 50);
        for (int i = 0; i < 50; i++) assert_int_not_equal(chooser_next(s, logits, NULL), 7);
        sampler_close(s);
        settings.biases = &force;
        s = chooser_open(settings, 50);
        for (int i = 0; i < 50; i++) assert_int_equal(chooser_next(s, logits, NULL), 33);
        sampler_close(s);
        free(logits);
    }
}

static void a_bias_outside_the_vocabulary_is_misuse(void **state) {
    (void)state;
    const logit_bias biases[] = {{9, 1}, {10, 1}};
    sampler_settings settings = sampler_defaults();
    settings.biases = biases;
    settings.n_biases = 2;
    sampler *s = NULL;
    gptoss_error err = {0};
    assert_int_equal(sampler_open(&settings, 10, &s, &err), GPTOSS_MISUSE);
    assert_non_null(strstr(err.text, "10"));
    assert_null(s);
}

/* ---- damage ---- */

static void logits_that_are_no_numbers_are_bad_input(void **state) {
    (void)state;
    static const struct {
        float everywhere, at_3;
    } damages[] = {{NAN, NAN}, {-INFINITY, -INFINITY}, {NAN, -INFINITY}, {-INFINITY, NAN},
                   {1, NAN},   {1, INFINITY},          {NAN, 1}};
    for (size_t d = 0; d < sizeof damages / sizeof *damages; d++) {
        for (int temperature = 0; temperature < 2; temperature++) {
            float logits[10];
            for (int i = 0; i < 10; i++) logits[i] = damages[d].everywhere;
            logits[3] = damages[d].at_3;
            sampler_settings settings = sampler_defaults();
            settings.temperature = temperature;
            sampler *s = chooser_open(settings, 10);
            uint32_t token = 77;
            gptoss_error err = {0};
            assert_int_equal(chooser_try(s, logits, &token, NULL, &err), GPTOSS_BAD_INPUT);
            assert_true(strlen(err.text) > 0);
            assert_int_equal(token, 77); /* outputs are written only on success */
            sampler_close(s);
        }
    }
}

static void forbidden_tokens_are_no_damage(void **state) {
    (void)state;
    float logits[10];
    for (int i = 0; i < 10; i++) logits[i] = -INFINITY;
    logits[4] = -1e30f;
    for (int temperature = 0; temperature < 2; temperature++) {
        for (int top_k = 0; top_k < 10; top_k += 3) {
            sampler_settings settings = sampler_defaults();
            settings.temperature = temperature;
            settings.top_k = (uint32_t)top_k;
            sampler *s = chooser_open(settings, 10);
            sampler_report report = {0};
            for (int i = 0; i < 20; i++) assert_int_equal(chooser_next(s, logits, &report), 4);
            assert_true(report.entropy == 0 && report.logprob == 0);
            sampler_close(s);
        }
    }
}

static void every_failing_allocation_is_survived(void **state) {
    (void)state;
    const logit_bias bias = {1, 1};
    sampler_settings settings = sampler_defaults();
    settings.biases = &bias;
    settings.n_biases = 1;
    for (int n = 0;; n++) {
        sampler *s = NULL;
        gptoss_error err = {0};
        mem_fail_after(n);
        gptoss_status status = sampler_open(&settings, 100, &s, &err);
        mem_fail_after(-1);
        if (status == GPTOSS_OK) {
            assert_true(n >= 2);
            sampler_close(s);
            break;
        }
        assert_int_equal(status, GPTOSS_NO_MEMORY);
        assert_null(s);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(greedy_takes_the_largest_and_the_first_of_equals),
        cmocka_unit_test(reports_describe_the_models_own_distribution),
        cmocka_unit_test(close_logits_keep_their_order),
        cmocka_unit_test(reports_do_not_hear_of_settings),
        cmocka_unit_test(penalties_follow_their_formulas),
        cmocka_unit_test(biases_forbid_and_force),
        cmocka_unit_test(a_bias_outside_the_vocabulary_is_misuse),
        cmocka_unit_test(logits_that_are_no_numbers_are_bad_input),
        cmocka_unit_test(forbidden_tokens_are_no_damage),
        cmocka_unit_test(every_failing_allocation_is_survived),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
