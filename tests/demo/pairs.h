/* pairs.h: the questions and answers of configs/demo/pairs.json. */
#ifndef TESTS_DEMO_PAIRS_H
#define TESTS_DEMO_PAIRS_H

#include <stdbool.h>
#include <stddef.h>

#define DEMO_MODEL DEMO_FOLDER "/demo.gguf"

typedef struct pair {
    char *prompt, *answer;
    bool named; /* must be right; of the others most */
} pair;

typedef struct pairs {
    pair *items; /* [count] */
    size_t count;
} pairs;

void pairs_load(pairs *out);
void pairs_free(pairs *p);

struct cJSON *read_json(const char *path); /* for cJSON_Delete */

#endif
