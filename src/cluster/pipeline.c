/* A wave goes from rank 0 to the other shards of the first stage, and from each shard of a stage to that shard of the
 * next. Ranks but 0 do whatever comes first, a wave or a job of its logits (cluster/output.h), and wait for nothing
 * else but the sums of their group, whose shards take waves in the same order. So none ever waits for a rank that waits
 * for it. */
#include "cluster/pipeline.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "cluster/message.h"
#include "cluster/output.h"

enum { WORKING_SLOTS = 3 /* one each to receive, compute and send */ };
/* What ranks but 0 wait for: jobs before waves, which are younger; waves that are on their way. */
enum { WAVE = OUTPUT_REQUESTS, SENT, REQUESTS = SENT + WORKING_SLOTS };

struct pipeline {
    cluster cluster;
    hparams hp;
    stage *stage;
    pipeline_config config;
    uint32_t *output_begins; /* owned */
    output *output;
    wave_limits wave_limits; /* the stage's */
    uint32_t *marks;         /* owned; see wave_is_valid */

    wave_header **slots; /* [n_slots], owned: messages that hold waves, a ring */
    uint32_t n_slots;
    MPI_Request requests[REQUESTS]; /* not on rank 0 */
    rank_figures *figures;          /* [ranks], owned; but for rank 0 this rank's alone count */
    trace *trace;                   /* borrowed, or NULL */

    /* on rank 0, where each wave under way has a slot */
    MPI_Request *sent; /* [n_slots][shards], owned: to the shards of the first stage and, as 0, to the next stage */
    uint64_t submitted, collected;
};

static rank_figures *own_figures(const pipeline *p) { return &p->figures[p->cluster.rank]; }

static bool is_first(const pipeline *p) { return p->config.grid.stage == 0; }
static bool is_last(const pipeline *p) { return p->config.grid.stage == p->config.grid.stages - 1; }
static bool is_source(const pipeline *p) { return is_last(p) && p->config.grid.shard == 0; }

/* The rank with this rank's shard of a stage. */
static int peer_in(const pipeline *p, uint32_t where) {
    return grid_rank(&p->config.grid, where, p->config.grid.shard);
}

/* Floats of a token that come with a wave. */
static size_t width_coming(const pipeline *p) { return is_first(p) ? 0 : p->hp.d_model; }

/* One for each stage keeps them busy. A single stage of several shards takes a second, so that the next wave is there
 * while rank 0 gathers logits of the one before. */
static uint32_t depth_of(const pipeline *p) {
    if (p->cluster.size == 1) return 1;
    return p->config.grid.stages > 1 ? p->config.grid.stages : 2;
}

/* ---- opening ---- */

static gptoss_status open_slots(pipeline *p, gptoss_error *err) {
    size_t pages = (size_t)p->wave_limits.paging.pages[KV_FULL] + p->wave_limits.paging.pages[KV_WINDOW];
    TRY(mem_array(pages, sizeof *p->marks, "waves", &p->marks, err));
    p->n_slots = p->cluster.rank == 0 ? depth_of(p) : WORKING_SLOTS;
    TRY(mem_array(p->n_slots, sizeof *p->slots, "waves", &p->slots, err));
    for (uint32_t i = 0; i < p->n_slots; i++)
        TRY(mem_array_aligned(1, message_most_wave_bytes(&p->wave_limits, p->hp.d_model), "waves", &p->slots[i], err));
    for (int i = 0; i < REQUESTS; i++) p->requests[i] = MPI_REQUEST_NULL;
    if (p->cluster.rank != 0) return GPTOSS_OK;
    uint32_t messages = p->n_slots * p->config.grid.shards;
    TRY(mem_array(messages, sizeof *p->sent, "waves", &p->sent, err));
    for (uint32_t i = 0; i < messages; i++) p->sent[i] = MPI_REQUEST_NULL;
    return GPTOSS_OK;
}

static gptoss_status open_parts(pipeline *p, gptoss_error *err) {
    const grid *g = &p->config.grid;
    size_t ranks = (size_t)p->cluster.size;
    TRY(mem_array(ranks + 1, sizeof *p->output_begins, "logits", &p->output_begins, err));
    memcpy(p->output_begins, p->config.output_begins, (ranks + 1) * sizeof *p->output_begins);
    TRY(mem_array(ranks, sizeof *p->figures, "figures", &p->figures, err));
    TRY(open_slots(p, err));
    const output_config config = {.cluster = p->cluster,
                                  .source = grid_rank(g, g->stages - 1, 0),
                                  .depth = depth_of(p),
                                  .rows = p->config.logits_rows,
                                  .d_model = p->hp.d_model,
                                  .begins = p->output_begins,
                                  .figures = p->figures};
    return output_open(&config, p->stage, p->requests, &p->output, err);
}

