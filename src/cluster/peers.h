/* peers.h: notices when another rank on this machine has ended while it is still needed, as when somebody kills it. MPI
 * would wait for its messages for ever. Of ranks on other machines only the launcher knows; it ends this process then.
 *
 * The watch is for the whole process, as MPI is; all functions are for the thread that calls MPI. */
#ifndef CLUSTER_PEERS_H
#define CLUSTER_PEERS_H

#include "cluster/cluster.h"

/* Collective. From now on rank 0 watches the others, and link_wait gives up, with 0 bytes, once one has ended. */
gptoss_status peers_watch(const cluster *c, gptoss_error *err);

/* The ranks may end from now on. */
void peers_release(void);

/* Whether a watched rank has ended; its number then. */
bool peers_lost(int *rank);

#endif
