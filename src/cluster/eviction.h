/* eviction.h: slices that leave the cache folder when its disk lacks room for another one. */
#ifndef CLUSTER_EVICTION_H
#define CLUSTER_EVICTION_H

#include <stdbool.h>
#include <stdint.h>

/* Tells that the slice file fd is used now. Where that cannot be noted, it is as if it were not used. */
void eviction_note_use(int fd);

/* Bytes of the slices of `dir`, complete or partial, that nobody used in the last day: runs of today may be about to
 * open theirs. */
uint64_t eviction_possible(const char *dir);

/* Removes that of them whose last use was longest ago. False when there is none. Other files stay. */
bool eviction_drop_oldest(const char *dir);

#endif
