/* stamps.h: messages that tell when they were sent, and that arrive as they would over a network that is not there.
 *
 * Beside each message goes a stamp, a message of its own: the time at which it was sent and the time at which it may be
 * seen. A direction of a link between two ranks sends one message after another, bytes / bandwidth seconds each; a
 * message arrives the latency later. The sender does not wait for any of that, nor does MPI: it is the receiver that
 * does not look at a message before its time. Collective operations are not delayed. */
#ifndef CLUSTER_STAMPS_H
#define CLUSTER_STAMPS_H

#include <mpi.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

/* By rank 0's clock. */
typedef struct link_stamp {
    double sent, arrives;
} link_stamp;

typedef struct stamps stamps;

/* latency: seconds; bandwidth: bytes a second, 0: no limit; with both 0 nothing is delayed. clock_offset: seconds that
 * this rank's clock is behind rank 0's. */
gptoss_status stamps_open(double latency, double bandwidth, double clock_offset, stamps **out, gptoss_error *err);
void stamps_close(stamps *s); /* NULL is fine */

double stamps_offset(const stamps *s); /* clock_offset */
bool stamps_delay(const stamps *s);    /* whether they delay anything */

/* Just before a message is sent. */
void stamps_send(stamps *s, size_t bytes, int to, int tag);

/* Just after the receiving of a message was begun. */
void stamps_expect(stamps *s, int from, int tag, MPI_Request message);

/* Whether the stamp of a message has come; for a request that is no expected message *out is zeroed, at once. */
bool stamps_find(stamps *s, MPI_Request message, link_stamp *out);

/* Is to be called when a message was taken or given up, with what its request was. */
void stamps_forget(stamps *s, MPI_Request message);

#endif
