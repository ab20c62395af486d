/* chat_request.h: a conversation, and what is wanted next: the body of POST /v1/chat/completions, and what that of
 * POST /v1/responses (responses_request.h) has in common with it. */
#ifndef SERVE_CHAT_REQUEST_H
#define SERVE_CHAT_REQUEST_H

#include "serve/answer_options.h"
#include "text/constraint.h"
#include "text/harmony.h"

/* How the two name things. */
typedef struct chat_fields {
    const char *input, *length, *format;
    bool flat; /* a function's name stands beside its "type", a schema's too; otherwise in an object of their own */
} chat_fields;

extern const chat_fields chat_request_fields; /* of /v1/chat/completions */

typedef struct chat_request {
    const chat_fields *fields;
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

/* ---- parts, for readers of bodies: in chat_request.c, chat_messages.c and chat_tools.c ---- */

gptoss_status chat_request_check_harmony(const cJSON *body, failure *why); /* "harmony" must not be false */

/* Lets the prompt point to what was read, and dates it. The last step. */
void chat_request_finish(chat_request *r);

/* The model's, from a field of `object`; medium unless given. */
gptoss_status chat_request_read_effort(chat_request *r, const cJSON *object, const char *path, const char *name,
                                       failure *why);

gptoss_status chat_request_read_messages(chat_request *r, failure *why);
gptoss_status chat_request_read_tools(chat_request *r, failure *why);
gptoss_status chat_request_read_format(chat_request *r, const cJSON *format, failure *why); /* NULL: none */

/* Appends a content: a string, or an array of text parts. */
gptoss_status chat_request_read_content(const cJSON *content, const char *path, buffer *out, failure *why);

/* Makes room for so many messages, and twice as many texts. */
gptoss_status chat_request_reserve(chat_request *r, size_t messages, failure *why);

/* Room for a text that the request owns. */
buffer *chat_request_text(chat_request *r);

/* Whether this names a tool of the model's own that the request asks for ("browser.search", "python"). */
bool chat_request_is_built_in(const chat_request *r, const char *name);

/* "functions.NAME", owned by the request; or NAME itself, of a built-in tool. */
gptoss_status chat_request_full_name(chat_request *r, const char *name, const char **out, failure *why);

/* Borrows all but the struct itself. */
void chat_request_add_message(chat_request *r, harmony_role role, harmony_channel channel, const char *tool,
                              const buffer *text);
gptoss_status chat_request_add_call(chat_request *r, const char *name, const buffer *arguments, failure *why);
gptoss_status chat_request_add_instructions(chat_request *r, const char *text, failure *why);

#endif
