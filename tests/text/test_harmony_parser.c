/* What models write, well formed and not, against what it means. */
#include "base/mem.h"
#include "text/answers.h"
#include "text/stop_strings.h"

static tokenizer *small;

static int open_small(void **state) {
    (void)state;
    small = vocabulary_open_small();
    return 0;
}

static int close_small(void **state) {
    (void)state;
    tokenizer_close(small);
    return 0;
}

static void check_golden(const cJSON *line, void *context) {
    outcome o;
    const char *text = cJSON_GetStringValue(cJSON_GetObjectItem(line, "text"));
    const cJSON *calls = cJSON_GetObjectItem(line, "tool_calls");
    answers_parse_text(context, text, &o);
    const harmony_answer *a = &o.seen.answer;
    assert_string_equal(answers_shown(&a->reasoning), cJSON_GetStringValue(cJSON_GetObjectItem(line, "reasoning")));
    assert_string_equal(answers_shown(&a->content), cJSON_GetStringValue(cJSON_GetObjectItem(line, "content")));
    assert_string_equal(harmony_finish_name(o.finish), cJSON_GetStringValue(cJSON_GetObjectItem(line, "finish")));
    assert_int_equal(a->call_count, cJSON_GetArraySize(calls));
    for (size_t i = 0; i < a->call_count; i++) {
        const cJSON *call = cJSON_GetArrayItem(calls, (int)i);
        assert_string_equal(harmony_function_name(a->calls[i].recipient),
                            cJSON_GetStringValue(cJSON_GetArrayItem(call, 0)));
        assert_string_equal(answers_shown(&a->calls[i].arguments), cJSON_GetStringValue(cJSON_GetArrayItem(call, 1)));
        assert_true(a->calls[i].complete);
    }
    assert_true(o.done);
    harmony_answer_free(&o.seen.answer);
}

static void test_golden_answers(void **state) {
    (void)state;
    assert_int_equal(vocabulary_each_line("harmony-parse.jsonl", check_golden, small), 9);
    tokenizer *real = vocabulary_open_o200k();
    assert_int_equal(vocabulary_each_line("harmony-parse.jsonl", check_golden, real), 9);
    tokenizer_close(real);
}

/* The ids that the format's documentation parses. */
static void test_documented_ids(void **state) {
    (void)state;
    static const uint32_t ids[] = {200005, 35644, 200008, 1844,  31064, 25,  392,   4827, 382, 220,    17,     659,
                                   220,    17,    16842,  12295, 81645, 13,  51441, 6052, 13,  200007, 200006, 173781,
                                   200005, 17196, 200008, 17,    659,   220, 17,    314,  220, 19,     13,     200002};
    outcome o;
    tokenizer *real = vocabulary_open_o200k();
    answers_parse(real, ids, sizeof ids / sizeof *ids, &o);
    assert_string_equal(answers_shown(&o.seen.answer.reasoning),
                        "User asks: \"What is 2 + 2?\" Simple arithmetic. Provide answer.");
    assert_string_equal(answers_shown(&o.seen.answer.content), "2 + 2 = 4.");
    assert_int_equal(o.finish, HARMONY_FINISH_STOP);
    assert_int_equal(harmony_recoveries_total(&o.recoveries), 0);
    harmony_answer_free(&o.seen.answer);
    tokenizer_close(real);
}

static void describe(const outcome *o, buffer *out) {
    const harmony_answer *a = &o->seen.answer;
    assert_ok(buffer_printf(out, err, "%s|%s|", answers_shown(&a->reasoning), answers_shown(&a->content)));
    for (size_t i = 0; i < a->call_count; i++)
        assert_ok(buffer_printf(out, err, "%s(%s)%s", a->calls[i].recipient, answers_shown(&a->calls[i].arguments),
                                a->calls[i].complete ? "" : "!"));
    assert_ok(buffer_printf(out, err, "|%s|", harmony_finish_name(o->finish)));
    for (harmony_recovery i = 0; i < HARMONY_RECOVERIES; i++)
        for (uint64_t n = 0; n < o->recoveries.counts[i]; n++)
            assert_ok(
                buffer_printf(out, err, "%s%s", out->data[out->size - 1] == '|' ? "" : " ", harmony_recovery_name(i)));
}

