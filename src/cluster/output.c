#include "cluster/output.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"

struct output {
    output_config config;
    stage *stage;
    MPI_Request *requests;
    trace *trace; /* borrowed, or NULL */

    wave_header **jobs; /* [n_jobs], owned: a ring on the source, where all waves under way have room; elsewhere one */
    MPI_Request *offered; /* [n_jobs][ranks], owned: jobs on their way; on the source alone */
    uint32_t n_jobs;
    uint64_t offers, served;

    /* not on rank 0: its results, which are kept in case that logits are fetched: [depth], owned, a ring by the number
     * of the wave */
    wave_header **results;
    MPI_Request *result_sent;
    wave_header fetch;
    MPI_Request fetched_sent;

    /* on rank 0 */
    wave_header **parts;              /* [ranks], owned: results that came, each with room for its sender's rows */
    MPI_Request *coming, *fetch_sent; /* [ranks], owned */
    float *own, *logits;              /* [rows][this rank's], NULL when these are all; [rows][all], owned */
    shortlist *lists;                 /* [rows], owned, as the next */
    logits_row *rows;                 /* of the wave that was collected last, whose number is: */
    uint64_t collected;
};

static rank_figures *own_figures(const output *o) { return &o->config.figures[o->config.cluster.rank]; }

static uint32_t width_of(const output *o, int rank) { return o->config.begins[rank + 1] - o->config.begins[rank]; }

static uint32_t n_vocab(const output *o) { return o->config.begins[o->config.cluster.size]; }

static bool is_source(const output *o) { return o->config.cluster.rank == o->config.source; }

/* ---- opening ---- */

static gptoss_status open_jobs(output *o, gptoss_error *err) {
    const output_config *c = &o->config;
    o->n_jobs = is_source(o) ? c->depth : 1;
    TRY(mem_array(o->n_jobs, sizeof *o->jobs, "logits", &o->jobs, err));
    for (uint32_t i = 0; i < o->n_jobs; i++)
        TRY(mem_array_aligned(1, message_job_bytes(c->rows, c->d_model), "logits", &o->jobs[i], err));
    if (!is_source(o)) return GPTOSS_OK;
    size_t messages = (size_t)o->n_jobs * (size_t)c->cluster.size;
    TRY(mem_array(messages, sizeof *o->offered, "logits", &o->offered, err));
    for (size_t i = 0; i < messages; i++) o->offered[i] = MPI_REQUEST_NULL;
    return GPTOSS_OK;
}

static gptoss_status open_results(output *o, gptoss_error *err) {
    const output_config *c = &o->config;
    uint32_t mine = width_of(o, c->cluster.rank);
    if (mine == 0) return GPTOSS_OK;
    TRY(mem_array(c->depth, sizeof *o->results, "logits", &o->results, err));
    TRY(mem_array(c->depth, sizeof *o->result_sent, "logits", &o->result_sent, err));
    for (uint32_t i = 0; i < c->depth; i++) {
        o->result_sent[i] = MPI_REQUEST_NULL;
        TRY(mem_array_aligned(1, message_result_bytes(c->rows, mine), "logits", &o->results[i], err));
    }
    return GPTOSS_OK;
}

static gptoss_status open_collection(output *o, gptoss_error *err) {
    const output_config *c = &o->config;
    uint32_t mine = width_of(o, 0);
    size_t ranks = (size_t)c->cluster.size;
    TRY(mem_array(ranks, sizeof *o->parts, "logits", &o->parts, err));
    TRY(mem_array(ranks, sizeof *o->coming, "logits", &o->coming, err));
    TRY(mem_array(ranks, sizeof *o->fetch_sent, "logits", &o->fetch_sent, err));
    for (int r = 0; r < c->cluster.size; r++) o->coming[r] = o->fetch_sent[r] = MPI_REQUEST_NULL;
    for (int r = 1; r < c->cluster.size; r++)
        TRY(mem_array_aligned(1, message_result_bytes(c->rows, width_of(o, r)), "logits", &o->parts[r], err));
    if (mine < n_vocab(o)) TRY(mem_array_aligned(c->rows, (size_t)mine * sizeof *o->own, "logits", &o->own, err));
    TRY(mem_array(c->rows, sizeof *o->lists, "logits", &o->lists, err));
    TRY(mem_array(c->rows, sizeof *o->rows, "logits", &o->rows, err));
    return mem_array_aligned(c->rows, (size_t)n_vocab(o) * sizeof *o->logits, "logits", &o->logits, err);
}

