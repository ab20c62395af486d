#include "cluster/link.h"

#include <math.h>
#include <sched.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "base/clock.h"
#include "cluster/bells.h"
#include "cluster/peers.h"
#include "cluster/tags.h"

/* Seconds of waiting after which a rank begins to offer its core, and to sleep. */
static const double YIELD_AFTER = 5e-6, SLEEP_AFTER = 100e-6;

/* Before the end of a sleep that must not be too long: what waking up may take. */
static const double AWAKE = 60e-6;

/* The seconds that a sleep may last. Even where there are bells a rank looks from time to time: a message may be of
 * several parts, which MPI sends on as it sees fit. Each look costs some 20 us where a timer does. */
static const double SHORTEST_SLEEP = 20e-6, LONGEST_WITH_BELLS = 20e-3, LONGEST_WITHOUT = 1.9e-3;

/* Seconds between two looks after messages amid work, which take 1 to 5 us. */
static const double LOOK_EVERY = 1e-3;

/* A rank that waits for longer is one without work. */
static const double ACTIVE = 0.25;

static bells all;
static int ranks_here; /* on this machine */
static bool crowded;   /* they compute with more threads than it has cores */
static double usual;   /* about how many seconds the last waits took */
static link_times spent;
static stamps *study; /* NULL: messages have no stamps */
static void (*watcher)(void *context, const link_report *wait);
static void *watcher_context;

gptoss_status link_open(MPI_Comm machine, gptoss_error *err) {
    MPI_Comm_size(machine, &ranks_here);
    link_use_threads(1);
    usual = 0;
    prctl(PR_SET_TIMERSLACK, 1); /* nanosecond, instead of 50 us, that a sleep may be too long */
    return bells_open(machine, &all, err);
}

void link_use_threads(int threads) { crowded = (long)ranks_here * threads > sysconf(_SC_NPROCESSORS_ONLN); }

void link_close(void) {
    link_use_stamps(NULL);
    bells_close(&all);
}

bool link_is_near(int rank) { return rank == all.rank || (rank < all.size && all.of_rank[rank]); }

void link_use_stamps(stamps *s) {
    stamps_close(study);
    study = s;
}

bool link_is_delayed(void) { return study && stamps_delay(study); }

void link_watch(void (*watch)(void *context, const link_report *wait), void *context) {
    watcher = watch;
    watcher_context = context;
}

/* What rank 0's clock is ahead of this rank's, if anyone wants to know. */
static double clock_offset(void) { return study ? stamps_offset(study) : 0; }

double link_now(void) { return clock_seconds() + clock_offset(); }

link_times link_spent(void) { return spent; }

void link_send(const void *data, size_t bytes, int to, int tag, MPI_Request *request) {
    if (study) stamps_send(study, bytes, to, tag);
    MPI_Isend(data, (int)bytes, MPI_BYTE, to, tag, MPI_COMM_WORLD, request);
    bells_ring(&all, to);
}

void link_receive(void *data, size_t capacity, int from, int tag, MPI_Request *request) {
    MPI_Irecv(data, (int)capacity, MPI_BYTE, from, tag, MPI_COMM_WORLD, request);
    if (study) stamps_expect(study, from, tag, *request);
}

/* ---- waiting ---- */

typedef struct patience {
    double start;   /* of the wait */
    double since;   /* the start, or when the bell was last rung in it */
    uint32_t heard; /* the bell, when the requests were last looked at */
    double look;    /* by rank 0's clock: when the requests were last looked at, if messages are stamped */
    double arrival; /* likewise: when the first of the messages that are here already may be seen */
    double sent;    /* the stamp of the message that came */
} patience;

