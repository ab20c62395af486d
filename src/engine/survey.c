#include "engine/survey.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/folder.h"
#include "cluster/link.h"
#include "cluster/ping.h"
#include "model/rate.h"
#include "plan/machine.h"
#include "plan/topology.h"

enum { LONGEST_PATH = 4096 };

/* It is a cache: where it cannot be written, the next run measures again. */
static void keep_line(const char *dir, const char *path, const char *line) {
    char partial[LONGEST_PATH + 32];
    snprintf(partial, sizeof partial, "%s.%ld", path, (long)getpid());
    if (folder_make(dir, NULL) != GPTOSS_OK) return;
    FILE *f = fopen(partial, "w");
    if (!f) return;
    bool written = fputs(line, f) >= 0;
    if (fclose(f) != 0 || !written || rename(partial, path) != 0) unlink(partial);
}

/* ---- a rank ---- */

/* False where nothing can be kept: the name would be too long. */
static bool name_speed(const cluster *c, const team *t, const char *dir, char path[LONGEST_PATH]) {
    if (!dir) return false;
    int n =
        snprintf(path, LONGEST_PATH, "%s/speed-%s-%s-%dx%d", dir, c->machine, rate_isa(), c->local_size, team_size(t));
    return n > 0 && n < LONGEST_PATH - 32;
}

