#include "cli/run_answer.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cjson/cJSON.h>

#include "base/clock.h"
#include "base/plural.h"
#include "cli/streams.h"
#include "engine/layout.h"
#include "gguf/quote.h"

/* ---- small pieces of output ---- */

/* A token's text on one line of a log. */
static gptoss_status append_visible(const tokenizer *t, uint32_t token, buffer *out, gptoss_error *err) {
    size_t size;
    const char *bytes = tokenizer_bytes(t, token, &size);
    char shown[256];
    return buffer_append_text(out, quote_text(bytes ? bytes : "", size, shown, sizeof shown), err);
}

static void add_text(cJSON *object, const char *name, const char *text, size_t size) {
    gptoss_error ignored;
    buffer whole = {0};
    if (utf8_repair(text, size, &whole, &ignored) == GPTOSS_OK)
        cJSON_AddStringToObject(object, name, whole.data ? whole.data : "");
    buffer_free(&whole);
}

/* Six decimals: more would be noise of float32. */
static void add_rounded(cJSON *object, const char *name, double value) {
    cJSON_AddNumberToObject(object, name, isfinite(value) ? round(value * 1e6) / 1e6 : value);
}

static void add_token_text(cJSON *object, const answer *a, uint32_t token) {
    size_t size;
    const char *bytes = tokenizer_bytes(a->tokenizer, token, &size);
    add_text(object, "text", bytes, size);
}

static gptoss_status print_text(const char *text, size_t size, FILE *to, gptoss_error *err) {
    if (fwrite(text, 1, size, to) == size && fflush(to) == 0) return GPTOSS_OK;
    return streams_failed(to, errno, err);
}

static gptoss_status print_json(cJSON *object, gptoss_error *err) {
    char *text = cJSON_PrintUnformatted(object);
    cJSON_Delete(object);
    if (!text) return error_set(err, GPTOSS_NO_MEMORY, "cannot format a JSON object");
    bool written = printf("%s\n", text) >= 0 && fflush(stdout) == 0;
    int reason = errno;
    cJSON_free(text);
    return written ? GPTOSS_OK : streams_failed(stdout, reason, err);
}

/* Part of the answer, for people; --json tells it in the summary. */
static gptoss_status print_answer(answer *a, const char *text, size_t size, gptoss_error *err) {
    if (a->options->json || size == 0) return GPTOSS_OK;
    a->line_is_open = text[size - 1] != '\n';
    return print_text(text, size, stdout, err);
}

static gptoss_status end_line(answer *a, gptoss_error *err) {
    return a->line_is_open ? print_answer(a, "\n", 1, err) : GPTOSS_OK;
}

/* Generated tokens a second, counted from the first token on. */
static double tokens_per_second(uint32_t generated, double seconds) {
    return generated > 1 && seconds > 0 ? (generated - 1) / seconds : 0;
}

/* ---- a token ---- */

static gptoss_status print_telemetry(answer *a, uint32_t step, uint32_t token, gptoss_error *err) {
    buffer line = {0};
    gptoss_status status = buffer_printf(&line, err, "step=%u token=%u entropy=%.3f", step, token, a->report->entropy);
    for (uint32_t i = 0; i < a->report->n_top && status == GPTOSS_OK; i++) {
        status = buffer_printf(&line, err, " top%u=", i + 1);
        if (status == GPTOSS_OK) status = append_visible(a->tokenizer, a->report->top[i].token, &line, err);
        if (status == GPTOSS_OK)
            status = buffer_printf(&line, err, " p%u=%.4f", i + 1, exp((double)a->report->top[i].logprob));
    }
    if (status == GPTOSS_OK)
        status =
            buffer_printf(&line, err, " tok/s=%.2f\n", tokens_per_second(step + 1, clock_seconds() - a->first_token));
    if (status == GPTOSS_OK) status = print_text(line.data, line.size, stderr, err);
    buffer_free(&line);
    return status;
}

static gptoss_status print_token_json(const answer *a, uint32_t step, uint32_t token, gptoss_error *err) {
    cJSON *object = cJSON_CreateObject();
    cJSON_AddNumberToObject(object, "step", step);
    cJSON_AddNumberToObject(object, "token", token);
    add_token_text(object, a, token);
    add_rounded(object, "logprob", (double)a->report->logprob);
    add_rounded(object, "entropy", a->report->entropy);
    if (a->options->top_logprobs) {
        cJSON *top = cJSON_AddArrayToObject(object, "top_logprobs");
        for (uint32_t i = 0; i < a->report->n_top; i++) {
            cJSON *candidate = cJSON_CreateObject();
            cJSON_AddNumberToObject(candidate, "token", a->report->top[i].token);
            add_token_text(candidate, a, a->report->top[i].token);
            add_rounded(candidate, "logprob", (double)a->report->top[i].logprob);
            cJSON_AddItemToArray(top, candidate);
        }
    }
    return print_json(object, err);
}

