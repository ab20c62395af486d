#include "cluster/pipeline.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "cluster/link.h"

enum { TAG_WAVE = 1, TAG_RESULT = 2 };
enum { WAVE_WORK = 1, WAVE_CANCELLED = 2, WAVE_STOP = 3 };

/* The head of every message. A wave is followed by wave_token[count], rounded up to whole cache lines, and
 * float[count][d_model]; a result by float[logits_rows][n_vocab]. All ranks run this program on machines of one byte
 * order. */
typedef struct wave_header {
    uint32_t kind;
    uint32_t number; /* counts waves; the result has its wave's */
    uint32_t count;
    uint32_t logits_rows;
    uint32_t reserved[12]; /* so that what is behind it begins on a cache line */
} wave_header;
_Static_assert(sizeof(wave_header) == 64, "wave header");

typedef struct wave {
    wave_header *message; /* owned; header and activations */
    MPI_Request sent;
} wave;

struct pipeline {
    cluster cluster;
    hparams hp;
    stage *stage;
    pipeline_limits limits;
    wave *waves; /* a ring: on rank 0 one per wave under way, elsewhere one each to receive, compute and send */
    uint32_t n_waves, submitted, collected;
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

static size_t tokens_bytes(uint32_t count) { return (count * sizeof(wave_token) + 63) / 64 * 64; }

static wave_token *tokens_of(wave_header *message) { return (wave_token *)(void *)(message + 1); }

static float *activations_of(wave_header *message) {
    return (float *)(void *)((char *)(message + 1) + tokens_bytes(message->count));
}

static float *logits_of(wave_header *result) { return (float *)(void *)(result + 1); }

static bool is_last(const pipeline *p) { return p->cluster.rank == p->cluster.size - 1; }

static size_t wave_bytes(const pipeline *p, uint32_t count) {
    return sizeof(wave_header) + tokens_bytes(count) + (size_t)count * p->hp.d_model * sizeof(float);
}

static size_t result_bytes(const pipeline *p, uint32_t rows) {
    return sizeof(wave_header) + (size_t)rows * p->hp.n_vocab * sizeof(float);
}

gptoss_status pipeline_open(const cluster *c, const hparams *hp, stage *s, pipeline_limits limits, pipeline **out,
                            gptoss_error *err) {
    pipeline *p;
    TRY(mem_array(1, sizeof *p, "pipeline", &p, err));
    p->cluster = *c;
    p->hp = *hp;
    p->stage = s;
    p->limits = limits;
    if (wave_bytes(p, limits.chunk) > INT_MAX || result_bytes(p, limits.logits_rows) > INT_MAX) {
        free(p);
        return error_set(err, GPTOSS_MISUSE,
                         "a chunk of %u tokens makes messages of more than 2 GiB; use a smaller --chunk", limits.chunk);
    }
    p->result_sent = MPI_REQUEST_NULL;
    p->n_waves = c->rank == 0 ? (uint32_t)c->size : 3;
    gptoss_status status = mem_array(p->n_waves, sizeof *p->waves, "pipeline", &p->waves, err);
    for (uint32_t i = 0; i < p->n_waves && status == GPTOSS_OK; i++) {
        p->waves[i].sent = MPI_REQUEST_NULL;
        status = mem_array_aligned(1, wave_bytes(p, limits.chunk), "waves", &p->waves[i].message, err);
    }
    if (status == GPTOSS_OK && (c->rank == 0 || is_last(p)))
        status = mem_array_aligned(1, result_bytes(p, limits.logits_rows), "logits", &p->result, err);
    if (status != GPTOSS_OK) {
        pipeline_close(p);
        return status;
    }
    *out = p;
    return GPTOSS_OK;
}

void pipeline_close(pipeline *p) {
    if (!p) return;
    for (uint32_t i = 0; p->waves && i < p->n_waves; i++) free(p->waves[i].message);
    free(p->waves);
    free(p->result);
    free(p);
}

uint32_t pipeline_depth(const pipeline *p) { return p->n_waves; }

double pipeline_waited(const pipeline *p) { return p->waited; }

/* Runs a wave through this rank's stage and marks it when that was cut short. */
static void advance(pipeline *p, wave_header *message) {
    if (message->kind == WAVE_WORK &&
        stage_forward(p->stage, tokens_of(message), message->count, activations_of(message)) != GPTOSS_OK)
        message->kind = WAVE_CANCELLED;
}

/* Moves the rows of the tokens whose logits are wanted to the front. */
static void keep_wanted_rows(const pipeline *p, wave_header *message) {
    size_t width = p->hp.d_model, kept = 0;
    const wave_token *tokens = tokens_of(message);
    float *x = activations_of(message);
    for (uint32_t i = 0; i < message->count; i++) {
        if (!tokens[i].logits) continue;
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

/* The wave behind a header, its count checked, is one that every stage and the result's buffer can take. */
static bool fits(const pipeline *p, const wave_token *tokens, uint32_t count) {
    wave_limits limits = stage_limits(p->stage);
    return count <= p->limits.chunk && wave_is_valid(tokens, count, &limits) &&
           wave_logits_rows(tokens, count) <= p->limits.logits_rows;
}

gptoss_status pipeline_submit(pipeline *p, const wave_token *tokens, uint32_t count, gptoss_error *err) {
    if (p->submitted - p->collected >= p->n_waves)
        return error_set(err, GPTOSS_INTERNAL, "%u waves are under way already", p->n_waves);
    if (!fits(p, tokens, count))
        return error_set(err, GPTOSS_INTERNAL, "a wave of %u tokens does not fit the pipeline", count);
    wave *w = &p->waves[p->submitted % p->n_waves];
    await(p, &w->sent); /* long complete: its result was collected */
    *w->message = (wave_header){
        .kind = WAVE_WORK, .number = p->submitted, .count = count, .logits_rows = wave_logits_rows(tokens, count)};
    memcpy(tokens_of(w->message), tokens, count * sizeof *tokens);
    stage_embed(p->stage, tokens, count, activations_of(w->message));
    advance(p, w->message);
    if (!is_last(p)) link_send(w->message, wave_bytes(p, count), 1, TAG_WAVE, &w->sent);
    p->submitted++;
    return GPTOSS_OK;
}

gptoss_status pipeline_collect(pipeline *p, float **logits, gptoss_error *err) {
    if (p->submitted == p->collected) return error_set(err, GPTOSS_INTERNAL, "no wave is under way");
    wave_header *asked = p->waves[p->collected++ % p->n_waves].message;
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
        return error_set(err, GPTOSS_CANCELLED, "interrupted while working on position %u", tokens_of(asked)->position);
    *logits = logits_of(p->result);
    return GPTOSS_OK;
}

void pipeline_stop(pipeline *p) {
    float *logits;
    gptoss_error ignored;
    while (p->submitted != p->collected) pipeline_collect(p, &logits, &ignored);
    if (p->cluster.size == 1) return;
    for (uint32_t i = 0; i < p->n_waves; i++) await(p, &p->waves[i].sent);
    *p->waves[0].message = (wave_header){.kind = WAVE_STOP};
    link_send(p->waves[0].message, wave_bytes(p, 0), 1, TAG_WAVE, &p->waves[0].sent);
    await(p, &p->waves[0].sent);
}

static gptoss_status check_wave(const pipeline *p, wave_header *m, size_t bytes, gptoss_error *err) {
    bool sound = bytes >= sizeof *m && m->kind >= WAVE_WORK && m->kind <= WAVE_STOP && m->count <= p->limits.chunk &&
                 bytes == wave_bytes(p, m->count);
    if (sound && m->kind != WAVE_STOP)
        sound = fits(p, tokens_of(m), m->count) && m->logits_rows == wave_logits_rows(tokens_of(m), m->count);
    if (!sound)
        return error_set(err, GPTOSS_PEER, "rank %d received a malformed wave of %zu bytes from rank %d",
                         p->cluster.rank, bytes, p->cluster.rank - 1);
    return GPTOSS_OK;
}

/* Passes a finished wave on: to the next stage, or as a result to rank 0. */
static void deliver(pipeline *p, wave *w) {
    if (!is_last(p)) {
        link_send(w->message, wave_bytes(p, w->message->count), p->cluster.rank + 1, TAG_WAVE, &w->sent);
    } else if (w->message->kind != WAVE_STOP) {
        await(p, &p->result_sent); /* the previous result still occupies the buffer */
        finish(p, w->message);
        link_send(p->result, result_bytes(p, p->result->logits_rows), 0, TAG_RESULT, &p->result_sent);
    }
}

gptoss_status pipeline_work(pipeline *p, gptoss_error *err) {
    MPI_Request next = MPI_REQUEST_NULL;
    int from = p->cluster.rank - 1;
    size_t capacity = wave_bytes(p, p->limits.chunk);
    link_receive(p->waves[0].message, capacity, from, TAG_WAVE, &next);
    for (uint32_t i = 0;; i++) {
        wave *w = &p->waves[i % p->n_waves], *following = &p->waves[(i + 1) % p->n_waves];
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
        for (uint32_t j = 0; j < p->n_waves; j++) await(p, &p->waves[j].sent);
        await(p, &p->result_sent);
        return GPTOSS_OK;
    }
}
