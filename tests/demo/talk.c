#include "talk.h"

#include "support.h"

static const char *keep(talk *t, const char *text, size_t size) {
    char *copy = strndup(text ? text : "", size);
    assert_non_null(copy);
    assert_true(t->owned_count < sizeof t->owned / sizeof *t->owned);
    return t->owned[t->owned_count++] = copy;
}

static void add(talk *t, harmony_message message) {
    assert_true(t->prompt.message_count < TALK_MESSAGES);
    message.text = keep(t, message.text, message.size);
    if (message.tool) message.tool = keep(t, message.tool, strlen(message.tool));
    t->messages[t->prompt.message_count++] = message;
}

static void add_answer(talk *t, const harmony_answer *a) {
    const buffer *said = &a->content, *thought = &a->reasoning;
    if (thought->size)
        add(t, (harmony_message){HARMONY_ASSISTANT, HARMONY_ANALYSIS, NULL, thought->data, thought->size, 0});
    for (size_t i = 0; i < a->call_count; i++) {
        const harmony_call *c = &a->calls[i];
        add(t, (harmony_message){HARMONY_ASSISTANT, HARMONY_COMMENTARY, c->recipient, c->arguments.data,
                                 c->arguments.size, 0});
    }
    if (said->size) add(t, (harmony_message){HARMONY_ASSISTANT, HARMONY_FINAL, NULL, said->data, said->size, 0});
}

/* The rendered conversation holds analysis only where it still matters: after the last final message. */
static void check_dropped_analysis(const harmony_prompt *prompt) {
    buffer text = {0};
    assert_ok(harmony_render_text(prompt, &text, err));
    const char *thought = strstr(text.data, "<|channel|>analysis"), *said = strstr(text.data, "<|channel|>final");
    while (said && strstr(said + 1, "<|channel|>final")) said = strstr(said + 1, "<|channel|>final");
    assert_true(!thought || !said || thought > said);
    buffer_free(&text);
}

static void answer(talk *t, demo_answer *out) {
    t->prompt.messages = t->messages;
    if (!t->prompt.date) t->prompt.date = DEMO_DATE;
    check_dropped_analysis(&t->prompt);
    demo_ask(t->prompt, out);
    add_answer(t, &out->parts);
}

void talk_ask(talk *t, const char *question, demo_answer *out) {
    add(t, (harmony_message){HARMONY_USER, HARMONY_FINAL, NULL, question, strlen(question), 0});
    answer(t, out);
}

void talk_return(talk *t, const char *tool, const char *result, demo_answer *out) {
    add(t, (harmony_message){HARMONY_TOOL, HARMONY_COMMENTARY, tool, result, strlen(result), 0});
    answer(t, out);
}

void talk_end(talk *t) {
    for (size_t i = 0; i < t->owned_count; i++) free(t->owned[i]);
}

bool talk_check(talk *t, const char *question, const char *wanted) {
    demo_answer said;
    talk_ask(t, question, &said);
    bool right = demo_says(&said.parts.content, wanted) && said.finish == HARMONY_FINISH_STOP && said.recoveries == 0;
    if (!right) print_message("... %s -> %s\n", question, said.raw.data ? said.raw.data : "");
    demo_answer_free(&said);
    return right;
}

void tally_add(tally *t, bool right) {
    t->asked++;
    t->right += right;
}

void tally_join(tally *t, tally more) {
    t->asked += more.asked;
    t->right += more.right;
}

void tally_require(const char *what, tally t, unsigned percent) {
    print_message("%s: %u of %u are right\n", what, t.right, t.asked);
    assert_true(t.asked > 0 && t.right * 100 >= t.asked * percent);
}