gptoss_status pipeline_open(const cluster *c, const hparams *hp, stage *s, const pipeline_config *config,
                            pipeline **out, gptoss_error *err) {
    pipeline *p;
    const wave_limits limits = stage_limits(s);
    if (message_most_wave_bytes(&limits, hp->d_model) > INT_MAX ||
        message_result_bytes(config->logits_rows, hp->n_vocab) > INT_MAX)
        return error_set(err, GPTOSS_MISUSE,
                         "a chunk of %u tokens makes messages of more than 2 GiB; use a smaller --chunk", limits.chunk);
    TRY(mem_array(1, sizeof *p, "pipeline", &p, err));
    p->cluster = *c;
    p->hp = *hp;
    p->stage = s;
    p->config = *config;
    p->wave_limits = limits;
    p->submitted = p->collected = config->first_wave;
    gptoss_status status = open_parts(p, err);
    if (status != GPTOSS_OK) {
        pipeline_close(p);
        return status;
    }
    *out = p;
    return GPTOSS_OK;
}

void pipeline_close(pipeline *p) {
    if (!p) return;
    output_close(p->output);
    for (uint32_t i = 0; p->slots && i < p->n_slots; i++) free(p->slots[i]);
    free(p->slots);
    free(p->sent);
    free(p->marks);
    free(p->output_begins);
    free(p->figures);
    free(p);
}

uint32_t pipeline_depth(const pipeline *p) { return depth_of(p); }

uint32_t pipeline_spread(const pipeline *p) { return p->config.grid.stages; }

wave_limits pipeline_wave_limits(const pipeline *p) { return p->wave_limits; }

uint32_t pipeline_logits_rows(const pipeline *p) { return p->config.logits_rows; }

int pipeline_ranks(const pipeline *p) { return p->cluster.size; }

const rank_figures *pipeline_figures(const pipeline *p) { return p->figures; }

void pipeline_use_trace(pipeline *p, trace *t) {
    p->trace = t;
    output_use_trace(p->output, t);
}

/* ---- on all ranks ---- */

/* Runs a wave through this rank's stage. *whole: whether it went through; it does on all shards or on none. */
static gptoss_status advance(pipeline *p, wave_header *message, bool *whole, gptoss_error *err) {
    group *g = p->config.group;
    const wave w = message_wave(message);
    float *x = message_activations(message);
    double start = clock_seconds(), sums = group_seconds(g);
    trace_begin(p->trace, TRACE_LAYERS, (uint32_t)message->number, w.n_tokens, w.n_runs);
    group_begin(g);
    if (is_first(p)) stage_embed(p->stage, w.tokens, w.n_tokens, x);
    if (stage_forward(p->stage, &w, x) != GPTOSS_OK) group_abandon(g);
    trace_end(p->trace);
    own_figures(p)->waves++;
    own_figures(p)->sums = group_seconds(g);
    own_figures(p)->busy += clock_seconds() - start - (own_figures(p)->sums - sums);
    *whole = !group_is_abandoned(g);
    return group_fault(g, err);
}

/* ---- rank 0 ---- */

static wave_header *slot_of(const pipeline *p, uint64_t number) { return p->slots[number % p->n_slots]; }

static MPI_Request *sent_of(const pipeline *p, uint64_t number) {
    return p->sent + (size_t)(number % p->n_slots) * p->config.grid.shards;
}

static void send_to_shards(pipeline *p, const wave_header *message, MPI_Request *sent) {
    for (uint32_t s = 1; s < p->config.grid.shards; s++)
        link_send(message, message_wave_bytes(message, 0), grid_rank(&p->config.grid, 0, s), TAG_WAVE, &sent[s]);
}

/* Until the messages of a slot have been taken; long ago when its wave was collected. */
static void await_taken(pipeline *p, MPI_Request *sent) {
    for (uint32_t s = 0; s < p->config.grid.shards; s++) message_await(&sent[s], own_figures(p));
}

static void fill(pipeline *p, wave_header *message, const wave *given) {
    *message = (wave_header){.kind = WAVE_WORK,
                             .number = p->submitted,
                             .n_tokens = given->n_tokens,
                             .n_runs = given->n_runs,
                             .n_copies = given->n_copies,
                             .n_pages = given->n_pages,
                             .logits_rows = wave_logits_rows(given)};
    wave w = message_wave(message);
    memcpy(w.tokens, given->tokens, w.n_tokens * sizeof *w.tokens);
    memcpy(w.runs, given->runs, w.n_runs * sizeof *w.runs);
    memcpy(w.copies, given->copies, w.n_copies * sizeof *w.copies);
    memcpy(w.pages, given->pages, w.n_pages * sizeof *w.pages);
}

gptoss_status pipeline_submit(pipeline *p, const wave *given, gptoss_error *err) {
    if (p->submitted - p->collected >= p->n_slots)
        return error_set(err, GPTOSS_INTERNAL, "%u waves are under way already", p->n_slots);
    if (!message_wave_fits(given, &p->wave_limits, p->config.logits_rows, p->marks))
        return error_set(err, GPTOSS_INTERNAL, "a wave of %u tokens does not fit the pipeline", given->n_tokens);
    bool whole;
    wave_header *message = slot_of(p, p->submitted);
    MPI_Request *sent = sent_of(p, p->submitted);
    await_taken(p, sent);
    fill(p, message, given);
    send_to_shards(p, message, sent);
    TRY(advance(p, message, &whole, err));
    await_taken(p, sent); /* what is on its way may not be changed */
    if (!whole) message->kind = WAVE_CANCELLED;
    if (is_last(p))
        output_offer(p->output, message);
    else
        link_send(message, message_wave_bytes(message, p->hp.d_model), peer_in(p, 1), TAG_WAVE, &sent[0]);
    p->submitted++;
    return GPTOSS_OK;
}

