#include "cluster/output.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

enum { RESULTS = OUTPUT_REQUESTS - OUTPUT_RESULTS };

struct output {
    output_config config;
    stage *stage;
    MPI_Request *requests;
    double waited;

    wave_header **jobs; /* [n_jobs], owned: a ring on the source, where all waves under way have room; elsewhere one */
    MPI_Request *offered; /* [n_jobs][ranks], owned: jobs on their way; on the source alone */
    uint32_t n_jobs, offers, served;

    wave_header *results[RESULTS]; /* owned; of this rank, on their way to rank 0. Not on rank 0, where: */
    wave_header **parts;           /* [ranks], owned: results that came, each with room for its sender's rows */
    MPI_Request *coming;           /* [ranks], owned */
    float *own, *logits;           /* [rows][this rank's], [rows][all], owned */
};

static uint32_t width_of(const output *o, int rank) { return o->config.begins[rank + 1] - o->config.begins[rank]; }

static uint32_t n_vocab(const output *o) { return o->config.begins[o->config.cluster.size]; }

static bool is_source(const output *o) { return o->config.cluster.rank == o->config.source; }

/* ---- opening ---- */

static gptoss_status open_jobs(output *o, gptoss_error *err) {
    const output_config *c = &o->config;
    o->n_jobs = is_source(o) ? c->depth : 1;
    TRY(mem_array(o->n_jobs, sizeof *o->jobs, "logits", &o->jobs, err));
    for (uint32_t i = 0; i < o->n_jobs; i++)
        TRY(mem_array_aligned(1, message_rows_bytes(c->rows, c->d_model), "logits", &o->jobs[i], err));
    if (!is_source(o)) return GPTOSS_OK;
    size_t messages = (size_t)o->n_jobs * (size_t)c->cluster.size;
    TRY(mem_array(messages, sizeof *o->offered, "logits", &o->offered, err));
    for (size_t i = 0; i < messages; i++) o->offered[i] = MPI_REQUEST_NULL;
    return GPTOSS_OK;
}

static gptoss_status open_results(output *o, gptoss_error *err) {
    const output_config *c = &o->config;
    uint32_t mine = width_of(o, c->cluster.rank);
    for (int i = 0; c->cluster.rank != 0 && mine > 0 && i < RESULTS; i++)
        TRY(mem_array_aligned(1, message_rows_bytes(c->rows, mine), "logits", &o->results[i], err));
    if (c->cluster.rank != 0) return GPTOSS_OK;
    size_t ranks = (size_t)c->cluster.size;
    TRY(mem_array(ranks, sizeof *o->parts, "logits", &o->parts, err));
    TRY(mem_array(ranks, sizeof *o->coming, "logits", &o->coming, err));
    for (int r = 0; r < c->cluster.size; r++) o->coming[r] = MPI_REQUEST_NULL;
    for (int r = 1; r < c->cluster.size; r++)
        TRY(mem_array_aligned(1, message_rows_bytes(c->rows, width_of(o, r)), "logits", &o->parts[r], err));
    if (mine > 0 && mine < n_vocab(o))
        TRY(mem_array_aligned(c->rows, (size_t)mine * sizeof *o->own, "logits", &o->own, err));
    return mem_array_aligned(c->rows, (size_t)n_vocab(o) * sizeof *o->logits, "logits", &o->logits, err);
}

gptoss_status output_open(const output_config *config, stage *s, MPI_Request *requests, output **out,
                          gptoss_error *err) {
    output *o;
    TRY(mem_array(1, sizeof *o, "logits", &o, err));
    *o = (output){.config = *config, .stage = s, .requests = requests};
    for (int i = 0; i < OUTPUT_REQUESTS; i++) requests[i] = MPI_REQUEST_NULL;
    gptoss_status status = open_jobs(o, err);
    if (status == GPTOSS_OK) status = open_results(o, err);
    if (status != GPTOSS_OK) {
        output_close(o);
        return status;
    }
    *out = o;
    return GPTOSS_OK;
}

