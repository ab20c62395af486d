#include "cluster/ping.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/mem.h"
#include "cluster/link.h"
#include "cluster/tags.h"

enum { SMALL = 64, LEAST_LARGE = 1 << 14, MOST_LARGE = 1 << 20 }; /* bytes */
enum { SMALL_ROUNDS = 30, LARGE_ROUNDS = 4, LATE_ROUNDS = 9, CLOCK_ROUNDS = 20 };
enum { AT_ONCE, LATE };                 /* first byte of a question: whether it is answered after a pause */
static const double PAUSE = 2e-3;       /* seconds, as if to compute */
static const double LONG_ENOUGH = 5e-3; /* seconds of a large message: a larger one would tell no more */
static const double PATIENCE = 0.25;    /* seconds, after which there are no more rounds of a kind */

static void compute(double seconds) {
    double end = clock_seconds() + seconds;
    while (clock_seconds() < end) {
    }
}

/* One round: a message there and, of the same size, back, each after a pause if it is late. Seconds for one way. */
static double ask(char *message, size_t bytes, char kind, int other) {
    MPI_Request request;
    double start = clock_seconds(), pause = kind == LATE ? PAUSE : 0;
    message[0] = kind;
    compute(pause);
    link_send(message, bytes, other, TAG_PING, &request);
    link_wait(&request);
    link_receive(message, bytes, other, TAG_PING, &request);
    link_wait(&request);
    return (clock_seconds() - start) / 2 - pause;
}

/* Until an empty message comes; so does one in place of what a lost rank would have sent. */
static void answer(char *message, int other) {
    MPI_Request request;
    for (;;) {
        link_receive(message, MOST_LARGE, other, TAG_PING, &request);
        size_t bytes = link_wait(&request);
        if (bytes == 0) return;
        if (message[0] == LATE) compute(PAUSE);
        link_send(message, bytes, other, TAG_PING, &request);
        link_wait(&request);
    }
}

static double fastest(char *message, size_t bytes, int rounds, int other) {
    double best = 1e9, end = clock_seconds() + PATIENCE;
    for (int i = 0; i < rounds && (i == 0 || clock_seconds() < end); i++) {
        double seconds = ask(message, bytes, AT_ONCE, other);
        if (seconds < best) best = seconds;
    }
    return best;
}

static int compare(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double usual_when_late(char *message, int other) {
    double seconds[LATE_ROUNDS], end = clock_seconds() + PATIENCE;
    size_t count = 0;
    while (count < LATE_ROUNDS && (count == 0 || clock_seconds() < end))
        seconds[count++] = ask(message, SMALL, LATE, other);
    qsort(seconds, count, sizeof *seconds, compare);
    return seconds[count / 2];
}

static plan_link measure(char *message, int other, double *wake) {
    double small = fastest(message, SMALL, SMALL_ROUNDS, other);
    size_t bytes = LEAST_LARGE;
    while (bytes < MOST_LARGE && fastest(message, bytes, 1, other) < LONG_ENOUGH) bytes *= 4;
    double large = fastest(message, bytes, LARGE_ROUNDS, other);
    double late = usual_when_late(message, other), sending = large > small ? large - small : 1e-9;
    *wake = late > small ? late - small : 0;
    return (plan_link){.latency = small, .bandwidth = (double)bytes / sending};
}

static void end_questions(int other) {
    MPI_Request request;
    link_send(NULL, 0, other, TAG_PING, &request);
    link_wait(&request);
}

/* wanted[size]: whether each rank wants its link measured, told to all. */
static void share_wishes(const cluster *c, bool mine, uint64_t *wanted) {
    const uint64_t word = mine;
    cluster_gather(c, &word, 1, wanted);
    cluster_broadcast(c, wanted, (size_t)c->size * sizeof *wanted);
}

gptoss_status ping_next(const cluster *c, bool wanted, plan_link *out, double *wake, gptoss_error *err) {
    char *message = NULL;
    uint64_t *all = NULL;
    if (c->size == 1) return GPTOSS_OK;
    gptoss_status status = mem_array(MOST_LARGE, 1, "messages", &message, err);
    if (status == GPTOSS_OK) status = mem_array((size_t)c->size, sizeof *all, "messages", &all, err);
    status = cluster_agree(c, status, err);
    if (status == GPTOSS_OK) share_wishes(c, wanted, all);
    for (int from = 0; status == GPTOSS_OK && from < c->size; from++) {
        int to = (from + 1) % c->size;
        if (!all[from]) continue;
        if (c->rank == from) {
            *out = measure(message, to, wake);
            end_questions(to);
        }
        if (c->rank == to) answer(message, from);
        cluster_agree(c, GPTOSS_OK, NULL); /* one after the other, so that none disturbs another */
    }
    free(all);
    free(message);
    return status;
}

/* Rank 0 answers each question with its time, which must have been between question and answer. */
static double ask_for_time(void) {
    double best = 1e9, offset = 0, time = 0;
    for (int i = 0; i < CLOCK_ROUNDS; i++) {
        MPI_Request question, answer;
        double start = clock_seconds();
        link_receive(&time, sizeof time, 0, TAG_CLOCK, &answer);
        link_send(NULL, 0, 0, TAG_CLOCK, &question);
        link_wait(&answer);
        double end = clock_seconds();
        link_wait(&question);
        if (end - start >= best) continue;
        best = end - start;
        offset = time - (start + end) / 2;
    }
    return offset;
}

static void tell_time(int rank) {
    for (int i = 0; i < CLOCK_ROUNDS; i++) {
        MPI_Request question, answer;
        link_receive(NULL, 0, rank, TAG_CLOCK, &question);
        link_wait(&question);
        const double time = clock_seconds();
        link_send(&time, sizeof time, rank, TAG_CLOCK, &answer);
        link_wait(&answer);
    }
}

double ping_clock(const cluster *c) {
    double offset = 0;
    for (int rank = 1; rank < c->size; rank++) {
        if (c->rank == 0) tell_time(rank);
        if (c->rank == rank) offset = ask_for_time();
        cluster_agree(c, GPTOSS_OK, NULL);
    }
    return link_is_near(0) ? 0 : offset; /* one machine has one clock */
}
