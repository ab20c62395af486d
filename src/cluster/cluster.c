#include "cluster/cluster.h"

#include <mpi.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cancel.h"
#include "cluster/link.h"

gptoss_status cluster_open(bool launched, cluster *out, gptoss_error *err) {
    cluster c = {.rank = 0, .size = 1, .local_rank = 0, .local_size = 1, .has_mpi = launched};
    if (gethostname(c.machine, sizeof c.machine) != 0) strcpy(c.machine, "an unnamed machine");
    if (launched) {
        int provided;
        MPI_Comm node;
        /* Parts of a long message that Open MPI sends at a time, where no process may read another one's memory: each
         * time takes a look from both ends (link_progress). */
        setenv("OMPI_MCA_pml_ob1_send_pipeline_depth", "64", 0);
        if (MPI_Init_thread(NULL, NULL, MPI_THREAD_FUNNELED, &provided) != MPI_SUCCESS)
            return error_set(err, GPTOSS_PEER, "MPI does not start");
        MPI_Comm_rank(MPI_COMM_WORLD, &c.rank);
        MPI_Comm_size(MPI_COMM_WORLD, &c.size);
        MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &node);
        MPI_Comm_rank(node, &c.local_rank);
        MPI_Comm_size(node, &c.local_size);
        gptoss_status status = link_open(node, err);
        MPI_Comm_free(&node);
        if (status != GPTOSS_OK) return status;
    }
    *out = c;
    return GPTOSS_OK;
}

void cluster_close(cluster *c) {
    if (c->has_mpi) {
        cluster_agree(c, GPTOSS_OK, NULL);
        link_close();
        MPI_Finalize();
    }
    c->has_mpi = false;
}

void cluster_leave(cluster *c, gptoss_status status) {
    bool lost = status == GPTOSS_PEER || status == GPTOSS_INTERNAL;
    if (!lost && !cancel_requested()) cluster_close(c);
}

/* Collectives that wait as links do: others may read the prompt or the weights for minutes, and a blocking call of MPI
 * spins all that time on a core that they could use. */
static void broadcast(void *data, int count, MPI_Datatype type, int from) {
    MPI_Request request;
    MPI_Ibcast(data, count, type, from, MPI_COMM_WORLD, &request);
    link_wait_together(&request);
}

gptoss_status cluster_agree(const cluster *c, gptoss_status mine, gptoss_error *err) {
    if (!c->has_mpi) return mine;
    int failing = mine == GPTOSS_OK ? c->size : c->rank, first = c->size, status = (int)mine;
    MPI_Request request;
    MPI_Iallreduce(&failing, &first, 1, MPI_INT, MPI_MIN, MPI_COMM_WORLD, &request);
    link_wait_together(&request);
    if (first == c->size) return GPTOSS_OK;
    broadcast(&status, 1, MPI_INT, first);
    if (!err) return (gptoss_status)status;
    err->status = (gptoss_status)status;
    if (first != c->rank)
        err->text[0] = '\0';
    else if (first > 0) /* what is wrong there may be right on rank 0's machine */
        error_prefix(err, err->status, "rank %d on %s", c->rank, c->machine);
    return (gptoss_status)status;
}

gptoss_status cluster_same(const cluster *c, uint64_t value, const char *what, gptoss_error *err) {
    if (!c->has_mpi) return GPTOSS_OK;
    uint64_t of_rank_0 = value;
    cluster_broadcast(c, &of_rank_0, sizeof of_rank_0);
    gptoss_status mine = GPTOSS_OK;
    if (value != of_rank_0)
        mine = error_set(err, GPTOSS_BAD_INPUT, "%s differs from that of rank 0; give every rank the same", what);
    return cluster_agree(c, mine, err);
}

void cluster_broadcast(const cluster *c, void *data, size_t size) { cluster_broadcast_from(c, 0, data, size); }

void cluster_broadcast_from(const cluster *c, int rank, void *data, size_t size) {
    enum { PIECE = 1 << 30 };
    if (!c->has_mpi) return;
    for (size_t at = 0; at < size; at += PIECE) {
        size_t piece = size - at < PIECE ? size - at : PIECE;
        broadcast((char *)data + at, (int)piece, MPI_BYTE, rank);
    }
}

void cluster_gather(const cluster *c, const uint64_t *mine, size_t count, uint64_t *all) {
    if (!c->has_mpi) {
        memcpy(all, mine, count * sizeof *mine);
        return;
    }
    MPI_Request request;
    MPI_Igather(mine, (int)count, MPI_UINT64_T, all, (int)count, MPI_UINT64_T, 0, MPI_COMM_WORLD, &request);
    link_wait_together(&request);
}