gptoss_status output_open(const output_config *config, stage *s, MPI_Request *requests, output **out,
                          gptoss_error *err) {
    output *o;
    TRY(mem_array(1, sizeof *o, "logits", &o, err));
    *o = (output){.config = *config, .stage = s, .requests = requests, .fetched_sent = MPI_REQUEST_NULL};
    for (int i = 0; i < OUTPUT_REQUESTS; i++) requests[i] = MPI_REQUEST_NULL;
    gptoss_status status = open_jobs(o, err);
    if (status == GPTOSS_OK) status = config->cluster.rank == 0 ? open_collection(o, err) : open_results(o, err);
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
    for (uint32_t i = 0; o->results && i < o->config.depth; i++) free(o->results[i]);
    for (int r = 0; o->parts && r < o->config.cluster.size; r++) free(o->parts[r]);
    free(o->jobs);
    free(o->offered);
    free(o->results);
    free(o->result_sent);
    free(o->parts);
    free(o->coming);
    free(o->fetch_sent);
    free(o->own);
    free(o->logits);
    free(o->lists);
    free(o->rows);
    free(o);
}

void output_use_trace(output *o, trace *t) { o->trace = t; }

/* ---- the source ---- */

/* The wishes and rows of the tokens whose logits are wanted. */
static void copy_wanted(const output *o, wave_header *message, wave_header *job) {
    size_t width = o->config.d_model;
    const wave w = message_wave(message);
    const float *x = message_activations(message);
    logits_wish *wishes = message_wishes(job);
    float *rows = message_job_rows(job);
    for (uint32_t i = 0; i < w.n_tokens; i++) {
        if (w.tokens[i].logits.kind == LOGITS_NONE) continue;
        *wishes++ = w.tokens[i].logits;
        memcpy(rows, x + i * width, width * sizeof *x);
        rows += width;
    }
}

/* A ring of jobs as deep as waves may be under way: a job's place is free again, and all its messages are taken, when
 * rank 0 sends off the wave that comes to it. */
void output_offer(output *o, wave_header *message) {
    const output_config *c = &o->config;
    wave_header *job = o->jobs[o->offers % o->n_jobs];
    MPI_Request *sent = o->offered + (size_t)(o->offers++ % o->n_jobs) * (size_t)c->cluster.size;
    for (int r = 0; r < c->cluster.size; r++) message_await(&sent[r], own_figures(o));
    *job = (wave_header){.kind = message->kind, .number = message->number};
    if (message->kind == WAVE_WORK) job->logits_rows = message->logits_rows;
    if (job->logits_rows > 0) copy_wanted(o, message, job);
    size_t bytes = (size_t)message_job_bytes(job->logits_rows, c->d_model);
    for (int r = 0; r < c->cluster.size; r++) {
        bool has_part = job->logits_rows > 0 && width_of(o, r) > 0;
        if (r != c->source && (r == 0 || has_part)) link_send(job, bytes, r, TAG_JOB, &sent[r]);
    }
}

/* ---- ranks but 0 ---- */

