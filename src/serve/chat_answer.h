/* chat_answer.h: what a model writes, in the JSON of /v1/chat/completions: whole, or in chunks. */
#ifndef SERVE_CHAT_ANSWER_H
#define SERVE_CHAT_ANSWER_H

#include "serve/json_list.h"
#include "serve/turn.h"

enum { ID_BYTES = 40 };

/* "PREFIX-" and 24 random letters and digits. */
void chat_answer_new_id(const char *prefix, char out[ID_BYTES]);

/* What all objects of an answer say. */
typedef struct chat_heading {
    char id[ID_BYTES];
    const char *model;
    long long created;
    bool with_usage; /* chunks say "usage": null */
} chat_heading;

typedef struct chat_usage {
    uint64_t prompt, cached, answer, reasoning;
} chat_usage;
void chat_usage_add(chat_usage *u, const turn_end *end, bool same_prompt);
cJSON *chat_usage_json(const chat_usage *u);

/* {"token", "logprob", "bytes", "top_logprobs"}, as many of the latter as n_top. */
cJSON *chat_logprob_json(const tokenizer *t, const turn_logprob *l, uint32_t n_top);

/* {"id", "token", "logprob", "entropy", "candidates": [{"id", "token", "logprob"}]} */
cJSON *chat_telemetry_json(const tokenizer *t, const turn_logprob *l);

/* ---- whole ---- */

typedef struct chat_call {
    char id[ID_BYTES];
    buffer name, arguments;
} chat_call;

typedef struct chat_choice { /* zero-initialize */
    buffer reasoning, content;
    chat_call *calls; /* [call_count] */
    size_t call_count;
    json_list logprobs, telemetry;
    const char *finish;
} chat_choice;

gptoss_status chat_choice_add(chat_choice *c, const letter *l, const tokenizer *t, uint32_t n_top, gptoss_error *err);
void chat_choice_free(chat_choice *c);

/* {"object": "chat.completion", ...}. Moves the choices' logprobs and telemetry into it. NULL when memory runs out. */
cJSON *chat_answer_json(const chat_heading *h, chat_choice *choices, uint32_t count, bool logprobs,
                        const chat_usage *usage);

/* ---- in chunks: each appended to `out` as an event of a stream ---- */

gptoss_status chat_chunk_begin(const chat_heading *h, uint32_t index, buffer *out, gptoss_error *err);

/* What the chunks of a choice have come to. */
typedef struct chat_flow {
    bool logprobs; /* they are wanted, and so many others at each token: */
    uint32_t n_top;
    size_t calls; /* begun */
    buffer held;  /* text that waits for its log probability, to be told with it */
} chat_flow;

gptoss_status chat_chunk_letter(const chat_heading *h, const letter *l, chat_flow *f, const tokenizer *t, buffer *out,
                                gptoss_error *err);
gptoss_status chat_chunk_finish(const chat_heading *h, uint32_t index, chat_flow *f, const char *finish, buffer *out,
                                gptoss_error *err);
gptoss_status chat_chunk_usage(const chat_heading *h, const chat_usage *usage, buffer *out, gptoss_error *err);

#endif
