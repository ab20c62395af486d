/* stop_strings.h: ends a stream of text at the one of some strings that is complete first, holding back what may be its
 * beginning. What comes out does not depend on the pieces in which text comes in. */
#ifndef TEXT_STOP_STRINGS_H
#define TEXT_STOP_STRINGS_H

#include <stdbool.h>

#include "base/buffer.h"

typedef struct stop_strings {
    const char *const *items; /* borrowed, none empty */
    size_t count;
    buffer held; /* text that may yet turn out to begin a stop string */
    bool hit;
} stop_strings;

/* Appends to `out` what can no longer be part of a stop string. Once one is complete, s->hit becomes true, and neither
 * it nor anything after it ever comes out. */
gptoss_status stop_strings_add(stop_strings *s, const char *text, size_t size, buffer *out, gptoss_error *err);

/* The text ends: appends what was held back. */
gptoss_status stop_strings_end(stop_strings *s, buffer *out, gptoss_error *err);

void stop_strings_free(stop_strings *s);

#endif
