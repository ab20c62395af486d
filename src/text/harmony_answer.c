/* The part of harmony.h that collects a whole answer. */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "text/harmony.h"

static gptoss_status add_call(harmony_answer *a, const char *recipient, gptoss_error *err) {
    harmony_call call = {0};
    TRY(mem_resize(&a->calls, a->call_count + 1, sizeof *a->calls, "tool calls", err));
    TRY(mem_array(strlen(recipient) + 1, 1, "name of a tool", &call.recipient, err));
    strcpy(call.recipient, recipient);
    a->calls[a->call_count++] = call;
    return GPTOSS_OK;
}

gptoss_status harmony_answer_add(void *answer, const harmony_event *event, gptoss_error *err) {
    harmony_answer *a = answer;
    bool call = event->kind == HARMONY_TOOL_CALL;
    if (call && event->type == HARMONY_EVENT_BEGIN) return add_call(a, event->recipient, err);
    if (call && event->type == HARMONY_EVENT_END) a->calls[a->call_count - 1].complete = event->complete;
    if (event->type != HARMONY_EVENT_TEXT) return GPTOSS_OK;
    buffer *text = call                               ? &a->calls[a->call_count - 1].arguments
                   : event->kind == HARMONY_REASONING ? &a->reasoning
                                                      : &a->content;
    if (event->joins) TRY(buffer_append(text, "\n", 1, err));
    return buffer_append(text, event->text, event->size, err);
}

void harmony_answer_free(harmony_answer *a) {
    for (size_t i = 0; i < a->call_count; i++) {
        free(a->calls[i].recipient);
        buffer_free(&a->calls[i].arguments);
    }
    free(a->calls);
    buffer_free(&a->reasoning);
    buffer_free(&a->content);
    *a = (harmony_answer){0};
}
