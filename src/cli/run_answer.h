/* run_answer.h: what `run` prints: the answer as it grows, telemetry, and the summary. */
#ifndef CLI_RUN_ANSWER_H
#define CLI_RUN_ANSWER_H

#include "cli/run_options.h"
#include "cli/terminal.h"
#include "engine/engine.h"
#include "engine/generate.h"
#include "text/harmony.h"
#include "text/stop_strings.h"
#include "text/tokenizer.h"

typedef struct answer {
    const run_options *options;
    const tokenizer *tokenizer;
    const engine *engine;
    double started; /* clock_seconds() at the start of the run */
    uint32_t n_prompt;
    progress progress;
    harmony harmony;
    harmony_parser *parser; /* NULL: raw text */
    utf8_stream raw;
    stop_strings stops;
    buffer fresh;                 /* text that the token at hand made ready for print */
    buffer content;               /* of the final channel, or raw, as far as it passed the stop strings */
    bool line_is_open;            /* standard output is in the middle of a line */
    harmony_answer whole;         /* the reasoning and tool calls so far */
    double first_token;           /* clock_seconds() of the first token */
    const sampler_report *report; /* of the token at hand; NULL unless it is told */
    gptoss_status status;         /* of the first failure inside a callback */
    gptoss_error err;
} answer;

/* o, t and e are borrowed; started: see above. *out must stay where it is, and be closed even after a failure. */
gptoss_status answer_open(const run_options *o, const tokenizer *t, const engine *e, uint32_t n_prompt, double started,
                          answer *out, gptoss_error *err);
void answer_close(answer *a); /* a zeroed one is fine */

/* Makes the request report to this answer; the reading of the prompt begins. */
void answer_connect(answer *a, generate_request *request);

/* Prints what is still held back and the summary. `status`: how generate ended; nothing but a line break and the
 * summary is printed after a failure. */
gptoss_status answer_finish(answer *a, gptoss_status status, const generate_result *result, gptoss_error *err);

#endif
