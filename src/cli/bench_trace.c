#include "cli/bench_trace.h"

#include <errno.h>
#include <inttypes.h>

/* A process a rank. Times are in microseconds, as the format has them, from rank 0's first span on. */
typedef struct writer {
    FILE *to;
    double origin;
    bool begun;
} writer;

static void begin_event(writer *w) {
    fputs(w->begun ? ",\n" : "\n", w->to);
    w->begun = true;
}

static void write_span(writer *w, int rank, const trace_span *s) {
    static const char *const categories[TRACE_KINDS] = {"compute", "compute", "wait", "transfer"};
    if (s->kind >= TRACE_KINDS) return;
    begin_event(w);
    fprintf(w->to,
            "{\"name\":\"%s\",\"cat\":\"%s\",\"ph\":\"X\",\"pid\":%d,\"tid\":0,\"ts\":%.3f,\"dur\":%.3f,"
            "\"args\":{\"wave\":%" PRIu32 ",\"tokens\":%" PRIu32 ",\"sequences\":%" PRIu32 "}}",
            trace_kind_name(s->kind), categories[s->kind], rank, 1e6 * (s->begin - w->origin),
            1e6 * (s->end - s->begin), s->wave, s->tokens, s->sequences);
}

static void write_rank(void *context, int rank, const trace_span *spans, size_t count, uint64_t lost) {
    writer *w = context;
    if (rank == 0 && count > 0) w->origin = spans[0].begin;
    begin_event(w);
    fprintf(w->to, "{\"name\":\"process_name\",\"ph\":\"M\",\"pid\":%d,\"tid\":0,\"args\":{\"name\":\"rank %d\"}}",
            rank, rank);
    begin_event(w);
    fprintf(w->to, "{\"name\":\"process_sort_index\",\"ph\":\"M\",\"pid\":%d,\"tid\":0,\"args\":{\"sort_index\":%d}}",
            rank, rank);
    for (size_t i = 0; i < count; i++) write_span(w, rank, &spans[i]);
    if (lost > 0)
        fprintf(stderr, "gptoss-dist: the trace of rank %d ends early: it had no room for %" PRIu64 " more spans\n",
                rank, lost);
}

gptoss_status bench_trace_write(const cluster *c, trace *t, FILE *to, const char *path, gptoss_error *err) {
    writer w = {.to = to};
    gptoss_status status = GPTOSS_OK;
    if (c->rank == 0) fputs("{\"displayTimeUnit\":\"ms\",\"traceEvents\":[", to);
    TRY(trace_collect(c, t, write_rank, &w, err));
    if (c->rank == 0 && (fputs("\n]}\n", to) < 0 || fflush(to) != 0 || ferror(to)))
        status = error_set_errno(err, GPTOSS_IO, errno, "cannot write %s", path);
    return cluster_agree(c, status, err);
}
