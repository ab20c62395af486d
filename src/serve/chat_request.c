#include "serve/chat_request.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/mem.h"
#include "serve/turn.h"

const chat_fields chat_request_fields = {"messages", "max_tokens", "response_format", false};

static void today(char date[11]) {
    time_t now = time(NULL);
    struct tm local;
    localtime_r(&now, &local);
    strftime(date, 11, "%Y-%m-%d", &local);
}

/* Other models know more steps, which programs offer to their users: then the nearest that gpt-oss was trained with,
 * which always reasons. */
static bool effort_by_name(const char *name, harmony_effort *out) {
    if (strcmp(name, "none") == 0 || strcmp(name, "minimal") == 0) name = "low";
    if (strcmp(name, "xhigh") == 0) name = "high";
    return harmony_effort_by_name(name, out);
}

gptoss_status chat_request_read_effort(chat_request *r, const cJSON *object, const char *path, const char *name,
                                       failure *why) {
    const char *effort = NULL;
    json_path where = json_path_field(path, name);
    r->prompt.effort = HARMONY_MEDIUM;
    TRY(json_input_string(object, path, name, &effort, why));
    if (effort && !effort_by_name(effort, &r->prompt.effort))
        return failure_field(why, where.text, "%s is low, medium or high, not \"%.40s\"", where.text, effort);
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

gptoss_status chat_request_check_harmony(const cJSON *body, failure *why) {
    bool wanted = true;
    TRY(json_input_bool(body, "", "harmony", &wanted, why));
    if (wanted) return GPTOSS_OK;
    return failure_field(why, "harmony", "a conversation needs Harmony: send raw prompts to /v1/completions");
}

gptoss_status chat_request_read(cJSON *body, uint32_t n_vocab, chat_request *out, failure *why) {
    const cJSON *format = NULL;
    *out = (chat_request){.fields = &chat_request_fields, .body = body};
    TRY(json_input_string(body, "", "model", &out->model, why));
    TRY(answer_options_read(body, n_vocab, &out->options, why));
    TRY(chat_request_check_harmony(body, why));
    TRY(read_logprobs(out, why));
    TRY(chat_request_read_effort(out, body, "", "reasoning_effort", why));
    TRY(chat_request_read_tools(out, why));
    TRY(chat_request_read_messages(out, why));
    TRY(json_input_object(body, "", "response_format", &format, why));
    TRY(chat_request_read_format(out, format, why));
    chat_request_finish(out);
    return GPTOSS_OK;
}

void chat_request_finish(chat_request *r) {
    today(r->date);
    r->prompt.date = r->date;
    r->prompt.instructions = r->instructions.size > 0 ? r->instructions.data : NULL;
    r->prompt.functions = r->functions;
    r->prompt.messages = r->messages;
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

gptoss_status chat_request_reserve(chat_request *r, size_t messages, failure *why) {
    TRY(mem_array(messages, sizeof *r->messages, "messages", &r->messages, &why->error));
    return mem_array(2 * messages, sizeof *r->texts, "messages", &r->texts, &why->error);
}

buffer *chat_request_text(chat_request *r) { return &r->texts[r->text_count++]; }

bool chat_request_is_built_in(const chat_request *r, const char *name) {
    static const char browser[] = "browser.";
    return (r->prompt.python && strcmp(name, "python") == 0) ||
           (r->prompt.browser && strncmp(name, browser, sizeof browser - 1) == 0);
}

gptoss_status chat_request_add_call(chat_request *r, const char *name, const buffer *arguments, failure *why) {
    const char *tool;
    TRY(chat_request_full_name(r, name, &tool, why));
    chat_request_add_message(r, HARMONY_ASSISTANT, tool == name ? HARMONY_ANALYSIS : HARMONY_COMMENTARY, tool,
                             arguments);
    return GPTOSS_OK;
}

gptoss_status chat_request_full_name(chat_request *r, const char *name, const char **out, failure *why) {
    if (chat_request_is_built_in(r, name)) return *out = name, GPTOSS_OK;
    buffer *text = chat_request_text(r);
    TRY(buffer_printf(text, &why->error, "functions.%s", name));
    *out = text->data;
    return GPTOSS_OK;
}

void chat_request_add_message(chat_request *r, harmony_role role, harmony_channel channel, const char *tool,
                              const buffer *text) {
    r->messages[r->prompt.message_count++] = (harmony_message){
        .role = role, .channel = channel, .tool = tool, .text = text->data ? text->data : "", .size = text->size};
}

gptoss_status chat_request_add_instructions(chat_request *r, const char *text, failure *why) {
    buffer *all = &r->instructions;
    if (all->size > 0 && text[0]) TRY(buffer_append_text(all, "\n\n", &why->error));
    return text[0] ? buffer_append_text(all, text, &why->error) : GPTOSS_OK;
}
