/* talk.h: a conversation with the demo model that goes on: what was said stands in the next prompt, as a chat keeps it.
 */
#ifndef TESTS_DEMO_TALK_H
#define TESTS_DEMO_TALK_H

#include "demo.h"

enum { TALK_MESSAGES = 24 };

typedef struct talk {
    harmony_prompt prompt; /* set effort, and date, instructions and functions if wanted; the rest is kept below */
    harmony_message messages[TALK_MESSAGES];
    char *owned[2 * TALK_MESSAGES];
    size_t owned_count;
} talk;

/* Has the model answer what the user says; its reasoning and final message join the conversation. */
void talk_ask(talk *t, const char *question, demo_answer *out);

/* The same for what a tool returned ("functions.define"). */
void talk_return(talk *t, const char *tool, const char *result, demo_answer *out);

void talk_end(talk *t); /* frees what it holds */

/* talk_ask, and whether the answer is exactly the wanted one and ended well. Prints one that is not. */
bool talk_check(talk *t, const char *question, const char *wanted);

/* How many of some answers were right. */
typedef struct tally {
    unsigned asked, right;
} tally;

void tally_add(tally *t, bool right);
void tally_join(tally *t, tally more);
/* Prints both; fails the test when fewer than so many percent were right. */
void tally_require(const char *what, tally t, unsigned percent);

#endif
