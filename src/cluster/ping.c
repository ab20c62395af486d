#include "cluster/ping.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/mem.h"
#include "cluster/link.h"
#include "cluster/tags.h"

enum { SMALL = 64, LARGE = 1 << 20, SMALL_ROUNDS = 30, LARGE_ROUNDS = 4, LATE_ROUNDS = 9, CLOCK_ROUNDS = 20 };
static const double PAUSE = 2e-3; /* seconds, as if to compute */

static void compute(double seconds) {
    double end = clock_seconds() + seconds;
    while (clock_seconds() < end) {
    }
}

/* One round: one side sends after a pause, and the other one back after one of its own. Seconds for one way. */
static double round_trip(char *message, int bytes, double pause, int other, bool asks) {
    MPI_Request request;
    double start = clock_seconds();
    for (int turn = 0; turn < 2; turn++) {
        if ((turn == 0) == asks) {
            compute(pause);
            link_send(message, (size_t)bytes, other, TAG_PING, &request);
        } else {
            link_receive(message, (size_t)bytes, other, TAG_PING, &request);
        }
        link_wait(&request);
    }
    return (clock_seconds() - start) / 2 - pause;
}

/* Both sides call these; the one that asks gets the figure. */
static double fastest(char *message, int bytes, int rounds, int other, bool asks) {
    double best = 1e9;
    for (int i = 0; i < rounds; i++) {
        double seconds = round_trip(message, bytes, 0, other, asks);
        if (seconds < best) best = seconds;
    }
    return best;
}

static int compare(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double usual_when_late(char *message, int other, bool asks) {
    double seconds[LATE_ROUNDS];
    for (int i = 0; i < LATE_ROUNDS; i++) seconds[i] = round_trip(message, SMALL, PAUSE, other, asks);
    qsort(seconds, LATE_ROUNDS, sizeof *seconds, compare);
    return seconds[LATE_ROUNDS / 2];
}

static plan_link measure(char *message, int other, bool asks, double *wake) {
    double small = fastest(message, SMALL, SMALL_ROUNDS, other, asks);
    double large = fastest(message, LARGE, LARGE_ROUNDS, other, asks);
    double late = usual_when_late(message, other, asks), sending = large > small ? large - small : 1e-9;
    *wake = late > small ? late - small : 0;
    return (plan_link){.latency = small, .bandwidth = LARGE / sending};
}

gptoss_status ping_next(const cluster *c, plan_link *out, double *wake, gptoss_error *err) {
    char *message = NULL;
    double ignored;
    if (c->size == 1) return GPTOSS_OK;
    gptoss_status status = cluster_agree(c, mem_array(LARGE, 1, "messages", &message, err), err);
    for (int from = 0; status == GPTOSS_OK && from < c->size;
         from++) { /* one after the other, so that none disturbs another */
        int to = (from + 1) % c->size;
        if (c->rank == from) *out = measure(message, to, true, wake);
        if (c->rank == to) measure(message, from, false, &ignored);
        cluster_agree(c, GPTOSS_OK, NULL);
    }
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
