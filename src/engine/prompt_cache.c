#include "engine/prompt_cache.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/mem.h"
#include "engine/kept_file.h"
#include "plan/machine.h"

struct prompt_cache {
    kept_name name;
    wave_limits limits; /* of what files may hold */
    kept_file *file;    /* what was found; NULL: nothing, or nothing of use */
    bool loaded;
};

/* ---- which file ---- */

/* Everything that pages depend on in any bit: the model, how it is split, what rounds. */
static gptoss_status make_key(const engine *e, const kv_room *room, const kv_paging *paging, digest *out,
                              gptoss_error *err) {
    digest_state *d;
    const uint64_t facts[] = {e->extent.source,
                              digest_of(&e->hp, sizeof e->hp).low,
                              e->n_layers,
                              e->config.expert_0_only,
                              (uint64_t)e->cluster.rank,
                              (uint64_t)e->cluster.size,
                              e->placement.stages,
                              e->placement.shards,
                              kv_type_used(room->type),
                              room->type == KV_DEFAULT,
                              kv_type_used(KV_DEFAULT), /* tells the reference kernels, which alone round otherwise */
                              paging->page_bits[KV_FULL],
                              paging->page_bits[KV_WINDOW]};
    TRY(digest_begin(&d, err));
    digest_add(d, facts, sizeof facts);
    for (int r = 0; r < e->cluster.size; r++) { /* where sums are cut decides how they round */
        const plan_rank *p = &e->placement.rank[r];
        const uint32_t part[] = {p->layer_begin,  p->layer_end,     p->kv_heads.begin,
                                 p->kv_heads.end, p->experts.begin, p->experts.end};
        digest_add(d, part, sizeof part);
    }
    *out = digest_so_far(d);
    digest_end(d);
    return GPTOSS_OK;
}

static gptoss_status find_file(const engine *e, const kv_room *room, prompt_cache *p, gptoss_error *err) {
    kv_paging paging = kv_room_paging(&e->hp, room);
    p->name.dir = e->config.prompt_cache;
    p->limits = (wave_limits){.n_vocab = e->hp.n_vocab, .positions = e->hp.context, .paging = paging};
    for (kv_kind kind = 0; kind < KV_KINDS; kind++)
        p->name.page_bytes[kind] = kv_cache_page_bytes(&e->hp, e->slice.layer_begin, e->slice.layer_end, room, kind);
    return make_key(e, room, &paging, &p->name.key, err);
}

/* ---- agreeing ---- */

/* Tells, on the rank that knows, why files are not used. */
static void tell(const gptoss_error *why, const char *so) {
    if (why->text[0]) fprintf(stderr, "gptoss-dist: --prompt-cache: %s; %s\n", why->text, so);
}

static const char READ_ANEW[] = "prompts are read anew";

/* On rank 0, all[rank][3]: has a file; its generation. Whether all have one of the same. */
static gptoss_status compare(const uint64_t *all, int size, bool *usable, gptoss_error *err) {
    int with = 0, odd = -1;
    for (int r = 0; r < size; r++) with += all[3 * r] != 0;
    for (int r = 0; r < size && with > 0; r++)
        if (odd < 0 && (!all[3 * r] || memcmp(all + 3 * r, all, 3 * sizeof *all) != 0)) odd = r;
    *usable = with > 0 && odd < 0;
    if (with == 0 || odd < 0) return GPTOSS_OK;
    return error_set(err, GPTOSS_BAD_INPUT, "rank %d %s", odd,
                     all[3 * odd] ? "kept other prompts than rank 0" : "has no file, but others do");
}

