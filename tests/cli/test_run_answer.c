/* What `run` prints as an answer grows: text, tool calls a line each, and the text that stop strings held back. */
#include <fcntl.h>
#include <unistd.h>

#include "cli/run_answer.h"
#include "support.h"

#define MODEL TEST_DATA "/golden/q8_0-mxfp4.gguf"

/* Appends ids of `text`, in which "<|" begins the name of a special token. */
static void add_ids(const tokenizer *t, const char *text, tokens *out) {
    while (*text) {
        const char *special = strstr(text, "<|");
        size_t plain = special ? (size_t)(special - text) : strlen(text);
        assert_ok(tokenizer_encode(t, text, plain, out, err));
        text += plain;
        if (!special) break;
        char name[40] = {0};
        uint32_t id;
        size_t size = (size_t)(strstr(text, "|>") + 2 - text);
        memcpy(name, text, size);
        assert_true(tokenizer_special(t, name, &id));
        assert_ok(tokens_add(out, id, err));
        text += size;
    }
}

/* Standard output and error of one answer that the model writes as `written`. */
static void answer_to(const run_options *o, const char *written, buffer *printed) {
    gguf_file *file;
    tokenizer *t;
    tokens ids = {0};
    assert_ok(gguf_open(MODEL, &file, err));
    assert_ok(tokenizer_open(file, &t, err));
    gguf_close(file);
    add_ids(t, written, &ids);

    char path[] = "/tmp/gptoss-answer-XXXXXX";
    int to = mkstemp(path), before = dup(STDOUT_FILENO);
    assert_true(to >= 0 && before >= 0);
    fflush(stdout);
    dup2(to, STDOUT_FILENO);

    engine e = {0};
    answer a;
    generate_request request = {0};
    generate_result result = {.stopped = true, .generated = (uint32_t)ids.count};
    gptoss_error error = {0};
    gptoss_status status = answer_open(o, t, &e, 1, 0, &a, &error);
    if (status == GPTOSS_OK) {
        bool go_on = true;
        answer_connect(&a, &request);
        for (uint32_t i = 0; i < ids.count && go_on; i++)
            go_on = request.on_token(request.context, i, ids.ids[i], NULL);
        status = answer_finish(&a, GPTOSS_OK, &result, &error);
    }
    answer_close(&a);
    fflush(stdout);
    dup2(before, STDOUT_FILENO);
    close(before);
    close(to);
    if (status != GPTOSS_OK) fail_msg("%s", error.text);
    assert_ok(buffer_read_file(printed, path, 1 << 20, err));
    unlink(path);
    tokens_free(&ids);
    tokenizer_close(t);
}

static void expect(const run_options *o, const char *written, const char *wanted) {
    buffer printed = {0};
    answer_to(o, written, &printed);
    assert_string_equal(printed.data, wanted);
    buffer_free(&printed);
}

static void an_answer_ends_with_one_line_break(void **state) {
    (void)state;
    run_options o = {0};
    expect(&o, "<|channel|>final<|message|>deep<|return|>", "deep\n");
    expect(&o, "<|channel|>final<|message|>deep\n<|return|>", "deep\n");
    expect(&o, "<|channel|>final<|message|><|return|>", "");
    expect(&o, "<|channel|>analysis<|message|>hm<|end|><|start|>assistant<|channel|>final<|message|>so<|return|>",
           "so\n");
}

static void tool_calls_are_a_line_each(void **state) {
    (void)state;
    run_options o = {0};
    expect(&o, "<|channel|>commentary to=functions.f<|message|>{}<|call|>", "to=functions.f {}\n");
    expect(&o,
           "<|channel|>commentary<|message|>Let me see<|end|>"
           "<|start|>assistant<|channel|>commentary to=functions.f<|message|>{}<|end|>"
           "<|start|>assistant<|channel|>commentary to=functions.g<|message|>{\"a\":1}<|call|>",
           "Let me see\nto=functions.f {}\nto=functions.g {\"a\":1}\n");
}

static void text_that_may_begin_a_stop_string_comes_out_in_its_place(void **state) {
    (void)state;
    const char *stops[] = {"see you"};
    run_options o = {.stop = {stops, 1}};
    expect(&o, "<|channel|>final<|message|>Let me see<|return|>", "Let me see\n");
    expect(&o, "<|channel|>final<|message|>I see you there<|return|>", "I \n");
    expect(&o,
           "<|channel|>commentary<|message|>Let me see<|end|>"
           "<|start|>assistant<|channel|>commentary to=functions.f<|message|>{}<|call|>",
           "Let me see\nto=functions.f {}\n");
}

static void raw_text_is_printed_as_it_is(void **state) {
    (void)state;
    run_options o = {.no_harmony = true};
    expect(&o, "one<|channel|>two", "one<|channel|>two\n");
    expect(&o, "\xC3\xA9\xC3", "\xC3\xA9\xEF\xBF\xBD\n");
}

/* A pipe of packets gives back what one write put into it. */
static void the_summary_is_written_at_once(void **state) {
    (void)state;
    run_options o = {0};
    buffer printed = {0};
    char packet[4096];
    int pipe[2], before = dup(STDERR_FILENO);
    assert_int_equal(pipe2(pipe, O_DIRECT | O_NONBLOCK | O_CLOEXEC), 0);
    dup2(pipe[1], STDERR_FILENO);
    answer_to(&o, "<|channel|>final<|message|>deep<|return|>", &printed);
    dup2(before, STDERR_FILENO);
    ssize_t size = read(pipe[0], packet, sizeof packet - 1);
    assert_true(size > 0);
    packet[size] = '\0';
    assert_non_null(strstr(packet, "[finish_reason=stop]\nprompt 1 token, "));
    assert_int_equal(packet[size - 1], '\n');
    assert_int_equal(read(pipe[0], packet, sizeof packet), -1); /* there is no other */
    close(pipe[0]);
    close(pipe[1]);
    close(before);
    buffer_free(&printed);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_answer_ends_with_one_line_break),
        cmocka_unit_test(tool_calls_are_a_line_each),
        cmocka_unit_test(text_that_may_begin_a_stop_string_comes_out_in_its_place),
        cmocka_unit_test(the_summary_is_written_at_once),
        cmocka_unit_test(raw_text_is_printed_as_it_is),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
