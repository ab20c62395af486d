/* run_prompt.h: the token ids that `run` feeds to the model. */
#ifndef CLI_RUN_PROMPT_H
#define CLI_RUN_PROMPT_H

#include "cli/run_options.h"
#include "text/tokenizer.h"

/* Builds the prompt from --prompt, --prompt-file or --tokens, as a Harmony conversation unless --no-harmony or --tokens
 * is given, and makes sure that it and --max-tokens fit `limit` positions: otherwise GPTOSS_BAD_INPUT, or with
 * --truncate-prompt the oldest tokens of the user's text are dropped. n_vocab: of the model. */
gptoss_status run_prompt_build(const run_options *o, const tokenizer *t, uint32_t n_vocab, uint32_t limit, tokens *out,
                               gptoss_error *err);

#endif
