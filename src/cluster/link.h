/* link.h: messages between ranks, and waiting for them without burning a core. */
#ifndef CLUSTER_LINK_H
#define CLUSTER_LINK_H

#include <mpi.h>
#include <stddef.h>

/* Starts to send or receive `bytes` bytes; the buffer belongs to the message until link_wait returns. At most INT_MAX.
 */
void link_send(const void *data, size_t bytes, int to, int tag, MPI_Request *request);
void link_receive(void *data, size_t capacity, int from, int tag, MPI_Request *request);

/* Returns the bytes received (a number without meaning for a send) once the message is complete. Looks often at first,
 * then yields the core, then sleeps up to a millisecond at a time: a hop that is about to arrive is taken at once, and
 * a rank that waits long leaves the core to whoever can use it. MPI_REQUEST_NULL is complete, with 0 bytes. */
size_t link_wait(MPI_Request *request);

/* Waits in the same way until one of requests[count] is complete: the one with the lowest index when several are.
 * *which is that index, or `count`, with 0 bytes, when all are MPI_REQUEST_NULL. */
size_t link_wait_any(MPI_Request *requests, int count, int *which);

/* Gives up a message that is to be received: nothing is written to its buffer afterwards. MPI_REQUEST_NULL is fine. */
void link_drop(MPI_Request *request);

#endif
