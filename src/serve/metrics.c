#include "serve/metrics.h"

#include <inttypes.h>

static const double bounds[METRICS_BUCKETS] = {0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1,
                                               0.25,  0.5,    1,     2.5,  5,     10,   60};

static void observe(histogram *h, double seconds) {
    int i = 0;
    while (i < METRICS_BUCKETS && seconds > bounds[i]) i++;
    h->buckets[i]++;
    h->microseconds += (uint64_t)(seconds * 1e6);
}

void metrics_add_turn(metrics *m, const turn_end *end) {
    m->answers++;
    m->failed_answers += end->failed;
    m->prompt_tokens += end->prompt_tokens;
    m->answer_tokens += end->answer_tokens;
    m->reasoning_tokens += end->reasoning_tokens;
    for (int i = 0; i < HARMONY_RECOVERIES; i++) m->recoveries[i] += end->recoveries.counts[i];
    observe(&m->whole, end->seconds);
    if (end->answer_tokens > 0) observe(&m->first_token, end->first_token_seconds);
    if (end->answer_tokens > 1)
        observe(&m->per_token, (end->seconds - end->first_token_seconds) / (end->answer_tokens - 1));
}

void metrics_add_response(metrics *m, unsigned http) { m->responses[http / 100 < 6 ? http / 100 : 5]++; }

/* ---- text ---- */

static gptoss_status head(buffer *out, const char *name, const char *type, const char *help, gptoss_error *err) {
    return buffer_printf(out, err, "# HELP gptoss_%s %s\n# TYPE gptoss_%s %s\n", name, help, name, type);
}

static gptoss_status write_one(buffer *out, const char *name, const char *type, const char *help, uint64_t value,
                               gptoss_error *err) {
    TRY(head(out, name, type, help, err));
    return buffer_printf(out, err, "gptoss_%s %" PRIu64 "\n", name, value);
}

static gptoss_status write_histogram(buffer *out, const char *name, const char *help, histogram *h, gptoss_error *err) {
    uint64_t sum = 0;
    TRY(head(out, name, "histogram", help, err));
    for (int i = 0; i < METRICS_BUCKETS; i++) {
        sum += h->buckets[i];
        TRY(buffer_printf(out, err, "gptoss_%s_bucket{le=\"%g\"} %" PRIu64 "\n", name, bounds[i], sum));
    }
    sum += h->buckets[METRICS_BUCKETS];
    TRY(buffer_printf(out, err, "gptoss_%s_bucket{le=\"+Inf\"} %" PRIu64 "\n", name, sum));
    return buffer_printf(out, err, "gptoss_%s_sum %.6f\ngptoss_%s_count %" PRIu64 "\n", name,
                         (double)h->microseconds / 1e6, name, sum);
}

static gptoss_status write_scheduler(const scheduler_stats *s, buffer *out, gptoss_error *err) {
    TRY(write_one(out, "requests_running", "gauge", "Answers at work.", s->running, err));
    TRY(write_one(out, "requests_waiting", "gauge", "Answers that wait for their turn.", s->waiting, err));
    TRY(write_one(out, "requests_refused_total", "counter", "Answers refused since the queue was full.", s->refused,
                  err));
    TRY(write_one(out, "waves_total", "counter", "Waves sent through the pipeline.", s->waves, err));
    TRY(write_one(out, "cached_prompt_tokens_total", "counter", "Prompt tokens taken from the prefix cache.",
                  s->cached_tokens, err));
    TRY(write_one(out, "prefix_cache_hits_total", "counter", "Prompts of which a beginning was cached.", s->cache_hits,
                  err));
    TRY(write_one(out, "prefix_cache_misses_total", "counter", "Prompts read from their first token.", s->cache_misses,
                  err));
    TRY(write_one(out, "prefix_cache_evictions_total", "counter", "Resume points that were dropped.",
                  s->cache_evictions, err));
    TRY(write_one(out, "prefix_cache_points", "gauge", "Beginnings of prompts that are remembered.", s->resume_points,
                  err));
    TRY(head(out, "kv_pages", "gauge", "Pages of the KV cache.", err));
    const uint32_t pages[2][3] = {{s->full_pages, s->full_pages_running, s->full_pages_cached},
                                  {s->window_pages, s->window_pages_running, s->window_pages_cached}};
    static const char *const states[] = {"all", "running", "cached"};
    for (int k = 0; k < 2; k++)
        for (int i = 0; i < 3; i++)
            TRY(buffer_printf(out, err, "gptoss_kv_pages{layers=\"%s\",state=\"%s\"} %u\n", k ? "window" : "full",
                              states[i], pages[k][i]));
    return GPTOSS_OK;
}

gptoss_status metrics_write(metrics *m, const scheduler_stats *stats, buffer *out, gptoss_error *err) {
    TRY(write_one(out, "answers_total", "counter", "Answers that ended.", m->answers, err));
    TRY(write_one(out, "answers_failed_total", "counter", "Answers that ended in an error.", m->failed_answers, err));
    TRY(write_one(out, "answers_abandoned_total", "counter", "Answers whose client went away.", m->abandoned, err));
    TRY(write_one(out, "prompt_tokens_total", "counter", "Tokens of prompts.", m->prompt_tokens, err));
    TRY(write_one(out, "answer_tokens_total", "counter", "Tokens generated.", m->answer_tokens, err));
    TRY(write_one(out, "reasoning_tokens_total", "counter", "Of these, in reasoning.", m->reasoning_tokens, err));
    TRY(head(out, "http_responses_total", "counter", "HTTP responses by class of status.", err));
    for (int i = 2; i < 6; i++)
        TRY(buffer_printf(out, err, "gptoss_http_responses_total{status=\"%dxx\"} %" PRIu64 "\n", i,
                          (uint64_t)m->responses[i]));
    TRY(head(out, "harmony_recoveries_total", "counter", "What had to be mended in answers.", err));
    for (int i = 0; i < HARMONY_RECOVERIES; i++)
        TRY(buffer_printf(out, err, "gptoss_harmony_recoveries_total{kind=\"%s\"} %" PRIu64 "\n",
                          harmony_recovery_name((harmony_recovery)i), (uint64_t)m->recoveries[i]));
    TRY(write_histogram(out, "first_token_seconds", "From a request to its first token.", &m->first_token, err));
    TRY(write_histogram(out, "per_token_seconds", "Mean time of a token after the first.", &m->per_token, err));
    TRY(write_histogram(out, "answer_seconds", "From a request to the end of its answer.", &m->whole, err));
    return stats ? write_scheduler(stats, out, err) : GPTOSS_OK;
}