/* Whether all ranks have files that belong together; told once where they do not. */
static gptoss_status agree_on_files(const engine *e, prompt_cache *p, uint32_t *pages, gptoss_error *err) {
    const cluster *c = &e->cluster;
    uint64_t *all, mine[3] = {0}, told[2] = {0};
    gptoss_error why = {0};
    gptoss_status status = mem_array((size_t)c->size, sizeof mine, "prompt cache", &all, err);
    TRY(cluster_agree(c, status, err));
    if (p->file) {
        digest g = kept_file_generation(p->file);
        memcpy(mine, (uint64_t[]){1, g.low, g.high}, sizeof mine);
    }
    cluster_gather(c, mine, 3, all);
    if (c->rank == 0) {
        bool usable;
        if (compare(all, c->size, &usable, &why) != GPTOSS_OK) tell(&why, READ_ANEW);
        told[0] = usable;
        told[1] = usable ? kept_file_image(p->file)->pages[KV_FULL] : 0;
    }
    free(all);
    cluster_broadcast(c, told, sizeof told);
    if (!told[0]) {
        kept_file_close(p->file);
        p->file = NULL;
    }
    *pages = (uint32_t)told[1];
    return GPTOSS_OK;
}

static gptoss_status open_files(const engine *e, prompt_cache *p, uint32_t *pages, gptoss_error *err) {
    gptoss_error why = {0};
    gptoss_status status = kept_file_open(&p->name, &p->limits, &p->file, &why);
    if (cluster_agree(&e->cluster, status, &why) == GPTOSS_OK) return agree_on_files(e, p, pages, err);
    tell(&why, READ_ANEW);
    kept_file_close(p->file);
    p->file = NULL;
    *pages = 0;
    return GPTOSS_OK;
}

gptoss_status prompt_cache_open(const engine *e, const kv_room *room, uint32_t *pages, prompt_cache **out,
                                gptoss_error *err) {
    prompt_cache *p = NULL;
    gptoss_status status = mem_array(1, sizeof *p, "prompt cache", &p, err);
    if (status == GPTOSS_OK) status = find_file(e, room, p, err);
    status = cluster_agree(&e->cluster, status, err);
    if (status == GPTOSS_OK) status = open_files(e, p, pages, err);
    if (status != GPTOSS_OK) {
        prompt_cache_close(p);
        return status;
    }
    *out = p;
    return GPTOSS_OK;
}

void prompt_cache_close(prompt_cache *p) {
    if (!p) return;
    kept_file_close(p->file);
    free(p);
}

const prefix_image *prompt_cache_image(const prompt_cache *p) {
    return p && p->loaded ? kept_file_image(p->file) : NULL;
}

/* ---- loading ---- */

/* What failed to load may be anything, and free pages are as good as empty. */
static void clear_pages(const prompt_cache *p, const kv_cache *cache, int32_t *const slots[KV_KINDS]) {
    const prefix_image *image = kept_file_image(p->file);
    for (kv_kind kind = 0; kind < KV_KINDS; kind++) {
        uint8_t *empty;
        if (p->name.page_bytes[kind] == 0 || mem_array(1, p->name.page_bytes[kind], "", &empty, NULL) != GPTOSS_OK)
            continue;
        for (uint32_t i = 0; i < image->pages[kind]; i++)
            if (slots[kind][i] >= 0) kv_cache_put_page(cache, kind, (uint32_t)slots[kind][i], empty);
        free(empty);
    }
}

static gptoss_status load(prompt_cache *p, const engine *e, int32_t *const slots[KV_KINDS], gptoss_error *err) {
    digest model;
    TRY(weights_sample(e->weights, &e->hp, &model, err));
    return kept_file_load(p->file, model, stage_kv(e->stage), slots, err);
}

/* Each rank finds the same slots, since image and pool are the same. */
static void load_together(prompt_cache *p, const engine *e, int32_t *const slots[KV_KINDS]) {
    prefix_image *image = kept_file_image(p->file);
    const wave_limits limits = stage_limits(e->stage);
    gptoss_error why = {0};
    int32_t *mine[KV_KINDS] = {slots[KV_FULL], slots[KV_WINDOW]};
    const uint32_t all[KV_KINDS] = {image->pages[KV_FULL], image->pages[KV_WINDOW]};
    wave_limits fits = p->limits;
    memcpy(fits.paging.pages, limits.paging.pages, sizeof fits.paging.pages);
    prefix_image_fit(image, &fits, mine);
    p->loaded = cluster_agree(&e->cluster, load(p, e, slots, &why), &why) == GPTOSS_OK;
    if (p->loaded) return;
    tell(&why, READ_ANEW);
    memcpy(image->pages, all, sizeof all);
    clear_pages(p, stage_kv(e->stage), slots);
}

