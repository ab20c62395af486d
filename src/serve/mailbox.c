#include "serve/mailbox.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

typedef struct envelope {
    uint64_t size;
    uint32_t kind, sender;
} envelope;

gptoss_status mailbox_open(mailbox *m, gptoss_error *err) {
    *m = (mailbox){.signal = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
    if (m->signal < 0) return error_set_errno(err, GPTOSS_IO, errno, "cannot open an eventfd for a request");
    pthread_mutex_init(&m->lock, NULL);
    return GPTOSS_OK;
}

void mailbox_close(mailbox *m) {
    close(m->signal);
    pthread_mutex_destroy(&m->lock);
    buffer_free(&m->letters);
}

gptoss_status mailbox_put(mailbox *m, uint32_t kind, uint32_t sender, const void *data, size_t size,
                          gptoss_error *err) {
    static const char zeros[8];
    const envelope e = {.size = size, .kind = kind, .sender = sender};
    pthread_mutex_lock(&m->lock);
    size_t before = m->letters.size;
    gptoss_status status = buffer_append(&m->letters, &e, sizeof e, err);
    if (status == GPTOSS_OK) status = buffer_append(&m->letters, data, size, err);
    if (status == GPTOSS_OK) status = buffer_append(&m->letters, zeros, 8 - size % 8, err); /* always a NUL behind it */
    if (status != GPTOSS_OK) m->letters.size = before;
    /* While the lock is held: afterwards the reader may have closed the mailbox. */
    if (status == GPTOSS_OK && before == 0) eventfd_write(m->signal, 1);
    pthread_mutex_unlock(&m->lock);
    return status;
}

bool mailbox_is_full(mailbox *m) {
    pthread_mutex_lock(&m->lock);
    bool full = m->letters.size > MAILBOX_BYTES;
    pthread_mutex_unlock(&m->lock);
    return full;
}

void mailbox_end(mailbox *m, uint32_t sender) {
    pthread_mutex_lock(&m->lock);
    m->ended |= UINT64_C(1) << sender;
    eventfd_write(m->signal, 1);
    pthread_mutex_unlock(&m->lock);
}

uint64_t mailbox_take(mailbox *m, buffer *out) {
    eventfd_t ignored;
    buffer_clear(out);
    pthread_mutex_lock(&m->lock);
    buffer letters = m->letters;
    m->letters = *out;
    *out = letters;
    eventfd_read(m->signal, &ignored);
    uint64_t ended = m->ended;
    pthread_mutex_unlock(&m->lock);
    return ended;
}

bool mailbox_next(const buffer *taken, size_t *at, letter *out) {
    envelope e;
    if (*at >= taken->size) return false;
    memcpy(&e, taken->data + *at, sizeof e);
    *out = (letter){e.kind, e.sender, taken->data + *at + sizeof e, e.size};
    *at += sizeof e + e.size + 8 - e.size % 8;
    return true;
}

mailbox_news mailbox_wait(mailbox *m, int socket, double seconds) {
    struct pollfd fds[] = {{.fd = m->signal, .events = POLLIN}, {.fd = socket, .events = POLLRDHUP}};
    int ready = poll(fds, 2, (int)(seconds * 1000));
    if (ready > 0 && fds[1].revents) return MAILBOX_READER_GONE;
    return ready > 0 && fds[0].revents ? MAILBOX_LETTERS : MAILBOX_SILENCE;
}
