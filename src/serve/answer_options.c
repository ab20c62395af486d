#include "serve/answer_options.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/mem.h"
#include "serve/turn.h"

enum { MOST_TOKENS = 1 << 30 };

static uint64_t random_seed(void) {
    uint64_t seed = 0;
    ssize_t got = getrandom(&seed, sizeof seed, 0);
    (void)got; /* without it the seed is 0: as good as any */
    return seed;
}

/* Any integer of 64 bits, with or without a sign: of large ones JSON's numbers keep the upper bits. */
static gptoss_status read_seed(const cJSON *body, answer_options *o, failure *why) {
    double seed = 0;
    TRY(json_input_number(body, "", "seed", -0x1p63, 0x1p64, &seed, why));
    if (seed != floor(seed)) return failure_field(why, "seed", "seed must be a whole number");
    o->has_seed = json_input_get(body, "seed") != NULL;
    if (!o->has_seed)
        o->sampling.seed = random_seed();
    else if (seed >= 0x1p64)
        o->sampling.seed = UINT64_MAX;
    else
        o->sampling.seed = seed < 0 ? (uint64_t)(int64_t)seed : (uint64_t)seed;
    return GPTOSS_OK;
}

static gptoss_status read_sampling(const cJSON *body, answer_options *o, failure *why) {
    sampler_settings *s = &o->sampling;
    int64_t top_k = 0;
    *s = sampler_defaults();
    s->temperature = 1;
    TRY(json_input_number(body, "", "temperature", 0, 2, &s->temperature, why));
    TRY(json_input_number(body, "", "top_p", 0, 1, &s->top_p, why));
    TRY(json_input_number(body, "", "min_p", 0, 1, &s->min_p, why));
    TRY(json_input_integer(body, "", "top_k", -1, INT32_MAX, &top_k, why)); /* -1, as some clients say "all" */
    TRY(json_input_number(body, "", "frequency_penalty", -2, 2, &s->frequency_penalty, why));
    TRY(json_input_number(body, "", "presence_penalty", -2, 2, &s->presence_penalty, why));
    TRY(json_input_number(body, "", "repetition_penalty", 0.01, 10, &s->repetition_penalty, why));
    s->top_k = top_k > 0 ? (uint32_t)top_k : 0;
    return read_seed(body, o, why);
}

static gptoss_status read_bias(const cJSON *item, uint32_t n_vocab, logit_bias *out, failure *why) {
    char *end = NULL;
    const char *name = item->string;
    unsigned long token = strtoul(name, &end, 10);
    if (name[0] < '0' || name[0] > '9' || *end || token >= n_vocab)
        return failure_field(why, "logit_bias", "logit_bias wants token ids from 0 to %u as names, not \"%.40s\"",
                             n_vocab - 1, name);
    if (!cJSON_IsNumber(item) || !(item->valuedouble >= -100 && item->valuedouble <= 100))
        return failure_field(why, "logit_bias", "logit_bias of token %lu must be a number from -100 to 100", token);
    *out = (logit_bias){(uint32_t)token, (float)item->valuedouble};
    return GPTOSS_OK;
}

static gptoss_status read_biases(const cJSON *body, uint32_t n_vocab, answer_options *o, failure *why) {
    const cJSON *biases = NULL;
    TRY(json_input_object(body, "", "logit_bias", &biases, why));
    if (!biases || !biases->child) return GPTOSS_OK;
    size_t count = 0;
    for (const cJSON *item = biases->child; item; item = item->next) count++;
    if (count > n_vocab)
        return failure_field(why, "logit_bias", "logit_bias names more tokens than the %u there are", n_vocab);
    TRY(mem_array(count, sizeof *o->biases, "logit_bias", &o->biases, &why->error));
    count = 0;
    for (const cJSON *item = biases->child; item; item = item->next)
        TRY(read_bias(item, n_vocab, &o->biases[count++], why));
    o->sampling.biases = o->biases;
    o->sampling.n_biases = count;
    return GPTOSS_OK;
}

static gptoss_status read_stops(const cJSON *body, answer_options *o, failure *why) {
    const cJSON *stop = json_input_get(body, "stop");
    if (!stop) return GPTOSS_OK;
    int count = cJSON_IsArray(stop) ? cJSON_GetArraySize(stop) : 1;
    if (!cJSON_IsString(stop) && !cJSON_IsArray(stop))
        return failure_field(why, "stop", "stop must be a string or an array of strings");
    if (count > ANSWER_STOPS)
        return failure_field(why, "stop", "stop has %d texts, but at most %d are supported", count, ANSWER_STOPS);
    TRY(mem_array((size_t)count, sizeof *o->stops, "stop", &o->stops, &why->error));
    for (const cJSON *item = cJSON_IsArray(stop) ? stop->child : stop; item && o->stop_count < (size_t)count;
         item = item->next) {
        if (!cJSON_IsString(item) || !item->valuestring[0])
            return failure_field(why, "stop", "stop must hold strings that are not empty");
        if (strlen(item->valuestring) > ANSWER_STOP_BYTES)
            return failure_field(why, "stop", "stop has a text of more than %d bytes", ANSWER_STOP_BYTES);
        o->stops[o->stop_count++] = item->valuestring;
    }
    return GPTOSS_OK;
}

