/* topology.h: the cores of this machine, a rank's share of them, and threads bound to them. */
#ifndef PLAN_TOPOLOGY_H
#define PLAN_TOPOLOGY_H

#include <stddef.h>

#include "base/error.h"

/* The physical cores that this process computes on. */
typedef struct topology topology;

/* The cores on which this process may run now; nothing is bound. */
gptoss_status topology_open(topology **out, gptoss_error *err);

/* Divides the physical cores of this machine between its ranks, and binds the process to the share of rank `local_rank`
 * of `local_ranks`; with fewer cores than ranks all ranks share all of them. A launcher's default of one core per rank
 * is widened by this. A machine that refuses binding is no error. */
gptoss_status topology_open_share(int local_rank, int local_ranks, topology **out, gptoss_error *err);

/* Gives the process back the binding that it had before; NULL is fine. */
void topology_close(topology *t);

/* Threads that can compute at full speed: one a physical core, or fewer where machine_processors allows less to all
 * ranks here; where several ranks share all cores one a rank; at least 1. */
int topology_cores(const topology *t);

typedef enum topology_bind {
    BIND_CORE, /* a core each; with more threads than hardware threads in the share all of the machine */
    BIND_NUMA, /* the share's cores on one NUMA node, the one that has the thread's core */
    BIND_NONE  /* wherever the system likes: a rank's threads also outside its share */
} topology_bind;

/* Binds the calling thread as thread `index` of `count`, which run on this process's cores together: neighbours go to
 * neighbouring cores, beginning with the one on which the process ran when the topology was opened. Threads that it
 * starts later inherit the binding. A machine that refuses is no error. */
void topology_bind_thread(const topology *t, topology_bind how, int index, int count);

/* The hardware threads that topology_bind_thread would choose: "0,4-5"; cut to fit text[size]. */
void topology_describe_thread(const topology *t, topology_bind how, int index, int count, char *text, size_t size);

#endif
