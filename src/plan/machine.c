#include "plan/machine.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { LONGEST_PATH = 4096 };

static const uint64_t LEAST_RESERVE = UINT64_C(512) << 20;

/* The number in a file; UINT64_MAX when there is none ("max" means no limit, as does a missing file). */
static uint64_t read_limit(const char *path) {
    unsigned long long n = 0;
    FILE *f = fopen(path, "r");
    if (!f) return UINT64_MAX;
    int got = fscanf(f, "%llu", &n);
    fclose(f);
    return got == 1 ? n : UINT64_MAX;
}

/* The least limit of the group at `path` below `mount` and all groups above it. `path` is changed. */
static uint64_t group_limit(const char *root, const char *mount, char *path, const char *file) {
    uint64_t least = UINT64_MAX;
    for (;;) {
        char full[2 * LONGEST_PATH];
        snprintf(full, sizeof full, "%s%s%s/%s", root, mount, path, file);
        uint64_t limit = read_limit(full);
        if (limit < least) least = limit;
        char *slash = strrchr(path, '/');
        if (!slash) return least;
        *slash = '\0';
    }
}

/* Lines of /proc/self/cgroup are "0::/path" in version 2, "7:memory:/path" in version 1. */
static uint64_t groups_limit(const char *root) {
    char name[LONGEST_PATH], line[LONGEST_PATH];
    uint64_t least = UINT64_MAX;
    snprintf(name, sizeof name, "%s/proc/self/cgroup", root);
    FILE *f = fopen(name, "r");
    while (f && fgets(line, sizeof line, f)) {
        line[strcspn(line, "\n")] = '\0';
        char *controllers = strchr(line, ':'), *path = controllers ? strchr(controllers + 1, ':') : NULL;
        if (!path) continue;
        *path++ = '\0';
        bool is_v2 = controllers[1] == '\0', is_memory = strstr(controllers, "memory") != NULL;
        uint64_t limit = UINT64_MAX;
        if (is_v2) limit = group_limit(root, "/sys/fs/cgroup", path, "memory.max");
        if (is_memory) limit = group_limit(root, "/sys/fs/cgroup/memory", path, "memory.limit_in_bytes");
        if (limit < least) least = limit;
    }
    if (f) fclose(f);
    return least;
}

uint64_t machine_memory(const char *root) {
    uint64_t all = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE), limit = groups_limit(root);
    return limit < all ? limit : all;
}

uint64_t machine_usable(uint64_t memory) {
    uint64_t reserve = memory / 10 > LEAST_RESERVE ? memory / 10 : LEAST_RESERVE;
    return memory > reserve ? memory - reserve : 0;
}
