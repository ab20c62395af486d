/* ping.h: what the links between ranks are like. */
#ifndef CLUSTER_PING_H
#define CLUSTER_PING_H

#include "cluster/cluster.h"
#include "plan/forecast.h"

/* Collective; takes some 50 ms a link on a fast network. *out: from this rank to the next, the last one's to rank 0.
 * For a cluster of one it stays as it is. */
gptoss_status ping_next(const cluster *c, plan_link *out, gptoss_error *err);

#endif