gptoss_status prompt_cache_load(prompt_cache *p, const engine *e, gptoss_error *err) {
    int32_t *slots[KV_KINDS] = {0};
    gptoss_status status = GPTOSS_OK;
    if (!p->file) return GPTOSS_OK;
    for (kv_kind kind = 0; kind < KV_KINDS && status == GPTOSS_OK; kind++)
        status = mem_array(kept_file_image(p->file)->pages[kind], sizeof **slots, "prompt cache", &slots[kind], err);
    status = cluster_agree(&e->cluster, status, err);
    if (status == GPTOSS_OK) load_together(p, e, slots);
    for (kv_kind kind = 0; kind < KV_KINDS; kind++) free(slots[kind]);
    return status;
}

/* ---- keeping ---- */

enum { WORDS, FULL, WINDOW, MOMENT, PROCESS, PARTS };

/* Rank 0's snapshot on every rank, as a copy but on rank 0. */
static gptoss_status spread(const engine *e, const uint64_t parts[PARTS], prefix_snapshot *s, gptoss_error *err) {
    const cluster *c = &e->cluster;
    gptoss_status status = GPTOSS_OK;
    if (c->rank != 0) {
        s->image.n_words = parts[WORDS];
        s->image.pages[KV_FULL] = (uint32_t)parts[FULL];
        s->image.pages[KV_WINDOW] = (uint32_t)parts[WINDOW];
        status = mem_array(parts[WORDS], sizeof *s->image.words, "prompt cache", &s->image.words, err);
        for (kv_kind kind = 0; kind < KV_KINDS && status == GPTOSS_OK; kind++)
            status = mem_array(s->image.pages[kind], sizeof *s->sources[kind], "prompt cache", &s->sources[kind], err);
    }
    TRY(cluster_agree(c, status, err));
    cluster_broadcast(c, s->image.words, s->image.n_words * sizeof *s->image.words);
    for (kv_kind kind = 0; kind < KV_KINDS; kind++)
        cluster_broadcast(c, s->sources[kind], s->image.pages[kind] * sizeof *s->sources[kind]);
    return GPTOSS_OK;
}

/* No rank gives its file the name before all have written theirs: a full disk leaves the old ones as they are. */
static gptoss_status write_together(const prompt_cache *p, const engine *e, digest generation, const prefix_snapshot *s,
                                    gptoss_error *err) {
    kept_file *f = NULL;
    digest model;
    gptoss_status status = weights_sample(e->weights, &e->hp, &model, err);
    if (status == GPTOSS_OK) status = kept_file_write(&p->name, generation, model, s, stage_kv(e->stage), &f, err);
    status = cluster_agree(&e->cluster, status, err);
    if (status == GPTOSS_OK) status = cluster_agree(&e->cluster, kept_file_finish(f, err), err);
    kept_file_close(f);
    return status;
}

void prompt_cache_keep(prompt_cache *p, const engine *e, const prefix_snapshot *s) {
    uint64_t parts[PARTS] = {0};
    prefix_snapshot copy = {0};
    gptoss_error why = {0};
    if (e->cluster.rank == 0 && s) {
        struct timespec now;
        clock_gettime(CLOCK_REALTIME, &now);
        parts[WORDS] = s->image.n_words;
        parts[FULL] = s->image.pages[KV_FULL];
        parts[WINDOW] = s->image.pages[KV_WINDOW];
        parts[MOMENT] = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
        parts[PROCESS] = (uint64_t)getpid();
        copy = *s;
    }
    cluster_broadcast(&e->cluster, parts, sizeof parts);
    if (parts[WORDS] == 0) return;
    gptoss_status status = spread(e, parts, &copy, &why);
    if (status == GPTOSS_OK) status = write_together(p, e, digest_of(parts, sizeof parts), &copy, &why);
    if (status != GPTOSS_OK) tell(&why, "what was kept before stays");
    if (e->cluster.rank != 0) prefix_snapshot_free(&copy);
}
