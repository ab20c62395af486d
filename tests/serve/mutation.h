/* mutation.h: bodies of requests as a careless or hostile client might send them. */
#ifndef TESTS_SERVE_MUTATION_H
#define TESTS_SERVE_MUTATION_H

#include <stdint.h>

#include "base/buffer.h"

/* Changes, drops, doubles or swaps some bytes, or puts a value where another was. noise: see random.h. */
void mutation_apply(buffer *b, uint64_t *noise);

#endif
