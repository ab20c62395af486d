#include "cluster/pipeline.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "cluster/link.h"

enum { TAG_WAVE = 1, TAG_RESULT = 2 };
enum { WAVE_WORK = 1, WAVE_CANCELLED = 2, WAVE_STOP = 3 };

/* The head of every message. That of a wave is followed by its tokens, runs, copies and pages (model/wave.h), rounded
 * up to whole cache lines, and float[n_tokens][d_model]; that of a result by float[logits_rows][n_vocab]. All ranks run
 * this program on machines of one byte order. */
typedef struct wave_header {
    uint32_t kind;
    uint32_t number; /* counts waves; the result has its wave's */
    uint32_t n_tokens, n_runs, n_copies, n_pages;
    uint32_t logits_rows;
    uint32_t reserved[9]; /* so that what is behind it begins on a cache line */
} wave_header;
_Static_assert(sizeof(wave_header) == 64, "wave header");

/* A message that holds a wave, and is sent on in place. */
typedef struct slot {
    wave_header *message; /* owned */
    MPI_Request sent;
} slot;

struct pipeline {
    cluster cluster;
    hparams hp;
    stage *stage;
    pipeline_limits limits;
    wave_limits wave_limits; /* the stage's */
    uint32_t *marks;         /* owned; see wave_is_valid */
    slot *slots; /* a ring: on rank 0 one per wave under way, elsewhere one each to receive, compute and send */
    uint32_t n_slots, submitted, collected;
    wave_header *result; /* owned; on the first and last rank */
    MPI_Request result_sent;
    double waited;
};

static size_t await(pipeline *p, MPI_Request *request) {
    if (*request == MPI_REQUEST_NULL) return 0;
    double start = clock_seconds();
    size_t bytes = link_wait(request);
    p->waited += clock_seconds() - start;
    return bytes;
}

static size_t parts_bytes(uint64_t n_tokens, uint64_t n_runs, uint64_t n_copies, uint64_t n_pages) {
    uint64_t bytes = n_tokens * sizeof(wave_token) + n_runs * sizeof(wave_run) + n_copies * sizeof(wave_copy) +
                     n_pages * sizeof(uint32_t);
    return (size_t)((bytes + 63) / 64 * 64);
}

/* The wave inside a message. */
static wave wave_of(wave_header *m) {
    wave w = {.n_tokens = m->n_tokens, .n_runs = m->n_runs, .n_copies = m->n_copies, .n_pages = m->n_pages};
    w.tokens = (wave_token *)(void *)(m + 1);
    w.runs = (wave_run *)(void *)(w.tokens + w.n_tokens);
    w.copies = (wave_copy *)(void *)(w.runs + w.n_runs);
    w.pages = (uint32_t *)(void *)(w.copies + w.n_copies);
    return w;
}

static float *activations_of(wave_header *m) {
    return (float *)(void *)((char *)(m + 1) + parts_bytes(m->n_tokens, m->n_runs, m->n_copies, m->n_pages));
}

static float *logits_of(wave_header *result) { return (float *)(void *)(result + 1); }

static bool is_last(const pipeline *p) { return p->cluster.rank == p->cluster.size - 1; }

/* Of the message with a wave, whose counts were checked. */
static size_t wave_bytes(const pipeline *p, const wave_header *m) {
    return sizeof *m + parts_bytes(m->n_tokens, m->n_runs, m->n_copies, m->n_pages) +
           (size_t)m->n_tokens * p->hp.d_model * sizeof(float);
}

/* Of the largest such message. */
static uint64_t most_wave_bytes(const pipeline *p) {
    const wave_limits *l = &p->wave_limits;
    return sizeof(wave_header) + parts_bytes(l->chunk, l->runs, wave_most_copies(l), wave_most_pages(l)) +
           (uint64_t)l->chunk * p->hp.d_model * sizeof(float);
}

static size_t result_bytes(const pipeline *p, uint32_t rows) {
    return sizeof(wave_header) + (size_t)rows * p->hp.n_vocab * sizeof(float);
}

static gptoss_status open_buffers(pipeline *p, gptoss_error *err) {
    size_t pages = (size_t)p->wave_limits.paging.pages[KV_FULL] + p->wave_limits.paging.pages[KV_WINDOW];
    TRY(mem_array(pages, sizeof *p->marks, "waves", &p->marks, err));
    TRY(mem_array(p->n_slots, sizeof *p->slots, "pipeline", &p->slots, err));
    for (uint32_t i = 0; i < p->n_slots; i++) p->slots[i].sent = MPI_REQUEST_NULL;
    for (uint32_t i = 0; i < p->n_slots; i++)
        TRY(mem_array_aligned(1, most_wave_bytes(p), "waves", &p->slots[i].message, err));
    if (p->cluster.rank != 0 && !is_last(p)) return GPTOSS_OK;
    return mem_array_aligned(1, result_bytes(p, p->limits.logits_rows), "logits", &p->result, err);
}