static void test_samples(void **state) {
    (void)state;
    size_t wrong = 0;
    for (size_t i = 0; i < answers_sample_count; i++) {
        outcome o;
        buffer meaning = {0};
        answers_parse_text(small, answers_samples[i].text, &o);
        describe(&o, &meaning);
        if (strcmp(meaning.data, answers_samples[i].meaning) != 0) {
            print_error("%s\n  gives    %s\n  but means %s\n", answers_samples[i].text, meaning.data,
                        answers_samples[i].meaning);
            wrong++;
        }
        buffer_free(&meaning);
        harmony_answer_free(&o.seen.answer);
    }
    assert_int_equal(wrong, 0);
}

/* Every beginning of every sample gives a valid answer, whose text is the beginning of what it would become. */
static void test_generation_may_end_anywhere(void **state) {
    (void)state;
    for (size_t i = 0; i < answers_sample_count; i++) {
        tokens ids = {0};
        vocabulary_encode(small, answers_samples[i].text, &ids);
        for (size_t count = 0; count <= ids.count; count++) {
            outcome o;
            answers_parse(small, ids.ids, count, &o);
            assert_true(o.done || o.finish == HARMONY_FINISH_LENGTH || o.seen.cut == 0);
            harmony_answer_free(&o.seen.answer);
        }
        tokens_free(&ids);
    }
}

static void append_repeated(buffer *out, const char *text, size_t times) {
    for (size_t i = 0; i < times; i++) assert_ok(buffer_append_text(out, text, err));
}

static void test_endless_headers_become_text(void **state) {
    (void)state;
    harmony h;
    harmony_parser *p;
    tokens ids = {0};
    buffer text = {0};
    watched w = {0};
    append_repeated(&text, "<|channel|>final ", 1);
    append_repeated(&text, "word ", 1000);
    vocabulary_encode(small, text.data, &ids);
    assert_ok(harmony_open(small, &h, err));
    assert_ok(harmony_parser_open(&h, answers_watch, &w, &p, err));
    for (size_t i = 0; i < ids.count; i++) {
        assert_ok(harmony_parser_feed(p, ids.ids[i], err));
        if (i > HARMONY_HEADER_LIMIT) assert_true(w.answer.content.size + 10 > i); /* it streams */
    }
    assert_ok(harmony_parser_finish(p, err));
    assert_int_equal(w.answer.content.size, 5000);
    harmony_parser_close(p);
    harmony_answer_free(&w.answer);
    tokens_free(&ids);
    buffer_free(&text);
}

static void test_endless_noise_is_dropped(void **state) {
    (void)state;
    outcome o;
    buffer text = {0};
    append_repeated(&text, "<|channel|>", 1);
    append_repeated(&text, "?", 3000);
    append_repeated(&text, "<|channel|>final<|message|>Yes.<|return|>", 1);
    answers_parse_text(small, text.data, &o);
    assert_string_equal(answers_shown(&o.seen.answer.content), "Yes.");
    harmony_answer_free(&o.seen.answer);
    buffer_free(&text);
}

/* Plain text streams from its first word on. */
static void test_plain_text_is_not_held_back(void **state) {
    (void)state;
    harmony h;
    harmony_parser *p;
    tokens ids = {0};
    watched w = {0};
    vocabulary_encode(small, "Just", &ids);
    assert_ok(harmony_open(small, &h, err));
    assert_ok(harmony_parser_open(&h, answers_watch, &w, &p, err));
    assert_ok(harmony_parser_feed(p, ids.ids[0], err));
    assert_string_equal(answers_shown(&w.answer.content), "J");
    harmony_parser_close(p);
    harmony_answer_free(&w.answer);
    tokens_free(&ids);
}

/* A call of `recipient` where these functions were offered reaches `expected`. */
static void check_call(const char *recipient, const char *expected, uint64_t mended) {
    static const harmony_function offered[] = {
        {.name = "get_tide"}, {.name = "get_time"}, {.name = "lookupWeather"}, {.name = "a"}};
    harmony h;
    harmony_parser *p;
    tokens ids = {0};
    buffer text = {0};
    watched w = {0};
    assert_ok(buffer_printf(&text, err, "<|channel|>commentary to=%s<|message|>{}<|call|>", recipient));
    vocabulary_encode(small, text.data, &ids);
    assert_ok(harmony_open(small, &h, err));
    assert_ok(harmony_parser_open(&h, answers_watch, &w, &p, err));
    harmony_parser_offer(p, offered, 4);
    for (size_t i = 0; i < ids.count; i++) assert_ok(harmony_parser_feed(p, ids.ids[i], err));
    assert_int_equal(w.answer.call_count, 1);
    assert_string_equal(w.answer.calls[0].recipient, expected);
    assert_int_equal(harmony_parser_recoveries(p)->counts[HARMONY_MENDED_RECIPIENT], mended);
    harmony_parser_close(p);
    harmony_answer_free(&w.answer);
    tokens_free(&ids);
    buffer_free(&text);
}

