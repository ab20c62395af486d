/* Dealing rows, against all ways to do so. */
#include "plan/rows.h"
#include "random.h"
#include "support.h"

enum { MOST_ROWS = 9, MOST_TAKERS = 4 };

typedef struct outcome {
    bool exists;
    uint64_t busy, rows;
} outcome;

static uint64_t larger(uint64_t a, uint64_t b) { return a > b ? a : b; }

static bool is_better(const outcome *a, const outcome *b, bool busy_first) {
    if (!b->exists) return true;
    uint64_t a1 = busy_first ? a->busy : a->rows, a2 = busy_first ? a->rows : a->busy;
    uint64_t b1 = busy_first ? b->busy : b->rows, b2 = busy_first ? b->rows : b->busy;
    return a1 != b1 ? a1 < b1 : a2 < b2;
}

/* Deals steps [at, steps) to takers [i, n). */
static void try_all(const rows_taker *takers, uint32_t n, uint32_t i, uint32_t at, uint32_t steps, uint32_t step,
                    uint32_t rows, outcome so_far, bool busy_first, outcome *best) {
    if (i == n) {
        so_far.exists = true;
        if (at == steps && is_better(&so_far, best, busy_first)) *best = so_far;
        return;
    }
    const rows_taker *t = &takers[i];
    for (uint32_t to = at; to <= steps && to - at <= t->room; to++) {
        uint32_t end = to * step < rows ? to * step : rows;
        if (to > at && (at * step < t->has.begin || end > t->has.end)) break;
        outcome next = so_far;
        if (to > at) next.busy = larger(next.busy, t->busy + (to - at) * t->each);
        next.rows = larger(next.rows, (to - at) * t->each);
        try_all(takers, n, i + 1, to, steps, step, rows, next, busy_first, best);
    }
}

static outcome measure(const rows_taker *takers, uint32_t n, const plan_range *got, uint32_t step, uint32_t rows) {
    outcome o = {.exists = true};
    uint32_t at = 0;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t steps = (got[i].end - got[i].begin + step - 1) / step;
        assert_int_equal(got[i].begin, at);
        at = got[i].end;
        if (steps == 0) continue;
        assert_true(got[i].begin % step == 0 && (got[i].end % step == 0 || got[i].end == rows));
        assert_true(steps <= takers[i].room);
        assert_true(got[i].begin >= takers[i].has.begin && got[i].end <= takers[i].has.end);
        o.busy = larger(o.busy, takers[i].busy + steps * takers[i].each);
        o.rows = larger(o.rows, steps * takers[i].each);
    }
    assert_int_equal(at, rows);
    return o;
}

static void no_dealing_is_better(void **state) {
    (void)state;
    uint64_t seed = 3;
    for (int round = 0; round < 20000; round++) {
        rows_taker takers[MOST_TAKERS];
        plan_range got[MOST_TAKERS];
        uint32_t n = 1 + (uint32_t)random_below(&seed, MOST_TAKERS), step = 1 + (uint32_t)random_below(&seed, 3);
        uint32_t steps = 1 + (uint32_t)random_below(&seed, MOST_ROWS);
        uint32_t rows = steps * step - (uint32_t)random_below(&seed, step);
        for (uint32_t i = 0; i < n; i++) {
            takers[i] = (rows_taker){.busy = round % 2 ? random_below(&seed, 20) : 0,
                                     .each = 1 + random_below(&seed, 4),
                                     .room = round % 3 ? UINT64_MAX : random_below(&seed, steps + 2),
                                     .has = {0, UINT32_MAX}};
            if (round % 5) continue;
            takers[i].has.begin = (uint32_t)random_below(&seed, steps) * step;
            takers[i].has.end = takers[i].has.begin + (uint32_t)random_below(&seed, steps + 1) * step;
        }
        bool busy_first = round / 2 % 2;
        outcome best = {0};
        try_all(takers, n, 0, 0, steps, step, rows, (outcome){0}, busy_first, &best);
        assert_int_equal(rows_deal(rows, step, takers, n, busy_first, got), best.exists);
        if (!best.exists) continue;
        outcome is = measure(takers, n, got, step, rows);
        if (busy_first) assert_int_equal(is.busy, best.busy);
        assert_int_equal(is.rows, best.rows);
        assert_int_equal(is.busy, best.busy);
    }
}

/* What is left of a quick rank's time goes to rows. */
static void rows_fill_up_time(void **state) {
    (void)state;
    const plan_range all = {0, UINT32_MAX};
    const rows_taker takers[] = {{100, 1, UINT64_MAX, all}, {40, 1, UINT64_MAX, all}, {60, 1, UINT64_MAX, all}};
    plan_range got[3];
    assert_true(rows_deal(160, 1, takers, 3, true, got));
    assert_int_equal(got[0].end - got[0].begin, 20);
    assert_int_equal(got[1].end - got[1].begin, 80);
    assert_true(rows_deal(159, 1, takers, 3, false, got)); /* for one token all read as long */
    for (int i = 0; i < 3; i++) assert_int_equal(got[i].end - got[i].begin, 53);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_dealing_is_better),
        cmocka_unit_test(rows_fill_up_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
