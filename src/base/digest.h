/* digest.h: a fingerprint of many bytes (XXH3, 128 bits): equal contents are told apart from all others but by intent.
 */
#ifndef BASE_DIGEST_H
#define BASE_DIGEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

typedef struct digest {
    uint64_t low, high;
} digest;

enum { DIGEST_TEXT = 33 };

digest digest_of(const void *bytes, size_t size);
bool digest_equal(digest a, digest b);

void digest_print(digest d, char text[DIGEST_TEXT]); /* 32 hexadecimal digits */
bool digest_parse(const char *text, digest *out);    /* of exactly such a text */

/* For bytes that come piece by piece. */
typedef struct digest_state digest_state;
gptoss_status digest_begin(digest_state **out, gptoss_error *err);
void digest_add(digest_state *s, const void *bytes, size_t size);
digest digest_so_far(const digest_state *s);
void digest_end(digest_state *s); /* NULL is fine */

#endif
