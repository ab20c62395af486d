/* cluster.h: the processes of one run: who they are, and what they must agree on before they work together. */
#ifndef CLUSTER_CLUSTER_H
#define CLUSTER_CLUSTER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

typedef struct cluster {
    int rank, size;
    int local_rank, local_size; /* among the ranks on this machine */
    char machine[65];           /* its name, for errors */
    bool has_mpi;               /* false: a single process that nothing launched, and that never calls MPI */
} cluster;

/* launched: whether a launcher such as mpirun started this process. Without one there is a cluster of one. */
gptoss_status cluster_open(bool launched, cluster *out, gptoss_error *err);

/* Waits for all ranks. */
void cluster_close(cluster *c);

/* Ends this process's part after work that ended with `status`. Ending MPI in good order means waiting for every rank.
 * When one was lost that would be for ever, and the process's end is left to end all of them; when a signal ended the
 * work, the launcher is already taking the ranks down and answers no more. */
void cluster_leave(cluster *c, gptoss_status status);

/* Collective. Returns the status of the lowest rank whose `mine` is not GPTOSS_OK, or GPTOSS_OK, the same on every
 * rank. On that rank *err keeps its text, with "rank 2 on MACHINE: " in front unless it is rank 0; on all others
 * err->text becomes empty: it is that rank's to tell. err may be NULL. */
gptoss_status cluster_agree(const cluster *c, gptoss_status mine, gptoss_error *err);

/* Collective. Fails, on every rank, when `value` is not the same everywhere; the first rank that differs from rank 0
 * has the text: "rank 2 on MACHINE: `what` differs from that of rank 0". */
gptoss_status cluster_same(const cluster *c, uint64_t value, const char *what, gptoss_error *err);

/* Collective. data[size] of rank 0 becomes that of every rank. */
void cluster_broadcast(const cluster *c, void *data, size_t size);
void cluster_broadcast_from(const cluster *c, int rank, void *data, size_t size); /* that of another rank */

/* Collective. On rank 0, all[size of the cluster][count] receives every rank's mine[count]; elsewhere `all` is not
 * used. */
void cluster_gather(const cluster *c, const uint64_t *mine, size_t count, uint64_t *all);

#endif
