/* link.h: messages between ranks, and waiting for them without burning a core. */
#ifndef CLUSTER_LINK_H
#define CLUSTER_LINK_H

#include <mpi.h>
#include <stddef.h>

#include "base/error.h"
#include "cluster/stamps.h"

/* Collective, once MPI runs. `machine`: the ranks on this machine; it stays the caller's. Links belong to the process,
 * as MPI does: there is one set of them, and all functions below work on it. The thread that calls them is the only one
 * that may; its sleeps become precise (PR_SET_TIMERSLACK). */
gptoss_status link_open(MPI_Comm machine, gptoss_error *err);
void link_close(void);

/* Each rank of this machine computes with so many threads. While they are more than its cores no rank that waits stays
 * awake, which another's threads would suffer from. */
void link_use_threads(int threads); /* collective likewise */

bool link_is_near(int rank); /* on this machine */

/* Starts to send or receive `bytes` bytes; the buffer belongs to the message until link_wait returns. At most INT_MAX.
 */
void link_send(const void *data, size_t bytes, int to, int tag, MPI_Request *request);
void link_receive(void *data, size_t capacity, int from, int tag, MPI_Request *request);

/* Returns the bytes received (a number without meaning for a send) once the message is complete. Looks often at first,
 * then offers the core to others, then sleeps. A sender on the same machine wakes it; otherwise it sleeps for a few
 * hundredths of the wait so far at a time, 2 ms at most. While waits are alike it does not sleep around the end of the
 * usual one, unless there are more ranks than cores. So a hop is taken at once, and a rank that waits long leaves the
 * core to whoever can use it. MPI_REQUEST_NULL is complete, with 0 bytes.
 * So is, once a rank is lost (cluster/peers.h), what is waited for; its buffer stays its own then. */
size_t link_wait(MPI_Request *request);

/* Waits in the same way until one of requests[count] is complete: the one with the lowest index when several are.
 * *which is that index, or `count`, with 0 bytes, when all are MPI_REQUEST_NULL. */
size_t link_wait_any(MPI_Request *requests, int count, int *which);

/* Goes on with messages that were begun, as a wait would, and returns: is to be called now and then, as often as one
 * likes, between steps of work. MPI does not move a long message while a rank that sends or awaits it computes, except
 * where the other one may read its memory. */
void link_progress(void);

/* Waits for a collective operation that this rank has just started. */
void link_wait_together(MPI_Request *request);

/* Gives up a message that is to be received: nothing is written to its buffer afterwards. MPI_REQUEST_NULL is fine. */
void link_drop(MPI_Request *request);

/* ---- for studies ---- */

/* Stamps from now on all messages; collective. They become the links'; NULL: no more. */
void link_use_stamps(stamps *s);

bool link_is_delayed(void); /* by them, so that links are not what they are */

double link_now(void); /* seconds, by rank 0's clock if messages are stamped */

/* A wait that ended. Seconds by rank 0's clock. */
typedef struct link_report {
    double begin, end;
    double sent; /* the stamp of the message that was waited for; 0: none */
} link_report;

/* Calls `watch` after each wait from now on; NULL: no more. */
void link_watch(void (*watch)(void *context, const link_report *wait), void *context);

/* Seconds spent in link_wait and link_wait_any so far. */
typedef struct link_times {
    double waiting;
    double transfer; /* the part of them in which a stamped message was under way already */
} link_times;

link_times link_spent(void);

#endif
