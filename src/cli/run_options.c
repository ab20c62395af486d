#include "cli/run_options.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

enum { OWN_OPTIONS = 28 };

/* The table of flags, with targets in *o. */
static size_t describe(run_options *o, option *table) {
    const double count_max = 1u << 30;
    const option own[] = {
        {"prompt", OPTION_TEXT, &o->prompt, 0, 0, "TEXT", "what the user says"},
        {"prompt-file", OPTION_PATH, &o->prompt_file, 0, 0, "FILE", "the same from a file; - is standard input"},
        {"tokens", OPTION_TEXT, &o->tokens, 0, 0, "1,2,3", "token ids instead of a prompt, used as they are"},
        {"system", OPTION_TEXT, &o->system, 0, 0, "TEXT", "instructions for the model (the developer message)"},
        {"reasoning", OPTION_TEXT, &o->reasoning, 0, 0, "EFFORT", "low, medium (default) or high"},
        {"date", OPTION_TEXT, &o->date, 0, 0, "YYYY-MM-DD", "the date the model is told; today by default"},
        {"no-harmony", OPTION_SWITCH, &o->no_harmony, 0, 0, NULL, "send the raw prompt and print raw text"},
        {"show-analysis", OPTION_SWITCH, &o->show_analysis, 0, 0, NULL, "print the model's reasoning on stderr"},
        {"max-tokens", OPTION_COUNT, &o->max_tokens, 0, count_max, "N", "longest answer (128)"},
        {"stop", OPTION_LIST, &o->stop, 0, 0, "TEXT", "end the answer before this text; may be repeated"},
        {"temperature", OPTION_NUMBER, &o->sampling.temperature, 0, 100, "T",
         "0: always the likeliest token (default)"},
        {"top-p", OPTION_NUMBER, &o->sampling.top_p, 0, 1, "P", "sample from the likeliest that sum to P (1)"},
        {"top-k", OPTION_COUNT, &o->top_k, 0, count_max, "K", "sample from the K likeliest (0: all)"},
        {"min-p", OPTION_NUMBER, &o->sampling.min_p, 0, 1, "P", "sample from those P times as likely as the first (0)"},
        {"seed", OPTION_COUNT, &o->sampling.seed, 0, 0x1p63, "N", "of the sampler (0); equal seeds give equal text"},
        {"repetition-penalty", OPTION_NUMBER, &o->sampling.repetition_penalty, 0.01, 100, "R", "1: off"},
        {"frequency-penalty", OPTION_NUMBER, &o->sampling.frequency_penalty, -100, 100, "F", "0: off"},
        {"presence-penalty", OPTION_NUMBER, &o->sampling.presence_penalty, -100, 100, "F", "0: off"},
        {"logit-bias", OPTION_LIST, &o->logit_bias_texts, 0, 0, "TOKEN=BIAS",
         "added to a token's logit; may be repeated"},
        {"truncate-prompt", OPTION_SWITCH, &o->truncate_prompt, 0, 0, NULL, "drop the oldest tokens of one too long"},
        {"json", OPTION_SWITCH, &o->json, 0, 0, NULL, "print one JSON object a token and a summary"},
        {"telemetry", OPTION_SWITCH, &o->telemetry, 0, 0, NULL, "a line a token on stderr: entropy, candidates, speed"},
        {"top-logprobs", OPTION_COUNT, &o->top_logprobs, 1, 100, "K",
         "candidates a token in telemetry (1) and JSON (none)"},
        {"dump-logits", OPTION_PATH, &o->dump_logits, 0, 0, "FILE", "float32 logits of every position"},
    };
    _Static_assert(sizeof own / sizeof *own <= OWN_OPTIONS, "the table of flags is full");
    return engine_options_table(&o->engine, own, sizeof own / sizeof *own, table);
}

static gptoss_status parse_biases(run_options *o, gptoss_error *err) {
    TRY(mem_array(o->logit_bias_texts.count, sizeof *o->biases, "command line", &o->biases, err));
    for (size_t i = 0; i < o->logit_bias_texts.count; i++) {
        const char *text = o->logit_bias_texts.items[i];
        char *end = NULL;
        unsigned long token = strtoul(text, &end, 10);
        const char *number = *end == '=' ? end + 1 : "";
        float bias = strtof(number, &end);
        if (text[0] < '0' || text[0] > '9' || token > UINT32_MAX || end == number || *end || !isfinite(bias))
            return error_set(err, GPTOSS_MISUSE, "--logit-bias wants TOKEN=BIAS, such as 42=-1.5, not \"%.40s\"", text);
        o->biases[i] = (logit_bias){(uint32_t)token, bias};
    }
    o->sampling.biases = o->biases;
    o->sampling.n_biases = o->logit_bias_texts.count;
    return GPTOSS_OK;
}

