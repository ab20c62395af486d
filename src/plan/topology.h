/* topology.h: the cores of this machine, and a rank's share of them. */
#ifndef PLAN_TOPOLOGY_H
#define PLAN_TOPOLOGY_H

#include "base/error.h"

/* *cores: how many physical cores this process may run on now, at least 1. */
gptoss_status topology_count_cores(int *cores, gptoss_error *err);

/* Divides the physical cores of this machine between its ranks, and binds the process to the share of rank `local_rank`
 * of `local_ranks`; with fewer cores than ranks all ranks share all of them. A launcher's default of one core per rank
 * is widened by this. *cores: the physical cores of the share, at least 1. A machine that refuses binding is no error.
 */
gptoss_status topology_claim_cores(int local_rank, int local_ranks, int *cores, gptoss_error *err);

#endif
