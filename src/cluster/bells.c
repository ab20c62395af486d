#include "cluster/bells.h"

#include <linux/futex.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/mem.h"

/* So far from the next one that no two share a cache line, wherever MPI puts them: ringing one rank must not slow down
 * another. */
struct bell {
    atomic_uint rung;
    atomic_uint asleep; /* 1: the owner waits for `rung` to change */
    char apart[120];
};
_Static_assert(sizeof(struct bell) == 128 && sizeof(atomic_uint) == 4, "a futex in a line of its own");

static gptoss_status find_bells(MPI_Comm machine, bells *b, gptoss_error *err) {
    MPI_Group here, all;
    int count;
    MPI_Comm_size(machine, &count);
    TRY(mem_array((size_t)b->size, sizeof(struct bell *), "links", &b->of_rank, err));
    MPI_Comm_group(machine, &here);
    MPI_Comm_group(MPI_COMM_WORLD, &all);
    for (int i = 0; i < count; i++) {
        int rank, unit;
        MPI_Aint bytes;
        struct bell *bell;
        MPI_Group_translate_ranks(here, 1, &i, all, &rank);
        MPI_Win_shared_query(b->window, i, &bytes, &unit, &bell);
        b->of_rank[rank] = bell;
    }
    MPI_Group_free(&here);
    MPI_Group_free(&all);
    b->everywhere = count == b->size;
    return GPTOSS_OK;
}

gptoss_status bells_open(MPI_Comm machine, bells *out, gptoss_error *err) {
    struct bell *own;
    bells b = {0};
    MPI_Comm_rank(MPI_COMM_WORLD, &b.rank);
    MPI_Comm_size(MPI_COMM_WORLD, &b.size);
    MPI_Win_allocate_shared(sizeof *own, 1, MPI_INFO_NULL, machine, &own, &b.window);
    atomic_init(&own->rung, 0);
    atomic_init(&own->asleep, 0);
    MPI_Barrier(machine);
    gptoss_status status = find_bells(machine, &b, err);
    if (status == GPTOSS_OK)
        *out = b;
    else
        bells_close(&b);
    return status;
}

void bells_close(bells *b) {
    if (b->size) MPI_Win_free(&b->window);
    free(b->of_rank);
    *b = (bells){0};
}

static long futex(atomic_uint *word, int operation, uint32_t value, const struct timespec *timeout) {
    return syscall(SYS_futex, word, operation, value, timeout, NULL, 0);
}

void bells_ring(const bells *b, int rank) {
    if (rank < 0 || rank >= b->size || rank == b->rank || !b->of_rank[rank]) return;
    struct bell *bell = b->of_rank[rank];
    atomic_fetch_add(&bell->rung, 1);
    if (atomic_load(&bell->asleep)) futex(&bell->rung, FUTEX_WAKE, 1, NULL);
}

void bells_ring_all(const bells *b) {
    for (int rank = 0; rank < b->size; rank++) bells_ring(b, rank);
}

uint32_t bells_heard(const bells *b) { return b->size ? atomic_load(&b->of_rank[b->rank]->rung) : 0; }

void bells_sleep(const bells *b, uint32_t heard, double seconds) {
    const struct timespec time = {0, (long)(seconds * 1e9)};
    if (!b->size) {
        nanosleep(&time, NULL);
        return;
    }
    /* The kernel looks at `rung` once more before it puts the thread to sleep, so no ring is missed. */
    struct bell *own = b->of_rank[b->rank];
    atomic_store(&own->asleep, 1);
    futex(&own->rung, FUTEX_WAIT, heard, &time);
    atomic_store(&own->asleep, 0);
}
