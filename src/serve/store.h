/* store.h: responses that are kept: in an SQLite database in a file, or in memory. Any thread; it has a lock of its
 * own.
 *
 * A response is two texts, the response itself and its input, a run of numbered events, what was or will be streamed of
 * it, and items: parts of both that are found by ids of their own. What these say is no matter of the store, except
 * that one response runs, and another has ended. What was written survives the end of the process, however it came;
 * only after a power failure the last writes may be missing.
 *
 * Ids may be any text without NULs. A store that cannot be read or written is GPTOSS_IO. */
#ifndef SERVE_STORE_H
#define SERVE_STORE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buffer.h"

typedef struct store store;

/* path: a file, created when missing, which no other process may use at once; NULL: in memory. When more than `limit`
 * bytes are kept, the oldest responses that have ended are dropped, but never the newest of all.
 * GPTOSS_MISUSE when the file cannot be had or is something else. */
gptoss_status store_open(const char *path, uint64_t limit, store **out, gptoss_error *err);
void store_close(store *s); /* NULL is fine */

/* Adds a response that runs. */
gptoss_status store_add(store *s, const char *id, const char *response, const char *input, gptoss_error *err);

typedef struct store_event {
    int64_t number; /* greater than those before, from 0 on */
    const char *text;
    size_t size;
} store_event;

typedef struct store_item {
    const char *id; /* of several with one id in a response the last one is kept */
    const char *text;
} store_item;

typedef struct store_change {
    const store_event *events; /* to add */
    size_t count;
    const store_item *items; /* to add */
    size_t item_count;
    const char *response; /* NULL: stays as it is */
    bool ended;           /* it runs no longer; goes with `response` */
} store_change;

/* All of it or nothing. No change when there is no such response. */
gptoss_status store_write(store *s, const char *id, const store_change *change, gptoss_error *err);

typedef struct store_entry { /* zero-initialize */
    buffer response, input;  /* owned */
    bool running;
    int64_t last_event; /* -1: none */
} store_entry;

void store_entry_free(store_entry *e);

gptoss_status store_find(store *s, const char *id, store_entry *out, bool *found, gptoss_error *err);

/* Appends to out the text of the item with this id; of several, that of the newest response. */
gptoss_status store_find_item(store *s, const char *id, buffer *out, bool *found, gptoss_error *err);

/* Appends to out events after number *after, in order, and moves *after to the last one. They may not be all: those of
 * a response that has ended were all told when none is left (*after does not move and *running is false). */
gptoss_status store_read_events(store *s, const char *id, int64_t *after, buffer *out, bool *running,
                                gptoss_error *err);

/* `deleted` tells whether there was one. */
gptoss_status store_delete(store *s, const char *id, bool *deleted, gptoss_error *err);

/* The id of any response that runs; *found is false when none does. After store_open those are what an earlier process
 * left behind. */
gptoss_status store_find_running(store *s, buffer *id, bool *found, gptoss_error *err);

#endif
