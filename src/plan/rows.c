#include "plan/rows.h"

typedef struct limits {
    uint64_t busy, rows; /* of a taker's time in all, of that for rows alone */
} limits;

static uint64_t most_steps(const rows_taker *t, limits most) {
    uint64_t steps = t->room;
    if (t->busy > most.busy) return 0;
    if ((most.busy - t->busy) / t->each < steps) steps = (most.busy - t->busy) / t->each;
    if (most.rows / t->each < steps) steps = most.rows / t->each;
    return steps;
}

/* Each taker gets as many as it can: to have fewer helps none behind it. */
static bool fill(uint32_t rows, uint32_t step, const rows_taker *takers, uint32_t n, limits most, plan_range *got) {
    uint32_t at = 0;
    for (uint32_t i = 0; i < n; i++) {
        const rows_taker *t = &takers[i];
        uint32_t end = t->has.end < rows ? t->has.end : rows;
        uint64_t steps = most_steps(t, most);
        got[i] = (plan_range){at, at};
        if (t->has.begin > at || end <= at || steps == 0) continue;
        if (steps < (end - at + step - 1) / step) end = at + (uint32_t)steps * step;
        if (end < rows) end -= (end - at) % step;
        at = got[i].end = end;
    }
    return at == rows;
}

/* Bisects for one of the limits, *limit, that `most` points to. */
static void tighten(uint32_t rows, uint32_t step, const rows_taker *takers, uint32_t n, limits *most, uint64_t *limit,
                    plan_range *got) {
    uint64_t low = 0, high = *limit;
    while (low < high) {
        *limit = low + (high - low) / 2;
        if (fill(rows, step, takers, n, *most, got))
            high = *limit;
        else
            low = *limit + 1;
    }
    *limit = high;
}

bool rows_deal(uint32_t rows, uint32_t step, const rows_taker *takers, uint32_t n, bool busy_first, plan_range *got) {
    limits most = {UINT64_MAX, UINT64_MAX};
    if (!fill(rows, step, takers, n, most, got)) return false;
    tighten(rows, step, takers, n, &most, busy_first ? &most.busy : &most.rows, got);
    tighten(rows, step, takers, n, &most, busy_first ? &most.rows : &most.busy, got);
    return fill(rows, step, takers, n, most, got);
}
