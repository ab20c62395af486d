#include "cli/grid_option.h"

#include <stdio.h>
#include <string.h>

#include "base/plural.h"
#include "engine/layout.h"

/* "1 x 6, 2 x 3, 3 x 2 or 6 x 1" */
static void list_grids(uint64_t ranks, char *text, size_t size) {
    size_t at = 0;
    for (uint64_t stages = 1; stages <= ranks && at < size; stages++) {
        if (ranks % stages != 0) continue;
        const char *between = stages == 1 ? "" : stages == ranks ? " or " : ", ";
        at += (size_t)snprintf(text + at, size - at, "%s%llu x %llu", between, (unsigned long long)stages,
                               (unsigned long long)(ranks / stages));
    }
}

gptoss_status goal_option_read(const char *text, plan_goal *out, gptoss_error *err) {
    if (!text || plan_goal_by_name(text, out)) return GPTOSS_OK;
    return error_set(err, GPTOSS_MISUSE, "--for is latency or throughput, not \"%.40s\"", text);
}

static gptoss_status read_goal(grid_option *o, gptoss_error *err) {
    TRY(goal_option_read(o->goal_name, &o->goal, err));
    if (o->goal_name && o->expert_placement && !o->stages && !o->shards)
        return error_set(err, GPTOSS_MISUSE,
                         "--expert-placement is for one grid, but --for chooses among all: say which with --shards T");
    return GPTOSS_OK;
}

gptoss_status grid_option_settle(grid_option *o, int ranks, gptoss_error *err) {
    uint64_t n = (uint64_t)ranks, given = o->stages ? o->stages : o->shards;
    char fitting[160];
    TRY(read_goal(o, err));
    if (!o->stages && !o->shards) return GPTOSS_OK;
    if (!o->stages && n % given == 0) o->stages = n / given;
    if (!o->shards && n % given == 0) o->shards = n / given;
    if (o->stages && o->shards && o->stages * o->shards == n) return GPTOSS_OK;
    list_grids(n, fitting, sizeof fitting);
    if (o->stages && o->shards)
        return error_set(err, GPTOSS_MISUSE,
                         "--stages %llu and --shards %llu make %llu rank%s, but %d %s started; %s (stages x shards) "
                         "would fit",
                         (unsigned long long)o->stages, (unsigned long long)o->shards,
                         (unsigned long long)(o->stages * o->shards), plural(o->stages * o->shards), ranks,
                         ranks == 1 ? "was" : "were", fitting);
    return error_set(err, GPTOSS_MISUSE,
                     "--%s %llu does not divide the %d rank%s started; %s (stages x shards) would fit",
                     o->stages ? "stages" : "shards", (unsigned long long)given, ranks, plural(n), fitting);
}

void grid_option_apply(const grid_option *o, engine_config *config) {
    config->stages = (uint32_t)o->stages;
    config->shards = (uint32_t)o->shards;
    config->expert_placement = o->expert_placement;
    config->choose = o->goal_name != NULL;
    config->goal = o->goal;
}

void grid_option_describe(const grid_option *o, const placement *p, char *text, size_t size) {
    layout_grid(p, text, size);
    size_t at = strlen(text);
    if (o->goal_name) snprintf(text + at, size - at, ", chosen for %s", o->goal_name);
}
