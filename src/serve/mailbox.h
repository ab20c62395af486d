/* mailbox.h: what the scheduler's thread writes and a client's thread reads: letters, in the order in which they were
 * put in. Putting one in never waits for the reader. */
#ifndef SERVE_MAILBOX_H
#define SERVE_MAILBOX_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/buffer.h"

enum {
    MAILBOX_SENDERS = 64,
    MAILBOX_BYTES = 64 << 10 /* with more letters than that it is full: senders should wait */
};

typedef struct mailbox {
    pthread_mutex_t lock;
    buffer letters;
    uint64_t ended; /* bit i: sender i puts nothing more in */
    int signal;     /* an eventfd: readable while there are letters */
} mailbox;

typedef struct letter {
    uint32_t kind, sender;
    const char *data; /* [size], aligned to 8; followed by a NUL */
    size_t size;
} letter;

gptoss_status mailbox_open(mailbox *m, gptoss_error *err);
void mailbox_close(mailbox *m);

/* Any thread. Also while it is full: a letter is never lost. */
gptoss_status mailbox_put(mailbox *m, uint32_t kind, uint32_t sender, const void *data, size_t size, gptoss_error *err);

bool mailbox_is_full(mailbox *m); /* any thread */

/* The sender, below MAILBOX_SENDERS, has put in its last letter. It cannot fail. */
void mailbox_end(mailbox *m, uint32_t sender);

/* Takes all letters; what `out` held before is lost. Returns the senders that have ended, a bit each: all their letters
 * were taken. */
uint64_t mailbox_take(mailbox *m, buffer *out);

/* The next letter of those taken; *at is 0 at first. False after the last. */
bool mailbox_next(const buffer *taken, size_t *at, letter *out);

typedef enum mailbox_news { MAILBOX_LETTERS, MAILBOX_SILENCE, MAILBOX_READER_GONE } mailbox_news;

/* Waits until there are letters or an end, `seconds` have passed, or the other side of `socket` (-1: none) has closed
 * it. */
mailbox_news mailbox_wait(mailbox *m, int socket, double seconds);

#endif
