#include "base/digest.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include <xxhash.h>

static digest from_library(XXH128_hash_t hash) { return (digest){hash.low64, hash.high64}; }

digest digest_of(const void *bytes, size_t size) { return from_library(XXH3_128bits(bytes, size)); }

bool digest_equal(digest a, digest b) { return a.low == b.low && a.high == b.high; }

void digest_print(digest d, char text[DIGEST_TEXT]) {
    snprintf(text, DIGEST_TEXT, "%016" PRIx64 "%016" PRIx64, d.high, d.low);
}

bool digest_parse(const char *text, digest *out) {
    uint64_t halves[2] = {0, 0};
    if (strlen(text) != DIGEST_TEXT - 1) return false;
    for (int i = 0; i < DIGEST_TEXT - 1; i++) {
        const char *digits = "0123456789abcdef", *found = strchr(digits, text[i]);
        if (!found) return false;
        halves[i / 16] = halves[i / 16] << 4 | (uint64_t)(found - digits);
    }
    *out = (digest){.high = halves[0], .low = halves[1]};
    return true;
}

gptoss_status digest_begin(digest_state **out, gptoss_error *err) {
    XXH3_state_t *s = XXH3_createState();
    if (!s) return error_set(err, GPTOSS_NO_MEMORY, "no memory for a digest");
    XXH3_128bits_reset(s);
    *out = (digest_state *)(void *)s;
    return GPTOSS_OK;
}

void digest_add(digest_state *s, const void *bytes, size_t size) {
    XXH3_128bits_update((XXH3_state_t *)(void *)s, bytes, size);
}

digest digest_so_far(const digest_state *s) {
    return from_library(XXH3_128bits_digest((const XXH3_state_t *)(const void *)s));
}

void digest_end(digest_state *s) {
    if (s) XXH3_freeState((XXH3_state_t *)(void *)s);
}
