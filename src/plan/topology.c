#include "plan/topology.h"

#include <hwloc.h>

gptoss_status topology_claim_cores(int local_rank, int local_ranks, int *cores, gptoss_error *err) {
    hwloc_topology_t topology;
    if (hwloc_topology_init(&topology) != 0)
        return error_set(err, GPTOSS_NO_MEMORY, "cannot describe this machine's cores");
    if (hwloc_topology_load(topology) != 0) {
        hwloc_topology_destroy(topology);
        return error_set(err, GPTOSS_IO, "hwloc cannot read this machine's topology");
    }
    int all = hwloc_get_nbobjs_by_type(topology, HWLOC_OBJ_CORE);
    if (all < 1) all = 1;
    int share = 1;
    if (all < local_ranks) {
        hwloc_set_cpubind(topology, hwloc_topology_get_allowed_cpuset(topology), 0);
    } else {
        int first = (int)((long)all * local_rank / local_ranks), end = (int)((long)all * (local_rank + 1) / local_ranks);
        hwloc_bitmap_t set = hwloc_bitmap_alloc();
        for (int i = first; set && i < end; i++) {
            hwloc_obj_t core = hwloc_get_obj_by_type(topology, HWLOC_OBJ_CORE, (unsigned)i);
            if (core) hwloc_bitmap_or(set, set, core->cpuset);
        }
        if (set && !hwloc_bitmap_iszero(set)) hwloc_set_cpubind(topology, set, 0);
        hwloc_bitmap_free(set);
        share = end - first;
    }
    hwloc_topology_destroy(topology);
    *cores = share;
    return GPTOSS_OK;
}