gptoss_status pipeline_open(const cluster *c, const hparams *hp, stage *s, pipeline_limits limits, pipeline **out,
                            gptoss_error *err) {
    pipeline *p;
    TRY(mem_array(1, sizeof *p, "pipeline", &p, err));
    p->cluster = *c;
    p->hp = *hp;
    p->stage = s;
    p->limits = limits;
    p->wave_limits = stage_limits(s);
    if (most_wave_bytes(p) > INT_MAX || result_bytes(p, limits.logits_rows) > INT_MAX) {
        uint32_t chunk = p->wave_limits.chunk;
        free(p);
        return error_set(err, GPTOSS_MISUSE,
                         "a chunk of %u tokens makes messages of more than 2 GiB; use a smaller --chunk", chunk);
    }
    p->result_sent = MPI_REQUEST_NULL;
    p->n_slots = c->rank == 0 ? (uint32_t)c->size : 3;
    gptoss_status status = open_buffers(p, err);
    if (status != GPTOSS_OK) {
        pipeline_close(p);
        return status;
    }
    *out = p;
    return GPTOSS_OK;
}

void pipeline_close(pipeline *p) {
    if (!p) return;
    for (uint32_t i = 0; p->slots && i < p->n_slots; i++) free(p->slots[i].message);
    free(p->slots);
    free(p->marks);
    free(p->result);
    free(p);
}

uint32_t pipeline_depth(const pipeline *p) { return p->n_slots; }

wave_limits pipeline_wave_limits(const pipeline *p) { return p->wave_limits; }

uint32_t pipeline_logits_rows(const pipeline *p) { return p->limits.logits_rows; }

double pipeline_waited(const pipeline *p) { return p->waited; }

/* Runs a wave through this rank's stage and marks it when that was cut short. */
static void advance(pipeline *p, wave_header *message) {
    wave w = wave_of(message);
    if (message->kind == WAVE_WORK && stage_forward(p->stage, &w, activations_of(message)) != GPTOSS_OK)
        message->kind = WAVE_CANCELLED;
}

/* Moves the rows of the tokens whose logits are wanted to the front. */
static void keep_wanted_rows(const pipeline *p, wave_header *message) {
    size_t width = p->hp.d_model, kept = 0;
    const wave w = wave_of(message);
    float *x = activations_of(message);
    for (uint32_t i = 0; i < w.n_tokens; i++) {
        if (!w.tokens[i].logits) continue;
        if (kept != i) memcpy(x + kept * width, x + i * width, width * sizeof *x);
        kept++;
    }
}

/* Last rank: turns a wave that went through all layers into its result. */
static void finish(pipeline *p, wave_header *message) {
    *p->result = *message;
    if (message->kind != WAVE_WORK || message->logits_rows == 0) return;
    keep_wanted_rows(p, message);
    stage_logits(p->stage, activations_of(message), message->logits_rows, logits_of(p->result));
}

/* Whether every stage, and the result's buffer, can take a wave. */
static bool fits(const pipeline *p, const wave *w) {
    return wave_is_valid(w, &p->wave_limits, p->marks) && wave_logits_rows(w) <= p->limits.logits_rows;
}

gptoss_status pipeline_submit(pipeline *p, const wave *given, gptoss_error *err) {
    if (p->submitted - p->collected >= p->n_slots)
        return error_set(err, GPTOSS_INTERNAL, "%u waves are under way already", p->n_slots);
    if (!fits(p, given))
        return error_set(err, GPTOSS_INTERNAL, "a wave of %u tokens does not fit the pipeline", given->n_tokens);
    slot *to = &p->slots[p->submitted % p->n_slots];
    await(p, &to->sent); /* long complete: its result was collected */
    *to->message = (wave_header){.kind = WAVE_WORK,
                                 .number = p->submitted,
                                 .n_tokens = given->n_tokens,
                                 .n_runs = given->n_runs,
                                 .n_copies = given->n_copies,
                                 .n_pages = given->n_pages,
                                 .logits_rows = wave_logits_rows(given)};
    wave w = wave_of(to->message);
    memcpy(w.tokens, given->tokens, w.n_tokens * sizeof *w.tokens);
    memcpy(w.runs, given->runs, w.n_runs * sizeof *w.runs);
    memcpy(w.copies, given->copies, w.n_copies * sizeof *w.copies);
    memcpy(w.pages, given->pages, w.n_pages * sizeof *w.pages);
    stage_embed(p->stage, w.tokens, w.n_tokens, activations_of(to->message));
    advance(p, to->message);
    if (!is_last(p)) link_send(to->message, wave_bytes(p, to->message), 1, TAG_WAVE, &to->sent);
    p->submitted++;
    return GPTOSS_OK;
}

