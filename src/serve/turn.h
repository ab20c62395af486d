/* turn.h: one answer that the model is writing: between the scheduler, which knows tokens, and a client's thread, which
 * wants text. It runs in the scheduler's thread and puts what comes out into a mailbox. */
#ifndef SERVE_TURN_H
#define SERVE_TURN_H

#include "engine/scheduler.h"
#include "serve/mailbox.h"
#include "text/constraint.h"
#include "text/harmony.h"
#include "text/stop_strings.h"

typedef enum turn_letter {
    TURN_REASONING, /* text */
    TURN_CONTENT,   /* text */
    TURN_CALL,      /* a call begins: the function's name */
    TURN_ARGUMENTS, /* text of the call that began last */
    TURN_LOGPROB,   /* turn_logprob: of a token of the content; its text comes before or after */
    TURN_TELEMETRY, /* turn_logprob: of any token, whatever it is for */
    /* Of plans that want messages told apart: */
    TURN_WORK,   /* the model has begun to read the prompt */
    TURN_MESSAGE /* what comes next is of a new message */
} turn_letter;

enum { TURN_TOP = 20 };

typedef struct turn_logprob {
    sampler_candidate chosen;
    double entropy; /* nats */
    uint32_t n_top;
    sampler_candidate top[TURN_TOP];
} turn_logprob;

turn_logprob turn_read_logprob(const letter *l); /* of a TURN_LOGPROB or TURN_TELEMETRY */

typedef struct turn_end {
    const char *finish; /* "stop", "length", "tool_calls"; static */
    uint32_t prompt_tokens, cached_tokens, answer_tokens, reasoning_tokens;
    double first_token_seconds, seconds; /* since it was submitted */
    harmony_recoveries recoveries;
    double logprob; /* of all tokens, where it was wanted */
    bool failed;
    gptoss_error error; /* of a turn that failed */
} turn_end;

typedef struct turn_plan { /* borrowed until the turn has ended, except for the constraint */
    const uint32_t *prompt;
    uint32_t n_prompt, max_tokens;
    sampler_settings sampling;
    bool scored; /* turn_end.logprob is wanted; so it is with logprobs or telemetry */
    bool logprobs;
    uint32_t n_top; /* at most TURN_TOP */
    bool telemetry;
    uint32_t n_candidates; /* of it; at most TURN_TOP */
    const char *const *stops;
    size_t stop_count;
    const tokenizer *tokenizer;
    const harmony *harmony; /* NULL: raw text */
    const harmony_function *functions;
    size_t function_count;
    const constraint *constraint; /* cloned; or NULL */
    bool must_fit;                /* the answer must have its form within max_tokens: see constraint_limit */
    bool not_cached;
    bool by_message; /* tell messages apart; otherwise those of a kind are joined with line breaks */
} turn_plan;

typedef struct turn {
    turn_plan plan;
    mailbox *mailbox;
    uint32_t sender;
    scheduler *scheduler;
    uint64_t id; /* of the scheduler's request */
    harmony_parser *parser;
    constraint *constraint;
    uint64_t *mask;
    uint32_t n_vocab, mask_words;
    stop_strings stops;
    utf8_stream raw;
    buffer fresh;      /* scratch */
    harmony_kind open; /* kind of the message that is being written ... */
    bool is_open;      /* ... if there is one */
    bool working;      /* TURN_WORK was put */
    bool cut_short;    /* the constraint's limit took a token from the model */
    uint32_t reasoning_tokens;
    double submitted, first_token, logprob;
    gptoss_error error; /* of what went wrong on our side */
    turn_end end;       /* once it has ended */
} turn;

/* Submits the turn; the letters carry `sender`. On GPTOSS_OK it must not move, and its end will come into the mailbox;
 * until then all that was given must stay. Otherwise there is nothing to close. n_vocab: of the model. */
gptoss_status turn_begin(const turn_plan *plan, const token_mask *masks, scheduler *s, uint32_t n_vocab, mailbox *m,
                         uint32_t sender, turn *out, gptoss_error *err);

void turn_cancel(turn *t); /* its end comes soon */
void turn_close(turn *t);  /* after its end */

#endif
