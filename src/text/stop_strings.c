#include "text/stop_strings.h"

#include <stdint.h>
#include <string.h>

/* Where the stop string in held begins that is complete first, and among those the longest; false when there is none.
 * By where they end, not where they begin, so that the answer is the same however the text came in pieces. */
static bool find_hit(const stop_strings *s, size_t *at) {
    size_t first_end = SIZE_MAX;
    for (size_t i = 0; i < s->count; i++) {
        size_t length = strlen(s->items[i]);
        const char *hit = memmem(s->held.data, s->held.size, s->items[i], length);
        if (!hit) continue;
        size_t begin = (size_t)(hit - s->held.data), end = begin + length;
        if (end < first_end || (end == first_end && begin < *at)) *at = begin;
        if (end < first_end) first_end = end;
    }
    return first_end != SIZE_MAX;
}

/* How many of the last bytes of held could be the beginning of a stop string. */
static size_t possible_beginning(const stop_strings *s) {
    size_t longest = 0;
    for (size_t i = 0; i < s->count; i++) {
        size_t length = strlen(s->items[i]) - 1;
        if (length > s->held.size) length = s->held.size;
        while (length > longest && memcmp(s->held.data + s->held.size - length, s->items[i], length) != 0) length--;
        if (length > longest) longest = length;
    }
    return longest;
}

gptoss_status stop_strings_add(stop_strings *s, const char *text, size_t size, buffer *out, gptoss_error *err) {
    if (s->hit) return GPTOSS_OK;
    if (s->count == 0) return buffer_append(out, text, size, err);
    TRY(buffer_append(&s->held, text, size, err));
    size_t free_to_go = 0;
    s->hit = find_hit(s, &free_to_go);
    if (!s->hit) free_to_go = s->held.size - possible_beginning(s);
    TRY(buffer_append(out, s->held.data, free_to_go, err));
    s->held.size -= free_to_go;
    memmove(s->held.data, s->held.data + free_to_go, s->held.size);
    if (s->hit) buffer_clear(&s->held);
    return GPTOSS_OK;
}

gptoss_status stop_strings_end(stop_strings *s, buffer *out, gptoss_error *err) {
    TRY(buffer_append(out, s->held.data, s->held.size, err));
    buffer_clear(&s->held);
    return GPTOSS_OK;
}

void stop_strings_free(stop_strings *s) { buffer_free(&s->held); }
