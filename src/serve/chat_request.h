/* chat_request.h: the body of POST /v1/chat/completions: a conversation, and what is wanted next. */
#ifndef SERVE_CHAT_REQUEST_H
#define SERVE_CHAT_REQUEST_H

#include "serve/answer_options.h"
#include "text/constraint.h"
#include "text/harmony.h"

typedef struct chat_request {
    cJSON *body;       /* owned; texts below are borrowed from it */
    const char *model; /* NULL: not given */
    answer_options options;
    bool logprobs;
    uint32_t n_top;
    char date[11];
    buffer instructions; /* of all system and developer messages */
    buffer *texts;       /* [text_count] owned: contents that came in parts, names of tools */
    size_t text_count;
    harmony_message *messages; /* owned */
    harmony_function *functions;
    harmony_prompt prompt; /* points to all of these */
    constraint_rules rules;
} chat_request;

/* Reads and checks a body; it is taken, also by a failure. n_vocab: of the tokenizer. *out must be freed after a
 * failure, too. */
gptoss_status chat_request_read(cJSON *body, uint32_t n_vocab, chat_request *out, failure *why);
void chat_request_free(chat_request *r);

/* Its parts, in chat_messages.c and chat_tools.c. */
gptoss_status chat_request_read_messages(chat_request *r, failure *why);
gptoss_status chat_request_read_tools(chat_request *r, failure *why);
gptoss_status chat_request_read_format(chat_request *r, failure *why);

/* Room for a text that the request owns. Of `most` texts that chat_request_read reserved. */
buffer *chat_request_text(chat_request *r);

#endif
