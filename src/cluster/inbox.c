#include "cluster/inbox.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/cancel.h"
#include "base/folder.h"
#include "base/mem.h"
#include "cluster/eviction.h"

enum { PIECE = 4 << 20, LOCK_TRIES = 30 /* 3 s */ };

struct inbox {
    buffer path, partial_path;
    digest wanted;
    uint64_t bytes, has;
    int fd;              /* of the partial file; -1: the finished one is there */
    digest_state *state; /* of the bytes that are there */
};

static double gigabytes(uint64_t bytes) { return (double)bytes / 1e9; }

/* Adds the first `size` bytes of fd to the digest; stops at the end of the file. */
static gptoss_status read_again(inbox *b, int fd, const char *path, uint64_t size, inbox_report *report, void *context,
                                gptoss_error *err) {
    char *piece;
    gptoss_status status = GPTOSS_OK;
    TRY(mem_array(PIECE, 1, "checking a slice", &piece, err));
    for (uint64_t at = 0; at < size && status == GPTOSS_OK;) {
        size_t some = size - at < PIECE ? (size_t)(size - at) : PIECE;
        ssize_t got = pread(fd, piece, some, (off_t)at);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) status = error_set_errno(err, GPTOSS_IO, errno, "cannot read %s", path);
        if (got <= 0) break;
        digest_add(b->state, piece, (size_t)got);
        at += (uint64_t)got;
        b->has = at;
        if (report) report(context, at, size);
        if (cancel_requested()) status = error_set(err, GPTOSS_CANCELLED, "interrupted while checking %s", path);
    }
    free(piece);
    return status;
}

static gptoss_status start_over(inbox *b, gptoss_error *err) {
    digest_end(b->state);
    b->state = NULL;
    b->has = 0;
    return digest_begin(&b->state, err);
}

/* Tells what to do about a folder that cannot be used. */
static gptoss_status name_flag(gptoss_status status, gptoss_error *err) {
    if (status != GPTOSS_IO) return status;
    return error_prefix(err, status, "a slice cannot be kept (--cache DIR names another folder)");
}

/* Whether the finished file is there and right; one that is wrong is removed. */
static gptoss_status find_finished(inbox *b, inbox_report *report, void *context, bool *found, gptoss_error *err) {
    struct stat info;
    *found = false;
    int fd = open(b->path.data, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0 && errno != ENOENT) /* such as another user's, which is not to be fetched again each time */
        return name_flag(error_set_errno(err, GPTOSS_IO, errno, "cannot open %s", b->path.data), err);
    if (fd < 0) return GPTOSS_OK;
    gptoss_status status = GPTOSS_OK;
    if (fstat(fd, &info) == 0 && (uint64_t)info.st_size == b->bytes) {
        status = read_again(b, fd, b->path.data, b->bytes, report, context, err);
        *found = status == GPTOSS_OK && b->has == b->bytes && digest_equal(digest_so_far(b->state), b->wanted);
        if (*found) eviction_note_use(fd);
    }
    close(fd);
    if (status != GPTOSS_OK || *found) return status;
    if (unlink(b->path.data) != 0)
        return error_set_errno(err, GPTOSS_IO, errno, "%s is damaged and cannot be removed", b->path.data);
    return start_over(b, err);
}

/* Where the disk lacks room, slices go that were not used for long. */
static gptoss_status make_room(const inbox *b, const char *dir, gptoss_error *err) {
    uint64_t missing = b->bytes - b->has, available;
    eviction_note_use(b->fd);
    do {
        struct statvfs s;
        if (fstatvfs(b->fd, &s) != 0) return GPTOSS_OK; /* then the disk itself must say so */
        available = (uint64_t)s.f_bavail * s.f_frsize;
        if (missing <= available) return GPTOSS_OK;
    } while (missing - available <= eviction_possible(dir) && eviction_drop_oldest(dir));
    return error_set(
        err, GPTOSS_IO,
        "%.3f GB of a slice are to come, but only %.3f GB are free in %s, and slices there that nobody used "
        "for a day are too small to help; make room, or choose another folder with --cache",
        gigabytes(missing), gigabytes(available), dir);
}