/* ---- the answer's text ---- */

/* Prints what the stop strings let through. */
static gptoss_status print_fresh(answer *a, gptoss_error *err) {
    TRY(buffer_append(&a->content, a->fresh.data, a->fresh.size, err));
    return print_answer(a, a->fresh.data, a->fresh.size, err);
}

/* Text that belongs to the answer itself: on its way to standard output it passes the stop strings. */
static gptoss_status add_content(answer *a, const char *text, size_t size, gptoss_error *err) {
    buffer_clear(&a->fresh);
    TRY(stop_strings_add(&a->stops, text, size, &a->fresh, err));
    return print_fresh(a, err);
}

/* Text that was held back as the possible beginning of a stop string, once nothing can go on with it. */
static gptoss_status release_beginning(answer *a, gptoss_error *err) {
    buffer_clear(&a->fresh);
    TRY(stop_strings_end(&a->stops, &a->fresh, err));
    return print_fresh(a, err);
}

static gptoss_status show_analysis(answer *a, const harmony_event *event, gptoss_error *err) {
    if (!a->options->show_analysis || a->options->json) return GPTOSS_OK;
    if (event->type == HARMONY_EVENT_TEXT) return print_text(event->text, event->size, stderr, err);
    return event->type == HARMONY_EVENT_END ? print_text("\n", 1, stderr, err) : GPTOSS_OK;
}

/* Tool calls are the answer, too: a line each, "to=functions.NAME {arguments}". */
static gptoss_status show_tool_call(answer *a, const harmony_event *event, gptoss_error *err) {
    if (event->type == HARMONY_EVENT_TEXT) return print_answer(a, event->text, event->size, err);
    if (event->type == HARMONY_EVENT_BEGIN) TRY(release_beginning(a, err));
    TRY(end_line(a, err));
    if (event->type == HARMONY_EVENT_END) return GPTOSS_OK;
    TRY(print_answer(a, "to=", 3, err));
    TRY(print_answer(a, event->recipient, strlen(event->recipient), err));
    return print_answer(a, " ", 1, err);
}

static gptoss_status on_event(void *context, const harmony_event *event, gptoss_error *err) {
    answer *a = context;
    if (event->kind != HARMONY_CONTENT) TRY(harmony_answer_add(&a->whole, event, err));
    switch (event->kind) {
    case HARMONY_REASONING: return show_analysis(a, event, err);
    case HARMONY_TOOL_CALL: return show_tool_call(a, event, err);
    default: break;
    }
    if (event->type != HARMONY_EVENT_TEXT) return GPTOSS_OK;
    if (event->joins) TRY(add_content(a, "\n", 1, err));
    return add_content(a, event->text, event->size, err);
}

/* Raw text: the bytes of every token but those that end a text. */
static gptoss_status add_raw(answer *a, uint32_t token, gptoss_error *err) {
    size_t size;
    const char *bytes = tokenizer_bytes(a->tokenizer, token, &size);
    buffer whole = {0};
    gptoss_status status = utf8_stream_add(&a->raw, bytes, size, &whole, err);
    if (status == GPTOSS_OK) status = add_content(a, whole.data, whole.size, err);
    buffer_free(&whole);
    return status;
}

/* ---- callbacks of generate ---- */

static gptoss_status take_token(answer *a, uint32_t step, uint32_t token, bool *go_on, gptoss_error *err) {
    if (step == 0) {
        progress_end(&a->progress);
        a->first_token = clock_seconds();
    }
    if (a->options->telemetry) TRY(print_telemetry(a, step, token, err));
    if (a->options->json) TRY(print_token_json(a, step, token, err));
    if (a->parser) {
        TRY(harmony_parser_feed(a->parser, token, err));
        *go_on = !harmony_parser_done(a->parser) && !a->stops.hit;
    } else if (tokenizer_ends_text(a->tokenizer, token)) {
        *go_on = false;
    } else {
        TRY(add_raw(a, token, err));
        *go_on = !a->stops.hit;
    }
    return GPTOSS_OK;
}

