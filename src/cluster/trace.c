#include "cluster/trace.h"

#include <stdlib.h>

#include "base/mem.h"
#include "cluster/link.h"
#include "cluster/tags.h"

static const double SHORTEST = 1e-6; /* seconds of a wait that is worth a span */

_Static_assert(sizeof(trace_span) == 32, "spans are sent as they are");

struct trace {
    trace_span *spans; /* [capacity] owned */
    size_t capacity, count;
    size_t labelled; /* of them, the first ones, know their wave */
    uint64_t lost;
    bool recording, working;
    trace_span work; /* under way while `working` */
};

const char *trace_kind_name(uint32_t kind) {
    static const char *const names[TRACE_KINDS] = {"layers", "output", "wait", "transfer"};
    return names[kind];
}

gptoss_status trace_open(size_t capacity, trace **out, gptoss_error *err) {
    trace *t;
    TRY(mem_array(1, sizeof *t, "trace", &t, err));
    t->capacity = capacity;
    gptoss_status status = mem_array(capacity, sizeof *t->spans, "trace", &t->spans, err);
    if (status == GPTOSS_OK)
        *out = t;
    else
        trace_close(t);
    return status;
}

void trace_close(trace *t) {
    if (!t) return;
    free(t->spans);
    free(t);
}

static void add(trace *t, trace_span span) {
    if (span.end <= span.begin) return;
    if (t->count < t->capacity)
        t->spans[t->count++] = span;
    else
        t->lost++;
}

/* A wait, cut where the message was sent. */
static void add_wait(void *context, const link_report *wait) {
    trace *t = context;
    trace_span span = {.begin = wait->begin, .end = wait->end, .kind = TRACE_WAIT};
    if (wait->end - wait->begin < SHORTEST) return;
    if (t->working) {
        t->work.end = wait->begin;
        add(t, t->work);
        t->work.begin = wait->end;
        span.wave = t->work.wave, span.tokens = t->work.tokens, span.sequences = t->work.sequences;
    }
    if (wait->sent > wait->begin) span.end = wait->sent;
    if (wait->sent == 0 || wait->sent > wait->begin) add(t, span);
    span.begin = wait->sent > wait->begin ? wait->sent : wait->begin;
    span.end = wait->end;
    span.kind = TRACE_TRANSFER;
    if (wait->sent > 0) add(t, span);
}

void trace_start(trace *t) {
    t->recording = true;
    link_watch(add_wait, t);
}

void trace_stop(trace *t) {
    t->recording = false;
    t->working = false;
    link_watch(NULL, NULL);
}

void trace_begin(trace *t, trace_kind kind, uint32_t wave, uint32_t tokens, uint32_t sequences) {
    if (!t || !t->recording) return;
    t->working = true;
    t->work = (trace_span){link_now(), 0, kind, wave, tokens, sequences};
    for (; t->labelled < t->count; t->labelled++) {
        trace_span *wait = &t->spans[t->labelled];
        wait->wave = wave, wait->tokens = tokens, wait->sequences = sequences;
    }
}

void trace_end(trace *t) {
    if (!t || !t->working) return;
    t->work.end = link_now();
    add(t, t->work);
    t->labelled = t->count;
    t->working = false;
}

/* ---- all ranks' ---- */

static void send_all(const trace *t) {
    const uint64_t head[] = {t->count, t->lost};
    MPI_Request sent[2];
    link_send(head, sizeof head, 0, TAG_TRACE, &sent[0]);
    link_send(t->spans, t->count * sizeof *t->spans, 0, TAG_TRACE, &sent[1]);
    link_wait(&sent[0]);
    link_wait(&sent[1]);
}

/* spans: room for as many as any rank has. */
static gptoss_status take_from(int rank, trace_span *spans, size_t capacity, trace_take *take, void *context,
                               gptoss_error *err) {
    uint64_t head[2] = {0};
    MPI_Request received[2];
    link_receive(head, sizeof head, rank, TAG_TRACE, &received[0]);
    link_receive(spans, capacity * sizeof *spans, rank, TAG_TRACE, &received[1]);
    size_t got = link_wait(&received[0]), all = link_wait(&received[1]);
    if (got != sizeof head || head[0] > capacity || all != head[0] * sizeof *spans)
        return error_set(err, GPTOSS_PEER, "rank %d sent a malformed trace", rank);
    take(context, rank, spans, head[0], head[1]);
    return GPTOSS_OK;
}

gptoss_status trace_collect(const cluster *c, trace *t, trace_take *take, void *context, gptoss_error *err) {
    trace_span *spans = NULL;
    gptoss_status status = GPTOSS_OK;
    if (c->rank == 0) status = mem_array(c->size > 1 ? t->capacity : 0, sizeof *spans, "trace", &spans, err);
    status = cluster_agree(c, status, err);
    if (status == GPTOSS_OK && c->rank == 0) take(context, 0, t->spans, t->count, t->lost);
    for (int rank = 1; rank < c->size && status == GPTOSS_OK; rank++) {
        if (c->rank == rank) send_all(t);
        if (c->rank == 0) status = take_from(rank, spans, t->capacity, take, context, err);
    }
    free(spans);
    t->count = t->labelled = 0;
    t->lost = 0;
    return status;
}
