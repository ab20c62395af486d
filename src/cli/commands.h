/* commands.h: the subcommands of gptoss-dist, one file each. */
#ifndef CLI_COMMANDS_H
#define CLI_COMMANDS_H

#include "cluster/cluster.h"

/* Each gets its own argv (argv[0] is the subcommand's name), prints its own errors and returns the exit status. */
int inspect_command(int argc, char **argv);
int slice_command(int argc, char **argv);
int synth_command(int argc, char **argv);
int tokenize_command(int argc, char **argv);

/* These are collective, and leave the cluster when they are done. */
int bench_command(cluster *c, int argc, char **argv);
int plan_command(cluster *c, int argc, char **argv);
int run_command(cluster *c, int argc, char **argv);
int serve_command(cluster *c, int argc, char **argv);

/* Prints "gptoss-dist: <text>" on stderr; returns 2 for misuse and bad input, 130 when cancelled, 1 otherwise. */
int command_fail(const gptoss_error *err);

#endif
