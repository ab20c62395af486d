#include "base/spelling.h"

#include <stdint.h>

static char lower(char c) { return c >= 'A' && c <= 'Z' ? (char)(c + 'a' - 'A') : c; }

size_t spelling_distance(const char *a, size_t a_size, const char *b, size_t b_size) {
    size_t row[SPELLING_LONGEST + 1]; /* row[j]: the distance between what was seen of a and b[0..j) */
    if (a_size > SPELLING_LONGEST || b_size > SPELLING_LONGEST) return SIZE_MAX;
    for (size_t j = 0; j <= b_size; j++) row[j] = j;
    for (size_t i = 1; i <= a_size; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= b_size; j++) {
            size_t best = diagonal + (lower(a[i - 1]) != lower(b[j - 1]));
            if (row[j] + 1 < best) best = row[j] + 1;
            if (row[j - 1] + 1 < best) best = row[j - 1] + 1;
            diagonal = row[j];
            row[j] = best;
        }
    }
    return row[b_size];
}