gptoss_status pipeline_collect(pipeline *p, const logits_row **rows, gptoss_error *err) {
    if (p->submitted == p->collected) return error_set(err, GPTOSS_INTERNAL, "no wave is under way");
    wave_header *asked = slot_of(p, p->collected++);
    gptoss_status status = output_collect(p->output, asked, rows, err);
    if (status == GPTOSS_CANCELLED)
        error_set(err, status, "interrupted while working on position %u", message_wave(asked).tokens->position);
    return status;
}

gptoss_status pipeline_fetch(pipeline *p, uint32_t row, float **logits, gptoss_error *err) {
    return output_fetch(p->output, row, logits, err);
}

void pipeline_stop(pipeline *p) {
    const logits_row *rows;
    gptoss_error ignored;
    while (p->submitted != p->collected) pipeline_collect(p, &rows, &ignored);
    if (p->cluster.size == 1) return;
    for (uint32_t i = 0; i < p->n_slots; i++) await_taken(p, sent_of(p, i));
    wave_header *message = p->slots[0];
    MPI_Request *sent = sent_of(p, 0);
    *message = (wave_header){.kind = WAVE_STOP};
    send_to_shards(p, message, sent);
    if (!is_last(p)) link_send(message, sizeof *message, peer_in(p, 1), TAG_WAVE, &sent[0]);
    await_taken(p, sent);
}

/* ---- other ranks ---- */

/* Asks for the next wave, if its slot is free. */
static void listen_for_wave(pipeline *p, uint32_t slot) {
    if (p->requests[WAVE] != MPI_REQUEST_NULL || p->requests[SENT + slot] != MPI_REQUEST_NULL) return;
    int from = is_first(p) ? 0 : peer_in(p, p->config.grid.stage - 1);
    link_receive(p->slots[slot], (size_t)message_most_wave_bytes(&p->wave_limits, width_coming(p)), from, TAG_WAVE,
                 &p->requests[WAVE]);
}

static gptoss_status check_wave(pipeline *p, wave_header *m, size_t bytes, gptoss_error *err) {
    if (message_is_wave(m, bytes, width_coming(p), &p->wave_limits, p->config.logits_rows, p->marks)) return GPTOSS_OK;
    return error_set(err, GPTOSS_PEER, "rank %d received a malformed wave of %zu bytes from rank %d", p->cluster.rank,
                     bytes, is_first(p) ? 0 : peer_in(p, p->config.grid.stage - 1));
}

/* Works on the wave, or the end of all waves, that has come to a slot, and passes it on. */
static gptoss_status serve_wave(pipeline *p, uint32_t slot, gptoss_error *err) {
    wave_header *message = p->slots[slot];
    bool stop = message->kind == WAVE_STOP, whole = message->kind == WAVE_WORK;
    if (whole) TRY(advance(p, message, &whole, err));
    if (!stop && !whole) message->kind = WAVE_CANCELLED;
    if (!is_last(p))
        link_send(message, message_wave_bytes(message, stop ? 0 : p->hp.d_model), peer_in(p, p->config.grid.stage + 1),
                  TAG_WAVE, &p->requests[SENT + slot]);
    else if (!stop && is_source(p))
        output_offer(p->output, message);
    return GPTOSS_OK;
}

static gptoss_status serve_until_stopped(pipeline *p, gptoss_error *err) {
    uint32_t next = 0; /* the slot that the next wave comes to */
    for (bool stop = false; !stop;) {
        int which;
        listen_for_wave(p, next);
        output_listen(p->output);
        if (output_serve_own(p->output)) continue;
        size_t bytes = message_await_any(p->requests, REQUESTS, &which, own_figures(p));
        if (which < OUTPUT_REQUESTS) TRY(output_serve(p->output, which, bytes, err));
        if (which != WAVE) continue;
        uint32_t slot = next;
        TRY(check_wave(p, p->slots[slot], bytes, err));
        stop = p->slots[slot]->kind == WAVE_STOP;
        next = (next + 1) % WORKING_SLOTS;
        if (!stop) listen_for_wave(p, next); /* comes while this one is computed */
        TRY(serve_wave(p, slot, err));
    }
    return GPTOSS_OK;
}

gptoss_status pipeline_work(pipeline *p, gptoss_error *err) {
    gptoss_status status = serve_until_stopped(p, err);
    output_end(p->output, status == GPTOSS_OK);
    link_drop(&p->requests[WAVE]);
    for (int i = 0; status == GPTOSS_OK && i < REQUESTS; i++) message_await(&p->requests[i], own_figures(p));
    return status;
}