void output_listen(output *o) {
    const output_config *c = &o->config;
    if (width_of(o, c->cluster.rank) == 0) return;
    if (o->requests[OUTPUT_FETCH] == MPI_REQUEST_NULL)
        link_receive(&o->fetch, sizeof o->fetch, 0, TAG_FETCH, &o->requests[OUTPUT_FETCH]);
    if (!is_source(o) && o->requests[OUTPUT_JOB] == MPI_REQUEST_NULL)
        link_receive(o->jobs[0], (size_t)message_job_bytes(c->rows, c->d_model), c->source, TAG_JOB,
                     &o->requests[OUTPUT_JOB]);
}

/* Makes the shortlists of rows that want them; whether one wants all logits. logits: [rows][this rank's]. */
static bool make_lists(output *o, const logits_wish *wishes, uint32_t rows, const float *logits, shortlist *lists) {
    uint32_t width = width_of(o, o->config.cluster.rank);
    bool all = false;
    for (uint32_t i = 0; i < rows; i++) {
        if (wishes[i].kind == LOGITS_LISTED)
            stage_shortlist(o->stage, logits + (size_t)i * width, logits_wish_list(&wishes[i]), &lists[i]);
        else
            all = true;
    }
    return all;
}

/* This rank's logits of a job, and their shortlists; whether a row wants all logits. */
static bool work_on(output *o, wave_header *job, float *logits, shortlist *lists) {
    uint32_t rows = job->logits_rows;
    double start = clock_seconds();
    trace_begin(o->trace, TRACE_OUTPUT, (uint32_t)job->number, rows, rows);
    memset(lists, 0, rows * sizeof *lists);
    stage_logits(o->stage, message_job_rows(job), rows, logits);
    bool all = make_lists(o, message_wishes(job), rows, logits, lists);
    trace_end(o->trace);
    own_figures(o)->busy += clock_seconds() - start;
    return all;
}

/* This rank's part of a job, sent to rank 0. The result in its place was that of a wave collected long ago. */
static void do_job(output *o, wave_header *job) {
    uint32_t place = (uint32_t)(job->number % o->config.depth), rows = job->logits_rows;
    wave_header *result = o->results[place];
    message_await(&o->result_sent[place], own_figures(o));
    *result = *job;
    bool all = work_on(o, job, message_logits(result), message_shortlists(result));
    result->figures = *own_figures(o);
    uint32_t width = all ? width_of(o, o->config.cluster.rank) : 0;
    link_send(result, (size_t)message_result_bytes(rows, width), 0, TAG_RESULT, &o->result_sent[place]);
}

static bool job_is_sound(const output *o, wave_header *job, size_t bytes) {
    const output_config *c = &o->config;
    if (bytes < sizeof *job || job->kind != WAVE_WORK || job->logits_rows == 0 || job->logits_rows > c->rows ||
        bytes != message_job_bytes(job->logits_rows, c->d_model))
        return false;
    const logits_wish *wishes = message_wishes(job);
    for (uint32_t i = 0; i < job->logits_rows; i++)
        if (wishes[i].kind == LOGITS_NONE || !logits_wish_is_valid(&wishes[i])) return false;
    return true;
}

/* Sends rank 0 this rank's logits of a row, which it finds in the result that they were made for. */
static gptoss_status serve_fetch(output *o, size_t bytes, gptoss_error *err) {
    const output_config *c = &o->config;
    wave_header *result = o->results[o->fetch.number % c->depth];
    if (bytes != sizeof o->fetch || result->kind != WAVE_WORK || result->number != o->fetch.number ||
        o->fetch.logits_rows >= result->logits_rows)
        return error_set(err, GPTOSS_PEER, "rank %d was asked for logits that it does not have", c->cluster.rank);
    size_t width = width_of(o, c->cluster.rank);
    message_await(&o->fetched_sent, own_figures(o));
    link_send(message_logits(result) + o->fetch.logits_rows * width, width * sizeof(float), 0, TAG_FETCHED,
              &o->fetched_sent);
    return GPTOSS_OK;
}