static void test_misspelt_functions_reach_the_ones_offered(void **state) {
    (void)state;
    check_call("functions.get_tide", "functions.get_tide", 0);
    check_call("get_tide", "get_tide", 0); /* as clients know it: harmony_function_name */
    check_call("functions.get-tide", "functions.get_tide", 1);
    check_call("functions.Get.Tide", "functions.get_tide", 1);
    check_call("tools.get_tide", "functions.get_tide", 1);
    check_call("functions.lookup_weather", "functions.lookupWeather", 1);
    check_call("functions.lookupweahter", "functions.lookupWeather", 1);
    check_call("functions.get_tiem", "functions.get_tide", 1);
    check_call("functions.b", "functions.b", 0); /* resembles none */
    check_call("functions.delete_everything", "functions.delete_everything", 0);
    check_call("browser.search", "browser.search", 0);
    check_call("python", "python", 0);
}

/* What a client sees: messages of content joined by line breaks, up to a stop string. */
typedef struct stopped_text {
    stop_strings stops;
    buffer shown;
} stopped_text;

static gptoss_status show_until_stop(void *context, const harmony_event *e, gptoss_error *error) {
    stopped_text *s = context;
    if (e->kind != HARMONY_CONTENT || e->type != HARMONY_EVENT_TEXT) return GPTOSS_OK;
    if (e->joins) TRY(stop_strings_add(&s->stops, "\n", 1, &s->shown, error));
    return stop_strings_add(&s->stops, e->text, e->size, &s->shown, error);
}

static void check_stop(const char *stop, const char *text, const char *expected) {
    harmony h;
    harmony_parser *p;
    tokens ids = {0};
    stopped_text s = {.stops = {.items = &stop, .count = 1}};
    vocabulary_encode(small, text, &ids);
    assert_ok(harmony_open(small, &h, err));
    assert_ok(harmony_parser_open(&h, show_until_stop, &s, &p, err));
    for (size_t i = 0; i < ids.count && !s.stops.hit; i++) assert_ok(harmony_parser_feed(p, ids.ids[i], err));
    assert_ok(harmony_parser_finish(p, err));
    if (!s.stops.hit) assert_ok(stop_strings_end(&s.stops, &s.shown, err));
    assert_string_equal(answers_shown(&s.shown), expected);
    harmony_parser_close(p);
    stop_strings_free(&s.stops);
    buffer_free(&s.shown);
    tokens_free(&ids);
}

/* A stop string counts in the text as it is shown, wherever its messages begin and end. */
static void test_stop_strings_across_messages(void **state) {
    (void)state;
    static const char text[] = "<|channel|>commentary<|message|>One, two<|end|><|start|>assistant<|channel|>analysis"
                               "<|message|>two\nthree<|end|><|start|>assistant<|channel|>final<|message|>three, four"
                               "<|return|>";
    check_stop("two\nthree", text, "One, ");
    check_stop("o\n", text, "One, tw");
    check_stop("\nth", text, "One, two");
    check_stop("twothree", text, "One, two\nthree, four");
    check_stop("<|end|>", text, "One, two\nthree, four");
    check_stop("two\nthree, four, ", text, "One, two\nthree, four");
}

static void test_text_is_never_lost(void **state) {
    (void)state;
    static const char *const before[] = {"",
                                         "<|channel|>",
                                         "<|channel|>final<|message|>",
                                         "<|message|>",
                                         "<|channel|>final<|message|>a<|end|><|start|>assistant",
                                         "<|end|>",
                                         "<|channel|>final<|message|>a<|channel|>",
                                         "<|constrain|>",
                                         "<|start|>",
                                         "<|channel|>nonsense<|message|>",
                                         "<|channel|>commentary "};
    static const char *const after[] = {"<|return|>",         "<|end|>",         "<|call|>", "",
                                        "<|start|>assistant", "<|channel|>final"};
    for (size_t i = 0; i < sizeof before / sizeof *before; i++)
        for (size_t j = 0; j < sizeof after / sizeof *after; j++) {
            outcome o;
            buffer text = {0};
            assert_ok(buffer_printf(&text, err, "%sThe sea is deep.%s", before[i], after[j]));
            answers_parse_text(small, text.data, &o);
            if (!strstr(answers_shown(&o.seen.answer.content), "The sea is deep.")) fail_msg("lost in %s", text.data);
            harmony_answer_free(&o.seen.answer);
            buffer_free(&text);
        }
}

