/* topology.h: the cores of this machine, and a rank's share of them. */
#ifndef PLAN_TOPOLOGY_H
#define PLAN_TOPOLOGY_H

#include "base/error.h"

/* Divides the physical cores that this process may use between the ranks on this machine and binds the process to the
 * share of rank `local_rank` of `local_ranks`; with fewer cores than ranks all ranks share all of them. A launcher's
 * default of one core per rank is widened by this. *cores: the physical cores of the share, at least 1. A machine
 * that refuses binding is no error. */
gptoss_status topology_claim_cores(int local_rank, int local_ranks, int *cores, gptoss_error *err);

#endif
