/* A sum is made in one of two ways, by its length alone, so that all shards choose the same. A short one takes one
 * message to each other shard: every shard gets all parts and adds them itself. Of a long one each shard adds a share,
 * of which it gets all parts, and gives the others the result: two messages, but nothing is sent or added twice.
 *
 * An empty message in the place of the first tells that its sender abandons the wave. All others have sent theirs by
 * then, or will: nobody is left waiting, and nothing is left over to be taken for a part of a later sum. */
#include "cluster/group.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "cluster/tags.h"

enum { SHORT = 16384, GRAIN = 16, AT_ONCE = 64 }; /* floats */

struct group {
    grid grid;
    float **parts;         /* [shards]: what the others sent, each with room for `capacity`; NULL for this shard */
    size_t capacity;       /* floats */
    MPI_Request *in, *out; /* [shards] */
    const float **addends; /* [shards]: of the sum that is being made */
    bool abandoned;
    size_t wrong_bytes; /* of a message that was no part ... */
    int wrong_rank;     /* ... and who sent it; -1: none was */
    double seconds;
    link_times waits; /* in the midst of them */
};

/* Where the share of a shard of a long sum begins. */
static size_t share_begin(const group *g, size_t count, uint32_t shard) {
    size_t grains = (count + GRAIN - 1) / GRAIN, begin = grains * shard / g->grid.shards * GRAIN;
    return begin < count ? begin : count;
}

static size_t share_size(const group *g, size_t count, uint32_t shard) {
    return share_begin(g, count, shard + 1) - share_begin(g, count, shard);
}

static gptoss_status open_buffers(group *g, gptoss_error *err) {
    uint32_t shards = g->grid.shards;
    TRY(mem_array(shards, sizeof *g->parts, "sums", &g->parts, err));
    TRY(mem_array(shards, sizeof *g->in, "sums", &g->in, err));
    for (uint32_t s = 0; s < shards; s++) g->in[s] = MPI_REQUEST_NULL;
    TRY(mem_array(shards, sizeof *g->out, "sums", &g->out, err));
    TRY(mem_array(shards, sizeof *g->addends, "sums", &g->addends, err));
    for (uint32_t s = 0; s < shards; s++) g->out[s] = MPI_REQUEST_NULL;
    for (uint32_t s = 0; s < shards; s++)
        if (s != g->grid.shard) TRY(mem_array_aligned(g->capacity, sizeof(float), "sums", &g->parts[s], err));
    return GPTOSS_OK;
}

gptoss_status group_open(const grid *place, size_t most, group **out, gptoss_error *err) {
    group *g;
    TRY(mem_array(1, sizeof *g, "sums", &g, err));
    size_t share = (most + GRAIN - 1) / GRAIN / place->shards * GRAIN + 2 * GRAIN, brief = most < SHORT ? most : SHORT;
    *g = (group){.grid = *place, .capacity = share > brief ? share : brief, .wrong_rank = -1};
    gptoss_status status = place->shards > 1 ? open_buffers(g, err) : GPTOSS_OK;
    if (status != GPTOSS_OK) {
        group_close(g);
        return status;
    }
    *out = g;
    return GPTOSS_OK;
}

void group_close(group *g) {
    if (!g) return;
    for (uint32_t s = 0; g->in && s < g->grid.shards; s++) link_drop(&g->in[s]); /* of a shard that is lost */
    for (uint32_t s = 0; g->parts && s < g->grid.shards; s++) free(g->parts[s]);
    free(g->parts);
    free(g->in);
    free(g->out);
    free(g->addends);
    free(g);
}

void group_begin(group *g) { g->abandoned = false; }

bool group_is_abandoned(const group *g) { return g->abandoned; }

double group_seconds(const group *g) { return g->seconds; }

link_times group_waits(const group *g) { return g->waits; }

gptoss_status group_fault(const group *g, gptoss_error *err) {
    if (g->wrong_rank < 0) return GPTOSS_OK;
    return error_set(err, GPTOSS_PEER, "rank %d received a malformed part of a sum of %zu bytes from rank %d",
                     grid_rank(&g->grid, g->grid.stage, g->grid.shard), g->wrong_bytes, g->wrong_rank);
}

/* ---- messages ---- */

static int rank_of(const group *g, uint32_t shard) { return grid_rank(&g->grid, g->grid.stage, shard); }

static void send_to(group *g, uint32_t shard, const float *x, size_t count) {
    link_send(x, count * sizeof *x, rank_of(g, shard), TAG_SUM, &g->out[shard]);
}

static void receive_from(group *g, uint32_t shard, float *x, size_t capacity) {
    link_receive(x, capacity * sizeof *x, rank_of(g, shard), TAG_SUM, &g->in[shard]);
}

