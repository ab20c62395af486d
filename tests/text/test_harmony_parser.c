/* What models write, well formed and not, against what it means. */
#include "base/mem.h"
#include "random.h"
#include "text/harmony.h"
#include "text/vocabulary.h"

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

/* A sink that collects the answer, and checks that events come as promised. */
typedef struct watched {
    harmony_answer answer;
    bool open, has_text;
    harmony_event begun;
    size_t messages, cut;
} watched;

static gptoss_status watch(void *context, const harmony_event *e, gptoss_error *error) {
    watched *w = context;
    assert_int_equal(w->open, e->type != HARMONY_EVENT_BEGIN);
    assert_int_equal(e->kind == HARMONY_TOOL_CALL, e->recipient[0] != '\0');
    assert_true(utf8_valid(e->recipient, strlen(e->recipient)));
    assert_true(utf8_valid(e->content_type, strlen(e->content_type)));
    if (e->kind == HARMONY_REASONING) assert_int_equal(e->channel, HARMONY_ANALYSIS);
    if (e->type == HARMONY_EVENT_BEGIN) {
        w->open = true;
        w->has_text = false;
        w->begun = *e;
        w->messages++;
    }
    assert_int_equal(w->begun.kind, e->kind);
    if (e->type == HARMONY_EVENT_TEXT) {
        const buffer *earlier = e->kind == HARMONY_REASONING ? &w->answer.reasoning : &w->answer.content;
        bool joins = e->kind != HARMONY_TOOL_CALL && !w->has_text && earlier->size > 0;
        assert_int_equal(e->joins, joins);
        assert_true(e->size > 0);
        assert_true(utf8_valid(e->text, e->size));
        w->has_text = true;
    }
    if (e->type == HARMONY_EVENT_END) {
        w->open = false;
        w->cut += !e->complete;
    }
    return harmony_answer_add(&w->answer, e, error);
}

typedef struct outcome {
    watched seen;
    harmony_finish finish;
    uint64_t recoveries;
    bool done; /* before the end of generation */
} outcome;

static void parse(const tokenizer *t, const uint32_t *ids, size_t count, outcome *out) {
    harmony h;
    harmony_parser *p;
    *out = (outcome){0};
    assert_ok(harmony_open(t, &h, err));
    assert_ok(harmony_parser_open(&h, watch, &out->seen, &p, err));
    for (size_t i = 0; i < count; i++) assert_ok(harmony_parser_feed(p, ids[i], err));
    out->done = harmony_parser_done(p);
    assert_ok(harmony_parser_finish(p, err));
    assert_true(harmony_parser_done(p));
    assert_false(out->seen.open);
    out->finish = harmony_parser_result(p);
    out->recoveries = harmony_parser_recoveries(p);
    harmony_parser_close(p);
}

static void parse_text(const tokenizer *t, const char *text, outcome *out) {
    tokens ids = {0};
    vocabulary_encode(t, text, &ids);
    parse(t, ids.ids, ids.count, out);
    tokens_free(&ids);
}

static const char *shown(const buffer *b) { return b->data ? b->data : ""; }

