/* team.h: a fixed team of threads that run one function together, again and again. */
#ifndef BASE_TEAM_H
#define BASE_TEAM_H

#include <stdint.h>

#include "base/error.h"

typedef struct team team;

/* Called once per worker, 0 <= worker < workers, all at the same time. Worker 0 is the thread that called team_run. */
typedef void team_work(void *context, int worker, int workers);

/* A team of `threads` >= 1, the caller's thread among them. */
gptoss_status team_open(int threads, team **out, gptoss_error *err);
void team_close(team *t); /* NULL is fine */

int team_size(const team *t);

/* Runs work(context, worker, workers) on every member and returns when all are done; what they wrote is then visible to
 * the caller. One caller at a time; `work` must not call team_run. */
void team_run(team *t, team_work *work, void *context);

/* From now on the thread that calls team_run calls `look` after each: it has to look after what goes on beside the
 * work. NULL: no more. */
void team_between(team *t, void (*look)(void));

/* The contiguous share [*begin, *end) of `count` items that falls to one worker, in whole grains of `grain` >= 1 items
 * but for the last grain of all; shares differ by at most one grain. count + grain < 2^64. */
void team_share(uint64_t count, uint64_t grain, int worker, int workers, uint64_t *begin, uint64_t *end);

#endif
