/* responses_answer.h: what a model writes, as the output items of /v1/responses and as the events of their stream.
 *
 * A response is created, runs, and ends; each step changes the response object and appends events, numbered from 0:
 * created, (queued,) in_progress; for each item output_item.added, content_part.added, deltas, and what is done; at the
 * end completed, incomplete, failed, or cancelled (which OpenAI's API has as a status, not as an event). Telemetry is
 * an event of its own for each token, "response.telemetry.delta", and at the end a field of the response. */
#ifndef SERVE_RESPONSES_ANSWER_H
#define SERVE_RESPONSES_ANSWER_H

#include "serve/chat_answer.h"
#include "serve/store.h"

typedef enum responses_kind { RESPONSES_NONE, RESPONSES_REASONING, RESPONSES_MESSAGE, RESPONSES_CALL } responses_kind;

typedef struct responses_answer {
    char id[ID_BYTES];
    cJSON *response; /* owned: the object as it is now */
    const tokenizer *tokenizer;
    uint32_t n_top;
    bool logprobs;
    bool ended;
    bool moved; /* its status is another than before the events below */

    /* The item that is being written, if any. */
    responses_kind open;
    char item_id[ID_BYTES], call_id[ID_BYTES];
    buffer name, text;        /* of the item: a function's name; its text, or arguments */
    json_list token_logprobs; /* of the message */
    buffer delta;             /* text of the message that was not told yet, */
    json_list delta_logprobs; /* and of its tokens */

    json_list telemetry; /* of all tokens, if it was asked for */

    int64_t next_event;
    buffer events;      /* of which nobody has heard yet: each as it goes down a stream */
    size_t *event_ends; /* [event_count] owned */
    size_t event_count;
} responses_answer;

typedef struct responses_terms { /* borrowed until the answer is closed, except for echo */
    const char *model;
    const tokenizer *tokenizer;
    bool logprobs, queued;
    uint32_t n_top;
    const cJSON *echo; /* fields that say what was asked for; copied */
} responses_terms;

/* responses_answer_close must be called after a failure, too. */
gptoss_status responses_answer_open(const responses_terms *terms, responses_answer *out, gptoss_error *err);
void responses_answer_close(responses_answer *a);

/* A letter of a turn that tells messages apart. */
gptoss_status responses_answer_add(responses_answer *a, const letter *l, gptoss_error *err);

/* Its last event, once. The reason for a failure is told to the client. */
gptoss_status responses_answer_end(responses_answer *a, const turn_end *end, gptoss_error *err);
gptoss_status responses_answer_fail(responses_answer *a, const char *message, gptoss_error *err);
gptoss_status responses_answer_cancel(responses_answer *a, gptoss_error *err);

/* The output items so far, the last of them with as much as there is of it, if it is being written. Owned by the
 * caller; NULL when memory runs out. */
cJSON *responses_answer_output(const responses_answer *a);

/* The events that have come since the last call of responses_answer_forget: text is borrowed. NULL when memory runs
 * out; owned by the caller otherwise. */
store_event *responses_answer_events(const responses_answer *a);
void responses_answer_forget(responses_answer *a);

/* For a response that was left behind: what it becomes, and the event that says so. `response` is changed. */
gptoss_status responses_answer_abandon(cJSON *response, int64_t number, buffer *event, gptoss_error *err);

#endif
