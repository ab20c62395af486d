/* responses_live.h: the kept responses that are being written: who follows one learns here of news in the store, and
 * who cancels one finds it here. Any thread. */
#ifndef SERVE_RESPONSES_LIVE_H
#define SERVE_RESPONSES_LIVE_H

#include <pthread.h>

#include "serve/responses_answer.h"

typedef struct live_response { /* its writer's, while it is in the list */
    const char *id;
    bool background;
    turn *turn;
    pthread_mutex_t *writing; /* held while the answer's items change */
    const responses_answer *answer;
    bool cancelled; /* somebody wants it to end */
    struct live_response *next;
} live_response;

typedef struct responses_live {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    live_response *first;
    uint64_t news;
    uint32_t writers; /* threads of background responses */
} responses_live;

gptoss_status responses_live_open(responses_live *l, gptoss_error *err);
void responses_live_close(responses_live *l); /* after responses_live_wait_for_writers */

void responses_live_add(responses_live *l, live_response *r);
void responses_live_remove(responses_live *l, live_response *r); /* whose turn may now be closed */
bool responses_live_has(responses_live *l, const char *id);

/* What there is of the output of one that is in the list: see responses_answer_output. NULL when it is not. */
cJSON *responses_live_output(responses_live *l, const char *id);

/* Has a background response end early, and waits until it is out of the list. False when it is there, but not in the
 * background; one that is not there has ended already. */
bool responses_live_cancel(responses_live *l, const char *id);
bool responses_live_is_cancelled(responses_live *l, const live_response *r);

/* A thread that writes begins and ends; the latter is the last it does here. */
void responses_live_begin_writer(responses_live *l);
void responses_live_end_writer(responses_live *l);
void responses_live_wait_for_writers(responses_live *l);

/* There is more in the store. */
void responses_live_tell(responses_live *l);

/* A number that changes with each change; waiting for one that follows `seen`, for a time. */
uint64_t responses_live_news(responses_live *l);
void responses_live_wait(responses_live *l, uint64_t seen, double seconds);

#endif
