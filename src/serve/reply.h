/* reply.h: the turns that answer one request, as the client's thread sees them: it begins them, reads what they write,
 * and ends them early when the client went away. */
#ifndef SERVE_REPLY_H
#define SERVE_REPLY_H

#include "serve/exchange.h"
#include "serve/turn.h"

enum { REPLY_TURNS = MAILBOX_SENDERS };

typedef struct reply_reader {
    void *context;
    gptoss_status (*letter)(void *context, const letter *l, gptoss_error *err);
    /* Turn `sender` has ended well. */
    gptoss_status (*end)(void *context, uint32_t sender, const turn_end *end, gptoss_error *err);
} reply_reader;

typedef struct reply {
    server *server;
    int socket;
    reply_reader reader;
    mailbox mailbox;
    bool has_mailbox;
    turn *turns; /* [count] */
    uint32_t count, begun;
    uint64_t ended; /* a bit a turn: its end was told */
    buffer taken;
} reply;

typedef enum reply_news { REPLY_GOES_ON, REPLY_SILENCE, REPLY_COMPLETE, REPLY_GONE, REPLY_FAILED } reply_news;

/* For up to REPLY_TURNS turns. reply_close must be called after a failure, too. */
gptoss_status reply_open(exchange *x, uint32_t turns, reply_reader reader, reply *out, failure *why);
/* From now on the client may leave. */
void reply_detach(reply *r);

/* Submits the next turn. 429 when the queue is full. What the plan borrows must stay until reply_close. */
gptoss_status reply_begin(reply *r, const turn_plan *plan, failure *why);

/* Waits for news for up to `seconds` and tells them to the reader. */
reply_news reply_step(reply *r, double seconds, failure *why);

/* All at once: until the last turn has ended. REPLY_COMPLETE, REPLY_GONE or REPLY_FAILED. */
reply_news reply_wait(reply *r, failure *why);

void reply_close(reply *r); /* cancels what is not over, and waits for its end */

#endif