gptoss_status output_serve(output *o, int which, size_t bytes, gptoss_error *err) {
    if (which == OUTPUT_FETCH) return serve_fetch(o, bytes, err);
    if (!job_is_sound(o, o->jobs[0], bytes))
        return error_set(err, GPTOSS_PEER, "rank %d received a malformed job of %zu bytes from rank %d",
                         o->config.cluster.rank, bytes, o->config.source);
    do_job(o, o->jobs[0]);
    return GPTOSS_OK;
}

void output_end(output *o, bool whole) {
    link_drop(&o->requests[OUTPUT_JOB]);
    link_drop(&o->requests[OUTPUT_FETCH]);
    if (!whole || !o->results) return;
    for (uint32_t i = 0; i < o->config.depth; i++) message_await(&o->result_sent[i], own_figures(o));
    message_await(&o->fetched_sent, own_figures(o));
}

bool output_serve_own(output *o) {
    if (!is_source(o) || o->served == o->offers) return false;
    wave_header *job = o->jobs[o->served % o->n_jobs];
    if (job->logits_rows > 0 && width_of(o, o->config.cluster.rank) > 0) do_job(o, job);
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
    link_receive(*out, (size_t)message_job_bytes(c->rows, c->d_model), c->source, TAG_JOB, &coming);
    size_t got = message_await(&coming, own_figures(o));
    const wave_header *job = *out;
    bool is_work = got >= sizeof *job && job->kind == WAVE_WORK;
    uint32_t rows = is_work ? asked->logits_rows : 0;
    if (got != message_job_bytes(rows, c->d_model) || job->number != asked->number || job->logits_rows != rows ||
        (!is_work && job->kind != WAVE_CANCELLED))
        return error_set(err, GPTOSS_PEER, "rank %d offered another job than that of wave %llu", c->source,
                         (unsigned long long)asked->number);
    return GPTOSS_OK;
}

/* Puts [rows][its] logits of a rank into their columns. */
static void place_part(output *o, int rank, uint32_t row, uint32_t rows, const float *part) {
    uint32_t width = width_of(o, rank);
    float *to = o->logits + o->config.begins[rank];
    for (uint32_t i = 0; i < rows; i++)
        memcpy(to + (size_t)(row + i) * n_vocab(o), part + (size_t)i * width, width * sizeof *part);
}

/* The wishes of a wave's rows, as they were sent off: what an answer says of them does not count. */
static bool read_wishes(const output *o, wave_header *asked, logits_wish *wishes) {
    const wave w = message_wave(asked);
    bool all = o->own == NULL; /* this rank computes all of them */
    for (uint32_t i = 0; i < w.n_tokens; i++) {
        if (w.tokens[i].logits.kind == LOGITS_NONE) continue;
        all |= w.tokens[i].logits.kind == LOGITS_ALL;
        *wishes++ = w.tokens[i].logits;
    }
    return all;
}

static void do_own_part(output *o, wave_header *job) {
    uint32_t rows = job->logits_rows;
    float *own = o->own ? o->own : o->logits;
    memset(o->lists, 0, rows * sizeof *o->lists);
    if (width_of(o, 0) == 0) return;
    work_on(o, job, own, o->lists);
}

static bool figures_are_sound(const rank_figures *f) {
    const double ages = 1e12; /* a comparison that a NaN fails */
    return f->busy >= 0 && f->busy < ages && f->sums >= 0 && f->sums < ages && f->waited >= 0 && f->waited < ages;
}

