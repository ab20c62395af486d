#include "cli/run_options.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "cli/isa_option.h"
#include "cli/weights_option.h"

enum { MAX_OPTIONS = 48 };

/* The table of flags, with targets in *o. */
static size_t describe(run_options *o, option *table) {
    const double count_max = 1u << 30;
    const option all[] = {
        {"gguf", OPTION_PATH, &o->gguf, 0, 0, "FILE",
         "the model, or a slice; %r is the rank; or set GPT_OSS_GGUF_PATH"},
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
        {"max-kv", OPTION_COUNT, &o->max_kv, 1, count_max, "N",
         "longest prompt and answer together; by default what the model was made for"},
        {"kv-type", OPTION_TEXT, &o->kv_type_name, 0, 0, "TYPE",
         "of cached keys and values: f32, i16, f16 or q8_0 (i16 in layers that see all positions, f32 in others)"},
        {"truncate-prompt", OPTION_SWITCH, &o->truncate_prompt, 0, 0, NULL, "drop the oldest tokens of one too long"},
        {"stages", OPTION_COUNT, &o->grid.stages, 1, 4096, "P", GRID_OPTION_STAGES},
        {"shards", OPTION_COUNT, &o->grid.shards, 1, 4096, "T", GRID_OPTION_SHARDS},
        {"expert-placement", OPTION_PATH, &o->grid.expert_placement, 0, 0, "FILE",
         "which shard has which experts: {\"shards\": [\"0-19\", \"20-31\"]}"},
        {"for", OPTION_TEXT, &o->grid.goal_name, 0, 0, "GOAL", GRID_OPTION_FOR},
        {"chunk", OPTION_COUNT, &o->chunk, 1, 65536, "N",
         "tokens of the prompt read at a time (512 in one stage, 128 in several)"},
        {"threads", OPTION_COUNT, &o->threads, 1, 1024, "N", "of each rank; by default one per core of its share"},
        {"cpu-bind", OPTION_TEXT, &o->cpu_bind, 0, 0, "HOW", "threads to cores: core (default), numa or none"},
        {"isa", OPTION_TEXT, &o->isa, 0, 0, "NAME", ISA_OPTION_HELP},
        {"link-model", OPTION_TEXT, &o->link.text, 0, 0, "MODEL", LINK_OPTION_HELP},
        {"layers", OPTION_COUNT, &o->layers, 1, 4096, "L", "run only the first L layers"},
        {"moe-fallback", OPTION_SWITCH, &o->moe_fallback, 0, 0, NULL, "expert 0 alone, for nodes with little memory"},
        {"cache", OPTION_PATH, &o->cache, 0, 0, "DIR", "where received slices and measured speeds are kept"},
        {"prompt-cache", OPTION_PATH, &o->prompt_cache, 0, 0, "DIR",
         "keep what was read of prompts there, from one run to the next"},
        {"weights", OPTION_TEXT, &o->weights_name, 0, 0, "FROM",
         "auto (default): another rank sends a rank without the file its slice; local: all have it; stream: rank 0 has "
         "it"},
        {"json", OPTION_SWITCH, &o->json, 0, 0, NULL, "print one JSON object a token and a summary"},
        {"telemetry", OPTION_SWITCH, &o->telemetry, 0, 0, NULL, "a line a token on stderr: entropy, candidates, speed"},
        {"top-logprobs", OPTION_COUNT, &o->top_logprobs, 1, 100, "K",
         "candidates a token in telemetry (1) and JSON (none)"},
        {"dump-logits", OPTION_PATH, &o->dump_logits, 0, 0, "FILE", "float32 logits of every position"},
        {"config", OPTION_PATH, &o->config.path, 0, 0, "FILE",
         "these options from a file of rank 0: name = value lines"},
        {"help", OPTION_SWITCH, &o->help, 0, 0, NULL, "this text"},
    };
    _Static_assert(sizeof all / sizeof *all <= MAX_OPTIONS, "the table of flags is full");
    memcpy(table, all, sizeof all);
    return sizeof all / sizeof *all;
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
    if (!o->gguf) return error_set(err, GPTOSS_MISUSE, "no model is given: use --gguf FILE or set GPT_OSS_GGUF_PATH");
    int prompts = (o->prompt != NULL) + (o->prompt_file != NULL) + (o->tokens != NULL);
    if (prompts == 0)
        return error_set(err, GPTOSS_MISUSE, "no prompt is given: use --prompt TEXT or --prompt-file FILE");
    if (prompts > 1)
        return error_set(err, GPTOSS_MISUSE,
                         "--prompt, --prompt-file and --tokens exclude each other: give one of them");
    TRY(check_raw(o, err));
    if (o->reasoning && strcmp(o->reasoning, "low") && strcmp(o->reasoning, "medium") && strcmp(o->reasoning, "high"))
        return error_set(err, GPTOSS_MISUSE, "--reasoning is low, medium or high, not \"%.40s\"", o->reasoning);
    if (o->kv_type_name && !kv_type_by_name(o->kv_type_name, &o->kv_type))
        return error_set(err, GPTOSS_MISUSE, "--kv-type is f32, i16, f16 or q8_0, not \"%.40s\"", o->kv_type_name);
    TRY(weights_option_read(o->weights_name, &o->weights, err));
    TRY(link_option_read(&o->link, err));
    if (o->date && !is_date(o->date))
        return error_set(err, GPTOSS_MISUSE, "--date wants YYYY-MM-DD, not \"%.40s\"", o->date);
    if (o->top_logprobs && !o->telemetry && !o->json)
        return error_set(err, GPTOSS_MISUSE, "--top-logprobs is shown only with --telemetry or --json");
    for (size_t i = 0; i < o->stop.count; i++)
        if (!o->stop.items[i][0]) return error_set(err, GPTOSS_MISUSE, "--stop wants a text that is not empty");
    return GPTOSS_OK;
}

static gptoss_status settle(run_options *o, gptoss_error *err) {
    o->sampling.top_k = (uint32_t)o->top_k;
    TRY(parse_biases(o, err));
    TRY(check(o, err));
    if (!o->reasoning) o->reasoning = "medium";
    if (o->system && !o->system[0]) o->system = NULL;
    return GPTOSS_OK;
}

gptoss_status run_options_parse(const cluster *c, int argc, char **argv, const char *environment_gguf, run_options *out,
                                gptoss_error *err) {
    *out = (run_options){.gguf = environment_gguf && environment_gguf[0] ? environment_gguf : NULL,
                         .max_tokens = 128,
                         .sampling = sampler_defaults()};
    option table[MAX_OPTIONS];
    size_t count = describe(out, table);
    TRY(config_file_options(c, table, count, argc, argv, &out->config, err));
    gptoss_status status = out->help ? GPTOSS_OK : settle(out, err);
    if (status != GPTOSS_OK) config_file_locate(&out->config, err);
    return cluster_agree(c, status, err);
}

void run_options_free(run_options *o) {
    free(o->stop.items);
    free(o->logit_bias_texts.items);
    free(o->biases);
    config_file_free(&o->config);
}

void run_options_print_help(void) {
    run_options o;
    option table[MAX_OPTIONS];
    puts("gptoss-dist run --gguf FILE --prompt TEXT [flags]: answers a prompt, streaming the answer to standard "
         "output.\n"
         "Start it with mpirun -np N to share the model between N ranks.\n");
    options_print_help(table, describe(&o, table));
}