static bool on_token(void *context, uint32_t step, uint32_t token, const sampler_report *report) {
    answer *a = context;
    a->report = report;
    bool go_on = false;
    a->status = take_token(a, step, token, &go_on, &a->err);
    return go_on && a->status == GPTOSS_OK;
}

static void on_progress(void *context, uint32_t done) {
    answer *a = context;
    progress_update(&a->progress, done);
}

/* ---- the whole ---- */

gptoss_status answer_open(const run_options *o, const tokenizer *t, const engine *e, uint32_t n_prompt, double started,
                          answer *out, gptoss_error *err) {
    *out = (answer){.options = o, .tokenizer = t, .engine = e, .n_prompt = n_prompt, .started = started};
    out->stops.items = o->stop.items;
    out->stops.count = o->stop.count;
    if (o->no_harmony || o->tokens) return GPTOSS_OK;
    TRY(harmony_open(t, &out->harmony, err));
    return harmony_parser_open(&out->harmony, on_event, out, &out->parser, err);
}

void answer_close(answer *a) {
    harmony_parser_close(a->parser);
    stop_strings_free(&a->stops);
    buffer_free(&a->fresh);
    buffer_free(&a->content);
    harmony_answer_free(&a->whole);
}

void answer_connect(answer *a, generate_request *request) {
    progress_begin(&a->progress, "reading the prompt", a->n_prompt);
    request->context = a;
    request->on_token = on_token;
    request->on_progress = on_progress;
    request->report = a->options->telemetry || a->options->json;
    /* The likeliest token is always told; more of them on demand. */
    request->n_top = a->options->top_logprobs ? (uint32_t)a->options->top_logprobs : 1;
}

/* Text that waited for more to come. */
static gptoss_status release_held_text(answer *a, gptoss_error *err) {
    if (a->parser) {
        TRY(harmony_parser_finish(a->parser, err));
    } else {
        buffer tail = {0};
        gptoss_status status = utf8_stream_end(&a->raw, &tail, err);
        if (status == GPTOSS_OK) status = add_content(a, tail.data, tail.size, err);
        buffer_free(&tail);
        TRY(status);
    }
    return release_beginning(a, err);
}

static const char *finish_reason(const answer *a, const generate_result *result) {
    if (!result->stopped) return "length";
    return a->parser && !a->stops.hit ? harmony_finish_name(harmony_parser_result(a->parser)) : "stop";
}

static void add_range(cJSON *object, const char *name, uint32_t begin, uint32_t end) {
    const double bounds[] = {begin, end};
    cJSON_AddItemToObject(object, name, cJSON_CreateDoubleArray(bounds, 2));
}

static cJSON *describe_ranks(const engine *e) {
    cJSON *ranks = cJSON_CreateArray();
    for (int i = 0; i < e->cluster.size; i++) {
        const plan_rank *r = &e->placement.rank[i];
        const rank_facts *f = &e->facts[i];
        cJSON *rank = cJSON_CreateObject();
        add_range(rank, "layers", r->layer_begin, r->layer_end);
        add_range(rank, "kv_heads", r->kv_heads.begin, r->kv_heads.end);
        add_range(rank, "experts", r->experts.begin, r->experts.end);
        cJSON_AddNumberToObject(rank, "mapped_bytes", (double)f->mapped_bytes);
        cJSON_AddNumberToObject(rank, "kv_bytes", (double)f->kv_bytes);
        cJSON_AddNumberToObject(rank, "threads", (double)f->threads);
        cJSON_AddItemToArray(ranks, rank);
    }
    return ranks;
}

typedef struct figures {
    double to_first_token, prompt_rate, generation_rate; /* seconds, tokens a second */
} figures;

