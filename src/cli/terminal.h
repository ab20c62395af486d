/* terminal.h: whether a person watches, and a progress bar for them. */
#ifndef CLI_TERMINAL_H
#define CLI_TERMINAL_H

#include <stdbool.h>
#include <stdint.h>

/* Whether what goes to standard error ends on a terminal: directly, or through mpirun, which hands its ranks pipes. */
bool terminal_watched(void);

/* Zero-initialize. Shows nothing unless terminal_watched(), nor for work that ends within half a second. */
typedef struct progress {
    const char *what; /* "reading the prompt" */
    uint64_t total;
    double started, shown; /* clock_seconds() */
    bool watched, visible;
} progress;

void progress_begin(progress *p, const char *what, uint64_t total);
void progress_update(progress *p, uint64_t done);
void progress_end(progress *p); /* takes the bar away */

#endif
