/* harmony.h: the conversation format of gpt-oss models: prompts become token ids, answers become messages.
 *
 * A message is <|start|>HEADER<|message|>TEXT<|end|>; HEADER names the role and, for the assistant, a channel: analysis
 * (reasoning), commentary (tool calls, and preambles that the user sees) or final (the answer). The format is described
 * in docs/format.md of github.com/openai/harmony.
 *
 * Special tokens are found by name in the vocabulary at hand and put in by id only, and all text goes through
 * tokenizer_encode: no text can form one. */
#ifndef TEXT_HARMONY_H
#define TEXT_HARMONY_H

#include <stdbool.h>

#include "base/buffer.h"
#include "base/utf8.h"
#include "text/tokenizer.h"
#include "text/tokens.h"

typedef enum harmony_special {
    HARMONY_START,
    HARMONY_END,
    HARMONY_MESSAGE,
    HARMONY_CHANNEL,
    HARMONY_RETURN, /* must be there */
    HARMONY_CONSTRAIN,
    HARMONY_CALL, /* may be missing */
    HARMONY_SPECIALS
} harmony_special;

/* A vocabulary's special tokens. */
typedef struct harmony {
    const tokenizer *tokenizer;     /* borrowed */
    uint32_t ids[HARMONY_SPECIALS]; /* UINT32_MAX when missing */
} harmony;

/* GPTOSS_BAD_INPUT names the special token that the vocabulary lacks. `t` must outlive *out. */
gptoss_status harmony_open(const tokenizer *t, harmony *out, gptoss_error *err);

const char *harmony_special_name(harmony_special special); /* "<|start|>", ... */

typedef enum harmony_channel { HARMONY_ANALYSIS, HARMONY_COMMENTARY, HARMONY_FINAL } harmony_channel;

const char *harmony_channel_name(harmony_channel channel); /* "analysis", "commentary", "final" */

/* ---- Prompts ---- */

typedef enum harmony_effort { HARMONY_LOW, HARMONY_MEDIUM, HARMONY_HIGH } harmony_effort;

const char *harmony_effort_name(harmony_effort effort);
bool harmony_effort_by_name(const char *name, harmony_effort *out); /* "low", "medium" or "high"; else false */

typedef enum harmony_role { HARMONY_USER, HARMONY_ASSISTANT, HARMONY_TOOL } harmony_role;

/* One message of the conversation so far. Everything is borrowed. */
typedef struct harmony_message {
    harmony_role role;
    harmony_channel channel; /* of the assistant's messages */
    const char *tool;        /* which one an assistant's message calls or a tool's message comes from, in full
                                ("functions.tide"); NULL for messages between user and assistant */
    const char *text;        /* any bytes; what is not UTF-8 counts as U+FFFD */
    size_t size;
    size_t skip_tokens; /* leave out so many tokens at the start of the text, to make a prompt fit; 0 otherwise */
} harmony_message;

struct cJSON;

typedef struct harmony_function { /* that the model may call as functions.NAME */
    const char *name;
    const char *description;        /* NULL: none */
    const struct cJSON *parameters; /* JSON Schema of an object; NULL: takes none */
    bool strict;                    /* calls must satisfy it, and ... */
    bool barred;                    /* it must not be called, though it is described: see constraint.h */
} harmony_function;

typedef struct harmony_prompt {
    const char *date; /* "YYYY-MM-DD" */
    harmony_effort effort;
    bool browser, python;     /* describe these built-in tools */
    const char *instructions; /* the developer's; NULL: none */
    const harmony_function *functions;
    size_t function_count;
    const char *format_name;        /* of structured output; NULL: none */
    const char *format_description; /* NULL: none */
    const struct cJSON *format_schema;
    const harmony_message *messages; /* user, assistant and tool, in order */
    size_t message_count;
} harmony_prompt;

/* Appends the ids of the prompt: the system message, the developer message when there is something to say in it, the
 * conversation, and <|start|>assistant. Analysis that comes before an assistant's final message is left out, as the
 * format asks. GPTOSS_MISUSE for a malformed date or a tool's message without `tool`. On failure *out is unchanged. */
gptoss_status harmony_render(const harmony *h, const harmony_prompt *prompt, tokens *out, gptoss_error *err);

/* Appends the same as text for people to read (skip_tokens has no effect). */
gptoss_status harmony_render_text(const harmony_prompt *prompt, buffer *out, gptoss_error *err);

/* ---- Answers ---- */

typedef enum harmony_kind {
    HARMONY_REASONING, /* analysis */
    HARMONY_CONTENT,   /* final, and commentary addressed to no tool: what the user sees */
    HARMONY_TOOL_CALL, /* addressed to a tool, on whatever channel */
    HARMONY_KINDS
} harmony_kind;

typedef enum harmony_event_type { HARMONY_EVENT_BEGIN, HARMONY_EVENT_TEXT, HARMONY_EVENT_END } harmony_event_type;

