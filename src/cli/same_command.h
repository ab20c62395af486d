/* same_command.h: ranks that were started together run the same command of the same program. */
#ifndef CLI_SAME_COMMAND_H
#define CLI_SAME_COMMAND_H

#include "cluster/cluster.h"

enum { COMMAND_NAME_BYTES = 32 }; /* and of a version, with their ends */

/* Collective, before anything else: a rank with another command would wait for ever for the others, or they for it.
 * `mine`: whether this rank knows what to do. name: of its command, with room for COMMAND_NAME_BYTES; empty: it was
 * told none, and takes that of rank 0. GPTOSS_MISUSE: another one than that of rank 0, or another version. */
gptoss_status same_command(const cluster *c, gptoss_status mine, char *name, const char *version, gptoss_error *err);

#endif