static patience begin_waiting(void) {
    double now = clock_seconds();
    return (patience){now, now, bells_heard(&all), .arrival = INFINITY};
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

/* Until a message that is here may be seen. */
static void sleep_until(double arrival, uint32_t heard) {
    double left = arrival - link_now();
    if (left > AWAKE)
        bells_sleep(&all, heard, left - AWAKE < 0.5 ? left - AWAKE : 0.5);
    else
        sched_yield();
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
    if (p->arrival < INFINITY) {
        sleep_until(p->arrival, heard);
        return;
    }
    if (quiet < YIELD_AFTER) return;
    double length = choose_sleep(now - p->start, quiet);
    if (length > 0)
        bells_sleep(&all, heard, length);
    else
        sched_yield();
}

/* Whether what is waited for may never come. */
static bool is_lost(const patience *p) {
    int rank;
    return clock_seconds() - p->since > SLEEP_AFTER && peers_lost(&rank);
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

/* Whether a stamped message is here and may be seen by now. */
static bool has_arrived(patience *p, MPI_Request message, link_stamp *stamp) {
    int done = 0;
    if (message == MPI_REQUEST_NULL || !stamps_find(study, message, stamp)) return false;
    MPI_Request_get_status(message, &done, MPI_STATUS_IGNORE); /* goes on fetching it, but leaves it where it is */
    if (stamp->arrives <= p->look) return done;
    if (stamp->arrives < p->arrival) p->arrival = stamp->arrives;
    return false;
}

/* The stamped message that arrived first. One that becomes due during the look must not overtake one before it: all are
 * looked at as of one moment. Nor must one that MPI fetches during the look: all are looked at again after a find. */
static bool find_first(patience *p, MPI_Request *requests, int count, int *which, MPI_Status *status) {
    int done;
    double first = INFINITY;
    *which = count;
    p->look = link_now();
    for (int look = 0; look < 2 && (look == 0 || *which < count); look++) {
        for (int i = 0; i < count; i++) {
            link_stamp stamp;
            if (!has_arrived(p, requests[i], &stamp) || stamp.arrives >= first) continue;
            first = stamp.arrives;
            p->sent = stamp.sent;
            *which = i;
        }
    }
    if (*which == count) return false;
    MPI_Request was = requests[*which];
    MPI_Test(&requests[*which], &done, status);
    stamps_forget(study, was);
    return true;
}

static bool find_complete(patience *p, MPI_Request *requests, int count, int *which, MPI_Status *status) {
    int done = 0;
    p->arrival = INFINITY;
    if (study) return find_first(p, requests, count, which, status);
    for (*which = 0; *which < count; ++*which) {
        if (requests[*which] == MPI_REQUEST_NULL) continue;
        MPI_Test(&requests[*which], &done, status);
        if (done) return true;
    }
    return false;
}

static void report(const patience *p) {
    const link_report wait = {p->start + clock_offset(), link_now(), p->sent};
    spent.waiting += wait.end - wait.begin;
    if (wait.sent > 0) spent.transfer += wait.end - (wait.sent > wait.begin ? wait.sent : wait.begin);
    if (watcher) watcher(watcher_context, &wait);
}

size_t link_wait_any(MPI_Request *requests, int count, int *which) {
    int open = 0;
    MPI_Status status;
    for (int i = 0; i < count; i++) open += requests[i] != MPI_REQUEST_NULL;
    *which = count;
    if (open == 0) return 0;
    patience p = begin_waiting();
    while (!find_complete(&p, requests, count, which, &status)) {
        give_way(&p);
        if (!is_lost(&p)) continue;
        *which = count;
        return 0;
    }
    learn(&p);
    report(&p);
    return take(&status);
}

void link_progress(void) {
    static double looked;
    int found;
    double now = clock_seconds();
    if (now - looked < LOOK_EVERY) return;
    looked = now;
    MPI_Iprobe(all.rank, TAG_NONE, MPI_COMM_WORLD, &found, MPI_STATUS_IGNORE); /* in vain, so that it goes on */
}

void link_wait_together(MPI_Request *request) {
    bells_ring_all(&all);
    link_wait(request);
}

void link_drop(MPI_Request *request) {
    if (*request == MPI_REQUEST_NULL) return;
    if (study) stamps_forget(study, *request);
    MPI_Cancel(request);
    MPI_Wait(request, MPI_STATUS_IGNORE);
}
