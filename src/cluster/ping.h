/* ping.h: what the links between ranks are like. */
#ifndef CLUSTER_PING_H
#define CLUSTER_PING_H

#include "cluster/cluster.h"
#include "plan/placement.h"

/* Collective; takes some 50 ms a link on a fast network, and a second on one of 1 Mbit/s: large messages are no larger
 * than they need be. *out: from this rank to the next, the last one's to rank 0. *wake: seconds by which a message
 * comes later when its receiver has waited for it as long as a stage may compute. Both stay as they are where this rank
 * does not want them measured, and in a cluster of one. */
gptoss_status ping_next(const cluster *c, bool wanted, plan_link *out, double *wake, gptoss_error *err);

/* Collective. How many seconds this rank's clock is behind rank 0's, to within half of the time that a short message
 * takes there and back; 0 on rank 0's machine. */
double ping_clock(const cluster *c);

#endif
