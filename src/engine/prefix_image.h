/* prefix_image.h: the resume points of a prefix cache as plain numbers, to be kept in a file.
 *
 * A point is its number of positions, as many tokens, and the pages of sequence_resumed_span, full ones first. The
 * points stand one behind the other, that which was of use most recently first. */
#ifndef ENGINE_PREFIX_IMAGE_H
#define ENGINE_PREFIX_IMAGE_H

#include <stddef.h>

#include "engine/sequence.h"

enum { PAGE_LEFT_OUT = -1 };

typedef struct prefix_image {
    uint32_t pages[KV_KINDS]; /* so many there are, each number of a page is below */
    uint32_t *words;          /* owned */
    size_t n_words;
} prefix_image;

/* One of its points; borrowed. */
typedef struct image_point {
    uint32_t positions;
    const uint32_t *tokens;
    kv_span spans[KV_KINDS];
    uint32_t *pages[KV_KINDS];
} image_point;

void prefix_image_free(prefix_image *image); /* and empties it */

/* The point at *at, which begins as 0 and moves on. False behind the last one, and where what is there is none: a
 * token or page that does not exist, more positions than limits->positions. */
bool prefix_image_next(const prefix_image *image, const wave_limits *limits, size_t *at, image_point *out);

/* Whether it is points from beginning to end. */
bool prefix_image_is_valid(const prefix_image *image, const wave_limits *limits);

/* Drops the last points of a valid image until the pages of the others fit a pool of limits, and numbers these anew,
 * from 0 on. slots[kind][page]: the new number, or PAGE_LEFT_OUT. */
void prefix_image_fit(prefix_image *image, const wave_limits *limits, int32_t *slots[KV_KINDS]);

#endif