/* A run that was killed may take a moment to go. */
static bool lock(int fd) {
    const struct timespec pause = {0, 100000000};
    for (int tries = 0; tries < LOCK_TRIES; tries++) {
        if (flock(fd, LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK) return true;
        nanosleep(&pause, NULL);
    }
    return false;
}

/* Opens what has come before, or an empty file. *gone: look for the finished file again. */
static gptoss_status open_partial(inbox *b, inbox_report *report, void *context, bool *gone, gptoss_error *err) {
    const char *path = b->partial_path.data;
    struct stat info;
    b->fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666);
    if (b->fd < 0) return name_flag(error_set_errno(err, GPTOSS_IO, errno, "cannot write %s", path), err);
    if (!lock(b->fd)) return error_set(err, GPTOSS_MISUSE, "another process is receiving %s; wait for it", path);
    *gone = !folder_still_has(b->fd, path);
    if (*gone) {
        close(b->fd);
        b->fd = -1;
        return GPTOSS_OK;
    }
    if (fstat(b->fd, &info) != 0) return error_set_errno(err, GPTOSS_IO, errno, "cannot stat %s", path);
    if ((uint64_t)info.st_size > b->bytes) {
        if (ftruncate(b->fd, 0) != 0) return error_set_errno(err, GPTOSS_IO, errno, "cannot empty %s", path);
        return GPTOSS_OK;
    }
    return read_again(b, b->fd, path, (uint64_t)info.st_size, report, context, err);
}

static gptoss_status fill(inbox *b, const char *dir, inbox_report *report, void *context, gptoss_error *err) {
    char name[DIGEST_TEXT];
    bool found = false, gone = true;
    digest_print(b->wanted, name);
    TRY(buffer_printf(&b->path, err, "%s/%s.gguf", dir, name));
    TRY(buffer_printf(&b->partial_path, err, "%s.partial", b->path.data));
    TRY(name_flag(folder_make(dir, err), err));
    TRY(start_over(b, err));
    while (gone) {
        TRY(find_finished(b, report, context, &found, err));
        if (found) return GPTOSS_OK;
        TRY(open_partial(b, report, context, &gone, err));
    }
    return make_room(b, dir, err);
}

gptoss_status inbox_open(const char *dir, digest wanted, uint64_t bytes, inbox_report *report, void *context,
                         inbox **out, gptoss_error *err) {
    inbox *b;
    TRY(mem_array(1, sizeof *b, "inbox", &b, err));
    *b = (inbox){.wanted = wanted, .bytes = bytes, .fd = -1};
    gptoss_status status = fill(b, dir, report, context, err);
    if (status != GPTOSS_OK) {
        inbox_close(b);
        return status;
    }
    *out = b;
    return GPTOSS_OK;
}

void inbox_close(inbox *b) {
    if (!b) return;
    if (b->fd >= 0) close(b->fd); /* and with it goes the lock */
    digest_end(b->state);
    buffer_free(&b->path);
    buffer_free(&b->partial_path);
    free(b);
}

uint64_t inbox_has(const inbox *b) { return b->has; }

const char *inbox_path(const inbox *b) { return b->path.data; }

gptoss_status inbox_append(inbox *b, const void *bytes, size_t size, gptoss_error *err) {
    const char *from = bytes;
    if (b->fd < 0 || size > b->bytes - b->has)
        return error_set(err, GPTOSS_PEER, "more of a slice came than was announced");
    for (size_t left = size; left > 0;) {
        ssize_t written = pwrite(b->fd, from, left, (off_t)b->has);
        if (written < 0 && errno == EINTR) continue;
        if (written <= 0)
            return error_set_errno(err, GPTOSS_IO, written < 0 ? errno : ENOSPC, "cannot write %s",
                                   b->partial_path.data);
        digest_add(b->state, from, (size_t)written);
        from += written, left -= (size_t)written, b->has += (uint64_t)written;
    }
    return GPTOSS_OK;
}

gptoss_status inbox_finish(inbox *b, gptoss_error *err) {
    if (b->fd < 0) return GPTOSS_OK;
    const char *path = b->partial_path.data;
    if (b->has != b->bytes || !digest_equal(digest_so_far(b->state), b->wanted)) {
        if (ftruncate(b->fd, 0) != 0) return error_set_errno(err, GPTOSS_IO, errno, "cannot empty %s", path);
        TRY(start_over(b, err));
        return error_set(err, GPTOSS_BAD_INPUT, "%s: what came is not what was sent; was it changed meanwhile?", path);
    }
    /* After a power cut a file with this name must be whole. */
    if (fsync(b->fd) != 0) return error_set_errno(err, GPTOSS_IO, errno, "cannot write %s", path);
    if (rename(path, b->path.data) != 0)
        return error_set_errno(err, GPTOSS_IO, errno, "cannot rename %s to %s", path, b->path.data);
    close(b->fd);
    b->fd = -1;
    return GPTOSS_OK;
}