/* Waits until a shard's floats are here; whether they are as many as wanted. */
static bool arrives(group *g, uint32_t shard, size_t count) {
    size_t bytes = link_wait(&g->in[shard]);
    if (bytes == count * sizeof(float)) return true;
    g->abandoned = true;
    if (bytes == 0) return false;
    g->wrong_bytes = bytes;
    g->wrong_rank = rank_of(g, shard);
    return false;
}

/* Sends each other shard its part of x, and takes theirs of this shard's share. Whether that made a sum. */
static bool exchange_parts(group *g, const float *x, size_t count, bool in_shares) {
    const grid *me = &g->grid;
    size_t mine = in_shares ? share_size(g, count, me->shard) : count;
    for (uint32_t s = 0; s < me->shards; s++)
        if (s != me->shard) receive_from(g, s, g->parts[s], g->capacity);
    for (uint32_t i = 1; i < me->shards; i++) { /* not all to the same at first */
        uint32_t s = (me->shard + i) % me->shards;
        send_to(g, s, x + (in_shares ? share_begin(g, count, s) : 0), in_shares ? share_size(g, count, s) : count);
    }
    for (uint32_t s = 0; s < me->shards; s++)
        if (s != me->shard) arrives(g, s, mine);
    for (uint32_t s = 0; s < me->shards; s++) link_wait(&g->out[s]);
    return !g->abandoned;
}

/* Gives the others this shard's share of the sum, and takes theirs. */
static void exchange_shares(group *g, float *x, size_t count) {
    const grid *me = &g->grid;
    for (uint32_t s = 0; s < me->shards; s++)
        if (s != me->shard) receive_from(g, s, x + share_begin(g, count, s), share_size(g, count, s));
    for (uint32_t i = 1; i < me->shards; i++)
        send_to(g, (me->shard + i) % me->shards, x + share_begin(g, count, me->shard), share_size(g, count, me->shard));
    for (uint32_t s = 0; s < me->shards; s++)
        if (s != me->shard) arrives(g, s, share_size(g, count, s));
    for (uint32_t s = 0; s < me->shards; s++) link_wait(&g->out[s]);
}

/* ---- sums ---- */

/* What a sum takes is from begin_timing to end_timing. */
typedef struct timing {
    double start;
    link_times waits;
} timing;

static timing begin_timing(void) { return (timing){clock_seconds(), link_spent()}; }

static void end_timing(group *g, timing since) {
    link_times now = link_spent();
    g->waits.waiting += now.waiting - since.waits.waiting;
    g->waits.transfer += now.transfer - since.waits.transfer;
    g->seconds += clock_seconds() - since.start;
}

/* x[count], which is among the addends, = the sum of all addends, in their order. */
static void add_up(const group *g, float *x, size_t count) {
    float sum[AT_ONCE];
    for (size_t at = 0; at < count; at += AT_ONCE) {
        size_t some = count - at < AT_ONCE ? count - at : AT_ONCE;
        memcpy(sum, g->addends[0] + at, some * sizeof *sum);
        for (uint32_t s = 1; s < g->grid.shards; s++)
            for (size_t i = 0; i < some; i++) sum[i] += g->addends[s][at + i];
        memcpy(x + at, sum, some * sizeof *sum);
    }
}

void group_sum(group *g, float *x, size_t count) {
    if (g->grid.shards == 1 || g->abandoned) return;
    timing since = begin_timing();
    bool in_shares = count > SHORT;
    if (exchange_parts(g, x, count, in_shares)) {
        uint32_t me = g->grid.shard;
        float *mine = in_shares ? x + share_begin(g, count, me) : x;
        for (uint32_t s = 0; s < g->grid.shards; s++) g->addends[s] = s == me ? mine : g->parts[s];
        add_up(g, mine, in_shares ? share_size(g, count, me) : count);
        if (in_shares) exchange_shares(g, x, count);
    }
    end_timing(g, since);
}

void group_abandon(group *g) {
    bool heard = g->abandoned || g->grid.shards == 1;
    g->abandoned = true;
    if (heard) return;
    timing since = begin_timing();
    for (uint32_t s = 0; s < g->grid.shards; s++)
        if (s != g->grid.shard) receive_from(g, s, g->parts[s], g->capacity);
    for (uint32_t s = 0; s < g->grid.shards; s++)
        if (s != g->grid.shard) send_to(g, s, NULL, 0);
    for (uint32_t s = 0; s < g->grid.shards; s++) {
        link_wait(&g->in[s]);
        link_wait(&g->out[s]);
    }
    end_timing(g, since);
}

static void sum_for_stage(void *context, float *x, size_t count) { group_sum(context, x, count); }

stage_peers group_peers(group *g) { return (stage_peers){g->grid.shard, g->grid.shards, sum_for_stage, g}; }