/* What the parser reports. Each message is one BEGIN, any number of TEXTs, one END; messages do not overlap. Pointers
 * are borrowed for the time of the call. */
typedef struct harmony_event {
    harmony_event_type type;
    harmony_kind kind;
    harmony_channel channel;
    const char *recipient;    /* of tool calls, in full and never empty; "" otherwise */
    const char *content_type; /* "json", "code", ... or "" */
    const char *text;         /* TEXT: whole UTF-8 characters, at least one */
    size_t size;
    bool joins;    /* TEXT: the first of its message, and an earlier message of this kind had text: who shows messages
                      of a kind as one text puts a line break between */
    bool complete; /* END: the model ended the message; false when it was cut off */
} harmony_event;

/* Receives events; a failure stops the feeding and is returned from there. */
typedef gptoss_status harmony_sink(void *context, const harmony_event *event, gptoss_error *err);

typedef enum harmony_finish {
    HARMONY_FINISH_STOP,       /* the model ended its turn */
    HARMONY_FINISH_TOOL_CALLS, /* the same, and it called tools */
    HARMONY_FINISH_LENGTH      /* generation ended first */
} harmony_finish;

/* "stop", "tool_calls", "length" */
const char *harmony_finish_name(harmony_finish finish);

/* What had to be mended. */
typedef enum harmony_recovery {
    HARMONY_MENDED_NOISE,        /* words or question marks in a header that mean nothing */
    HARMONY_MENDED_CHANNEL,      /* a channel that is missing, unknown, doubled or misspelt */
    HARMONY_MENDED_TWO_CHANNELS, /* <|channel|> twice in a header */
    HARMONY_MENDED_MESSAGE,      /* a header without <|message|> */
    HARMONY_MENDED_HEADER,       /* text with no header at all */
    HARMONY_MENDED_START,        /* <|start|>assistant missing, repeated or with another role */
    HARMONY_MENDED_END,          /* a message that the next one's header breaks off */
    HARMONY_MENDED_RECIPIENT,    /* a recipient that is none, or a function's name in another spelling */
    HARMONY_MENDED_ROLE,         /* a message in the name of the user or a tool: the turn ended before it */
    HARMONY_MENDED_STRAY,        /* a special token where it means nothing */
    HARMONY_MENDED_CALL,         /* a tool call that was cut off */
    HARMONY_MENDED_ANSWER,       /* the model ended its turn with neither an answer nor a tool call */
    HARMONY_RECOVERIES
} harmony_recovery;

/* "noise", "channel", "two_channels", ...: for people and metrics */
const char *harmony_recovery_name(harmony_recovery recovery);

typedef struct harmony_recoveries {
    uint64_t counts[HARMONY_RECOVERIES];
} harmony_recoveries;

uint64_t harmony_recoveries_total(const harmony_recoveries *r);

/* Reads what a model writes after a prompt that ends in <|start|>assistant. It takes any sequence of ids: what is
 * malformed is mended the way harmony_parser.c describes, and what the model meant as text is never lost. Memory is
 * bounded: it keeps a header of at most HARMONY_HEADER_LIMIT bytes and no text. */
typedef struct harmony_parser harmony_parser;
enum { HARMONY_HEADER_LIMIT = 512 };

gptoss_status harmony_parser_open(const harmony *h, harmony_sink *sink, void *context, harmony_parser **out,
                                  gptoss_error *err);
void harmony_parser_close(harmony_parser *p); /* NULL is fine */

/* Tells which functions the model was offered, so that calls of "functions.get-tide" reach get_tide. Borrowed. A call
 * of a function that resembles none keeps its name. */
void harmony_parser_offer(harmony_parser *p, const harmony_function *functions, size_t count);

/* The next id that the model wrote. Once harmony_parser_done, more ids have no effect. */
gptoss_status harmony_parser_feed(harmony_parser *p, uint32_t id, gptoss_error *err);

/* Generation ended, for whatever reason: open messages end. */
gptoss_status harmony_parser_finish(harmony_parser *p, gptoss_error *err);

bool harmony_parser_done(const harmony_parser *p);             /* the turn is over: stop generating */
harmony_finish harmony_parser_result(const harmony_parser *p); /* after done or finish */

/* At most one for each header and each place in a text. Borrowed from p. */
const harmony_recoveries *harmony_parser_recoveries(const harmony_parser *p);

/* The name of a function as clients know it: the recipient without "functions." in front. */
const char *harmony_function_name(const char *recipient);

/* A whole answer, collected: pass harmony_answer_add as the sink and a zeroed harmony_answer as its context. */
typedef struct harmony_call {
    char *recipient; /* in full */
    buffer arguments;
    bool complete;
} harmony_call;

typedef struct harmony_answer {
    buffer reasoning, content; /* messages joined with line breaks; data is NULL when there was none */
    harmony_call *calls;
    size_t call_count;
} harmony_answer;

gptoss_status harmony_answer_add(void *answer, const harmony_event *event, gptoss_error *err);
void harmony_answer_free(harmony_answer *answer); /* and empty it */

#endif
