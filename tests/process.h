/* process.h: runs the built program as a user would, under mpirun or without, and keeps what it printed. */
#ifndef TESTS_PROCESS_H
#define TESTS_PROCESS_H

#include <sys/types.h>

#include "base/buffer.h"

typedef struct process_result {
    int exit_status; /* 128 + n when ended by signal n; -1 when it had to be killed after the time limit */
    buffer out, err;
    double seconds;
} process_result;

/* ranks 0: started directly; otherwise under mpirun -np ranks. `arguments` follow the program's name, NULL-terminated.
 * `input` (NULL: none) is its standard input. A test fails when the process cannot be started. */
process_result process_run(int ranks, const char *const *arguments, const char *input);

/* The same for a whole command line of one's own. */
process_result process_run_command(const char *const *command, const char *input);

/* Starts without waiting; process_wait ends the wait after `limit` seconds by killing. */
typedef struct process {
    pid_t pid;
    int out, err; /* read ends */
    double started;
} process;
process process_start(const char *const *command, const char *input);
process_result process_wait(process *p, double limit);

/* argv for `ranks` and the arguments; owned, free() it (the texts are borrowed or static). */
const char **process_command(int ranks, const char *const *arguments);

/* The last line of its standard output, without its end, which is cut off there; "" when there is none. */
const char *process_last_line(process_result *r);

void process_free(process_result *r);

/* process_run without input; the test fails unless the process ends with exit_status and writes `out` and `err`
 * somewhere on standard output and standard error. */
process_result process_expect(int ranks, const char *const *arguments, int exit_status, const char *out,
                              const char *err);
void process_expect_only(int ranks, const char *const *arguments, int exit_status, const char *out, const char *err);

#endif
