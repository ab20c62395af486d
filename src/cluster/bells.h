/* bells.h: wakes the ranks of this machine that sleep until a message comes; MPI itself has no wait that sleeps. */
#ifndef CLUSTER_BELLS_H
#define CLUSTER_BELLS_H

#include <mpi.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

struct bell;

/* The bells of all ranks of a machine, in memory that they share. */
typedef struct bells {
    MPI_Win window;
    int rank;
    struct bell **of_rank; /* [size] owned, by number in MPI_COMM_WORLD; NULL: on another machine */
    int size;              /* of MPI_COMM_WORLD; 0: there are no bells */
    bool everywhere;       /* all ranks are on this machine */
} bells;

/* Collective among the ranks of `machine`, a communicator that stays the caller's. */
gptoss_status bells_open(MPI_Comm machine, bells *out, gptoss_error *err);
void bells_close(bells *b); /* collective likewise; a zeroed one is fine */

/* Wakes that rank, if it sleeps; anything is visible to it then that was written before. Does nothing when it is on
 * another machine. */
void bells_ring(const bells *b, int rank);
void bells_ring_all(const bells *b); /* but this rank's own */

/* How often this rank's own was rung. */
uint32_t bells_heard(const bells *b);

/* Sleeps until this rank's bell was rung more than `heard` times, but not longer than `seconds` < 1. */
void bells_sleep(const bells *b, uint32_t heard, double seconds);

#endif
