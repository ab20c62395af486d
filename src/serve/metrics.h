/* metrics.h: counts of what the server did, for GET /metrics. Any thread adds to them. */
#ifndef SERVE_METRICS_H
#define SERVE_METRICS_H

#include <stdatomic.h>

#include "base/buffer.h"
#include "engine/scheduler.h"
#include "serve/turn.h"

enum { METRICS_BUCKETS = 14 };

typedef struct histogram {
    _Atomic uint64_t buckets[METRICS_BUCKETS + 1]; /* the last one: more than all bounds */
    _Atomic uint64_t microseconds;
} histogram;

typedef struct metrics {
    _Atomic uint64_t responses[6]; /* by hundreds of their HTTP status */
    _Atomic uint64_t answers, failed_answers, abandoned;
    _Atomic uint64_t prompt_tokens, answer_tokens, reasoning_tokens;
    _Atomic uint64_t recoveries[HARMONY_RECOVERIES];
    histogram first_token, per_token, whole;
} metrics;

void metrics_add_turn(metrics *m, const turn_end *end);
void metrics_add_response(metrics *m, unsigned http);

/* Appends all in Prometheus' text format. */
gptoss_status metrics_write(metrics *m, const scheduler_stats *stats, buffer *out, gptoss_error *err);

#endif