/* What a layer takes need not be told. *out stays as it is where nothing is. */
static bool read_speed(const char *path, rate_figures *out) {
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

/* *out stays as it is where it cannot be found; then false. */
static bool find_speed(const cluster *c, team *t, const char *cache_dir, bool again, rate_figures *out) {
    char path[LONGEST_PATH], line[128];
    bool can_keep = name_speed(c, t, cache_dir, path);
    if (can_keep && !again && read_speed(path, out)) return true;
    if (rate_measure(t, out, NULL) != GPTOSS_OK) return false;
    snprintf(line, sizeof line, "%.0f bytes of weights a second, %.2f us a layer beside\n", out->bytes,
             1e6 * out->layer_seconds);
    if (can_keep) keep_line(cache_dir, path, line);
    return true;
}

void survey_rank(const cluster *c, team *t, const char *cache_dir, bool again, node_facts *out) {
    node_facts facts = node_facts_default();
    snprintf(facts.name, sizeof facts.name, "%.47s", c->machine);
    facts.memory = machine_memory("") / (uint64_t)c->local_size;
    facts.cores = (uint32_t)team_size(t);
    rate_figures speed = {node_assumed_rate(facts.cores), facts.layer_seconds};
    facts.is_assumed = !find_speed(c, t, cache_dir, again, &speed);
    facts.read_rate = speed.bytes;
    facts.layer_seconds = speed.layer_seconds;
    *out = facts;
}

/* What several ranks measured and kept under one name is the last one's: then it is so for all of them, now and later.
 */
static void recall_speed(const cluster *c, const team *t, const char *cache_dir, node_facts *facts) {
    char path[LONGEST_PATH];
    rate_figures speed = {facts->read_rate, facts->layer_seconds};
    if (facts->is_assumed || !name_speed(c, t, cache_dir, path) || !read_speed(path, &speed)) return;
    facts->read_rate = speed.bytes;
    facts->layer_seconds = speed.layer_seconds;
}

/* ---- links ---- */

/* Ranks at the end of a link: how many are on its machine, and with how many threads, tells how soon one wakes up. */
static int count_on(const node_facts *all, int size, const char *name) {
    int count = 0;
    for (int i = 0; i < size; i++) count += strcmp(all[i].name, name) == 0;
    return count;
}

static bool name_link(const cluster *c, const node_facts *all, const char *dir, char path[LONGEST_PATH]) {
    const node_facts *from = &all[c->rank], *to = &all[(c->rank + 1) % c->size];
    if (!dir || link_is_delayed()) return false;
    int n =
        snprintf(path, LONGEST_PATH, "%s/link-%s-%dx%u-%s-%dx%u", dir, from->name, count_on(all, c->size, from->name),
                 from->cores, to->name, count_on(all, c->size, to->name), to->cores);
    return n > 0 && n < LONGEST_PATH - 32;
}

/* Networks are changed, and a machine may have been busy when it was looked at: figures go for a week. */
static bool is_recent(FILE *f) {
    const double longest = 7 * 86400;
    struct stat s;
    return fstat(fileno(f), &s) == 0 && fabs(difftime(time(NULL), s.st_mtime)) < longest;
}

static bool read_link(const char *path, node_facts *out) {
    FILE *f = fopen(path, "r");
    if (!f) return false;
    double latency = 0, bandwidth = 0, wake = 0;
    int got = is_recent(f) ? fscanf(f, "%lf us, %lf bytes a second, %lf us", &latency, &bandwidth, &wake) : 0;
    fclose(f);
    if (got < 3 || !(latency > 0 && latency <= 1e7) || !(bandwidth >= 1e3 && bandwidth <= 1e16)) return false;
    if (!(wake >= 0 && wake <= 1e6)) return false;
    out->link = (plan_link){latency / 1e6, bandwidth};
    out->wake_seconds = wake / 1e6;
    return true;
}

static void keep_link(const char *dir, const char *path, const node_facts *facts) {
    char line[128];
    snprintf(line, sizeof line, "%.3f us, %.0f bytes a second, %.3f us to wake\n", 1e6 * facts->link.latency,
             facts->link.bandwidth, 1e6 * facts->wake_seconds);
    keep_line(dir, path, line);
}

/* Within one machine messages take microseconds, unless others have its cores: such figures go for this run only. */
static bool is_worth_keeping(const cluster *c, const node_facts *all, const node_facts *mine) {
    const plan_link *link = &mine->link;
    if (strcmp(all[c->rank].name, all[(c->rank + 1) % c->size].name) != 0) return true;
    return link->latency < 1e-3 && link->bandwidth > 1e8;
}

/* Collective. */
static gptoss_status survey_link(const cluster *c, const node_facts *all, const char *cache_dir, bool again,
                                 node_facts *mine, gptoss_error *err) {
    char path[LONGEST_PATH];
    bool can_keep = name_link(c, all, cache_dir, path);
    bool known = can_keep && !again && read_link(path, mine) && is_worth_keeping(c, all, mine);
    TRY(ping_next(c, !known, &mine->link, &mine->wake_seconds, err));
    can_keep = can_keep && is_worth_keeping(c, all, mine);
    if (can_keep && !known) keep_link(cache_dir, path, mine);
    cluster_agree(c, GPTOSS_OK, NULL);
    if (can_keep) read_link(path, mine);
    return GPTOSS_OK;
}

/* ---- all ---- */

/* Collective. all[size] becomes what every rank knows of itself, on all of them. */
static void share(const cluster *c, const node_facts *mine, node_facts *all) {
    _Static_assert(sizeof(node_facts) % sizeof(uint64_t) == 0, "facts are gathered as words");
    uint64_t words[sizeof *mine / sizeof(uint64_t)];
    memcpy(words, mine, sizeof *mine);
    cluster_gather(c, words, sizeof words / sizeof *words, (uint64_t *)(void *)all);
    cluster_broadcast(c, all, (size_t)c->size * sizeof *all);
}

gptoss_status survey_ranks(const cluster *c, team *t, const char *cache_dir, bool again, node_facts *all,
                           gptoss_error *err) {
    node_facts mine;
    survey_rank(c, t, cache_dir, again, &mine);
    cluster_agree(c, GPTOSS_OK, NULL);
    recall_speed(c, t, cache_dir, &mine);
    share(c, &mine, all);
    if (c->size == 1) return GPTOSS_OK;
    TRY(survey_link(c, all, cache_dir, again, &mine, err));
    share(c, &mine, all);
    return GPTOSS_OK;
}

gptoss_status survey_all(const cluster *c, uint32_t threads, const char *cache_dir, bool again, node_facts *all,
                         gptoss_error *err) {
    topology *cores = NULL;
    team *t = NULL;
    gptoss_status status =
        c->has_mpi ? topology_open_share(c->local_rank, c->local_size, &cores, err) : topology_open(&cores, err);
    if (status == GPTOSS_OK) status = team_open(threads ? (int)threads : topology_cores(cores), &t, err);
    status = cluster_agree(c, status, err);
    if (status == GPTOSS_OK) status = survey_ranks(c, t, cache_dir, again, all, err);
    team_close(t);
    topology_close(cores);
    return status;
}
