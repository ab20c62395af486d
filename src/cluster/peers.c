#include "cluster/peers.h"

#include <poll.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/digest.h"
#include "base/mem.h"

static struct pollfd *watched; /* [watched_count], a descriptor that becomes readable when the rank's process ends */
static int watched_count;

/* Where a process id means the same process: this boot of this machine, and the names that its container sees. */
static uint64_t process_space(void) {
    buffer boot = {0};
    struct stat names = {0};
    gptoss_error ignored;
    if (buffer_read_file(&boot, "/proc/sys/kernel/random/boot_id", 256, &ignored) != GPTOSS_OK ||
        stat("/proc/self/ns/pid", &names) != 0) {
        buffer_free(&boot);
        return 0;
    }
    uint64_t space = digest_of(boot.data, boot.size).low ^ (uint64_t)names.st_ino;
    buffer_free(&boot);
    return space;
}

/* -1 where that cannot be watched. */
static int watch_process(uint64_t id) { return (int)syscall(SYS_pidfd_open, (pid_t)id, 0); }

gptoss_status peers_watch(const cluster *c, gptoss_error *err) {
    typedef struct identity {
        uint64_t space, process;
    } identity;
    identity *all = NULL;
    const identity mine = {process_space(), (uint64_t)getpid()};
    gptoss_status status = mem_array((size_t)c->size, sizeof *all, "cluster", &all, err);
    if (status == GPTOSS_OK) status = mem_array((size_t)c->size, sizeof *watched, "cluster", &watched, err);
    status = cluster_agree(c, status, err);
    if (status == GPTOSS_OK) {
        cluster_gather(c, &mine.space, sizeof mine / sizeof(uint64_t), &all->space);
        for (int r = 0; r < c->size; r++) {
            bool near = c->rank == 0 && r > 0 && mine.space != 0 && all[r].space == mine.space;
            watched[r] = (struct pollfd){.fd = near ? watch_process(all[r].process) : -1, .events = POLLIN};
        }
        watched_count = c->rank == 0 ? c->size : 0;
    }
    free(all);
    return status;
}

void peers_release(void) {
    for (int r = 0; r < watched_count; r++)
        if (watched[r].fd >= 0) close(watched[r].fd);
    free(watched);
    watched = NULL;
    watched_count = 0;
}

bool peers_lost(int *rank) {
    if (watched_count < 2 || poll(watched, (nfds_t)watched_count, 0) <= 0) return false;
    for (*rank = 0; *rank < watched_count; ++*rank)
        if (watched[*rank].revents) return true;
    return false;
}