void output_close(output *o) {
    if (!o) return;
    for (uint32_t i = 0; o->jobs && i < o->n_jobs; i++) free(o->jobs[i]);
    for (int i = 0; i < RESULTS; i++) free(o->results[i]);
    for (int r = 0; o->parts && r < o->config.cluster.size; r++) free(o->parts[r]);
    free(o->jobs);
    free(o->offered);
    free(o->parts);
    free(o->coming);
    free(o->own);
    free(o->logits);
    free(o);
}

double output_waited(const output *o) { return o->waited; }

/* ---- the source ---- */

/* The rows of the tokens whose logits are wanted. */
static void copy_wanted_rows(const output *o, wave_header *message, float *to) {
    size_t width = o->config.d_model;
    const wave w = message_wave(message);
    const float *x = message_activations(message);
    for (uint32_t i = 0; i < w.n_tokens; i++) {
        if (!w.tokens[i].logits) continue;
        memcpy(to, x + i * width, width * sizeof *x);
        to += width;
    }
}

/* A ring of jobs as deep as waves may be under way: a job's place is free again, and all its messages are taken, when
 * rank 0 sends off the wave that comes to it. */
void output_offer(output *o, wave_header *message) {
    const output_config *c = &o->config;
    wave_header *job = o->jobs[o->offers % o->n_jobs];
    MPI_Request *sent = o->offered + (size_t)(o->offers++ % o->n_jobs) * (size_t)c->cluster.size;
    for (int r = 0; r < c->cluster.size; r++) message_await(&sent[r], &o->waited);
    *job = (wave_header){.kind = message->kind, .number = message->number};
    if (message->kind == WAVE_WORK) job->logits_rows = message->logits_rows;
    if (job->logits_rows > 0) copy_wanted_rows(o, message, message_rows(job));
    size_t bytes = (size_t)message_rows_bytes(job->logits_rows, c->d_model);
    for (int r = 0; r < c->cluster.size; r++) {
        bool has_part = job->logits_rows > 0 && width_of(o, r) > 0;
        if (r != c->source && (r == 0 || has_part)) link_send(job, bytes, r, TAG_JOB, &sent[r]);
    }
}

/* ---- ranks but 0 ---- */

/* The place for the next result, or -1 while the last ones are on their way. */
static int free_result(const output *o) {
    for (int i = 0; i < RESULTS; i++)
        if (o->requests[OUTPUT_RESULTS + i] == MPI_REQUEST_NULL) return i;
    return -1;
}

void output_listen(output *o) {
    const output_config *c = &o->config;
    if (is_source(o) || width_of(o, c->cluster.rank) == 0 || o->requests[OUTPUT_JOB] != MPI_REQUEST_NULL) return;
    if (free_result(o) < 0) return;
    link_receive(o->jobs[0], (size_t)message_rows_bytes(c->rows, c->d_model), c->source, TAG_JOB,
                 &o->requests[OUTPUT_JOB]);
}

/* This rank's logits of a job, sent to rank 0. There is a free result. */
static void do_job(output *o, wave_header *job) {
    int place = free_result(o);
    uint32_t width = width_of(o, o->config.cluster.rank);
    wave_header *result = o->results[place];
    *result = *job;
    stage_logits(o->stage, message_rows(job), job->logits_rows, message_rows(result));
    link_send(result, (size_t)message_rows_bytes(job->logits_rows, width), 0, TAG_RESULT,
              &o->requests[OUTPUT_RESULTS + place]);
}

gptoss_status output_serve(output *o, size_t bytes, gptoss_error *err) {
    const output_config *c = &o->config;
    wave_header *job = o->jobs[0];
    if (bytes < sizeof *job || job->kind != WAVE_WORK || job->logits_rows == 0 || job->logits_rows > c->rows ||
        bytes != message_rows_bytes(job->logits_rows, c->d_model))
        return error_set(err, GPTOSS_PEER, "rank %d received a malformed job of %zu bytes from rank %d",
                         c->cluster.rank, bytes, c->source);
    do_job(o, job);
    return GPTOSS_OK;
}

