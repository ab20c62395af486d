#include "engine/supply.h"

#include <stdlib.h>

#include "base/mem.h"
#include "cluster/delivery.h"

/* mine[words] of every rank to all[size][words] on every rank. */
static void share(const cluster *c, const uint64_t *mine, size_t words, uint64_t *all) {
    cluster_gather(c, mine, words, all);
    cluster_broadcast(c, all, (size_t)c->size * words * sizeof *all);
}

/* ---- what the model is ---- */

/* The lowest rank that has a file; the number of ranks when there is none. */
static gptoss_status first_with_file(const engine *e, int *out, gptoss_error *err) {
    uint64_t mine = e->file != NULL, *all = NULL;
    int size = e->cluster.size, first = 0;
    gptoss_status status = mem_array((size_t)size, sizeof *all, "list of ranks", &all, err);
    status = cluster_agree(&e->cluster, status, err);
    if (status == GPTOSS_OK) {
        share(&e->cluster, &mine, 1, all);
        while (first < size && !all[first]) first++;
        *out = first;
    }
    free(all);
    return status;
}

static gptoss_status make_sizes(engine *e, gptoss_error *err) {
    e->sizes.n_layers = e->hp.n_layers;
    e->sizes.n_experts = e->hp.n_experts;
    e->sizes.n_experts_used = e->hp.n_experts_used;
    TRY(mem_array(e->hp.n_layers, sizeof *e->sizes.layers, "sizes of layers", &e->sizes.layers, err));
    return mem_array(e->hp.n_layers, sizeof *e->sizes.experts, "sizes of experts", &e->sizes.experts, err);
}

/* Ranks without a file take what `teacher` has read from its. */
static gptoss_status learn_from(engine *e, int teacher, gptoss_error *err) {
    const cluster *c = &e->cluster;
    hparams hp = e->hp;
    uint64_t told[] = {e->extent.source, e->sizes.embedding, e->sizes.output, e->sizes.kv_head_step};
    cluster_broadcast_from(c, teacher, &hp, sizeof hp);
    cluster_broadcast_from(c, teacher, told, sizeof told);
    gptoss_status status = GPTOSS_OK;
    if (!e->file) {
        e->hp = hp;
        e->extent = extent_whole(&hp); /* it can have all */
        e->extent.source = told[0];
        status = make_sizes(e, err);
        e->sizes.embedding = told[1];
        e->sizes.output = told[2];
        e->sizes.kv_head_step = (uint32_t)told[3];
    }
    TRY(cluster_agree(c, status, err));
    TRY(cluster_same(c, e->extent.source, "the model file", err));
    TRY(cluster_same(c, digest_of(&e->hp, sizeof e->hp).low, "what the model file says of the model", err));
    cluster_broadcast_from(c, teacher, e->sizes.layers, hp.n_layers * sizeof *e->sizes.layers);
    cluster_broadcast_from(c, teacher, e->sizes.experts, hp.n_layers * sizeof *e->sizes.experts);
    return GPTOSS_OK;
}

gptoss_status supply_learn(engine *e, gptoss_error *err) {
    int teacher = 0;
    gptoss_status status = GPTOSS_OK;
    TRY(first_with_file(e, &teacher, err));
    if (teacher == e->cluster.size)
        status = error_set(err, GPTOSS_BAD_INPUT, "%s: cannot open: no rank has such a file", e->config.path);
    TRY(cluster_agree(&e->cluster, status, err));
    return learn_from(e, teacher, err);
}

/* ---- slices ---- */

/* What a rank has and what it needs. */
typedef struct standing {
    uint64_t has_file;
    extent held, needed;
} standing;
_Static_assert(sizeof(standing) % sizeof(uint64_t) == 0, "standings are gathered as plain numbers");
enum { STANDING_WORDS = sizeof(standing) / sizeof(uint64_t) };

static standing my_standing(const engine *e) {
    return (standing){e->file != NULL, e->extent, extent_of_slice(&e->slice)};
}

/* The lowest rank whose file has all of `need`; -1: none. */
static int sender_of(const engine *e, const standing *all, const extent *need) {
    for (int i = 0; i < e->cluster.size; i++)
        if (all[i].has_file && extent_includes(&all[i].held, need)) return i;
    return -1;
}

static gptoss_status send_slice(engine *e, const extent *need, int to, gptoss_error *err) {
    const delivery how = {e->config.cache_dir, e->config.on_supply, e->config.load_context};
    slice_image *image = NULL;
    gptoss_status status = slice_image_open(e->file, &e->hp, need, &image, err), sent;
    sent = delivery_send(image, to, &how, status == GPTOSS_OK ? err : NULL);
    slice_image_close(image);
    return status == GPTOSS_OK ? sent : status;
}

/* All transfers, one after the other in the order of receivers: both sides of each come to it in the same order. */
static gptoss_status transfer(engine *e, const standing *all, gptoss_error *err) {
    const delivery how = {e->config.cache_dir, e->config.on_supply, e->config.load_context};
    gptoss_status status = GPTOSS_OK;
    for (int to = 0; to < e->cluster.size; to++) {
        if (all[to].has_file) continue;
        const extent *need = &all[to].needed;
        int from = sender_of(e, all, need);
        gptoss_error *told = status == GPTOSS_OK ? err : NULL; /* the first fault is the one to tell */
        gptoss_status result = GPTOSS_OK;
        if (e->cluster.rank == from) result = send_slice(e, need, to, told);
        if (e->cluster.rank == to) result = delivery_receive(from, &how, &e->slice_path, told);
        if (status == GPTOSS_OK) status = result;
    }
    return status;
}

/* Every rank comes to the same conclusion. */
static gptoss_status check_senders(const engine *e, const standing *all, gptoss_error *err) {
    for (int to = 0; to < e->cluster.size; to++) {
        const extent *need = &all[to].needed;
        if (all[to].has_file || sender_of(e, all, need) >= 0) continue;
        char lacks[EXTENT_TEXT];
        extent_describe(need, &e->hp, lacks);
        return error_set(err, GPTOSS_BAD_INPUT, "rank %d has no file, and no rank has all of its slice to send: %s", to,
                         lacks);
    }
    return GPTOSS_OK;
}

static gptoss_status open_received(engine *e, gptoss_error *err) {
    hparams hp;
    TRY(gguf_open(e->slice_path, &e->file, err));
    TRY(hparams_read(e->file, &hp, err));
    TRY(weights_check(e->file, &hp, e->n_layers, err));
    return extent_read(e->file, &hp, &e->extent, err);
}

static gptoss_status fetch(engine *e, standing *all, gptoss_error *err) {
    const cluster *c = &e->cluster;
    standing mine = my_standing(e);
    share(c, (uint64_t *)&mine, STANDING_WORDS, (uint64_t *)all);
    TRY(cluster_agree(c, check_senders(e, all, err), err));
    TRY(cluster_agree(c, transfer(e, all, err), err));
    gptoss_status status = GPTOSS_OK;
    if (!e->file) status = open_received(e, err);
    return cluster_agree(c, status, err);
}

gptoss_status supply_fetch(engine *e, gptoss_error *err) {
    standing *all = NULL;
    gptoss_status status = mem_array((size_t)e->cluster.size, sizeof *all, "list of ranks", &all, err);
    status = cluster_agree(&e->cluster, status, err);
    if (status == GPTOSS_OK) status = fetch(e, all, err);
    free(all);
    return status;
}
