#include "base/clock.h"

#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static double read_clock(clockid_t id) {
    struct timespec t;
    clock_gettime(id, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

double clock_seconds(void) { return read_clock(CLOCK_MONOTONIC); }

void clock_sleep_until(double time) {
    const double awake = 60e-6; /* what waking up may take */
    double asleep = time - clock_seconds() - awake;
    if (asleep > 0) {
        time_t whole = (time_t)asleep;
        if (nanosleep(&(struct timespec){whole, (long)((asleep - (double)whole) * 1e9)}, NULL) != 0) return;
    }
    while (clock_seconds() < time) sched_yield();
}

/* proc_pid_stat(5): field 22 is the start in ticks since the machine's; field 2, a name in parentheses, may hold
 * anything. */
double clock_process_age(void) {
    char line[1024];
    unsigned long long ticks = 0;
    FILE *f = fopen("/proc/self/stat", "r");
    if (!f) return 0;
    size_t size = fread(line, 1, sizeof line - 1, f);
    fclose(f);
    line[size] = '\0';
    const char *at = strrchr(line, ')');
    for (int field = 2; at && field < 22; field++) at = strchr(at + 1, ' ');
    if (!at || sscanf(at, "%llu", &ticks) != 1) return 0;
    double age = read_clock(CLOCK_BOOTTIME) - (double)ticks / (double)sysconf(_SC_CLK_TCK);
    return age > 0 ? age : 0;
}
