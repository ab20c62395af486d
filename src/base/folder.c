#include "base/folder.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/mem.h"

static gptoss_status make_one(const char *path, gptoss_error *err) {
    struct stat s;
    if (mkdir(path, 0777) == 0 || (errno == EEXIST && stat(path, &s) == 0 && S_ISDIR(s.st_mode))) return GPTOSS_OK;
    return error_set_errno(err, GPTOSS_IO, errno, "cannot make the folder %s", path);
}

gptoss_status folder_make(const char *path, gptoss_error *err) {
    char *copy;
    size_t length = strlen(path);
    TRY(mem_array(length + 1, 1, "path", &copy, err));
    memcpy(copy, path, length + 1);
    gptoss_status status = GPTOSS_OK;
    for (size_t i = 1; status == GPTOSS_OK && i <= length; i++) {
        if (copy[i] != '/' && copy[i] != '\0') continue;
        char kept = copy[i];
        copy[i] = '\0';
        struct stat s;
        if (stat(copy, &s) != 0 || i == length) status = make_one(copy, err);
        copy[i] = kept;
    }
    free(copy);
    return status;
}

bool folder_still_has(int fd, const char *path) {
    struct stat mine, there;
    return fstat(fd, &mine) == 0 && lstat(path, &there) == 0 && mine.st_dev == there.st_dev &&
           mine.st_ino == there.st_ino;
}
