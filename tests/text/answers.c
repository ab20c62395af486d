#include "text/answers.h"

gptoss_status answers_watch(void *context, const harmony_event *e, gptoss_error *error) {
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

void answers_parse(const tokenizer *t, const uint32_t *ids, size_t count, outcome *out) {
    harmony h;
    harmony_parser *p;
    *out = (outcome){0};
    assert_ok(harmony_open(t, &h, err));
    assert_ok(harmony_parser_open(&h, answers_watch, &out->seen, &p, err));
    for (size_t i = 0; i < count; i++) assert_ok(harmony_parser_feed(p, ids[i], err));
    out->done = harmony_parser_done(p);
    assert_ok(harmony_parser_finish(p, err));
    assert_true(harmony_parser_done(p));
    assert_false(out->seen.open);
    out->finish = harmony_parser_result(p);
    out->recoveries = *harmony_parser_recoveries(p);
    harmony_parser_close(p);
}

void answers_parse_text(const tokenizer *t, const char *text, outcome *out) {
    tokens ids = {0};
    vocabulary_encode(t, text, &ids);
    answers_parse(t, ids.ids, ids.count, out);
    tokens_free(&ids);
}

const char *answers_shown(const buffer *b) { return b->data ? b->data : ""; }

const sample answers_samples[] = {
    /* as the format asks */
    {"<|channel|>final<|message|>Hi.<|return|>", "|Hi.||stop|"},
    {"<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>final<|message|>Hi.<|return|>",
     "Hm.|Hi.||stop|"},
    {"<|channel|>commentary to=functions.f <|constrain|>json<|message|>{}<|call|>", "||functions.f({})|tool_calls|"},
    {" to=functions.f<|channel|>commentary <|constrain|>json<|message|>{}<|call|>", "||functions.f({})|tool_calls|"},
    {" to=functions.f<|channel|>commentary json<|message|>{}<|call|>", "||functions.f({})|tool_calls|"},
    {"<|channel|>analysis to=python code<|message|>1+1<|call|>", "||python(1+1)|tool_calls|"},
    {"<|channel|>analysis to=browser.search code<|message|>{}<|call|>", "||browser.search({})|tool_calls|"},
    {"<|channel|>commentary to=functions.f <|constrain|>json<|message|>{}<|end|>"
     "<|start|>assistant<|channel|>commentary to=functions.g <|constrain|>json<|message|>[]<|call|>",
     "||functions.f({})functions.g([])|tool_calls|"},
    {"<|channel|>final <|constrain|>json<|message|>{}<|return|>", "|{}||stop|"},
    {"<|channel|>commentary<|message|>Wait.<|end|><|start|>assistant<|channel|>final<|message|>Done.<|return|>",
     "|Wait.\nDone.||stop|"},
    {"<|channel|>final<|message|>Text after the end is ignored.<|return|>more<|message|>",
     "|Text after the end is ignored.||stop|"},
    {"<|channel|>final<|message|><|end|><|start|>assistant<|channel|>final<|message|>b<|return|>", "|b||stop|"},
    {"<|channel|>final<|message|>Bye.<|endoftext|>", "|Bye.||stop|"},
    {"<|channel|>final<|message|>\xC3\xA9\xF0\x9F\x99\x82!<|return|>", "|\xC3\xA9\xF0\x9F\x99\x82!||stop|"},
    /* examples of the format's documentation */
    {"<|channel|>analysis<|message|>Need to use function get_weather.<|end|><|start|>assistant<|channel|>commentary "
     "to=functions.get_weather <|constrain|>json<|message|>{\"location\":\"San Francisco\"}<|call|>",
     "Need to use function get_weather.||functions.get_weather({\"location\":\"San Francisco\"})|tool_calls|"},
    {"<|channel|>analysis<|message|>{long chain of thought}<|end|><|start|>assistant<|channel|>commentary<|message|>"
     "**Action plan**:\n1. Generate an HTML file\n---\nWill start<|end|><|start|>assistant<|channel|>commentary "
     "to=functions.generate_file<|constrain|>json<|message|>{\"template\": \"basic_html\"}<|call|>",
     "{long chain of thought}|**Action plan**:\n1. Generate an HTML file\n---\nWill start|functions.generate_file("
     "{\"template\": \"basic_html\"})|tool_calls|"},
    {"<|channel|>analysis<|message|>Look it up.<|end|><|start|>assistant<|channel|>analysis to=lookup_weather code"
     "<|message|>{\"location\": \"Tokyo\"}",
     "Look it up.||lookup_weather({\"location\": \"Tokyo\"})!|length|call"},
    /* cut short */
    {"", "|||length|"},
    {"<|channel|>final<|message|>Hal", "|Hal||length|"},
    {"<|channel|>final<|message|>Hi.<|end|>", "|Hi.||length|"},
    {"<|channel|>ana", "|||length|noise"},
    {"<|channel|>commentary to=functions.f <|constrain|>json<|message|>{\"a", "||functions.f({\"a)!|length|call"},
    {"<|channel|>commentary to=functions.f <|constrain|>js", "|||length|message"},
    {"<|channel|>commentary to=functions.f js", "|||length|message"},
    {"<|channel|>commentary to=func", "|||length|message"},
    {"<|channel|>analysis<|message|>Only thoughts.<|return|>", "Only thoughts.|||stop|answer"},
    {"<|return|>", "|||stop|answer"},
    /* free text or noise after <|channel|> */
    {"<|channel|>commentary?commentary?<|end|><|start|>assistant<|channel|>final<|message|>Yes.<|return|>",
     "|Yes.||stop|noise"},
    {"<|channel|>?\?\?<|message|>Yes.<|return|>", "|Yes.||stop|channel"},
    {"<|channel|>?\?\?<|return|>", "|||stop|noise answer"},
    {"<|channel|>final and so on<|message|>Yes.<|return|>", "|Yes.||stop|noise"},
    {"<|channel|>analysis The user wants a joke<|message|>Hm.<|return|>", "Hm.|||stop|noise answer"},
    {"<|channel|>The sea is deep.<|return|>", "|The sea is deep.||stop|message"},
    {"<|channel|>final\n<|message|>Yes.<|return|>", "|Yes.||stop|"},
    /* an unknown, doubled, cut or misspelt channel */
    {"<|channel|>thoughts<|message|>Shown.<|return|>", "|Shown.||stop|channel"},
    {"<|channel|>analysisanalysis<|message|>Hm.<|return|>", "Hm.|||stop|channel answer"},
    {"<|channel|>final final<|message|>Yes.<|return|>", "|Yes.||stop|noise"},
    {"<|channel|>anaylsis<|message|>Hm.<|return|>", "Hm.|||stop|channel answer"},
    {"<|channel|>analysi<|message|>Hm.<|return|>", "Hm.|||stop|channel answer"},
    {"<|channel|>Analysis<|message|>Hm.<|return|>", "Hm.|||stop|channel answer"},
    {"<|channel|>comentary to=functions.f<|message|>{}<|call|>", "||functions.f({})|tool_calls|channel"},
    {"<|channel|><|message|>Yes.<|return|>", "|Yes.||stop|channel"},
    {"<|message|>Yes.<|return|>", "|Yes.||stop|channel"},
    {"analysis<|message|>Hm.<|return|>", "Hm.|||stop|start answer"},
    /* <|channel|> twice in a header */
    {"<|channel|>analysis<|channel|>final<|message|>Yes.<|return|>", "|Yes.||stop|two_channels"},
    {"<|channel|>commentary<|channel|>commentary to=functions.f<|message|>{}<|call|>",
     "||functions.f({})|tool_calls|two_channels"},
    {"<|channel|>commentary to=functions.f<|channel|>commentary<|message|>{}<|call|>",
     "||functions.f({})|tool_calls|two_channels"},
    {" to=functions.f<|channel|>analysis<|channel|>commentary<|message|>{}<|call|>",
     "||functions.f({})|tool_calls|two_channels"},
    {"<|channel|>Hello there.<|channel|>final<|message|>Yes.<|return|>", "|Hello there.\nYes.||stop|message start"},
    /* no <|message|> */
    {"<|channel|>final The answer.<|return|>", "|The answer.||stop|message"},
    {"<|channel|>finalThe answer.<|return|>", "|The answer.||stop|message"},
    {"<|channel|>analysis I think.<|end|><|start|>assistant<|channel|>final<|message|>Yes.<|return|>",
     "I think.|Yes.||stop|message"},
    {"<|channel|>commentary to=functions.f json{\"a\":1}<|call|>", "||functions.f({\"a\":1})|tool_calls|message"},
    {"<|channel|>commentary to=functions.f {\"a\":1}<|call|>", "||functions.f({\"a\":1})|tool_calls|message"},
    {"<|channel|>commentary to=functions.f <|constrain|>json{\"a\":1}<|call|>",
     "||functions.f({\"a\":1})|tool_calls|message"},
    {"<|channel|>final <|constrain|>json{\"a\":1}<|return|>", "|{\"a\":1}||stop|message"},
    {"<|channel|>commentary to=functions.f <|constrain|>json<|call|>", "||functions.f()|tool_calls|message"},
    {"<|channel|>final Set x to=5.<|return|>", "|Set x to=5.||stop|message"},
    /* recipients */
    {"<|channel|>commentary to=functions.get-tide.v2<|message|>{}<|call|>", "||functions.get-tide.v2({})|tool_calls|"},
    {"<|channel|>commentary to=tide<|message|>{}<|call|>", "||tide({})|tool_calls|"},
    {"<|channel|>commentary to= functions.f<|message|>{}<|call|>", "||functions.f({})|tool_calls|"},
    {"<|channel|>commentaryto=functions.f<|message|>{}<|call|>", "||functions.f({})|tool_calls|"},
    {"<|channel|>to=functions.f commentary<|message|>{}<|call|>", "||functions.f({})|tool_calls|"},
    {"<|channel|>to=functions.f<|message|>{}<|call|>", "||functions.f({})|tool_calls|channel"},
    {" to=functions.f<|message|>{}<|call|>", "||functions.f({})|tool_calls|channel"},
    {" to=functions.f json<|message|>{}<|call|>", "||functions.f({})|tool_calls|channel"},
    {"<|channel|>blah to=functions.f json<|message|>{}<|call|>", "||functions.f({})|tool_calls|channel"},
    {"<|channel|>commentary to=<|message|>Hi.<|return|>", "|Hi.||stop|"},
    {"<|channel|>commentary to=functions.<|message|>Hi.<|return|>", "|Hi.||stop|recipient"},
    {"<|channel|>commentary to=user<|message|>Hi.<|return|>", "|Hi.||stop|recipient"},
    {"<|channel|>final<|message|>Hi.<|call|>", "|Hi.||stop|"},
    /* <|start|>assistant missing or repeated */
    {"<|start|>assistant<|channel|>final<|message|>Yes.<|return|>", "|Yes.||stop|start"},
    {"assistant<|channel|>final<|message|>Yes.<|return|>", "|Yes.||stop|start"},
    {"<|channel|>analysis<|message|>Hm.<|end|><|channel|>final<|message|>Yes.<|return|>", "Hm.|Yes.||stop|start"},
    {"<|channel|>analysis<|message|>Hm.<|end|>assistant<|channel|>final<|message|>Yes.<|return|>", "Hm.|Yes.||stop|"},
    {"<|channel|>analysis<|message|>Hm.<|end|><|start|><|channel|>final<|message|>Yes.<|return|>",
     "Hm.|Yes.||stop|start"},
    {"<|channel|>analysis<|message|>Hm.<|end|><|start|>bot<|channel|>final<|message|>Yes.<|return|>",
     "Hm.|Yes.||stop|start"},
    {"<|channel|>analysis<|message|>Hm.<|end|>final<|message|>Yes.<|return|>", "Hm.|Yes.||stop|start"},
    {"<|channel|>analysis<|message|>Hm.<|end|>Yes, it is.<|return|>", "Hm.|Yes, it is.||stop|header"},
    {"<|channel|>analysis<|message|>Hm.<|end|><|start|>Yes.<|return|>", "Hm.|Yes.||stop|header"},
    {"<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant Yes.<|return|>", "Hm.|Yes.||stop|header"},
    {"<|channel|>analysis<|message|>Hm.<|end|><|end|><|start|>assistant<|channel|>final<|message|>Yes.<|return|>",
     "Hm.|Yes.||stop|stray"},
    /* <|end|> missing */
    {"<|channel|>analysis<|message|>Hm.<|start|>assistant<|channel|>final<|message|>Yes.<|return|>",
     "Hm.|Yes.||stop|end"},
    {"<|channel|>analysis<|message|>Hm.<|channel|>final<|message|>Yes.<|return|>", "Hm.|Yes.||stop|start end"},
    /* no header at all */
    {"Just text.<|return|>", "|Just text.||stop|header"},
    {"\n\nJust text.<|end|>", "|Just text.||length|header"},
    {"to be or not to be<|return|>", "|to be or not to be||stop|header"},
    {"final answer: 4<|return|>", "|final answer: 4||stop|header"},
    {"assistants help<|return|>", "|assistants help||stop|header"},
    {"user input<|return|>", "|user input||stop|header"},
    {"Just text.<|channel|>final<|message|>Yes.<|return|>", "|Just text.\nYes.||stop|header start end"},
    /* stray special tokens */
    {"<|channel|>final<|message|><|message|>Y<|constrain|>e<|reserved|>s.<|return|>", "|Yes.||stop|stray stray stray"},
    {"<|channel|>fi<|reserved|>nal<|message|>Yes.<|return|>", "|Yes.||stop|stray"},
    /* speaking for someone else */
    {"<|channel|>final<|message|>Hi.<|end|><|start|>user<|message|>Thanks!<|end|>", "|Hi.||stop|role"},
    {"<|channel|>commentary to=functions.f<|message|>{}<|end|><|start|>functions.f to=assistant<|channel|>commentary"
     "<|message|>42<|end|>",
     "||functions.f({})|tool_calls|role"},
    {"<|channel|>commentary to=functions.f<|message|>{}<|end|><|start|>f to=assistant<|channel|>commentary"
     "<|message|>42<|end|>",
     "||functions.f({})|tool_calls|role"},
    {"<|channel|>final<|message|>Hi.<|end|><|start|>user<|channel|>a<|channel|>final<|message|>Thanks!",
     "|Hi.||stop|role"},
    /* characters cut by the end of their message */
    {"<|channel|>final<|message|>\xC3<|end|><|start|>assistant<|channel|>final<|message|>\xA9<|return|>",
     "|\xEF\xBF\xBD\n\xEF\xBF\xBD||stop|"},
};

const size_t answers_sample_count = sizeof answers_samples / sizeof *answers_samples;
