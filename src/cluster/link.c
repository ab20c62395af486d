#include "cluster/link.h"

#include <sched.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "base/clock.h"
#include "cluster/bells.h"

/* Seconds of waiting after which a rank begins to offer its core, and to sleep. */
static const double YIELD_AFTER = 5e-6, SLEEP_AFTER = 100e-6;

/* The seconds that a sleep may last. Even where there are bells a rank looks from time to time: a message may be of
 * several parts, which MPI sends on as it sees fit. Each look costs some 20 us where a timer does. */
static const double SHORTEST_SLEEP = 20e-6, LONGEST_WITH_BELLS = 20e-3, LONGEST_WITHOUT = 1.9e-3;

/* A rank that waits for longer is one without work. */
static const double ACTIVE = 0.25;

static bells all;
static bool crowded; /* there are more ranks than cores on this machine */
static double usual; /* about how many seconds the last waits took */

gptoss_status link_open(MPI_Comm machine, gptoss_error *err) {
    int ranks;
    MPI_Comm_size(machine, &ranks);
    crowded = ranks > sysconf(_SC_NPROCESSORS_ONLN);
    usual = 0;
    prctl(PR_SET_TIMERSLACK, 1); /* nanosecond, instead of 50 us, that a sleep may be too long */
    return bells_open(machine, &all, err);
}

void link_close(void) { bells_close(&all); }

void link_send(const void *data, size_t bytes, int to, int tag, MPI_Request *request) {
    MPI_Isend(data, (int)bytes, MPI_BYTE, to, tag, MPI_COMM_WORLD, request);
    bells_ring(&all, to);
}

void link_receive(void *data, size_t capacity, int from, int tag, MPI_Request *request) {
    MPI_Irecv(data, (int)capacity, MPI_BYTE, from, tag, MPI_COMM_WORLD, request);
}

/* ---- waiting ---- */

typedef struct patience {
    double start;   /* of the wait */
    double since;   /* the start, or when the bell was last rung in it */
    uint32_t heard; /* the bell, when the requests were last looked at */
} patience;

static patience begin_waiting(void) {
    double now = clock_seconds();
    return (patience){now, now, bells_heard(&all)};
}

/* Waking up takes longer than a hop, 30 us in a virtual machine. While there is work, however, waits are much alike:
 * around the end of the usual one a rank does not sleep. */
static double margin(void) { return 100e-6 + usual / 16; }

static void learn(const patience *p) {
    double took = clock_seconds() - p->start;
    if (took < SLEEP_AFTER || took > ACTIVE) return; /* it never slept, or had no work */
    usual = took < usual + margin() ? (3 * usual + took) / 4 : usual + (took - usual) / 16;
}

/* How long to sleep after `waited` seconds, `quiet` of them since the bell was rung; 0: not now. The fraction is what a
 * sleep lengthens a wait by, at most. */
static double choose_sleep(double waited, double quiet) {
    double longest = all.everywhere ? LONGEST_WITH_BELLS : LONGEST_WITHOUT;
    double length = quiet / (all.everywhere ? 4 : 32), until_end = usual - margin() - waited;
    if (quiet < SLEEP_AFTER || (!crowded && until_end <= 0 && waited < usual + margin())) return 0;
    if (length > longest) length = longest;
    if (!crowded && until_end > 0 && length > until_end) length = until_end;
    return length > SHORTEST_SLEEP ? length : SHORTEST_SLEEP;
}

/* To be called after each look that was in vain. */
static void give_way(patience *p) {
    double now = clock_seconds(), quiet = now - p->since;
    uint32_t heard = bells_heard(&all);
    if (heard != p->heard) {
        p->since = now;
        p->heard = heard;
        return;
    }
    if (quiet < YIELD_AFTER) return;
    double length = choose_sleep(now - p->start, quiet);
    if (length > 0)
        bells_sleep(&all, heard, length);
    else
        sched_yield();
}

/* The sender of a long message waits until the receiver has fetched it. */
static size_t take(const MPI_Status *status) {
    int bytes;
    bells_ring(&all, status->MPI_SOURCE);
    MPI_Get_count(status, MPI_BYTE, &bytes);
    return bytes == MPI_UNDEFINED ? 0 : (size_t)bytes;
}

size_t link_wait(MPI_Request *request) {
    int which;
    return link_wait_any(request, 1, &which);
}

static bool find_complete(MPI_Request *requests, int count, int *which, MPI_Status *status) {
    int done = 0;
    for (int i = 0; i < count && !done; i++) {
        if (requests[i] == MPI_REQUEST_NULL) continue;
        MPI_Test(&requests[i], &done, status);
        *which = i;
    }
    return done;
}

size_t link_wait_any(MPI_Request *requests, int count, int *which) {
    int open = 0;
    MPI_Status status;
    for (int i = 0; i < count; i++) open += requests[i] != MPI_REQUEST_NULL;
    *which = count;
    if (open == 0) return 0;
    patience p = begin_waiting();
    while (!find_complete(requests, count, which, &status)) give_way(&p);
    learn(&p);
    return take(&status);
}

void link_wait_together(MPI_Request *request) {
    bells_ring_all(&all);
    link_wait(request);
}

void link_drop(MPI_Request *request) {
    if (*request == MPI_REQUEST_NULL) return;
    MPI_Cancel(request);
    MPI_Wait(request, MPI_STATUS_IGNORE);
}