static gptoss_status read_stream(const cJSON *body, answer_options *o, failure *why) {
    const cJSON *options = NULL;
    TRY(json_input_bool(body, "", "stream", &o->stream, why));
    TRY(json_input_object(body, "", "stream_options", &options, why));
    if (!options) return GPTOSS_OK;
    if (!o->stream) return failure_field(why, "stream_options", "stream_options needs \"stream\": true");
    return json_input_bool(options, "stream_options", "include_usage", &o->include_usage, why);
}

/* "telemetry": true, or a number of candidates. */
static gptoss_status read_telemetry(const cJSON *body, answer_options *o, failure *why) {
    const cJSON *wish = json_input_get(body, "telemetry");
    int64_t count = 0;
    if (!wish || cJSON_IsBool(wish)) {
        o->telemetry = wish && cJSON_IsTrue(wish);
        return GPTOSS_OK;
    }
    if (!cJSON_IsNumber(wish))
        return failure_field(why, "telemetry", "telemetry must be true, false or a number of candidates up to %d",
                             TURN_TOP);
    TRY(json_input_integer(body, "", "telemetry", 0, TURN_TOP, &count, why));
    o->telemetry = true;
    o->n_candidates = (uint32_t)count;
    return GPTOSS_OK;
}

/* Wishes that would be granted elsewhere: better refused than overlooked. */
static gptoss_status refuse_others(const cJSON *body, failure *why) {
    static const char *const fields[][2] = {
        {"functions", "is not supported: use tools"},
        {"function_call", "is not supported: use tool_choice"},
        {"audio", "is not supported: the model writes text alone"},
        {"web_search_options", "is not supported: there is no search here"},
    };
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
        if (json_input_get(body, fields[i][0]))
            return failure_field(why, fields[i][0], "%s %s", fields[i][0], fields[i][1]);
    return GPTOSS_OK;
}

gptoss_status answer_options_read(const cJSON *body, uint32_t n_vocab, answer_options *out, failure *why) {
    int64_t n = 1, most = 0, positions = 0;
    *out = (answer_options){0};
    TRY(refuse_others(body, why));
    TRY(read_sampling(body, out, why));
    TRY(read_biases(body, n_vocab, out, why));
    TRY(read_stops(body, out, why));
    TRY(read_stream(body, out, why));
    TRY(json_input_integer(body, "", "n", 1, ANSWER_CHOICES, &n, why));
    TRY(json_input_integer(body, "", "max_tokens", 1, MOST_TOKENS, &most, why));
    TRY(json_input_integer(body, "", "max_completion_tokens", 1, MOST_TOKENS, &most, why));
    TRY(read_telemetry(body, out, why));
    TRY(json_input_integer(body, "", "max_kv", 2, MOST_TOKENS, &positions, why));
    out->positions = (uint32_t)positions;
    out->n = (uint32_t)n;
    out->max_tokens = (uint32_t)most;
    return GPTOSS_OK;
}

void answer_options_free(answer_options *o) {
    free(o->biases);
    free(o->stops);
    *o = (answer_options){0};
}

gptoss_status answer_options_room(const answer_options *o, size_t prompt_tokens, uint32_t positions, uint32_t usual,
                                  const char *prompt_field, const char *length_field, uint32_t *out, failure *why) {
    const char *code = "context_length_exceeded";
    if (o->positions > positions)
        return failure_field(why, "max_kv", "max_kv is more than the %u positions that this server has for a request",
                             positions);
    if (o->positions) positions = o->positions;
    if (prompt_tokens >= positions)
        return failure_set(why, 422, prompt_field, code,
                           "the prompt has %zu tokens, but prompt and answer together may have %u", prompt_tokens,
                           positions);
    uint32_t room = positions - (uint32_t)prompt_tokens;
    if (o->max_tokens > room)
        return failure_set(why, 422, length_field, code,
                           "the prompt has %zu tokens and the answer may have %u, but together they may have %u",
                           prompt_tokens, o->max_tokens, positions);
    *out = o->max_tokens ? o->max_tokens : usual < room ? usual : room;
    return GPTOSS_OK;
}
