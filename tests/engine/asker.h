/* asker.h: requests to a scheduler over a golden model, and all that each was told, for tests. */
#ifndef TESTS_ENGINE_ASKER_H
#define TESTS_ENGINE_ASKER_H

#include "engine/engine.h"
#include "engine/scheduler.h"

enum { POSITIONS = 128, CHUNK = 12, SEQUENCES = 6, MOST_TOKENS = 40 };

extern cluster asker_world;        /* opened by the test's main */
extern engine asker_model;         /* within asker_with_model */
extern scheduler *asker_scheduler; /* which all below is about */

/* A token and what the distribution was: two numbers that hardly any changed logit leaves as they are. */
typedef struct choice {
    uint32_t token;
    double entropy;
    float logprob;
} choice;

/* A request, and all that it was told. */
typedef struct asker {
    scheduler_request request;
    uint64_t id;
    choice choices[MOST_TOKENS];
    uint32_t n_choices, progress, stop_after, cancel_after; /* 0: never */
    uint32_t ended;
    scheduler_result result;
} asker;

/* Opens a golden model on all ranks, with pools of that many pages of 16 positions (0: enough for all sequences); rank
 * 0 runs `at_rank_0`, the others work for it. Four ranks are two stages of two shards, others stages alone. */
void asker_with_model(const char *name, uint32_t full_pages, uint32_t window_pages, uint32_t rows,
                      void (*at_rank_0)(void));

/* The same for sequences of other lengths than POSITIONS. */
void asker_with_positions(const char *name, uint32_t positions, uint32_t full_pages, uint32_t window_pages,
                          uint32_t rows, void (*at_rank_0)(void));

void asker_open_scheduler(uint32_t points);
void asker_run_and_close(void); /* lets all that was submitted end */

/* The questions of one test, put one after the other by a thread of their own while the scheduler runs. */
void asker_run_with_questions(uint32_t points, void (*questions)(void));

asker asker_of(const uint32_t *prompt, uint32_t n_prompt, uint32_t max_tokens);
void asker_submit(asker *a);
void asker_wait(const asker *a);                                                   /* for its end */
asker asker_ask(const uint32_t *prompt, uint32_t n_prompt, uint32_t max_tokens);   /* both */
asker asker_alone(const uint32_t *prompt, uint32_t n_prompt, uint32_t max_tokens); /* nobody else is there */

/* Whether it got what the other did, as far as it went. */
void asker_expect_same(const asker *got, const asker *want);

/* What asker_of has it called with, for those that do more. */
bool asker_note_token(void *context, const scheduler_token *t);
void asker_note_end(void *context, const scheduler_result *result);

void asker_check_pages(void);
void asker_pause(long microseconds);

#endif
