/* plural.h: counts in texts for people: "1 layer", "2 layers". */
#ifndef BASE_PLURAL_H
#define BASE_PLURAL_H

#include <stdint.h>

/* What a noun ends with behind this number: printf("%u layer%s", n, plural(n)). */
static inline const char *plural(uint64_t count) { return count == 1 ? "" : "s"; }

#endif