bool output_serve_own(output *o) {
    if (!is_source(o) || o->served == o->offers) return false;
    wave_header *job = o->jobs[o->served % o->n_jobs];
    bool has_part = job->logits_rows > 0 && width_of(o, o->config.cluster.rank) > 0;
    if (has_part && free_result(o) < 0) return false;
    if (has_part) do_job(o, job);
    o->served++;
    return true;
}

/* ---- rank 0 ---- */

/* The job of the wave that was asked for. */
static gptoss_status find_job(output *o, const wave_header *asked, wave_header **out, gptoss_error *err) {
    const output_config *c = &o->config;
    *out = o->jobs[is_source(o) ? o->served++ % o->n_jobs : 0];
    if (is_source(o)) return GPTOSS_OK;
    MPI_Request coming;
    link_receive(*out, (size_t)message_rows_bytes(c->rows, c->d_model), c->source, TAG_JOB, &coming);
    size_t got = message_await(&coming, &o->waited);
    const wave_header *job = *out;
    bool is_work = got >= sizeof *job && job->kind == WAVE_WORK;
    uint32_t rows = is_work ? asked->logits_rows : 0;
    if (got != message_rows_bytes(rows, c->d_model) || job->number != asked->number || job->logits_rows != rows ||
        (!is_work && job->kind != WAVE_CANCELLED))
        return error_set(err, GPTOSS_PEER, "rank %d offered another job than that of wave %u", c->source,
                         asked->number);
    return GPTOSS_OK;
}

/* Puts [rows][width] logits into their columns. */
static void place_part(output *o, int rank, uint32_t rows, const float *part) {
    uint32_t width = width_of(o, rank);
    float *to = o->logits + o->config.begins[rank];
    for (uint32_t i = 0; i < rows; i++)
        memcpy(to + (size_t)i * n_vocab(o), part + (size_t)i * width, width * sizeof *part);
}

static void do_own_part(output *o, wave_header *job) {
    uint32_t rows = job->logits_rows, width = width_of(o, 0);
    if (width == 0) return;
    bool in_place = rows == 1 || width == n_vocab(o);
    stage_logits(o->stage, message_rows(job), rows, in_place ? o->logits + o->config.begins[0] : o->own);
    if (!in_place) place_part(o, 0, rows, o->own);
}

static gptoss_status take_part(output *o, int rank, const wave_header *asked, gptoss_error *err) {
    const wave_header *part = o->parts[rank];
    size_t got = message_await(&o->coming[rank], &o->waited);
    if (got != message_rows_bytes(asked->logits_rows, width_of(o, rank)) || part->number != asked->number ||
        part->logits_rows != asked->logits_rows || part->kind != WAVE_WORK)
        return error_set(err, GPTOSS_PEER, "rank %d answered another wave than number %u", rank, asked->number);
    place_part(o, rank, asked->logits_rows, message_rows(o->parts[rank]));
    return GPTOSS_OK;
}

gptoss_status output_collect(output *o, const wave_header *asked, float **logits, gptoss_error *err) {
    const output_config *c = &o->config;
    wave_header *job;
    TRY(find_job(o, asked, &job, err));
    if (job->kind != WAVE_WORK) return error_set(err, GPTOSS_CANCELLED, "interrupted");
    *logits = o->logits;
    if (job->logits_rows == 0) return GPTOSS_OK;
    for (int r = 1; r < c->cluster.size; r++)
        if (width_of(o, r) > 0)
            link_receive(o->parts[r], (size_t)message_rows_bytes(c->rows, width_of(o, r)), r, TAG_RESULT,
                         &o->coming[r]);
    do_own_part(o, job);
    gptoss_status status = GPTOSS_OK;
    for (int r = 1; r < c->cluster.size; r++) {
        if (width_of(o, r) == 0) continue;
        gptoss_status part = take_part(o, r, asked, status == GPTOSS_OK ? err : NULL);
        if (status == GPTOSS_OK) status = part;
    }
    return status;
}