gptoss_status pipeline_collect(pipeline *p, float **logits, gptoss_error *err) {
    if (p->submitted == p->collected) return error_set(err, GPTOSS_INTERNAL, "no wave is under way");
    wave_header *asked = p->slots[p->collected++ % p->n_slots].message;
    if (is_last(p)) {
        finish(p, asked);
    } else {
        MPI_Request received;
        link_receive(p->result, result_bytes(p, p->limits.logits_rows), p->cluster.size - 1, TAG_RESULT, &received);
        size_t got = await(p, &received);
        if (got != result_bytes(p, asked->logits_rows) || p->result->number != asked->number)
            return error_set(err, GPTOSS_PEER, "rank %d answered another wave than number %u", p->cluster.size - 1,
                             asked->number);
    }
    if (p->result->kind != WAVE_WORK)
        return error_set(err, GPTOSS_CANCELLED, "interrupted while working on position %u",
                         wave_of(asked).tokens->position);
    *logits = logits_of(p->result);
    return GPTOSS_OK;
}

void pipeline_stop(pipeline *p) {
    float *logits;
    gptoss_error ignored;
    while (p->submitted != p->collected) pipeline_collect(p, &logits, &ignored);
    if (p->cluster.size == 1) return;
    for (uint32_t i = 0; i < p->n_slots; i++) await(p, &p->slots[i].sent);
    *p->slots[0].message = (wave_header){.kind = WAVE_STOP};
    link_send(p->slots[0].message, sizeof(wave_header), 1, TAG_WAVE, &p->slots[0].sent);
    await(p, &p->slots[0].sent);
}

static bool counts_fit(const pipeline *p, const wave_header *m) {
    const wave_limits *l = &p->wave_limits;
    return m->n_tokens <= l->chunk && m->n_runs <= l->runs && m->n_copies <= wave_most_copies(l) &&
           m->n_pages <= wave_most_pages(l);
}

static gptoss_status check_wave(pipeline *p, wave_header *m, size_t bytes, gptoss_error *err) {
    bool sound = bytes >= sizeof *m && m->kind >= WAVE_WORK && m->kind <= WAVE_STOP && counts_fit(p, m) &&
                 bytes == wave_bytes(p, m);
    if (sound && m->kind != WAVE_STOP) {
        wave w = wave_of(m);
        sound = fits(p, &w) && m->logits_rows == wave_logits_rows(&w);
    }
    if (!sound)
        return error_set(err, GPTOSS_PEER, "rank %d received a malformed wave of %zu bytes from rank %d",
                         p->cluster.rank, bytes, p->cluster.rank - 1);
    return GPTOSS_OK;
}

/* Passes a finished wave on: to the next stage, or as a result to rank 0. */
static void deliver(pipeline *p, slot *w) {
    if (!is_last(p)) {
        link_send(w->message, wave_bytes(p, w->message), p->cluster.rank + 1, TAG_WAVE, &w->sent);
    } else if (w->message->kind != WAVE_STOP) {
        await(p, &p->result_sent); /* the previous result still occupies the buffer */
        finish(p, w->message);
        link_send(p->result, result_bytes(p, p->result->logits_rows), 0, TAG_RESULT, &p->result_sent);
    }
}

gptoss_status pipeline_work(pipeline *p, gptoss_error *err) {
    MPI_Request next = MPI_REQUEST_NULL;
    int from = p->cluster.rank - 1;
    size_t capacity = (size_t)most_wave_bytes(p);
    link_receive(p->slots[0].message, capacity, from, TAG_WAVE, &next);
    for (uint32_t i = 0;; i++) {
        slot *w = &p->slots[i % p->n_slots], *following = &p->slots[(i + 1) % p->n_slots];
        TRY(check_wave(p, w->message, await(p, &next), err));
        bool last = w->message->kind == WAVE_STOP;
        if (!last) {
            /* The next wave arrives while this one is computed. */
            await(p, &following->sent);
            link_receive(following->message, capacity, from, TAG_WAVE, &next);
        }
        advance(p, w->message);
        deliver(p, w);
        if (!last) continue;
        for (uint32_t j = 0; j < p->n_slots; j++) await(p, &p->slots[j].sent);
        await(p, &p->result_sent);
        return GPTOSS_OK;
    }
}
