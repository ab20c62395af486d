#include "engine/survey.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/folder.h"
#include "cluster/ping.h"
#include "model/rate.h"
#include "plan/machine.h"
#include "plan/topology.h"

enum { LONGEST_PATH = 4096 };

/* False when the name would be too long. */
static bool name_file(const cluster *c, const team *t, const char *dir, char path[LONGEST_PATH]) {
    int n =
        snprintf(path, LONGEST_PATH, "%s/speed-%s-%s-%dx%d", dir, c->machine, rate_isa(), c->local_size, team_size(t));
    return n > 0 && n < LONGEST_PATH - 32;
}

/* What a layer takes need not be told. */
static bool read_rate(const char *path, rate_figures *out) {
    FILE *f = fopen(path, "r");
    if (!f) return false;
    double bytes = 0, microseconds = 0;
    int got = fscanf(f, "%lf bytes of weights a second, %lf", &bytes, &microseconds);
    fclose(f);
    if (got < 1 || !(bytes >= 1e6 && bytes <= 1e14)) return false;
    out->bytes = bytes;
    if (got == 2 && microseconds >= 0 && microseconds <= 1e6) out->layer_seconds = microseconds / 1e6;
    return true;
}

/* It is a cache: where it cannot be written, the next run measures again. */
static void keep_rate(const char *dir, const char *path, const rate_figures *r) {
    char partial[LONGEST_PATH + 32];
    snprintf(partial, sizeof partial, "%s.%ld", path, (long)getpid());
    if (folder_make(dir, NULL) != GPTOSS_OK) return;
    FILE *f = fopen(partial, "w");
    if (!f) return;
    bool written =
        fprintf(f, "%.0f bytes of weights a second, %.2f us a layer beside\n", r->bytes, 1e6 * r->layer_seconds) > 0;
    if (fclose(f) != 0 || !written || rename(partial, path) != 0) unlink(partial);
}

/* *out stays as it is where it cannot be found; then false. */
static bool find_rate(const cluster *c, team *t, const char *cache_dir, bool again, rate_figures *out) {
    char path[LONGEST_PATH];
    bool can_keep = cache_dir && name_file(c, t, cache_dir, path);
    if (can_keep && !again && read_rate(path, out)) return true;
    if (rate_measure(t, out, NULL) != GPTOSS_OK) return false;
    if (can_keep) keep_rate(cache_dir, path, out);
    return true;
}

void survey_rank(const cluster *c, team *t, const char *cache_dir, bool again, node_facts *out) {
    node_facts facts = node_facts_default();
    snprintf(facts.name, sizeof facts.name, "%.47s", c->machine);
    facts.memory = machine_memory("") / (uint64_t)c->local_size;
    facts.cores = (uint32_t)team_size(t);
    rate_figures speed = {node_assumed_rate(facts.cores), facts.layer_seconds};
    facts.is_assumed = !find_rate(c, t, cache_dir, again, &speed);
    facts.read_rate = speed.bytes;
    facts.layer_seconds = speed.layer_seconds;
    *out = facts;
}

static gptoss_status survey_mine(const cluster *c, uint32_t threads, const char *cache_dir, bool again, node_facts *out,
                                 gptoss_error *err) {
    topology *cores;
    team *t;
    TRY(c->has_mpi ? topology_open_share(c->local_rank, c->local_size, &cores, err) : topology_open(&cores, err));
    gptoss_status status = team_open(threads ? (int)threads : topology_cores(cores), &t, err);
    if (status == GPTOSS_OK) {
        survey_rank(c, t, cache_dir, again, out);
        team_close(t);
    }
    topology_close(cores);
    return status;
}

gptoss_status survey_all(const cluster *c, uint32_t threads, const char *cache_dir, bool again, node_facts *all,
                         gptoss_error *err) {
    _Static_assert(sizeof(node_facts) % sizeof(uint64_t) == 0, "facts are gathered as words");
    node_facts mine = node_facts_default();
    TRY(cluster_agree(c, survey_mine(c, threads, cache_dir, again, &mine, err), err));
    TRY(ping_next(c, &mine.link, &mine.wake_seconds, err));
    uint64_t words[sizeof mine / sizeof(uint64_t)];
    memcpy(words, &mine, sizeof mine);
    cluster_gather(c, words, sizeof words / sizeof *words, (uint64_t *)(void *)all);
    return GPTOSS_OK;
}
