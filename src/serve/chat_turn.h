/* chat_turn.h: from a conversation that was read to the plan of the model's next turn in it. */
#ifndef SERVE_CHAT_TURN_H
#define SERVE_CHAT_TURN_H

#include "serve/chat_request.h"
#include "serve/server_internal.h"

typedef struct chat_turn { /* zero-initialize */
    tokens prompt;
    constraint *constraint;
    turn_plan plan; /* points to these and to the request */
} chat_turn;

/* *out must be freed after a failure, too; the request must stay until then. */
gptoss_status chat_turn_plan(const server *s, const chat_request *r, chat_turn *out, failure *why);
void chat_turn_free(chat_turn *t);

#endif
