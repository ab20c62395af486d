/* merges.h: byte-pair merging: the table of which neighbouring tokens join, and applying it to a piece of bytes. */
#ifndef TEXT_MERGES_H
#define TEXT_MERGES_H

#include <stdbool.h>

#include "text/tokens.h"

typedef struct merge_table {
    struct merge_slot *slots;
    size_t mask, used, capacity;
    uint64_t seed;
} merge_table;

/* An empty table for at most `capacity` merges. Release with merges_close. */
gptoss_status merges_open(merge_table *table, size_t capacity, gptoss_error *err);
void merges_close(merge_table *table); /* a zeroed table is fine */

/* Tokens `left` and `right`, side by side, may become `result`; lower priorities go first. Of a pair that is added
 * twice the first stays. At most `capacity` calls; no id is UINT32_MAX. */
void merges_add(merge_table *table, uint32_t left, uint32_t right, uint32_t result, uint32_t priority);

/* Working memory, which grows to fit the longest piece; zero-initialize, reuse, free. One thread at a time. */
typedef struct merge_scratch {
    struct merge_symbol *symbols;
    uint64_t *heap;
    size_t capacity;
} merge_scratch;
void merges_free_scratch(merge_scratch *scratch);

/* Appends the tokens of bytes[size], size < UINT32_MAX: beginning with byte_ids[byte] for each byte, the pair of
 * neighbours with the lowest priority is joined, of equals the leftmost, until none can be. O(size log size). */
gptoss_status merges_apply(const merge_table *table, const uint32_t byte_ids[256], const uint8_t *bytes, size_t size,
                           merge_scratch *scratch, tokens *out, gptoss_error *err);

#endif
