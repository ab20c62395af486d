/* inbox.h: a slice file on its way into the cache folder, where it is DIGEST.gguf once all of it has come and is right.
 *
 * Until then it is DIGEST.gguf.partial, which outlives an interruption: the next time only the rest is asked for. */
#ifndef CLUSTER_INBOX_H
#define CLUSTER_INBOX_H

#include "base/digest.h"

typedef struct inbox inbox;

/* Called after each few megabytes that are read again to be checked. */
typedef void inbox_report(void *context, uint64_t done, uint64_t all);

/* Looks for the file of `bytes` bytes and that digest. One that is there already is read and checked; one that is
 * wrong, or longer than it should be, is removed. GPTOSS_IO: the folder cannot be made or written, or its disk lacks
 * the room even without slices that were not used for a day (eviction.h); GPTOSS_MISUSE: another process is receiving
 * the same file. `report` may be NULL. */
gptoss_status inbox_open(const char *dir, digest wanted, uint64_t bytes, inbox_report *report, void *context,
                         inbox **out, gptoss_error *err);
void inbox_close(inbox *b); /* NULL is fine; keeps what has come */

uint64_t inbox_has(const inbox *b); /* so many bytes, from the first on */

gptoss_status inbox_append(inbox *b, const void *bytes, size_t size, gptoss_error *err);

/* All has come: checks the digest and gives the file its name. GPTOSS_BAD_INPUT when it is wrong; then nothing is left
 * of it, and the inbox is empty again. */
gptoss_status inbox_finish(inbox *b, gptoss_error *err);

const char *inbox_path(const inbox *b); /* of the finished file; borrowed */

#endif
