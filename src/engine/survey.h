/* survey.h: what a rank's machine can do for a model. */
#ifndef ENGINE_SURVEY_H
#define ENGINE_SURVEY_H

#include "base/team.h"
#include "cluster/cluster.h"
#include "plan/nodes.h"

/* Memory: this rank's share of its machine's. Rate: measured with the team, or, unless `again`, when the same ranks
 * and threads were measured here before, as a file in cache_dir tells (NULL: measured every time). A machine on which
 * it cannot be measured gets an assumed one. The link is not looked at. Not collective, but ranks of one machine that
 * measure at the same time see what each of them gets of it. */
void survey_rank(const cluster *c, team *t, const char *cache_dir, bool again, node_facts *out);

/* Collective: every rank and the link behind it, in all[size of the cluster] on every rank. Links are measured one
 * after the other, or were when the same machines had as many ranks and threads, as files in cache_dir tell that are
 * less than a week old; never kept are links that are delayed on demand, and figures of a link within one machine that
 * only a busy one can have. What was kept just now is what later calls find, to the last digit. */
gptoss_status survey_ranks(const cluster *c, team *t, const char *cache_dir, bool again, node_facts *all,
                           gptoss_error *err);

/* The same with a team that is opened for it. threads: of this rank, 0: one a core of its share. */
gptoss_status survey_all(const cluster *c, uint32_t threads, const char *cache_dir, bool again, node_facts *all,
                         gptoss_error *err);

#endif
