/* pattern.h: regular expressions as JSON Schema has them (ECMA-262), for strings inside JSON.
 *
 * Understood: characters, escapes, classes, ".", groups, "|", and the quantifiers * + ? {n} {n,} {n,m}, lazy or not;
 * "^" and "$" at the ends of the whole or of one of its outermost alternatives. An expression without them may match
 * anywhere. Not understood, and refused by name: looking ahead or behind, references back, \b, \p, names of groups.
 *
 * Control characters can be written only where JSON has a short escape for them (\b \f \n \r \t). */
#ifndef TEXT_PATTERN_H
#define TEXT_PATTERN_H

#include "text/byte_dfa.h"

enum {
    PATTERN_BYTES = 8192,    /* at most */
    PATTERN_WORK = 100000000 /* that all expressions of a request may take: half a second, and 25 MB */
};

/* The strings of min to max characters (UINT32_MAX: no limit) that match. GPTOSS_BAD_INPUT says what is wrong with the
 * expression or not supported. What it took is taken off *work (see byte_dfa_open), also by a failure; NULL: there is
 * as much as for all. */
gptoss_status pattern_open(const char *pattern, uint32_t min, uint32_t max, uint32_t *work, byte_dfa *out,
                           gptoss_error *err);

#endif
