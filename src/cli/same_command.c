#include "cli/same_command.h"

#include <stdio.h>
#include <string.h>

typedef struct start {
    char command[COMMAND_NAME_BYTES], version[COMMAND_NAME_BYTES];
} start;

static gptoss_status compare(const start *mine, const start *first, gptoss_error *err) {
    if (strcmp(mine->version, first->version) != 0)
        return error_set(err, GPTOSS_MISUSE, "is version %s of gptoss-dist, but rank 0 is %s; all must be the same",
                         mine->version, first->version);
    if (mine->command[0] && strcmp(mine->command, first->command) != 0)
        return error_set(err, GPTOSS_MISUSE, "was started with the command %s, but rank 0 with %s; all need the same",
                         mine->command, first->command);
    return GPTOSS_OK;
}

gptoss_status same_command(const cluster *c, gptoss_status mine, char *name, const char *version, gptoss_error *err) {
    TRY(cluster_agree(c, mine, err));
    start told = {{0}, {0}}, first;
    snprintf(told.command, sizeof told.command, "%s", name);
    snprintf(told.version, sizeof told.version, "%s", version);
    first = told;
    cluster_broadcast(c, &first, sizeof first);
    TRY(cluster_agree(c, compare(&told, &first, err), err));
    memcpy(name, first.command, sizeof first.command);
    return GPTOSS_OK;
}
