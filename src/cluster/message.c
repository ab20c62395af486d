#include "cluster/message.h"

static size_t parts_bytes(uint64_t n_tokens, uint64_t n_runs, uint64_t n_copies, uint64_t n_pages) {
    uint64_t bytes = n_tokens * sizeof(wave_token) + n_runs * sizeof(wave_run) + n_copies * sizeof(wave_copy) +
                     n_pages * sizeof(uint32_t);
    return (size_t)((bytes + 63) / 64 * 64);
}

wave message_wave(wave_header *m) {
    wave w = {.n_tokens = m->n_tokens, .n_runs = m->n_runs, .n_copies = m->n_copies, .n_pages = m->n_pages};
    w.tokens = (wave_token *)(void *)(m + 1);
    w.runs = (wave_run *)(void *)(w.tokens + w.n_tokens);
    w.copies = (wave_copy *)(void *)(w.runs + w.n_runs);
    w.pages = (uint32_t *)(void *)(w.copies + w.n_copies);
    return w;
}

float *message_activations(wave_header *m) {
    return (float *)(void *)((char *)(m + 1) + parts_bytes(m->n_tokens, m->n_runs, m->n_copies, m->n_pages));
}

logits_wish *message_wishes(wave_header *job) { return (logits_wish *)(void *)(job + 1); }

float *message_job_rows(wave_header *job) { return (float *)(void *)(message_wishes(job) + job->logits_rows); }

shortlist *message_shortlists(wave_header *result) { return (shortlist *)(void *)(result + 1); }

float *message_logits(wave_header *result) {
    return (float *)(void *)(message_shortlists(result) + result->logits_rows);
}

size_t message_wave_bytes(const wave_header *m, size_t width) {
    return sizeof *m + parts_bytes(m->n_tokens, m->n_runs, m->n_copies, m->n_pages) +
           (size_t)m->n_tokens * width * sizeof(float);
}

uint64_t message_most_wave_bytes(const wave_limits *limits, size_t width) {
    return sizeof(wave_header) +
           parts_bytes(limits->chunk, limits->runs, wave_most_copies(limits), wave_most_pages(limits)) +
           (uint64_t)limits->chunk * width * sizeof(float);
}

uint64_t message_job_bytes(uint32_t rows, size_t width) {
    return sizeof(wave_header) + rows * (sizeof(logits_wish) + (uint64_t)width * sizeof(float));
}

uint64_t message_result_bytes(uint32_t rows, size_t width) {
    return sizeof(wave_header) + rows * (sizeof(shortlist) + (uint64_t)width * sizeof(float));
}

bool message_wave_fits(const wave *w, const wave_limits *limits, uint32_t most_rows, uint32_t *marks) {
    return wave_is_valid(w, limits, marks) && wave_logits_rows(w) <= most_rows;
}

static bool counts_fit(const wave_header *m, const wave_limits *limits) {
    return m->n_tokens <= limits->chunk && m->n_runs <= limits->runs && m->n_copies <= wave_most_copies(limits) &&
           m->n_pages <= wave_most_pages(limits);
}

bool message_is_wave(wave_header *m, size_t bytes, size_t width, const wave_limits *limits, uint32_t most_rows,
                     uint32_t *marks) {
    bool sound = bytes >= sizeof *m && m->kind >= WAVE_WORK && m->kind <= WAVE_STOP && counts_fit(m, limits) &&
                 bytes == message_wave_bytes(m, width);
    if (!sound || m->kind == WAVE_STOP) return sound;
    wave w = message_wave(m);
    return message_wave_fits(&w, limits, most_rows, marks) && m->logits_rows == wave_logits_rows(&w);
}

size_t message_await(MPI_Request *request, rank_figures *waiting) {
    int which;
    return message_await_any(request, 1, &which, waiting);
}

size_t message_await_any(MPI_Request *requests, int count, int *which, rank_figures *waiting) {
    double before = link_spent().waiting;
    size_t bytes = link_wait_any(requests, count, which);
    waiting->waited += link_spent().waiting - before;
    return bytes;
}
