/* demo.h: the demo model, opened through the libraries on the ranks the test was started on, and asked greedily. */
#ifndef TESTS_DEMO_DEMO_H
#define TESTS_DEMO_DEMO_H

#include "base/buffer.h"
#include "text/harmony.h"

/* What main() does: opens the model; rank 0 runs the tests, the others work for it. Returns the exit status. */
int demo_main(int (*all_tests)(void));

typedef struct demo_answer {
    harmony_answer parts;
    harmony_finish finish;
    uint64_t recoveries; /* places that the parser had to mend */
    buffer raw;          /* what the model wrote after <|start|>assistant, special tokens by name */
} demo_answer;

/* What it answers to a prompt. */
void demo_ask(harmony_prompt prompt, demo_answer *out);
void demo_answer_free(demo_answer *answer);

bool demo_says(const buffer *text, const char *wanted); /* exactly */

#define DEMO_DATE "2027-03-14"

size_t demo_vocabulary(void);
enum { DEMO_MAX_TOKENS = 120, DEMO_POSITIONS = 768 };

/* Writes the logits of every position into the owned *out[count][demo_vocabulary()]. */
void demo_logits(const uint32_t *ids, uint32_t count, float **out);

#endif
