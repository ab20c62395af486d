/* rows.h: the rows of a matrix dealt to ranks. */
#ifndef PLAN_ROWS_H
#define PLAN_ROWS_H

#include "plan/placement.h"

/* A rank that may take rows. */
typedef struct rows_taker {
    uint64_t busy;  /* nanoseconds a token with other work */
    uint64_t each;  /* and for each step of rows; > 0 */
    uint64_t room;  /* steps */
    plan_range has; /* rows that it can have */
} rows_taker;

/* Deals rows [0, rows), in whole steps of `step` but for the last one, to takers [0, n) in order, each a range of what
 * it can have, or none. busy_first: the busiest taker is as little busy as can be, then the most that any spends on
 * rows is least; otherwise the other way round. *got: [n]; false when there is no such dealing, *got then holds how far
 * it comes with as many rows as each has room for. */
bool rows_deal(uint32_t rows, uint32_t step, const rows_taker *takers, uint32_t n, bool busy_first, plan_range *got);

#endif
