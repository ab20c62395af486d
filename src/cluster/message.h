/* message.h: what ranks send each other about waves. Private to src/cluster.
 *
 * A wave's message is its header, its tokens, runs, copies and pages (model/wave.h), rounded up to whole cache lines,
 * and float[n_tokens][d_model]; to shards of the first stage it goes without these, which they make themselves. A job,
 * the rows of which logits are wanted, is a header, their logits_wish[logits_rows] and float[logits_rows][d_model]; a
 * result a header, shortlist[logits_rows] of its sender's logits and, if a row wants all, float[logits_rows][so many].
 * All ranks run this program on machines of one byte order. */
#ifndef CLUSTER_MESSAGE_H
#define CLUSTER_MESSAGE_H

#include "cluster/figures.h"
#include "cluster/link.h"
#include "cluster/tags.h"
#include "model/wave.h"

enum { WAVE_WORK = 1, WAVE_CANCELLED = 2, WAVE_STOP = 3 };

typedef struct wave_header {
    uint64_t number; /* counts waves, and never wraps; jobs and results have their wave's */
    uint32_t kind;
    uint32_t n_tokens, n_runs, n_copies, n_pages;
    uint32_t logits_rows;
    rank_figures figures; /* of a result's sender */
} wave_header;
_Static_assert(sizeof(wave_header) == 64, "wave header");

/* The wave inside a message, and its activations. */
wave message_wave(wave_header *m);
float *message_activations(wave_header *m);

/* The parts of a job and of a result. */
logits_wish *message_wishes(wave_header *job);
float *message_job_rows(wave_header *job);
shortlist *message_shortlists(wave_header *result);
float *message_logits(wave_header *result);

/* Bytes of a wave's message, and of one with the most that limits allow. width: floats a row; 0: it goes without them.
 */
size_t message_wave_bytes(const wave_header *m, size_t width);
uint64_t message_most_wave_bytes(const wave_limits *limits, size_t width);

/* Bytes of a job of `rows` rows, and of a result; width: floats a row, of a result 0 if no row wants all. */
uint64_t message_job_bytes(uint32_t rows, size_t width);
uint64_t message_result_bytes(uint32_t rows, size_t width);

/* Whether every stage can take the wave, and every rank its job. marks: see wave_is_valid. */
bool message_wave_fits(const wave *w, const wave_limits *limits, uint32_t most_rows, uint32_t *marks);

/* Whether the `bytes` bytes that came are the message of a wave that fits, or of the end of all waves. */
bool message_is_wave(wave_header *m, size_t bytes, size_t width, const wave_limits *limits, uint32_t most_rows,
                     uint32_t *marks);

/* link_wait and link_wait_any, whose seconds go to the figures of who waits. */
size_t message_await(MPI_Request *request, rank_figures *waiting);
size_t message_await_any(MPI_Request *requests, int count, int *which, rank_figures *waiting);

#endif
