/* spelling.h: how far a misspelt word is from a known one. */
#ifndef BASE_SPELLING_H
#define BASE_SPELLING_H

#include <stddef.h>

enum { SPELLING_LONGEST = 63 }; /* bytes */

/* The letters to insert, drop or change to get from a[a_size] to b[b_size] (Levenshtein's distance), upper and lower
 * case of ASCII letters being the same. SIZE_MAX when one is longer than SPELLING_LONGEST. */
size_t spelling_distance(const char *a, size_t a_size, const char *b, size_t b_size);

#endif
