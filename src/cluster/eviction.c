#include "cluster/eviction.h"

#include <dirent.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/digest.h"

enum { DAY = 24 * 60 * 60 };

void eviction_note_use(int fd) { (void)futimens(fd, NULL); }

/* DIGEST.gguf or DIGEST.gguf.partial, as in inbox.h. */
static bool is_slice(const char *name) {
    size_t digits = strspn(name, "0123456789abcdef");
    const char *rest = name + digits;
    return digits == DIGEST_TEXT - 1 && (strcmp(rest, ".gguf") == 0 || strcmp(rest, ".gguf.partial") == 0);
}

typedef struct scan {
    uint64_t bytes;                                    /* of all that may go */
    char oldest[DIGEST_TEXT + sizeof ".gguf.partial"]; /* "": there is none */
} scan;

static scan look_through(DIR *folder) {
    scan found = {0};
    const time_t today = time(NULL) - DAY;
    time_t used = today;
    for (struct dirent *entry; (entry = readdir(folder));) {
        struct stat info;
        if (!is_slice(entry->d_name) || fstatat(dirfd(folder), entry->d_name, &info, AT_SYMLINK_NOFOLLOW) != 0)
            continue;
        if (!S_ISREG(info.st_mode) || info.st_mtim.tv_sec >= today) continue;
        found.bytes += (uint64_t)info.st_blocks * 512;
        if (info.st_mtim.tv_sec >= used) continue;
        used = info.st_mtim.tv_sec;
        memcpy(found.oldest, entry->d_name, strlen(entry->d_name) + 1); /* as long as is_slice allows */
    }
    return found;
}

uint64_t eviction_possible(const char *dir) {
    DIR *folder = opendir(dir);
    if (!folder) return 0;
    uint64_t bytes = look_through(folder).bytes;
    closedir(folder);
    return bytes;
}

bool eviction_drop_oldest(const char *dir) {
    DIR *folder = opendir(dir);
    if (!folder) return false;
    scan found = look_through(folder);
    bool dropped = found.oldest[0] && unlinkat(dirfd(folder), found.oldest, 0) == 0;
    closedir(folder);
    return dropped;
}
