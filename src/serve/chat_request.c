#include "serve/chat_request.h"

#include <stdlib.h>
#include <time.h>

#include "base/mem.h"
#include "serve/turn.h"

static void today(char date[11]) {
    time_t now = time(NULL);
    struct tm local;
    localtime_r(&now, &local);
    strftime(date, 11, "%Y-%m-%d", &local);
}

static gptoss_status read_effort(chat_request *r, failure *why) {
    const char *effort = NULL;
    r->prompt.effort = HARMONY_MEDIUM;
    TRY(json_input_string(r->body, "", "reasoning_effort", &effort, why));
    if (effort && !harmony_effort_by_name(effort, &r->prompt.effort))
        return failure_field(why, "reasoning_effort", "reasoning_effort is low, medium or high, not \"%.40s\"", effort);
    return GPTOSS_OK;
}

static gptoss_status read_logprobs(chat_request *r, failure *why) {
    int64_t top = 0;
    TRY(json_input_bool(r->body, "", "logprobs", &r->logprobs, why));
    TRY(json_input_integer(r->body, "", "top_logprobs", 0, TURN_TOP, &top, why));
    if (top > 0 && !r->logprobs) return failure_field(why, "top_logprobs", "top_logprobs needs \"logprobs\": true");
    r->n_top = (uint32_t)top;
    return GPTOSS_OK;
}

static gptoss_status check_harmony(const chat_request *r, failure *why) {
    bool wanted = true;
    TRY(json_input_bool(r->body, "", "harmony", &wanted, why));
    if (wanted) return GPTOSS_OK;
    return failure_field(why, "harmony", "a conversation needs Harmony: send raw prompts to /v1/completions");
}

gptoss_status chat_request_read(cJSON *body, uint32_t n_vocab, chat_request *out, failure *why) {
    *out = (chat_request){.body = body};
    TRY(json_input_string(body, "", "model", &out->model, why));
    TRY(answer_options_read(body, n_vocab, &out->options, why));
    TRY(check_harmony(out, why));
    TRY(read_logprobs(out, why));
    TRY(read_effort(out, why));
    TRY(chat_request_read_tools(out, why));
    TRY(chat_request_read_messages(out, why));
    TRY(chat_request_read_format(out, why));
    today(out->date);
    out->prompt.date = out->date;
    out->prompt.instructions = out->instructions.size > 0 ? out->instructions.data : NULL;
    out->prompt.functions = out->functions;
    out->prompt.messages = out->messages;
    return GPTOSS_OK;
}

void chat_request_free(chat_request *r) {
    for (size_t i = 0; i < r->text_count; i++) buffer_free(&r->texts[i]);
    free(r->texts);
    free(r->messages);
    free(r->functions);
    buffer_free(&r->instructions);
    answer_options_free(&r->options);
    cJSON_Delete(r->body);
    *r = (chat_request){0};
}

buffer *chat_request_text(chat_request *r) { return &r->texts[r->text_count++]; }
