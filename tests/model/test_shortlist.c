/* Shortlists of logits against sorting and adding up everything; of parts of a vocabulary, merged, against the whole.
 */
#include <math.h>
#include <string.h>

#include "model/shortlist.h"
#include "random.h"
#include "support.h"

enum { MOST = 3000 };

static const shortlist_wish ALL = {.temperature = 0.7, .sums = true};

/* Random logits of many kinds: spread widely or narrowly, with ties, with tokens that are forbidden. */
static uint32_t make_logits(uint64_t *seed, float *logits) {
    uint32_t count = 1 + (uint32_t)random_below(seed, random_below(seed, 2) ? MOST : 200),
             kind = (uint32_t)random_below(seed, 4);
    float spread = powf(10, 2 * random_float(seed));
    for (uint32_t i = 0; i < count; i++) {
        logits[i] = spread * random_float(seed) - 20;
        if (kind == 1) logits[i] = roundf(logits[i]);
        if (kind == 2 && random_below(seed, 3) == 0) logits[i] = -INFINITY;
        if (kind == 3) logits[i] = -INFINITY;
    }
    return count;
}

static void check_entries(const float *logits, uint32_t first, uint32_t count, const shortlist *l) {
    assert_int_equal(l->damaged, 0);
    assert_int_equal(l->count, count < SHORTLIST_MOST ? count : SHORTLIST_MOST);
    for (uint32_t n = 0; n < l->count; n++) {
        uint32_t token = l->entries[n].token - first, place = 0;
        assert_true(token < count && l->entries[n].logit == logits[token]);
        for (uint32_t i = 0; i < count; i++)
            place += logits[i] > logits[token] || (logits[i] == logits[token] && i < token);
        assert_int_equal(place, n);
    }
    assert_true(shortlist_is_valid(l, first, count));
}

static void check_close(double got, double want) {
    if (!(fabs(got - want) <= 1e-12 * (1 + fabs(want)))) fail_msg("%.17g instead of %.17g", got, want);
}

static void check_sums(const float *logits, uint32_t count, shortlist_wish wish, const shortlist *l) {
    double most = (double)l->entries[0].logit, sum = 0, weighted = 0, mass = 0;
    for (uint32_t i = 0; i < count && most > -INFINITY; i++) {
        double shifted = (double)logits[i] - most, e = exp(shifted);
        sum += e;
        if (e > 0) weighted += e * shifted;
        mass += exp(shifted / wish.temperature);
    }
    check_close(l->sum, wish.sums ? sum : 0);
    check_close(l->weighted, wish.sums ? weighted : 0);
    check_close(l->mass, wish.temperature > 0 ? mass : 0);
}

static void lists_hold_the_likeliest_in_order_and_the_sums(void **state) {
    (void)state;
    static float logits[MOST];
    uint64_t seed = 1;
    for (int round = 0; round < 300; round++) {
        uint32_t count = make_logits(&seed, logits), first = (uint32_t)random_below(&seed, 1000);
        const shortlist_wish wish = {.temperature = round % 3, .sums = round % 2};
        shortlist l;
        shortlist_make(logits, first, count, wish, &l);
        check_entries(logits, first, count, &l);
        check_sums(logits, count, wish, &l);
    }
}

static void parts_merge_to_the_whole(void **state) {
    (void)state;
    static float logits[MOST];
    uint64_t seed = 2;
    for (int round = 0; round < 300; round++) {
        uint32_t count = make_logits(&seed, logits);
        shortlist l = {0}, part;
        for (uint32_t at = 0, size; at < count; at += size) {
            size = (uint32_t)random_below(&seed, 2 + count / 2);
            if (size > count - at) size = count - at;
            shortlist_make(logits + at, at, size, ALL, &part);
            assert_true(shortlist_is_valid(&part, at, size));
            shortlist_merge(&l, &part, ALL);
        }
        check_entries(logits, 0, count, &l);
        check_sums(logits, count, ALL, &l);
    }
}

static void damage_is_told_and_survives_merging(void **state) {
    (void)state;
    static const float damages[] = {NAN, INFINITY};
    float logits[1000] = {0};
    uint64_t seed = 3;
    for (int round = 0; round < 100; round++) {
        uint32_t at = (uint32_t)random_below(&seed, 1000);
        shortlist sound, damaged, merged;
        shortlist_make(logits, 1000, 1000, ALL, &sound);
        logits[at] = damages[round % 2];
        shortlist_make(logits, 0, 1000, ALL, &damaged);
        logits[at] = 0;
        for (int way = 0; way < 2; way++) {
            merged = way ? sound : damaged;
            shortlist_merge(&merged, way ? &damaged : &sound, ALL);
            assert_int_equal(merged.damaged, 1);
            assert_int_equal(merged.entries[0].token, at);
            assert_true(shortlist_is_valid(&merged, 0, 1000));
        }
    }
}

static void lists_that_no_rank_would_make_are_invalid(void **state) {
    (void)state;
    float logits[300];
    for (int i = 0; i < 300; i++) logits[i] = (float)-i;
    shortlist good, l;
    shortlist_make(logits, 50, 300, ALL, &good);
    assert_true(shortlist_is_valid(&good, 50, 300));
    assert_false(shortlist_is_valid(&good, 51, 300)); /* a token in front of its range */
    assert_false(shortlist_is_valid(&good, 50, 127)); /* too many entries */
    assert_false(shortlist_is_valid(&good, 0, 100));
    for (int way = 0; way < 9; way++) {
        l = good;
        if (way == 0) l.count = 127;
        if (way == 1) l.count = 129;
        if (way == 2) l.count = UINT32_MAX;
        if (way == 3) l.damaged = 2;
        if (way == 4) l.damaged = 1;
        if (way == 5) l.entries[7].token = 350;
        if (way == 6) l.entries[8] = l.entries[7]; /* a token twice */
        if (way == 7) l.entries[9].logit = NAN;
        if (way == 8) l.mass = NAN;
        if (shortlist_is_valid(&l, 50, 300)) fail_msg("way %d was not seen", way);
    }
    shortlist_make(logits, 0, 0, ALL, &l);
    assert_true(shortlist_is_valid(&l, 0, 0));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lists_hold_the_likeliest_in_order_and_the_sums),
        cmocka_unit_test(parts_merge_to_the_whole),
        cmocka_unit_test(damage_is_told_and_survives_merging),
        cmocka_unit_test(lists_that_no_rank_would_make_are_invalid),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
