#include "cli/run_prompt.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/plural.h"
#include "text/harmony.h"

enum { LONGEST_PROMPT_BYTES = 64 << 20 };

static gptoss_status parse_tokens(const char *text, uint32_t n_vocab, tokens *out, gptoss_error *err) {
    for (const char *at = text;; at++) {
        char *end = NULL;
        unsigned long long id = strtoull(at, &end, 10);
        if (*at < '0' || *at > '9' || (*end != ',' && *end != '\0'))
            return error_set(err, GPTOSS_MISUSE,
                             "--tokens wants numbers between commas, such as 1,2,3; what begins with \"%.20s\" is none",
                             at);
        if (id >= n_vocab)
            return error_set(err, GPTOSS_MISUSE, "--tokens names token %llu, but the vocabulary ends at %u", id,
                             n_vocab - 1);
        TRY(tokens_add(out, (uint32_t)id, err));
        at = end;
        if (*at == '\0') return GPTOSS_OK;
    }
}

static gptoss_status refuse_length(const run_options *o, size_t count, uint32_t limit, gptoss_error *err) {
    return error_set(err, GPTOSS_BAD_INPUT,
                     "the prompt of %zu token%s and an answer of up to %llu need more than the %u position%s %s: lower "
                     "--max-tokens%s%s",
                     count, plural(count), (unsigned long long)o->max_tokens, limit, plural(limit),
                     o->engine.max_kv ? "of --max-kv" : "the model was made for",
                     o->engine.max_kv ? " or raise --max-kv" : "",
                     o->truncate_prompt ? " (dropping the text alone is not enough)"
                                        : ", or give --truncate-prompt to drop the oldest text");
}

/* Tokens by which the prompt is too long. */
static size_t excess_of(const run_options *o, size_t count, uint32_t limit) {
    uint64_t needed = count + o->max_tokens;
    return needed > limit ? (size_t)(needed - limit) : 0;
}

/* A prompt without structure: any of its tokens may go, the oldest first. */
static gptoss_status fit_raw(const run_options *o, uint32_t limit, tokens *prompt, gptoss_error *err) {
    size_t excess = excess_of(o, prompt->count, limit);
    if (excess == 0) return GPTOSS_OK;
    if (!o->truncate_prompt || excess >= prompt->count) return refuse_length(o, prompt->count, limit, err);
    prompt->count -= excess;
    memmove(prompt->ids, prompt->ids + excess, prompt->count * sizeof *prompt->ids);
    return GPTOSS_OK;
}

static void today(char date[11]) {
    time_t now = time(NULL);
    struct tm local;
    localtime_r(&now, &local);
    strftime(date, 11, "%Y-%m-%d", &local);
}

/* Of a conversation only the user's words may go. */
static gptoss_status render_conversation(const run_options *o, const tokenizer *t, const buffer *text, uint32_t limit,
                                         tokens *out, gptoss_error *err) {
    harmony h;
    char date[11];
    today(date);
    harmony_message user = {.role = HARMONY_USER, .text = text->data, .size = text->size};
    harmony_prompt prompt = {
        .date = o->date ? o->date : date, .instructions = o->system, .messages = &user, .message_count = 1};
    harmony_effort_by_name(o->reasoning, &prompt.effort);
    TRY(harmony_open(t, &h, err));
    TRY(harmony_render(&h, &prompt, out, err));
    size_t excess = excess_of(o, out->count, limit);
    if (excess == 0) return GPTOSS_OK;

    tokens words = {0};
    gptoss_status status = tokenizer_encode(t, text->data, text->size, &words, err);
    size_t removable = words.count;
    tokens_free(&words);
    if (status != GPTOSS_OK) return status;
    if (!o->truncate_prompt || excess >= removable) return refuse_length(o, out->count, limit, err);
    user.skip_tokens = excess;
    out->count = 0;
    return harmony_render(&h, &prompt, out, err);
}

static gptoss_status read_text(const run_options *o, buffer *text, gptoss_error *err) {
    if (o->prompt) TRY(buffer_append_text(text, o->prompt, err));
    if (o->prompt_file) TRY(buffer_read_file(text, o->prompt_file, LONGEST_PROMPT_BYTES, err));
    if (text->size == 0) return error_set(err, GPTOSS_MISUSE, "the prompt is empty");
    return GPTOSS_OK;
}

gptoss_status run_prompt_build(const run_options *o, const tokenizer *t, uint32_t n_vocab, uint32_t limit, tokens *out,
                               gptoss_error *err) {
    if (tokenizer_count(t) > n_vocab)
        return error_set(err, GPTOSS_BAD_INPUT, "%s has a vocabulary of %u tokens but embeddings for %u",
                         o->engine.gguf, tokenizer_count(t), n_vocab);
    if (o->tokens) {
        TRY(parse_tokens(o->tokens, n_vocab, out, err));
        return fit_raw(o, limit, out, err);
    }
    buffer text = {0};
    gptoss_status status = read_text(o, &text, err);
    if (status == GPTOSS_OK && o->no_harmony) {
        status = tokenizer_encode(t, text.data, text.size, out, err);
        if (status == GPTOSS_OK) status = fit_raw(o, limit, out, err);
    } else if (status == GPTOSS_OK) {
        status = render_conversation(o, t, &text, limit, out, err);
    }
    buffer_free(&text);
    return status;
}
