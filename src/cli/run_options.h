/* run_options.h: what the command line of `run` asks for. */
#ifndef CLI_RUN_OPTIONS_H
#define CLI_RUN_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "cli/engine_options.h"
#include "cli/options.h"
#include "engine/sampler.h"

typedef struct run_options {
    engine_options engine;
    const char *prompt, *prompt_file, *tokens; /* where the prompt comes from; exactly one is given */
    const char *system;                        /* developer instructions */
    const char *reasoning;                     /* low, medium or high */
    const char *date;                          /* YYYY-MM-DD; NULL: today */
    bool no_harmony, show_analysis, json, truncate_prompt;
    bool telemetry;
    uint64_t top_logprobs;
    uint64_t max_tokens;
    const char *dump_logits;
    option_texts stop;
    option_texts logit_bias_texts; /* TOKEN=BIAS each */
    logit_bias *biases;            /* owned, parsed from them */
    sampler_settings sampling;
    uint64_t top_k;
} run_options;

/* Collective: all ranks get the same status. argv[0] is the subcommand. environment_gguf: the value of
 * GPT_OSS_GGUF_PATH or NULL. GPTOSS_MISUSE names the flag, or where a file named by --config says it. */
gptoss_status run_options_parse(const cluster *c, int argc, char **argv, const char *environment_gguf, run_options *out,
                                gptoss_error *err);
void run_options_free(run_options *o);
void run_options_print_help(void);

#endif
