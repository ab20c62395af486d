#include "cluster/link.h"

#include <sched.h>
#include <time.h>

#include "base/clock.h"

static const double YIELD_AFTER = 5e-6, SLEEP_AFTER = 200e-6, LONGEST_SLEEP = 1e-3; /* seconds of waiting */

void link_send(const void *data, size_t bytes, int to, int tag, MPI_Request *request) {
    MPI_Isend(data, (int)bytes, MPI_BYTE, to, tag, MPI_COMM_WORLD, request);
}

void link_receive(void *data, size_t capacity, int from, int tag, MPI_Request *request) {
    MPI_Irecv(data, (int)capacity, MPI_BYTE, from, tag, MPI_COMM_WORLD, request);
}

static void give_way(double waited) {
    if (waited < YIELD_AFTER) return;
    if (waited < SLEEP_AFTER) {
        sched_yield();
        return;
    }
    /* A quarter of the wait so far: the sleep lengthens a wait by a quarter at most. */
    double pause = waited / 4 < LONGEST_SLEEP ? waited / 4 : LONGEST_SLEEP;
    nanosleep(&(struct timespec){0, (long)(pause * 1e9)}, NULL);
}

static size_t received(const MPI_Status *status) {
    int bytes = 0;
    MPI_Get_count(status, MPI_BYTE, &bytes);
    return bytes == MPI_UNDEFINED ? 0 : (size_t)bytes;
}

size_t link_wait(MPI_Request *request) {
    MPI_Status status;
    int done = 0;
    if (*request == MPI_REQUEST_NULL) return 0;
    double start = clock_seconds();
    for (;;) {
        MPI_Test(request, &done, &status);
        if (done) return received(&status);
        give_way(clock_seconds() - start);
    }
}

size_t link_wait_any(MPI_Request *requests, int count, int *which) {
    double start = clock_seconds();
    for (;;) {
        MPI_Status status;
        int done = 0, idle = 0;
        for (int i = 0; i < count; i++) {
            if (requests[i] == MPI_REQUEST_NULL) idle++;
            if (requests[i] != MPI_REQUEST_NULL) MPI_Test(&requests[i], &done, &status);
            if (!done) continue;
            *which = i;
            return received(&status);
        }
        *which = count;
        if (idle == count) return 0;
        give_way(clock_seconds() - start);
    }
}

void link_drop(MPI_Request *request) {
    if (*request == MPI_REQUEST_NULL) return;
    MPI_Cancel(request);
    MPI_Wait(request, MPI_STATUS_IGNORE);
}
