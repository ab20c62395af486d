#include "plan/machine.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { LONGEST_PATH = 4096 };

static const uint64_t LEAST_RESERVE = UINT64_C(512) << 20;

/* Up to two numbers in a file, as many as there are: "max", "-1" and a missing file mean no limit. */
static int read_numbers(const char *folder, const char *file, unsigned long long numbers[2]) {
    char path[2 * LONGEST_PATH + 32];
    snprintf(path, sizeof path, "%s/%s", folder, file);
    FILE *f = fopen(path, "r");
    if (!f) return 0;
    int got = fscanf(f, "%llu %llu", &numbers[0], &numbers[1]);
    fclose(f);
    return got > 0 && numbers[0] <= INT64_MAX ? got : 0;
}

/* What a group's own files say, in version 2 and 1; UINT64_MAX when that is nothing. */
static uint64_t memory_limit(const char *folder, bool is_v2) {
    unsigned long long n[2];
    return read_numbers(folder, is_v2 ? "memory.max" : "memory.limit_in_bytes", n) ? n[0] : UINT64_MAX;
}

/* Processors: microseconds of work in a period of so many, rounded up. */
static uint64_t processor_limit(const char *folder, bool is_v2) {
    unsigned long long n[2], period[2];
    bool limited =
        is_v2 ? read_numbers(folder, "cpu.max", n) == 2
              : read_numbers(folder, "cpu.cfs_quota_us", n) && read_numbers(folder, "cpu.cfs_period_us", period);
    if (limited && !is_v2) n[1] = period[0];
    return limited && n[1] > 0 ? n[0] / n[1] + (n[0] % n[1] > 0) : UINT64_MAX;
}

typedef uint64_t group_reader(const char *folder, bool is_v2);

/* The least limit of the group at `path` below `mount` and all groups above it. `path` is changed. */
static uint64_t group_limit(const char *root, const char *mount, char *path, group_reader *read, bool is_v2) {
    uint64_t least = UINT64_MAX;
    for (;;) {
        char full[2 * LONGEST_PATH];
        snprintf(full, sizeof full, "%s%s%s", root, mount, path);
        uint64_t limit = read(full, is_v2);
        if (limit < least) least = limit;
        char *slash = strrchr(path, '/');
        if (!slash) return least;
        *slash = '\0';
    }
}

static bool has_word(const char *list, const char *word) {
    size_t size = strlen(word);
    for (const char *at = list; (at = strstr(at, word)) != NULL; at += size)
        if ((at == list || at[-1] == ',') && (at[size] == ',' || at[size] == '\0')) return true;
    return false;
}

/* Lines of /proc/self/cgroup are "0::/path" in version 2, "7:memory:/path" in version 1. */
static uint64_t groups_limit(const char *root, const char *controller, group_reader *read) {
    char name[LONGEST_PATH], line[LONGEST_PATH], mount[64];
    uint64_t least = UINT64_MAX;
    snprintf(name, sizeof name, "%s/proc/self/cgroup", root);
    snprintf(mount, sizeof mount, "/sys/fs/cgroup/%s", controller);
    FILE *f = fopen(name, "r");
    while (f && fgets(line, sizeof line, f)) {
        line[strcspn(line, "\n")] = '\0';
        char *controllers = strchr(line, ':'), *path = controllers ? strchr(controllers + 1, ':') : NULL;
        if (!path) continue;
        *path++ = '\0';
        bool is_v2 = *++controllers == '\0';
        uint64_t limit = UINT64_MAX;
        if (is_v2) limit = group_limit(root, "/sys/fs/cgroup", path, read, true);
        if (has_word(controllers, controller)) limit = group_limit(root, mount, path, read, false);
        if (limit < least) least = limit;
    }
    if (f) fclose(f);
    return least;
}

uint64_t machine_memory(const char *root) {
    uint64_t all = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
    uint64_t limit = groups_limit(root, "memory", memory_limit);
    return limit < all ? limit : all;
}

uint64_t machine_processors(const char *root) { return groups_limit(root, "cpu", processor_limit); }

uint64_t machine_usable(uint64_t memory) {
    uint64_t reserve = memory / 10 > LEAST_RESERVE ? memory / 10 : LEAST_RESERVE;
    return memory > reserve ? memory - reserve : 0;
}
