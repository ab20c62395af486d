#include "cli/terminal.h"

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "base/clock.h"
#include "cli/launcher.h"

enum { BAR_WIDTH = 30 };

/* mpirun is the parent of the ranks on its own machine, and its standard error is where theirs comes out. Elsewhere
 * (other systems, ranks of other machines) the file is not there, and nothing is shown. */
static bool launcher_watched(void) {
    if (!launcher_started_us()) return false;
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/fd/2", (int)getppid());
    int fd = open(path, O_WRONLY | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0) return false;
    bool watched = isatty(fd);
    close(fd);
    return watched;
}

bool terminal_watched(void) { return isatty(STDERR_FILENO) || launcher_watched(); }

void progress_begin(progress *p, const char *what, uint64_t total) {
    *p = (progress){.what = what, .total = total, .started = clock_seconds(), .watched = terminal_watched()};
}

void progress_update(progress *p, uint64_t done) {
    double now = clock_seconds();
    if (!p->watched || p->total == 0 || now - p->started < 0.5 || (p->visible && now - p->shown < 0.1)) return;
    char bar[BAR_WIDTH + 1];
    int full = (int)((double)done / (double)p->total * BAR_WIDTH);
    for (int i = 0; i < BAR_WIDTH; i++) bar[i] = i < full ? '#' : '.';
    bar[BAR_WIDTH] = '\0';
    double left = done ? (now - p->started) * (double)(p->total - done) / (double)done : 0;
    fprintf(stderr, "\r%s [%s] %3.0f %%, %.0f s left \033[K", p->what, bar, 100.0 * (double)done / (double)p->total,
            left);
    fflush(stderr);
    p->shown = now;
    p->visible = true;
}

void progress_end(progress *p) {
    if (p->visible) fprintf(stderr, "\r\033[K");
    p->visible = false;
}
