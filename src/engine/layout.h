/* layout.h: who holds what, in words. */
#ifndef ENGINE_LAYOUT_H
#define ENGINE_LAYOUT_H

#include <stddef.h>

#include "plan/placement.h"

/* "2 stages x 3 shards" into text[size]. */
void layout_grid(const placement *p, char *text, size_t size);

/* "layers 8 to 15", and with several shards "layers 8 to 15, KV heads 0 to 1, experts 0 to 11", into text[size]. */
void layout_rank(const placement *p, int rank, char *text, size_t size);

#endif
