/* mutation.h: bodies of requests as a careless or hostile client might send them. */
#ifndef TESTS_SERVE_MUTATION_H
#define TESTS_SERVE_MUTATION_H

#include "serve/json_input.h"
#include "text/harmony.h"

/* Reads a body, which it takes, and on GPTOSS_OK appends its prompt. */
typedef gptoss_status mutation_reader(cJSON *body, const harmony *h, tokens *prompt, failure *why);

/* Changes each of the bodies in turn, `count` times in all: bytes changed, dropped, doubled or swapped, or a value put
 * where another was. Whatever comes out must be read, or refused with 400 and a reason; one in a hundred at least must
 * be read, as others teach nothing beyond JSON. */
void mutation_run(const char *const *bodies, size_t body_count, int count, mutation_reader *read);

#endif