/* Adds another rank's part to the lists and, if it is all there, to the logits. */
static gptoss_status take_part(output *o, int rank, wave_header *job, bool all, gptoss_error *err) {
    wave_header *part = o->parts[rank];
    uint32_t rows = job->logits_rows, width = width_of(o, rank), begin = o->config.begins[rank];
    const logits_wish *wishes = message_wishes(job);
    size_t got = message_await(&o->coming[rank], own_figures(o));
    bool sound = got == message_result_bytes(rows, all ? width : 0) && part->number == job->number &&
                 part->logits_rows == rows && part->kind == WAVE_WORK && figures_are_sound(&part->figures);
    for (uint32_t i = 0; sound && i < rows; i++) {
        const shortlist *list = &message_shortlists(part)[i];
        if (wishes[i].kind != LOGITS_LISTED) continue;
        sound = shortlist_is_valid(list, begin, width);
        if (sound) shortlist_merge(&o->lists[i], list, logits_wish_list(&wishes[i]));
    }
    if (!sound)
        return error_set(err, GPTOSS_PEER, "rank %d answered another wave than number %llu", rank,
                         (unsigned long long)job->number);
    if (all) place_part(o, rank, 0, rows, message_logits(part));
    o->config.figures[rank] = part->figures;
    return GPTOSS_OK;
}

static gptoss_status take_parts(output *o, wave_header *job, bool all, gptoss_error *err) {
    const output_config *c = &o->config;
    gptoss_status status = GPTOSS_OK;
    for (int r = 1; r < c->cluster.size; r++) {
        if (width_of(o, r) == 0) continue;
        gptoss_status part = take_part(o, r, job, all, status == GPTOSS_OK ? err : NULL);
        if (status == GPTOSS_OK) status = part;
    }
    return status;
}

gptoss_status output_collect(output *o, wave_header *asked, const logits_row **rows, gptoss_error *err) {
    const output_config *c = &o->config;
    wave_header *job;
    TRY(find_job(o, asked, &job, err));
    if (job->kind != WAVE_WORK) return error_set(err, GPTOSS_CANCELLED, "interrupted");
    *rows = o->rows;
    o->collected = job->number;
    if (job->logits_rows == 0) return GPTOSS_OK;
    for (int r = 1; r < c->cluster.size; r++)
        if (width_of(o, r) > 0)
            link_receive(o->parts[r], (size_t)message_result_bytes(c->rows, width_of(o, r)), r, TAG_RESULT,
                         &o->coming[r]);
    bool all = read_wishes(o, asked, message_wishes(job));
    do_own_part(o, job);
    TRY(take_parts(o, job, all, err));
    if (all && o->own) place_part(o, 0, 0, job->logits_rows, o->own);
    for (uint32_t i = 0; i < job->logits_rows; i++)
        o->rows[i] = (logits_row){.list = message_wishes(job)[i].kind == LOGITS_LISTED ? &o->lists[i] : NULL,
                                  .logits = all ? o->logits + (size_t)i * n_vocab(o) : NULL};
    return GPTOSS_OK;
}

gptoss_status output_fetch(output *o, uint32_t row, float **logits, gptoss_error *err) {
    const output_config *c = &o->config;
    gptoss_status status = GPTOSS_OK;
    *logits = o->logits + (size_t)row * n_vocab(o);
    if (o->rows[row].logits) return GPTOSS_OK;
    o->rows[row].logits = *logits;
    o->fetch = (wave_header){.kind = WAVE_WORK, .number = o->collected, .logits_rows = row};
    for (int r = 1; r < c->cluster.size; r++) {
        if (width_of(o, r) == 0) continue;
        link_receive(*logits + c->begins[r], width_of(o, r) * sizeof(float), r, TAG_FETCHED, &o->coming[r]);
        link_send(&o->fetch, sizeof o->fetch, r, TAG_FETCH, &o->fetch_sent[r]);
    }
    place_part(o, 0, row, 1, o->own + (size_t)row * width_of(o, 0));
    for (int r = 1; r < c->cluster.size; r++) {
        if (width_of(o, r) == 0) continue;
        size_t got = message_await(&o->coming[r], own_figures(o));
        message_await(&o->fetch_sent[r], own_figures(o));
        if (got != width_of(o, r) * sizeof(float) && status == GPTOSS_OK)
            status = error_set(err, GPTOSS_PEER, "rank %d sent other logits than those of wave %llu", r,
                               (unsigned long long)o->collected);
    }
    return status;
}