static gptoss_status print_json_summary(const answer *a, const generate_result *result, figures f, gptoss_error *err) {
    cJSON *object = cJSON_CreateObject(), *calls = cJSON_CreateArray();
    cJSON_AddStringToObject(object, "finish_reason", finish_reason(a, result));
    add_text(object, "content", a->content.data, a->content.size);
    add_text(object, "reasoning", a->whole.reasoning.data, a->whole.reasoning.size);
    for (size_t i = 0; i < a->whole.call_count; i++) {
        cJSON *call = cJSON_CreateObject();
        cJSON_AddStringToObject(call, "name", harmony_function_name(a->whole.calls[i].recipient));
        add_text(call, "arguments", a->whole.calls[i].arguments.data, a->whole.calls[i].arguments.size);
        cJSON_AddItemToArray(calls, call);
    }
    cJSON_AddItemToObject(object, "tool_calls", calls);
    cJSON_AddNumberToObject(object, "prompt_tokens", a->n_prompt);
    if (a->options->engine.prompt_cache) cJSON_AddNumberToObject(object, "cached_tokens", result->cached);
    cJSON_AddNumberToObject(object, "completion_tokens", result->generated);
    add_rounded(object, "first_token_s", f.to_first_token);
    add_rounded(object, "prompt_tps", f.prompt_rate);
    add_rounded(object, "gen_tps", f.generation_rate);
    cJSON_AddNumberToObject(object, "stages", a->engine->placement.stages);
    cJSON_AddNumberToObject(object, "shards", a->engine->placement.shards);
    cJSON_AddItemToObject(object, "ranks", describe_ranks(a->engine));
    return print_json(object, err);
}

/* Reasoning is not shown, so that otherwise there is nothing to see, and no reason for it. */
static void explain_silence(const answer *a, const generate_result *result, FILE *to) {
    bool silent = a->content.size == 0 && a->whole.call_count == 0 && a->whole.reasoning.size > 0;
    if (!silent || result->stopped) return;
    fprintf(to,
            "nothing is answered yet: reasoning took %s%u token%s; give more with --max-tokens, or try "
            "--reasoning low\n",
            result->generated == 1 ? "the " : "all of the ", result->generated, plural(result->generated));
}

static void write_summary(const answer *a, const generate_result *result, figures f, FILE *to) {
    const engine *e = a->engine;
    fprintf(to, "[finish_reason=%s]\n", finish_reason(a, result));
    explain_silence(a, result, to);
    fprintf(to, "prompt %u token%s", a->n_prompt, plural(a->n_prompt));
    if (result->cached > 0) fprintf(to, " (%u of them cached)", result->cached);
    fprintf(to, ", %.2f tokens/s; answer %u token%s", f.prompt_rate, result->generated, plural(result->generated));
    if (result->generated > 1) fprintf(to, ", %.2f tokens/s", f.generation_rate);
    if (result->generated > 0) fprintf(to, "; first token after %.2f s", f.to_first_token);
    fputc('\n', to);
    char holds[120];
    grid_option_describe(&a->options->engine.grid, &e->placement, holds, sizeof holds);
    if (e->placement.shards > 1 || e->config.choose) fprintf(to, "%s\n", holds);
    for (int i = 0; i < e->cluster.size; i++) {
        const rank_facts *facts = &e->facts[i];
        layout_rank(&e->placement, i, holds, sizeof holds);
        fprintf(to, "rank %d: %s, %.1f MB of the file mapped, KV cache up to %.1f MB, threads %llu\n", i, holds,
                (double)facts->mapped_bytes / 1e6, (double)facts->kv_bytes / 1e6, (unsigned long long)facts->threads);
    }
}

/* In one piece: mpirun hands on what it gets as it gets it, and the answer's last words would come in between. Where
 * standard error is closed nobody wants it. */
static gptoss_status print_summary(const answer *a, const generate_result *result, figures f, gptoss_error *err) {
    char *text = NULL;
    size_t size = 0;
    FILE *to = open_memstream(&text, &size);
    if (!to) return error_set_errno(err, GPTOSS_NO_MEMORY, errno, "cannot format the summary");
    write_summary(a, result, f, to);
    bool written = fclose(to) == 0;
    if (written) print_text(text, size, stderr, NULL);
    free(text);
    return written ? GPTOSS_OK : error_set(err, GPTOSS_NO_MEMORY, "cannot format the summary");
}

gptoss_status answer_finish(answer *a, gptoss_status status, const generate_result *result, gptoss_error *err) {
    progress_end(&a->progress);
    if (a->status != GPTOSS_OK) {
        *err = a->err;
        return a->status;
    }
    if (status == GPTOSS_OK) TRY(release_held_text(a, err));
    TRY(end_line(a, err));
    if (status != GPTOSS_OK) return status;
    figures f = {
        .to_first_token = result->generated ? a->first_token - a->started : 0,
        .prompt_rate = result->prompt_seconds > 0 ? (a->n_prompt - result->cached) / result->prompt_seconds : 0,
        .generation_rate = tokens_per_second(result->generated, result->seconds - result->prompt_seconds),
    };
    if (a->options->json) return print_json_summary(a, result, f, err);
    return print_summary(a, result, f, err);
}