static bool is_date(const char *text) {
    const char *shape = "dddd-dd-dd";
    if (strlen(text) != strlen(shape)) return false;
    for (size_t i = 0; shape[i]; i++)
        if (shape[i] == 'd' ? text[i] < '0' || text[i] > '9' : text[i] != shape[i]) return false;
    int month = atoi(text + 5), day = atoi(text + 8);
    return month >= 1 && month <= 12 && day >= 1 && day <= 31;
}

/* Flags that shape the conversation mean nothing without one. */
static gptoss_status check_raw(const run_options *o, gptoss_error *err) {
    const char *raw = o->tokens ? "--tokens" : o->no_harmony ? "--no-harmony" : NULL;
    const char *flag = o->system          ? "--system"
                       : o->reasoning     ? "--reasoning"
                       : o->date          ? "--date"
                       : o->show_analysis ? "--show-analysis"
                                          : NULL;
    if (!raw || !flag) return GPTOSS_OK;
    return error_set(err, GPTOSS_MISUSE, "%s needs Harmony; it cannot be combined with %s", flag, raw);
}

static gptoss_status check(run_options *o, gptoss_error *err) {
    int prompts = (o->prompt != NULL) + (o->prompt_file != NULL) + (o->tokens != NULL);
    if (prompts == 0)
        return error_set(err, GPTOSS_MISUSE, "no prompt is given: use --prompt TEXT or --prompt-file FILE");
    if (prompts > 1)
        return error_set(err, GPTOSS_MISUSE,
                         "--prompt, --prompt-file and --tokens exclude each other: give one of them");
    TRY(check_raw(o, err));
    if (o->reasoning && strcmp(o->reasoning, "low") && strcmp(o->reasoning, "medium") && strcmp(o->reasoning, "high"))
        return error_set(err, GPTOSS_MISUSE, "--reasoning is low, medium or high, not \"%.40s\"", o->reasoning);
    if (o->date && !is_date(o->date))
        return error_set(err, GPTOSS_MISUSE, "--date wants YYYY-MM-DD, not \"%.40s\"", o->date);
    if (o->top_logprobs && !o->telemetry && !o->json)
        return error_set(err, GPTOSS_MISUSE, "--top-logprobs is shown only with --telemetry or --json");
    for (size_t i = 0; i < o->stop.count; i++)
        if (!o->stop.items[i][0]) return error_set(err, GPTOSS_MISUSE, "--stop wants a text that is not empty");
    return GPTOSS_OK;
}

static gptoss_status settle(run_options *o, int ranks, gptoss_error *err) {
    TRY(engine_options_settle(&o->engine, ranks, err));
    o->sampling.top_k = (uint32_t)o->top_k;
    TRY(parse_biases(o, err));
    TRY(check(o, err));
    if (!o->reasoning) o->reasoning = "medium";
    if (o->system && !o->system[0]) o->system = NULL;
    return GPTOSS_OK;
}

gptoss_status run_options_parse(const cluster *c, int argc, char **argv, const char *environment_gguf, run_options *out,
                                gptoss_error *err) {
    *out = (run_options){.engine = engine_options_defaults(ENGINE_RUNS, environment_gguf),
                         .max_tokens = 128,
                         .sampling = sampler_defaults()};
    option table[OWN_OPTIONS + ENGINE_OPTIONS_MAX];
    size_t count = describe(out, table);
    TRY(config_file_options(c, table, count, argc, argv, &out->engine.config, err));
    return engine_options_agree(&out->engine, c, out->engine.help ? GPTOSS_OK : settle(out, c->size, err), err);
}

void run_options_free(run_options *o) {
    free(o->stop.items);
    free(o->logit_bias_texts.items);
    free(o->biases);
    engine_options_free(&o->engine);
}

void run_options_print_help(void) {
    run_options o = {.engine.use = ENGINE_RUNS};
    option table[OWN_OPTIONS + ENGINE_OPTIONS_MAX];
    puts("gptoss-dist run --gguf FILE --prompt TEXT [flags]: answers a prompt, streaming the answer to standard "
         "output.\n"
         "Start it with mpirun -np N to share the model between N ranks.\n");
    options_print_help(table, describe(&o, table));
}
