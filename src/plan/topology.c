#include "plan/topology.h"

#include <hwloc.h>
#include <stdbool.h>
#include <stdlib.h>

#include "base/mem.h"
#include "plan/machine.h"

struct topology {
    hwloc_topology_t machine;
    hwloc_bitmap_t before; /* the process's binding when this was opened; empty: unknown */
    hwloc_bitmap_t share;  /* the hardware threads to compute on */
    int first;             /* the core of the share on which thread 0 goes */
    int cores;             /* in the share, at least 1 */
    int threads;           /* that they and this rank's part of a quota can keep busy, at least 1 */
    bool is_rank;          /* the share is not what the process was given */
    bool crowded;          /* other ranks have the same share */
};

static hwloc_const_bitmap_t core_set(const topology *t, int index) {
    return hwloc_get_obj_by_type(t->machine, HWLOC_OBJ_CORE, (unsigned)index)->cpuset;
}

static int all_cores(const topology *t) { return hwloc_get_nbobjs_by_type(t->machine, HWLOC_OBJ_CORE); }

/* The index-th core of the share. NULL on machines that show no cores. */
static hwloc_const_bitmap_t shared_core(const topology *t, int index) {
    for (int i = 0; i < all_cores(t); i++)
        if (hwloc_bitmap_intersects(core_set(t, i), t->share) && index-- == 0) return core_set(t, i);
    return NULL;
}

static void count_cores(topology *t) {
    t->cores = 0;
    while (shared_core(t, t->cores)) t->cores++;
    if (t->cores == 0) t->cores = 1;
}

static void count_threads(topology *t, int ranks) {
    uint64_t quota = machine_processors("") / (uint64_t)ranks;
    t->threads = quota < (uint64_t)t->cores ? (int)quota : t->cores;
    if (t->threads == 0 || t->crowded) t->threads = 1;
}

/* The system has put the process where there was room. */
static void find_first_core(topology *t) {
    hwloc_bitmap_t now = hwloc_bitmap_alloc();
    if (now && hwloc_get_last_cpu_location(t->machine, now, HWLOC_CPUBIND_THREAD) == 0)
        for (int i = t->cores - 1; i >= 0; i--) {
            hwloc_const_bitmap_t core = shared_core(t, i);
            if (core && hwloc_bitmap_intersects(core, now)) t->first = i;
        }
    hwloc_bitmap_free(now);
}

static void release(topology *t) {
    hwloc_bitmap_free(t->share);
    hwloc_bitmap_free(t->before);
    if (t->machine) hwloc_topology_destroy(t->machine);
    free(t);
}

/* Reads the machine and the process's binding; the share is the whole machine. */
static gptoss_status load(topology *t, gptoss_error *err) {
    hwloc_topology_t machine;
    if (hwloc_topology_init(&machine) != 0)
        return error_set(err, GPTOSS_NO_MEMORY, "cannot describe this machine's cores");
    if (hwloc_topology_load(machine) != 0) {
        hwloc_topology_destroy(machine);
        return error_set(err, GPTOSS_IO, "hwloc cannot read this machine's topology");
    }
    t->machine = machine;
    t->share = hwloc_bitmap_dup(hwloc_topology_get_topology_cpuset(machine));
    t->before = hwloc_bitmap_alloc();
    if (!t->share || !t->before) return error_set(err, GPTOSS_NO_MEMORY, "cannot describe this machine's cores");
    if (hwloc_get_cpubind(machine, t->before, HWLOC_CPUBIND_PROCESS) != 0) hwloc_bitmap_zero(t->before);
    return GPTOSS_OK;
}

static gptoss_status open_machine(topology **out, gptoss_error *err) {
    topology *t;
    TRY(mem_array(1, sizeof *t, "topology", &t, err));
    gptoss_status status = load(t, err);
    if (status == GPTOSS_OK)
        *out = t;
    else
        release(t);
    return status;
}

gptoss_status topology_open(topology **out, gptoss_error *err) {
    topology *t;
    TRY(open_machine(&t, err));
    if (hwloc_bitmap_intersects(t->share, t->before)) hwloc_bitmap_and(t->share, t->share, t->before);
    count_cores(t);
    count_threads(t, 1);
    find_first_core(t);
    *out = t;
    return GPTOSS_OK;
}

/* Narrows the share to cores [first, end) of the machine. */
static void take_cores(topology *t, int first, int end) {
    hwloc_bitmap_zero(t->share);
    for (int i = first; i < end; i++) hwloc_bitmap_or(t->share, t->share, core_set(t, i));
}

gptoss_status topology_open_share(int local_rank, int local_ranks, topology **out, gptoss_error *err) {
    topology *t;
    TRY(open_machine(&t, err));
    long all = all_cores(t);
    t->is_rank = true;
    t->crowded = all < local_ranks;
    if (!t->crowded) take_cores(t, (int)(all * local_rank / local_ranks), (int)(all * (local_rank + 1) / local_ranks));
    hwloc_set_cpubind(t->machine, t->share, HWLOC_CPUBIND_PROCESS);
    count_cores(t);
    count_threads(t, local_ranks);
    find_first_core(t);
    *out = t;
    return GPTOSS_OK;
}

void topology_close(topology *t) {
    if (!t) return;
    if (!hwloc_bitmap_iszero(t->before)) hwloc_set_cpubind(t->machine, t->before, HWLOC_CPUBIND_PROCESS);
    release(t);
}

int topology_cores(const topology *t) { return t->threads; }

/* A core is no use to a thread when others of this process, or other ranks, would queue for it while cores are idle. */
static bool has_own_core(const topology *t, int count) { return !t->crowded && count <= hwloc_bitmap_weight(t->share); }

/* A rank that was asked for more threads than its share has is to compute on the cores of ranks that wait. */
static bool outgrows_share(const topology *t, int count) { return t->is_rank && count > hwloc_bitmap_weight(t->share); }

static void choose(const topology *t, topology_bind how, int index, int count, hwloc_bitmap_t out) {
    hwloc_const_bitmap_t core = shared_core(t, (t->first + index) % t->cores);
    bool anywhere = (how == BIND_NONE && t->is_rank) || (how == BIND_CORE && outgrows_share(t, count));
    hwloc_bitmap_copy(out, anywhere ? hwloc_topology_get_topology_cpuset(t->machine) : t->share);
    if (how == BIND_CORE && core && has_own_core(t, count)) hwloc_bitmap_and(out, out, core);
    if (how != BIND_NUMA || !core) return;
    for (hwloc_obj_t node = NULL; (node = hwloc_get_next_obj_by_type(t->machine, HWLOC_OBJ_NUMANODE, node));)
        if (hwloc_bitmap_intersects(node->cpuset, core)) {
            hwloc_bitmap_and(out, out, node->cpuset);
            return;
        }
}

void topology_bind_thread(const topology *t, topology_bind how, int index, int count) {
    hwloc_bitmap_t set = hwloc_bitmap_alloc();
    if (!set) return;
    choose(t, how, index, count, set);
    if (!hwloc_bitmap_iszero(set)) hwloc_set_cpubind(t->machine, set, HWLOC_CPUBIND_THREAD);
    hwloc_bitmap_free(set);
}

void topology_describe_thread(const topology *t, topology_bind how, int index, int count, char *text, size_t size) {
    hwloc_bitmap_t set = hwloc_bitmap_alloc();
    if (size) text[0] = '\0';
    if (!set) return;
    choose(t, how, index, count, set);
    hwloc_bitmap_list_snprintf(text, size, set);
    hwloc_bitmap_free(set);
}
