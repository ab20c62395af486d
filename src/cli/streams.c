#include "cli/streams.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

void streams_hold_standard(void) {
    int fd;
    do fd = open("/dev/null", O_RDONLY);
    while (fd >= 0 && fd <= STDERR_FILENO);
    if (fd > STDERR_FILENO) close(fd);
}

gptoss_status streams_failed(FILE *to, int reason, gptoss_error *err) {
    if (reason == EPIPE) return error_set(err, GPTOSS_IO, "%s", "");
    return error_set_errno(err, GPTOSS_IO, reason, "cannot write to standard %s", to == stdout ? "output" : "error");
}

gptoss_status streams_finish(gptoss_error *err) {
    errno = 0;
    if (fflush(stdout) == 0 && !ferror(stdout)) return GPTOSS_OK;
    return streams_failed(stdout, errno ? errno : EIO, err);
}

static bool is_gguf(const char *path) {
    struct stat s;
    char magic[4] = "";
    if (stat(path, &s) != 0 || !S_ISREG(s.st_mode)) return false;
    FILE *f = fopen(path, "rb");
    if (!f) return false;
    size_t got = fread(magic, 1, sizeof magic, f);
    fclose(f);
    return got == sizeof magic && memcmp(magic, "GGUF", sizeof magic) == 0;
}

gptoss_status streams_create(const char *flag, const char *path, FILE **out, gptoss_error *err) {
    if (is_gguf(path))
        return error_set(err, GPTOSS_MISUSE, "%s would write over %s, which is a GGUF file; give another name", flag,
                         path);
    FILE *f = fopen(path, "wb");
    if (!f) return error_set_errno(err, GPTOSS_MISUSE, errno, "cannot write %s for %s", path, flag);
    *out = f;
    return GPTOSS_OK;
}

gptoss_status streams_write(FILE *to, const char *path, const buffer *b, gptoss_error *err) {
    if (fwrite(b->data, 1, b->size, to) == b->size && fflush(to) == 0) return GPTOSS_OK;
    return error_set_errno(err, GPTOSS_IO, errno, "cannot write %s", path);
}