static void test_vocabulary_without_optional_tokens(void **state) {
    (void)state;
    static vocabulary v;
    tokenizer *t;
    outcome o;
    vocabulary_small(&v);
    vocabulary_remove(&v, "<|constrain|>");
    vocabulary_remove(&v, "<|call|>");
    assert_ok(vocabulary_open(&v, &t, err));
    answers_parse_text(t, "<|channel|>commentary to=functions.f json<|message|>{}<|return|>", &o);
    assert_int_equal(o.seen.answer.call_count, 1);
    assert_int_equal(o.finish, HARMONY_FINISH_TOOL_CALLS);
    harmony_answer_free(&o.seen.answer);
    tokenizer_close(t);
}

static gptoss_status refuse_text(void *context, const harmony_event *event, gptoss_error *error) {
    (void)context;
    if (event->type != HARMONY_EVENT_TEXT) return GPTOSS_OK;
    return error_set(error, GPTOSS_CANCELLED, "the client went away");
}

static void test_a_failing_sink_is_reported(void **state) {
    (void)state;
    harmony h;
    harmony_parser *p;
    tokens ids = {0};
    gptoss_error error;
    vocabulary_encode(small, "<|channel|>final<|message|>x", &ids);
    assert_ok(harmony_open(small, &h, err));
    assert_ok(harmony_parser_open(&h, refuse_text, NULL, &p, err));
    for (size_t i = 0; i + 1 < ids.count; i++) assert_ok(harmony_parser_feed(p, ids.ids[i], err));
    assert_int_equal(harmony_parser_feed(p, ids.ids[ids.count - 1], &error), GPTOSS_CANCELLED);
    assert_string_equal(error.text, "the client went away");
    harmony_parser_close(p);
    tokens_free(&ids);
}

/* Every allocation fails once: the failure is reported and nothing leaks. */
static void test_lack_of_memory(void **state) {
    (void)state;
    harmony h;
    tokens ids = {0};
    vocabulary_encode(small,
                      "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant to=functions.f<|channel|>commentary "
                      "<|constrain|>json<|message|>{}<|call|>",
                      &ids);
    assert_ok(harmony_open(small, &h, err));
    bool failed = true;
    for (long n = 0; failed; n++) {
        harmony_answer answer = {0};
        harmony_parser *p = NULL;
        mem_fail_after(n);
        gptoss_status status = harmony_parser_open(&h, harmony_answer_add, &answer, &p, NULL);
        for (size_t i = 0; status == GPTOSS_OK && i < ids.count; i++) status = harmony_parser_feed(p, ids.ids[i], NULL);
        mem_fail_after(-1);
        failed = status != GPTOSS_OK;
        if (failed) assert_int_equal(status, GPTOSS_NO_MEMORY);
        assert_true(failed ? n < 100 : n > 5);
        harmony_parser_close(p);
        harmony_answer_free(&answer);
    }
    tokens_free(&ids);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_golden_answers),
        cmocka_unit_test(test_documented_ids),
        cmocka_unit_test(test_samples),
        cmocka_unit_test(test_generation_may_end_anywhere),
        cmocka_unit_test(test_endless_headers_become_text),
        cmocka_unit_test(test_endless_noise_is_dropped),
        cmocka_unit_test(test_plain_text_is_not_held_back),
        cmocka_unit_test(test_text_is_never_lost),
        cmocka_unit_test(test_misspelt_functions_reach_the_ones_offered),
        cmocka_unit_test(test_stop_strings_across_messages),
        cmocka_unit_test(test_vocabulary_without_optional_tokens),
        cmocka_unit_test(test_a_failing_sink_is_reported),
        cmocka_unit_test(test_lack_of_memory),
    };
    return cmocka_run_group_tests(tests, open_small, close_small);
}