static void check_golden(const cJSON *line, void *context) {
    outcome o;
    const char *text = cJSON_GetStringValue(cJSON_GetObjectItem(line, "text"));
    const cJSON *calls = cJSON_GetObjectItem(line, "tool_calls");
    parse_text(context, text, &o);
    const harmony_answer *a = &o.seen.answer;
    assert_string_equal(shown(&a->reasoning), cJSON_GetStringValue(cJSON_GetObjectItem(line, "reasoning")));
    assert_string_equal(shown(&a->content), cJSON_GetStringValue(cJSON_GetObjectItem(line, "content")));
    assert_string_equal(harmony_finish_name(o.finish), cJSON_GetStringValue(cJSON_GetObjectItem(line, "finish")));
    assert_int_equal(a->call_count, cJSON_GetArraySize(calls));
    for (size_t i = 0; i < a->call_count; i++) {
        const cJSON *call = cJSON_GetArrayItem(calls, (int)i);
        assert_string_equal(harmony_function_name(a->calls[i].recipient),
                            cJSON_GetStringValue(cJSON_GetArrayItem(call, 0)));
        assert_string_equal(shown(&a->calls[i].arguments), cJSON_GetStringValue(cJSON_GetArrayItem(call, 1)));
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

/* What was written; reasoning | content | recipient(arguments)... | finish | places mended. */
typedef struct sample {
    const char *text, *meaning;
} sample;

static const sample samples[] = {
    /* as the format asks */
    {"<|channel|>final<|message|>Hi.<|return|>", "|Hi.||stop|0"},
    {"<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>final<|message|>Hi.<|return|>",
     "Hm.|Hi.||stop|0"},
    {"<|channel|>commentary to=functions.f <|constrain|>json<|message|>{}<|call|>", "||functions.f({})|tool_calls|0"},
    {" to=functions.f<|channel|>commentary <|constrain|>json<|message|>{}<|call|>", "||functions.f({})|tool_calls|0"},
    {" to=functions.f<|channel|>commentary json<|message|>{}<|call|>", "||functions.f({})|tool_calls|0"},
    {"<|channel|>analysis to=python code<|message|>1+1<|call|>", "||python(1+1)|tool_calls|0"},
    {"<|channel|>analysis to=browser.search code<|message|>{}<|call|>", "||browser.search({})|tool_calls|0"},
    {"<|channel|>commentary to=functions.f <|constrain|>json<|message|>{}<|end|>"
     "<|start|>assistant<|channel|>commentary to=functions.g <|constrain|>json<|message|>[]<|call|>",
     "||functions.f({})functions.g([])|tool_calls|0"},
    {"<|channel|>final <|constrain|>json<|message|>{}<|return|>", "|{}||stop|0"},
    {"<|channel|>commentary<|message|>Wait.<|end|><|start|>assistant<|channel|>final<|message|>Done.<|return|>",
     "|Wait.\nDone.||stop|0"},
    {"<|channel|>final<|message|>Text after the end is ignored.<|return|>more<|message|>",
     "|Text after the end is ignored.||stop|0"},
    {"<|channel|>final<|message|><|end|><|start|>assistant<|channel|>final<|message|>b<|return|>", "|b||stop|0"},
    {"<|channel|>final<|message|>Bye.<|endoftext|>", "|Bye.||stop|0"},
    {"<|channel|>final<|message|>\xC3\xA9\xF0\x9F\x99\x82!<|return|>", "|\xC3\xA9\xF0\x9F\x99\x82!||stop|0"},
    /* cut short */
    {"", "|||length|0"},
    {"<|channel|>final<|message|>Hal", "|Hal||length|0"},
    {"<|channel|>final<|message|>Hi.<|end|>", "|Hi.||length|0"},
    {"<|channel|>ana", "|||length|1"},
    {"<|channel|>commentary to=functions.f <|constrain|>json<|message|>{\"a", "||functions.f({\"a)!|length|0"},
    {"<|channel|>commentary to=functions.f <|constrain|>js", "|||length|1"},
    {"<|channel|>commentary to=functions.f js", "|||length|1"},
    {"<|channel|>commentary to=func", "|||length|1"},
    {"<|channel|>analysis<|message|>Only thoughts.<|return|>", "Only thoughts.|||stop|0"},
    {"<|return|>", "|||stop|0"},
    /* free text or noise after <|channel|> */
    {"<|channel|>commentary?commentary?<|end|><|start|>assistant<|channel|>final<|message|>Yes.<|return|>",
     "|Yes.||stop|1"},
    {"<|channel|>?\?\?<|message|>Yes.<|return|>", "|Yes.||stop|1"},
    {"<|channel|>?\?\?<|return|>", "|||stop|1"},
    {"<|channel|>final and so on<|message|>Yes.<|return|>", "|Yes.||stop|1"},
    {"<|channel|>analysis The user wants a joke<|message|>Hm.<|return|>", "Hm.|||stop|1"},
    {"<|channel|>The sea is deep.<|return|>", "|The sea is deep.||stop|1"},
    {"<|channel|>final\n<|message|>Yes.<|return|>", "|Yes.||stop|0"},
    /* an unknown, doubled, cut or misspelt channel */
    {"<|channel|>thoughts<|message|>Shown.<|return|>", "|Shown.||stop|1"},
    {"<|channel|>analysisanalysis<|message|>Hm.<|return|>", "Hm.|||stop|1"},
    {"<|channel|>final final<|message|>Yes.<|return|>", "|Yes.||stop|1"},
    {"<|channel|>anaylsis<|message|>Hm.<|return|>", "Hm.|||stop|1"},
    {"<|channel|>analysi<|message|>Hm.<|return|>", "Hm.|||stop|1"},
    {"<|channel|>Analysis<|message|>Hm.<|return|>", "Hm.|||stop|1"},
    {"<|channel|>comentary to=functions.f<|message|>{}<|call|>", "||functions.f({})|tool_calls|1"},
    {"<|channel|><|message|>Yes.<|return|>", "|Yes.||stop|1"},
    {"<|message|>Yes.<|return|>", "|Yes.||stop|1"},
    {"analysis<|message|>Hm.<|return|>", "Hm.|||stop|1"},
    /* <|channel|> twice in a header */
    {"<|channel|>analysis<|channel|>final<|message|>Yes.<|return|>", "|Yes.||stop|1"},
    {"<|channel|>commentary<|channel|>commentary to=functions.f<|message|>{}<|call|>",
     "||functions.f({})|tool_calls|1"},
    {"<|channel|>commentary to=functions.f<|channel|>commentary<|message|>{}<|call|>",
     "||functions.f({})|tool_calls|1"},
    {" to=functions.f<|channel|>analysis<|channel|>commentary<|message|>{}<|call|>", "||functions.f({})|tool_calls|1"},
    {"<|channel|>Hello there.<|channel|>final<|message|>Yes.<|return|>", "|Hello there.\nYes.||stop|2"},
    /* no <|message|> */
    {"<|channel|>final The answer.<|return|>", "|The answer.||stop|1"},
    {"<|channel|>finalThe answer.<|return|>", "|The answer.||stop|1"},
    {"<|channel|>analysis I think.<|end|><|start|>assistant<|channel|>final<|message|>Yes.<|return|>",
     "I think.|Yes.||stop|1"},
    {"<|channel|>commentary to=functions.f json{\"a\":1}<|call|>", "||functions.f({\"a\":1})|tool_calls|1"},
    {"<|channel|>commentary to=functions.f {\"a\":1}<|call|>", "||functions.f({\"a\":1})|tool_calls|1"},
    {"<|channel|>commentary to=functions.f <|constrain|>json{\"a\":1}<|call|>",
     "||functions.f({\"a\":1})|tool_calls|1"},
    {"<|channel|>final <|constrain|>json{\"a\":1}<|return|>", "|{\"a\":1}||stop|1"},
    {"<|channel|>commentary to=functions.f <|constrain|>json<|call|>", "||functions.f()|tool_calls|1"},
    {"<|channel|>final Set x to=5.<|return|>", "|Set x to=5.||stop|1"},
    /* recipients */
    {"<|channel|>commentary to=functions.get-tide.v2<|message|>{}<|call|>", "||functions.get-tide.v2({})|tool_calls|0"},
    {"<|channel|>commentary to=tide<|message|>{}<|call|>", "||tide({})|tool_calls|0"},
    {"<|channel|>commentary to= functions.f<|message|>{}<|call|>", "||functions.f({})|tool_calls|0"},
    {"<|channel|>commentaryto=functions.f<|message|>{}<|call|>", "||functions.f({})|tool_calls|0"},
    {"<|channel|>to=functions.f commentary<|message|>{}<|call|>", "||functions.f({})|tool_calls|0"},
    {"<|channel|>to=functions.f<|message|>{}<|call|>", "||functions.f({})|tool_calls|1"},
    {" to=functions.f<|message|>{}<|call|>", "||functions.f({})|tool_calls|1"},
    {" to=functions.f json<|message|>{}<|call|>", "||functions.f({})|tool_calls|1"},
    {"<|channel|>blah to=functions.f json<|message|>{}<|call|>", "||functions.f({})|tool_calls|1"},
    {"<|channel|>commentary to=<|message|>Hi.<|return|>", "|Hi.||stop|0"},
    {"<|channel|>commentary to=functions.<|message|>Hi.<|return|>", "|Hi.||stop|1"},
    {"<|channel|>commentary to=user<|message|>Hi.<|return|>", "|Hi.||stop|1"},
    {"<|channel|>final<|message|>Hi.<|call|>", "|Hi.||stop|0"},
    /* <|start|>assistant missing or repeated */
    {"<|start|>assistant<|channel|>final<|message|>Yes.<|return|>", "|Yes.||stop|1"},
    {"assistant<|channel|>final<|message|>Yes.<|return|>", "|Yes.||stop|1"},
    {"<|channel|>analysis<|message|>Hm.<|end|><|channel|>final<|message|>Yes.<|return|>", "Hm.|Yes.||stop|1"},
    {"<|channel|>analysis<|message|>Hm.<|end|>assistant<|channel|>final<|message|>Yes.<|return|>", "Hm.|Yes.||stop|0"},
    {"<|channel|>analysis<|message|>Hm.<|end|><|start|><|channel|>final<|message|>Yes.<|return|>", "Hm.|Yes.||stop|1"},
    {"<|channel|>analysis<|message|>Hm.<|end|><|start|>bot<|channel|>final<|message|>Yes.<|return|>",
     "Hm.|Yes.||stop|1"},
    {"<|channel|>analysis<|message|>Hm.<|end|>final<|message|>Yes.<|return|>", "Hm.|Yes.||stop|1"},
    {"<|channel|>analysis<|message|>Hm.<|end|>Yes, it is.<|return|>", "Hm.|Yes, it is.||stop|1"},
    {"<|channel|>analysis<|message|>Hm.<|end|><|start|>Yes.<|return|>", "Hm.|Yes.||stop|1"},
    {"<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant Yes.<|return|>", "Hm.|Yes.||stop|1"},
    {"<|channel|>analysis<|message|>Hm.<|end|><|end|><|start|>assistant<|channel|>final<|message|>Yes.<|return|>",
     "Hm.|Yes.||stop|1"},
    /* <|end|> missing */
    {"<|channel|>analysis<|message|>Hm.<|start|>assistant<|channel|>final<|message|>Yes.<|return|>",
     "Hm.|Yes.||stop|1"},
    {"<|channel|>analysis<|message|>Hm.<|channel|>final<|message|>Yes.<|return|>", "Hm.|Yes.||stop|2"},
    /* no header at all */
    {"Just text.<|return|>", "|Just text.||stop|1"},
    {"\n\nJust text.<|end|>", "|Just text.||length|1"},
    {"to be or not to be<|return|>", "|to be or not to be||stop|1"},
    {"final answer: 4<|return|>", "|final answer: 4||stop|1"},
    {"assistants help<|return|>", "|assistants help||stop|1"},
    {"user input<|return|>", "|user input||stop|1"},
    {"Just text.<|channel|>final<|message|>Yes.<|return|>", "|Just text.\nYes.||stop|3"},
    /* stray special tokens */
    {"<|channel|>final<|message|><|message|>Y<|constrain|>e<|reserved|>s.<|return|>", "|Yes.||stop|3"},
    {"<|channel|>fi<|reserved|>nal<|message|>Yes.<|return|>", "|Yes.||stop|1"},
    /* speaking for someone else */
    {"<|channel|>final<|message|>Hi.<|end|><|start|>user<|message|>Thanks!<|end|>", "|Hi.||stop|1"},
    {"<|channel|>commentary to=functions.f<|message|>{}<|end|><|start|>functions.f to=assistant<|channel|>commentary"
     "<|message|>42<|end|>",
     "||functions.f({})|tool_calls|1"},
    {"<|channel|>commentary to=functions.f<|message|>{}<|end|><|start|>f to=assistant<|channel|>commentary"
     "<|message|>42<|end|>",
     "||functions.f({})|tool_calls|1"},
    {"<|channel|>final<|message|>Hi.<|end|><|start|>user<|channel|>a<|channel|>final<|message|>Thanks!",
     "|Hi.||stop|0"},
    /* characters cut by the end of their message */
    {"<|channel|>final<|message|>\xC3<|end|><|start|>assistant<|channel|>final<|message|>\xA9<|return|>",
     "|\xEF\xBF\xBD\n\xEF\xBF\xBD||stop|0"},
};

static void describe(const outcome *o, buffer *out) {
    const harmony_answer *a = &o->seen.answer;
    assert_ok(buffer_printf(out, err, "%s|%s|", shown(&a->reasoning), shown(&a->content)));
    for (size_t i = 0; i < a->call_count; i++)
        assert_ok(buffer_printf(out, err, "%s(%s)%s", a->calls[i].recipient, shown(&a->calls[i].arguments),
                                a->calls[i].complete ? "" : "!"));
    assert_ok(buffer_printf(out, err, "|%s|%u", harmony_finish_name(o->finish), (unsigned)o->recoveries));
}

static void test_samples(void **state) {
    (void)state;
    size_t wrong = 0;
    for (size_t i = 0; i < sizeof samples / sizeof *samples; i++) {
        outcome o;
        buffer meaning = {0};
        parse_text(small, samples[i].text, &o);
        describe(&o, &meaning);
        if (strcmp(meaning.data, samples[i].meaning) != 0) {
            print_error("%s\n  gives    %s\n  but means %s\n", samples[i].text, meaning.data, samples[i].meaning);
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
    for (size_t i = 0; i < sizeof samples / sizeof *samples; i++) {
        tokens ids = {0};
        vocabulary_encode(small, samples[i].text, &ids);
        for (size_t count = 0; count <= ids.count; count++) {
            outcome o;
            parse(small, ids.ids, count, &o);
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
    assert_ok(harmony_parser_open(&h, watch, &w, &p, err));
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
    parse_text(small, text.data, &o);
    assert_string_equal(shown(&o.seen.answer.content), "Yes.");
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
    assert_ok(harmony_parser_open(&h, watch, &w, &p, err));
    assert_ok(harmony_parser_feed(p, ids.ids[0], err));
    assert_string_equal(shown(&w.answer.content), "J");
    harmony_parser_close(p);
    harmony_answer_free(&w.answer);
    tokens_free(&ids);
}

/* Any ids at all: the sink checks the events, and no text between <|message|> and the next special token is lost. */
static void test_random_ids(void **state) {
    (void)state;
    static const char *const pieces[] = {
        "<|start|>",       "<|end|>",      "<|message|>", "<|channel|>", "<|constrain|>", "<|call|>",
        "<|return|>",      "<|reserved|>", "assistant",   "analysis",    "commentary",    "final",
        " to=functions.f", "to=",          "user",        " ",           "json",          "?",
        "Some text. ",     "\xC3",         "\xA9",        "\xF0\x9F"};
    const size_t piece_count = sizeof pieces / sizeof *pieces;
    uint64_t seed = 3;
    for (int round = 0; round < 20000; round++) {
        outcome o;
        tokens ids = {0};
        size_t length = random_below(&seed, 40);
        for (size_t i = 0; i < length; i++) {
            if (random_below(&seed, 4) == 0) { /* also ids that do not exist */
                uint32_t id = (uint32_t)random_below(&seed, tokenizer_count(small) + 5);
                assert_ok(tokens_add(&ids, id, err));
            } else {
                vocabulary_encode(small, pieces[random_below(&seed, piece_count)], &ids);
            }
        }
        parse(small, ids.ids, ids.count, &o);
        assert_int_equal(o.finish == HARMONY_FINISH_TOOL_CALLS,
                         o.finish != HARMONY_FINISH_LENGTH && o.seen.answer.call_count > 0);
        harmony_answer_free(&o.seen.answer);
        tokens_free(&ids);
    }
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
            parse_text(small, text.data, &o);
            if (!strstr(shown(&o.seen.answer.content), "The sea is deep.")) fail_msg("lost in %s", text.data);
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
    parse_text(t, "<|channel|>commentary to=functions.f json<|message|>{}<|return|>", &o);
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
        cmocka_unit_test(test_samples),
        cmocka_unit_test(test_generation_may_end_anywhere),
        cmocka_unit_test(test_endless_headers_become_text),
        cmocka_unit_test(test_endless_noise_is_dropped),
        cmocka_unit_test(test_plain_text_is_not_held_back),
        cmocka_unit_test(test_random_ids),
        cmocka_unit_test(test_text_is_never_lost),
        cmocka_unit_test(test_vocabulary_without_optional_tokens),
        cmocka_unit_test(test_a_failing_sink_is_reported),
        cmocka_unit_test(test_lack_of_memory),
    };
    return cmocka_run_group_tests(tests, open_small, close_small);
}
