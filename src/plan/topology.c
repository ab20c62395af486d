#include "plan/topology.h"

#include <hwloc.h>

static gptoss_status load(hwloc_topology_t *out, gptoss_error *err) {
    if (hwloc_topology_init(out) != 0) return error_set(err, GPTOSS_NO_MEMORY, "cannot describe this machine's cores");
    if (hwloc_topology_load(*out) == 0) return GPTOSS_OK;
    hwloc_topology_destroy(*out);
    return error_set(err, GPTOSS_IO, "hwloc cannot read this machine's topology");
}

static int cores_inside(hwloc_topology_t topology, hwloc_const_bitmap_t set) {
    int all = hwloc_get_nbobjs_by_type(topology, HWLOC_OBJ_CORE), inside = 0;
    for (int i = 0; i < all; i++)
        inside += hwloc_bitmap_intersects(hwloc_get_obj_by_type(topology, HWLOC_OBJ_CORE, (unsigned)i)->cpuset, set);
    return inside > 0 ? inside : 1;
}

gptoss_status topology_count_cores(int *cores, gptoss_error *err) {
    hwloc_topology_t topology;
    TRY(load(&topology, err));
    hwloc_bitmap_t set = hwloc_bitmap_alloc();
    int count = 1;
    if (set && hwloc_get_cpubind(topology, set, HWLOC_CPUBIND_PROCESS) == 0) count = cores_inside(topology, set);
    hwloc_bitmap_free(set);
    hwloc_topology_destroy(topology);
    *cores = count;
    return GPTOSS_OK;
}

/* The hardware threads of cores [first, end). */
static void bind_to_cores(hwloc_topology_t topology, int first, int end) {
    hwloc_bitmap_t set = hwloc_bitmap_alloc();
    if (!set) return;
    for (int i = first; i < end; i++)
        hwloc_bitmap_or(set, set, hwloc_get_obj_by_type(topology, HWLOC_OBJ_CORE, (unsigned)i)->cpuset);
    if (!hwloc_bitmap_iszero(set)) hwloc_set_cpubind(topology, set, 0);
    hwloc_bitmap_free(set);
}

gptoss_status topology_claim_cores(int local_rank, int local_ranks, int *cores, gptoss_error *err) {
    hwloc_topology_t topology;
    TRY(load(&topology, err));
    int all = hwloc_get_nbobjs_by_type(topology, HWLOC_OBJ_CORE), first = 0, end = all;
    if (all >= local_ranks) {
        first = (int)((long)all * local_rank / local_ranks);
        end = (int)((long)all * (local_rank + 1) / local_ranks);
    }
    bind_to_cores(topology, first, end);
    hwloc_topology_destroy(topology);
    *cores = all >= local_ranks ? end - first : 1;
    return GPTOSS_OK;
}
