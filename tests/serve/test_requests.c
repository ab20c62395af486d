/* Bodies of requests become conversations, and what models write becomes JSON: without a server. */
#include "base/utf8.h"
#include "serve/chat_answer.h"
#include "serve/chat_request.h"
#include "serve/mutation.h"
#include "support.h"

enum { VOCABULARY = 1000 };

static gptoss_status parse(const char *text, cJSON **out, failure *why) {
    buffer body = {0};
    if (text[0]) assert_ok(buffer_append_text(&body, text, err));
    gptoss_status status = json_input_parse(&body, out, why);
    buffer_free(&body);
    return status;
}

static void reads_json_strictly(void **state) {
    (void)state;
    static const char *const good[] = {"{}", " {\"a\":[1,-2.5e3,true,null,\"\\u00e9\\\\u0000\"]}\r\n\t",
                                       "{\"a\":[0,-0,0.0,10,1E+2,2e-07,-0.5,12345678901234567890]}",
                                       "{\"a\":{\"a\":{}}}"};
    static const char *const bad[] = {"",
                                      "null",
                                      "[1]",
                                      "{",
                                      "{}}",
                                      "{} {}",
                                      "{\"a\":01}",
                                      "{\"a\":-00}",
                                      "{\"a\":1.}",
                                      "{\"a\":-1.e5}",
                                      "{\"a\":[0.5,2.5.]}",
                                      "{\"a\":1e}",
                                      "{\"a\":1-1}",
                                      "{\"a\":-}",
                                      "{\x01\"a\":1}",
                                      "{\"a\":\f1}",
                                      "{\"a\":}",
                                      "{'a':1}",
                                      "{\"a\":1,}",
                                      "{\"a\":NaN}",
                                      "{\"a\":Infinity}",
                                      "{\"a\":1e400}",
                                      "{\"a\":-1e400}",
                                      "{\"a\":1,\"a\":2}",
                                      "{\"a\":\"\\u0000\"}",
                                      "{\"a\":\"\xC0\x80\"}",
                                      "{\"a\":\"\n\"}",
                                      "{\"a\":\"\\ud800\"}",
                                      "{\"a\":\"unended}"};
    cJSON *whole;
    failure why = {0};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        if (parse(good[i], &whole, &why) != GPTOSS_OK) fail_msg("%s: %s", good[i], why.error.text);
        cJSON_Delete(whole);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        if (parse(bad[i], &whole, &why) == GPTOSS_OK) fail_msg("accepted: %s", bad[i]);
        assert_int_equal(failure_http(&why), 400);
        assert_true(why.error.text[0] != '\0');
    }
}

static void limits_depth(void **state) {
    (void)state;
    char text[4 * JSON_INPUT_DEPTH + 64];
    for (int extra = 0; extra < 2; extra++) {
        int arrays = JSON_INPUT_DEPTH - 1 + extra;
        size_t at = (size_t)sprintf(text, "{\"a\":");
        for (int i = 0; i < arrays; i++) text[at++] = '[';
        for (int i = 0; i < arrays; i++) text[at++] = ']';
        strcpy(text + at, "}");
        cJSON *whole;
        failure why = {0};
        assert_int_equal(parse(text, &whole, &why), extra ? GPTOSS_BAD_INPUT : GPTOSS_OK);
        if (!extra) cJSON_Delete(whole);
    }
}

/* `count` times `part`, in which each # is the number of the time, with commas between. */
static void append_many(buffer *out, const char *part, int count) {
    for (int i = 0; i < count; i++) {
        if (i) assert_ok(buffer_append_text(out, ",", err));
        for (const char *c = part; *c; c++)
            assert_ok(*c == '#' ? buffer_printf(out, err, "%d", i) : buffer_append(out, c, 1, err));
    }
}

static void limits_values(void **state) {
    (void)state;
    for (int extra = 0; extra < 2; extra++) {
        buffer text = {0};
        cJSON *whole;
        failure why = {0};
        assert_ok(buffer_append_text(&text, "{\"a\":[\",,[{\",", err)); /* those in texts do not count */
        append_many(&text, "0", JSON_INPUT_VALUES - 3 + extra);
        assert_ok(buffer_append_text(&text, "]}", err));
        assert_int_equal(parse(text.data, &whole, &why), extra ? GPTOSS_BAD_INPUT : GPTOSS_OK);
        if (extra) assert_non_null(strstr(why.error.text, "more than 524288 values"));
        if (!extra) cJSON_Delete(whole);
        buffer_free(&text);
    }
}

static chat_request read_chat(const char *text) {
    cJSON *body;
    chat_request r = {0};
    failure why = {0};
    if (parse(text, &body, &why) != GPTOSS_OK || chat_request_read(body, VOCABULARY, &r, &why) != GPTOSS_OK)
        fail_msg("%s: %s", text, why.error.text);
    return r;
}

#define HELLO "\"messages\":[{\"role\":\"user\",\"content\":\"Hello\"}]"

static void reads_options(void **state) {
    (void)state;
    chat_request r = read_chat("{" HELLO "}");
    assert_true(r.options.sampling.temperature == 1 && r.options.sampling.top_p == 1);
    assert_int_equal(r.options.n, 1);
    assert_int_equal(r.options.max_tokens, 0);
    assert_int_equal(r.prompt.effort, HARMONY_MEDIUM);
    assert_false(r.options.stream);
    chat_request other = read_chat("{" HELLO "}");
    assert_true(r.options.sampling.seed != other.options.sampling.seed);
    chat_request_free(&other);
    chat_request_free(&r);
    r = read_chat(
        "{" HELLO
        ",\"temperature\":0.5,\"top_p\":0.9,\"top_k\":-1,\"min_p\":0.1,\"frequency_penalty\":-2,\"presence_penalty\":2,"
        "\"seed\":-7,\"n\":4,\"max_tokens\":9,\"max_completion_tokens\":8,\"stop\":[\"a\",\"b\"],\"stream\":true,"
        "\"stream_options\":{\"include_usage\":true},\"logit_bias\":{\"5\":-100,\"999\":1.5},\"logprobs\":true,\"top_"
        "logprobs\":20,"
        "\"reasoning_effort\":\"high\",\"user\":\"u\",\"unknown\":{\"ignored\":1},\"tools\":null}");
    const sampler_settings *s = &r.options.sampling;
    assert_true(s->temperature == 0.5 && s->top_p == 0.9 && s->min_p == 0.1 && s->top_k == 0);
    assert_true(s->frequency_penalty == -2 && s->presence_penalty == 2 && s->seed == (uint64_t)-7);
    assert_int_equal(r.options.max_tokens, 8);
    assert_int_equal(r.options.stop_count, 2);
    assert_string_equal(r.options.stops[1], "b");
    assert_int_equal(s->n_biases, 2);
    assert_int_equal(s->biases[1].token, 999);
    assert_true(r.options.include_usage && r.logprobs && r.n_top == 20);
    assert_int_equal(r.prompt.effort, HARMONY_HIGH);
    chat_request_free(&r);
}

static void takes_the_nearest_effort_it_knows(void **state) {
    (void)state;
    static const struct {
        const char *text;
        harmony_effort effort;
    } cases[] = {{"low", HARMONY_LOW},  {"medium", HARMONY_MEDIUM}, {"high", HARMONY_HIGH},
                 {"none", HARMONY_LOW}, {"minimal", HARMONY_LOW},   {"xhigh", HARMONY_HIGH}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char body[128];
        snprintf(body, sizeof body, "{" HELLO ",\"reasoning_effort\":\"%s\"}", cases[i].text);
        chat_request r = read_chat(body);
        assert_int_equal(r.prompt.effort, cases[i].effort);
        chat_request_free(&r);
    }
}

/* As the API has it, and with all bits that a client may have drawn. */
static void takes_any_seed_of_64_bits(void **state) {
    (void)state;
    static const struct {
        const char *text;
        uint64_t seed;
    } cases[] = {{"0", 0},
                 {"9007199254740993", UINT64_C(1) << 53},
                 {"9223372036854775807", UINT64_C(1) << 63},
                 {"-9223372036854775808", UINT64_C(1) << 63},
                 {"-1", UINT64_MAX},
                 {"18446744073709551615", UINT64_MAX}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[128];
        snprintf(text, sizeof text, "{" HELLO ",\"seed\":%s}", cases[i].text);
        chat_request r = read_chat(text);
        assert_true(r.options.sampling.seed == cases[i].seed);
        chat_request_free(&r);
    }
}

static void reads_conversations(void **state) {
    (void)state;
    chat_request r = read_chat("{\"messages\":[{\"role\":\"system\",\"content\":\"Be "
                               "kind.\"},{\"role\":\"developer\",\"content\":[{\"type\":\"text\",\"text\":\"Be \"},"
                               "{\"type\":\"text\",\"text\":\"brief.\"}]},{\"role\":\"user\",\"content\":\"Tide?\"},{"
                               "\"role\":\"assistant\",\"content\":\"Let me look.\","
                               "\"reasoning_content\":\"A "
                               "call.\",\"tool_calls\":[{\"id\":\"1\",\"type\":\"function\",\"function\":{\"name\":"
                               "\"tide\",\"arguments\":\"{\\\"a\\\":1}\"}},"
                               "{\"id\":\"2\",\"type\":\"function\",\"function\":{\"name\":\"moon\",\"arguments\":\"{}"
                               "\"}}]},{\"role\":\"tool\",\"tool_call_id\":\"2\",\"content\":\"full\"},"
                               "{\"role\":\"assistant\",\"content\":\"High.\"}]}");
    static const struct {
        harmony_role role;
        harmony_channel channel;
        const char *tool, *text;
    } wanted[] = {{HARMONY_USER, HARMONY_FINAL, NULL, "Tide?"},
                  {HARMONY_ASSISTANT, HARMONY_ANALYSIS, NULL, "A call."},
                  {HARMONY_ASSISTANT, HARMONY_COMMENTARY, NULL, "Let me look."},
                  {HARMONY_ASSISTANT, HARMONY_COMMENTARY, "functions.tide", "{\"a\":1}"},
                  {HARMONY_ASSISTANT, HARMONY_COMMENTARY, "functions.moon", "{}"},
                  {HARMONY_TOOL, HARMONY_COMMENTARY, "functions.moon", "full"},
                  {HARMONY_ASSISTANT, HARMONY_FINAL, NULL, "High."}};
    size_t count = sizeof wanted / sizeof *wanted;
    assert_string_equal(r.prompt.instructions, "Be kind.\n\nBe brief.");
    assert_int_equal(r.prompt.message_count, count);
    for (size_t i = 0; i < count; i++) {
        const harmony_message *m = &r.prompt.messages[i];
        assert_int_equal(m->role, wanted[i].role);
        assert_int_equal(m->channel, wanted[i].channel);
        assert_int_equal(m->size, strlen(wanted[i].text));
        assert_memory_equal(m->text, wanted[i].text, m->size);
        assert_int_equal(!m->tool, !wanted[i].tool);
        if (m->tool) assert_string_equal(m->tool, wanted[i].tool);
    }
    chat_request_free(&r);
}

static void reads_tools_and_forms(void **state) {
    (void)state;
    chat_request r = read_chat(
        "{" HELLO
        ",\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"tide\",\"description\":\"d\",\"strict\":true,"
        "\"parameters\":{\"type\":\"object\"}}},{\"type\":\"function\",\"function\":{\"name\":\"moon\"}}],"
        "\"tool_choice\":{\"type\":\"function\",\"function\":{\"name\":\"moon\"}},\"parallel_tool_calls\":false,"
        "\"response_format\":{\"type\":\"json_schema\",\"json_schema\":{\"name\":\"f\",\"schema\":{\"type\":\"object\"}"
        "}}}");
    assert_int_equal(r.prompt.function_count, 2);
    assert_string_equal(r.functions[0].description, "d");
    assert_true(r.functions[0].strict && !r.functions[1].strict && !r.functions[1].parameters);
    assert_int_equal(r.rules.choice, CONSTRAINT_NAMED);
    assert_string_equal(r.rules.name, "moon");
    assert_false(r.rules.parallel);
    assert_string_equal(r.prompt.format_name, "f");
    assert_ptr_equal(r.rules.schema, r.prompt.format_schema);
    chat_request_free(&r);
}

/* Calls of the model's own tools and their results keep these names, and only where the request asks for them. */
static void describes_built_in_tools(void **state) {
    (void)state;
    static const char form[] =
        "{\"messages\":[{\"role\":\"user\",\"content\":\"?\"},{\"role\":\"assistant\",\"tool_calls\":[{\"id\":\"a\","
        "\"type\":\"function\",\"function\":{\"name\":\"browser.open\",\"arguments\":\"{}\"}},{\"id\":\"b\",\"type\":"
        "\"function\",\"function\":{\"name\":\"python\",\"arguments\":\"2+2\"}}]},{\"role\":\"tool\",\"tool_call_id\":"
        "\"b\",\"content\":\"4\"}],\"tools\":[%s],\"tool_choice\":\"%s\"}";
    static const struct {
        const char *tools, *choice;
        bool browser, python, may_call;
    } cases[] = {
        {"", "auto", false, false, false},
        {"{\"type\":\"python\"}", "auto", false, true, true},
        {"{\"type\":\"browser\"},{\"type\":\"python\"}", "auto", true, true, true},
        {"{\"type\":\"browser\"},{\"type\":\"python\"}", "none", true, true, false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        buffer body = {0}, text = {0};
        assert_ok(buffer_printf(&body, err, form, cases[i].tools, cases[i].choice));
        chat_request r = read_chat(body.data);
        assert_int_equal(r.rules.browser, cases[i].browser && cases[i].may_call);
        assert_int_equal(r.rules.python, cases[i].python && cases[i].may_call);
        assert_ok(harmony_render_text(&r.prompt, &text, err));
        assert_int_equal(strstr(text.data, "\n# Tools\n\n## ") != NULL, cases[i].browser || cases[i].python);
        assert_int_equal(strstr(text.data, "namespace browser {") != NULL, cases[i].browser);
        assert_non_null(strstr(text.data, cases[i].browser
                                              ? "assistant to=browser.open<|channel|>analysis code<|message|>{}<|call|>"
                                              : "assistant to=functions.browser.open<|channel|>commentary "
                                                "<|constrain|>json<|message|>{}<|call|>"));
        assert_non_null(strstr(
            text.data, cases[i].python ? "assistant to=python<|channel|>analysis code<|message|>2+2<|call|><|start|>"
                                         "python to=assistant<|channel|>commentary<|message|>4<|end|>"
                                       : "<|start|>functions.python to=assistant<|channel|>"));
        chat_request_free(&r);
        buffer_free(&body);
        buffer_free(&text);
    }
}

#define TOOLS                                                                                                   \
    "\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"tide\"}},{\"type\":\"function\",\"function\":{" \
    "\"name\":"                                                                                                 \
    "\"moon\"}},{\"type\":\"function\",\"function\":{\"name\":\"wind\"}}]"

#define ALLOW(mode, tools) \
    "\"tool_choice\":{\"type\":\"allowed_tools\",\"allowed_tools\":{\"mode\":" mode ",\"tools\":[" tools "]}}"

#define FUNCTION(name) "{\"type\":\"function\",\"function\":{\"name\":\"" name "\"}}"

static void allows_some_of_the_tools(void **state) {
    (void)state;
    chat_request r = read_chat("{" HELLO "," TOOLS "," ALLOW("\"auto\"", FUNCTION("wind") "," FUNCTION("tide")) "}");
    assert_int_equal(r.prompt.function_count, 3); /* the model is told of all */
    assert_true(!r.functions[0].barred && r.functions[1].barred && !r.functions[2].barred);
    assert_int_equal(r.rules.choice, CONSTRAINT_AUTO);
    chat_request_free(&r);
    r = read_chat("{" HELLO "," TOOLS "," ALLOW("\"required\"", FUNCTION("moon")) "}");
    assert_true(r.functions[0].barred && !r.functions[1].barred && r.functions[2].barred);
    assert_int_equal(r.rules.choice, CONSTRAINT_REQUIRED);
    chat_request_free(&r);
}

/* Clients number their calls anew in each turn. */
static void finds_the_latest_call_of_an_id(void **state) {
    (void)state;
    buffer body = {0};
    static const char *const names[] = {"tide", "moon", "wind"};
    assert_ok(buffer_append_text(&body, "{\"messages\":[{\"role\":\"user\",\"content\":\"?\"}", err));
    for (int i = 0; i < 3; i++)
        assert_ok(
            buffer_printf(&body, err,
                          ",{\"role\":\"assistant\",\"tool_calls\":[{\"id\":\"1\",\"function\":{\"name\":\"%s\"}}]},"
                          "{\"role\":\"tool\",\"tool_call_id\":\"1\",\"content\":\"\"}",
                          names[i]));
    assert_ok(buffer_append_text(&body, "]}", err));
    chat_request r = read_chat(body.data);
    assert_int_equal(r.prompt.message_count, 7);
    for (int i = 0; i < 3; i++) assert_string_equal(harmony_function_name(r.prompt.messages[2 + 2 * i].tool), names[i]);
    chat_request_free(&r);
    buffer_free(&body);
}

/* As many calls and results as a body has room for: looked up one by one, they would take minutes. */
static void reads_very_many_results(void **state) {
    (void)state;
    enum { CALLS = 40000 };
    buffer body = {0};
    assert_ok(buffer_append_text(&body, "{\"messages\":[{\"role\":\"assistant\",\"tool_calls\":[", err));
    for (int i = 0; i < CALLS; i++)
        assert_ok(
            buffer_printf(&body, err, "%s{\"id\":\"call_%d\",\"function\":{\"name\":\"f%d\"}}", i ? "," : "", i, i));
    assert_ok(buffer_append_text(&body, "]}", err));
    for (int i = CALLS; i-- > 0;)
        assert_ok(buffer_printf(&body, err, ",{\"role\":\"tool\",\"tool_call_id\":\"call_%d\",\"content\":\"\"}", i));
    assert_ok(buffer_append_text(&body, "]}", err));
    chat_request r = read_chat(body.data);
    assert_int_equal(r.prompt.message_count, 2 * CALLS);
    assert_string_equal(r.prompt.messages[CALLS].tool, "functions.f39999");
    assert_string_equal(r.prompt.messages[2 * CALLS - 1].tool, "functions.f0");
    chat_request_free(&r);
    buffer_free(&body);
}

static void names_the_field_that_is_wrong(void **state) {
    (void)state;
    static const char *const cases[][2] = {
        {"{" HELLO ",\"temperature\":2.1}", "temperature"},
        {"{" HELLO ",\"telemetry\":\"all\"}", "telemetry"},
        {"{" HELLO ",\"functions\":[]}", "functions"},
        {"{" HELLO ",\"web_search_options\":{}}", "web_search_options"},
        {"{" HELLO ",\"tools\":[{\"type\":\"code_interpreter\"}]}", "tools[0].type"},
        {"{" HELLO ",\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"python\"}},{\"type\":\"python\"}]}",
         "tools"},
        {"{" HELLO ",\"tools\":[{\"type\":\"python\"}],\"tool_choice\":\"required\"}", "tool_choice"},
        {"{" HELLO ",\"harmony\":false}", "harmony"},
        {"{" HELLO ",\"temperature\":\"hot\"}", "temperature"},
        {"{" HELLO ",\"seed\":18446744073709560000}", "seed"},
        {"{" HELLO ",\"max_tokens\":0}", "max_tokens"},
        {"{" HELLO ",\"max_tokens\":1e300}", "max_tokens"},
        {"{" HELLO ",\"stream\":1}", "stream"},
        {"{" HELLO ",\"stop\":\"\"}", "stop"},
        {"{" HELLO ",\"stop\":[\"1\",\"2\",\"3\",\"4\",\"5\",\"6\",\"7\",\"8\",\"9\",\"10\",\"11\",\"12\",\"13\","
         "\"14\",\"15\",\"16\",\"17\"]}",
         "stop"},
        {"{" HELLO ",\"logit_bias\":{\"1000\":1}}", "logit_bias"},
        {"{" HELLO ",\"logit_bias\":{\"1\":101}}", "logit_bias"},
        {"{" HELLO ",\"logit_bias\":{\"one\":1}}", "logit_bias"},
        {"{" HELLO ",\"logprobs\":true,\"top_logprobs\":21}", "top_logprobs"},
        {"{" HELLO ",\"tools\":{}}", "tools"},
        {"{" HELLO ",\"tools\":[{}]}", "tools[0].type"},
        {"{" HELLO ",\"tools\":[{\"type\":\"function\"}]}", "tools[0].function"},
        {"{" HELLO ",\"tools\":[{\"type\":\"python\"}," FUNCTION("f") ",{\"type\":\"browser\"}," FUNCTION("a b") "]}",
         "tools[3].function.name"},
        {"{" HELLO ",\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"a b\"}}]}", "tools[0].function.name"},
        {"{" HELLO ",\"tool_choice\":\"maybe\"}", "tool_choice"},
        {"{" HELLO ",\"tool_choice\":{\"function\":{\"name\":\"x\"}}}", "tool_choice.function.name"},
        {"{" HELLO ",\"tool_choice\":{\"type\":\"allowed_tools\"}}", "tool_choice.allowed_tools"},
        {"{" HELLO "," TOOLS "," ALLOW("7", FUNCTION("tide")) "}", "tool_choice.allowed_tools.mode"},
        {"{" HELLO "," TOOLS "," ALLOW("\"auto\"", "") "}", "tool_choice.allowed_tools.tools"},
        {"{" HELLO "," TOOLS "," ALLOW("\"auto\"", "7") "}", "tool_choice.allowed_tools.tools[0]"},
        {"{" HELLO "," TOOLS "," ALLOW("\"auto\"", FUNCTION("rain")) "}",
         "tool_choice.allowed_tools.tools[0].function.name"},
        {"{" HELLO "," TOOLS "," ALLOW("\"auto\"", "{},{},{},{}") "}", "tool_choice.allowed_tools.tools[0].function"},
        {"{" HELLO ",\"response_format\":{\"type\":\"xml\"}}", "response_format.type"},
        {"{" HELLO ",\"response_format\":{\"type\":\"json_schema\"}}", "response_format.json_schema"},
        {"{" HELLO ",\"response_format\":{\"type\":\"json_schema\",\"json_schema\":{\"name\":\"f\",\"strict\":\"no\","
         "\"schema\":{}}}}",
         "response_format.json_schema.strict"},
        {"{" HELLO ",\"model\":7}", "model"},
        {"{\"messages\":[]}", "messages"},
        {"{\"messages\":[{\"role\":\"assistant\"}]}", "messages[0].content"},
        {"{\"messages\":[{\"role\":\"user\",\"content\":7}]}", "messages[0].content"},
        {"{\"messages\":[{\"role\":\"user\",\"content\":[7]}]}", "messages[0].content[0]"},
        {"{\"messages\":[{\"content\":\"\"}]}", "messages[0].role"},
        {"{\"messages\":[{\"role\":\"assistant\",\"tool_calls\":[{}]}]}", "messages[0].tool_calls[0].function"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        cJSON *body;
        chat_request r;
        failure why = {0};
        assert_int_equal(parse(cases[i][0], &body, &why), GPTOSS_OK);
        if (chat_request_read(body, VOCABULARY, &r, &why) == GPTOSS_OK) fail_msg("accepted: %s", cases[i][0]);
        if (strcmp(why.param, cases[i][1]) != 0 || failure_http(&why) != 400)
            fail_msg("%s: %s, %s", cases[i][0], why.param, why.error.text);
        chat_request_free(&r);
    }
}

static void check_too_much(buffer *text, const char *param, const char *words) {
    cJSON *body;
    chat_request r;
    failure why = {0};
    assert_int_equal(parse(text->data, &body, &why), GPTOSS_OK);
    assert_int_equal(chat_request_read(body, VOCABULARY, &r, &why), GPTOSS_BAD_INPUT);
    assert_string_equal(why.param, param);
    if (!strstr(why.error.text, words)) fail_msg("%s", why.error.text);
    chat_request_free(&r);
    buffer_free(text);
}

static void refuses_too_much(void **state) {
    (void)state;
    buffer text = {0};
    assert_ok(buffer_append_text(&text, "{" HELLO ",\"tools\":[", err));
    append_many(&text, "{\"type\":\"function\",\"function\":{\"name\":\"f#\"}}", 1025);
    assert_ok(buffer_append_text(&text, "]}", err));
    check_too_much(&text, "tools", "at most 1024");
    assert_ok(buffer_append_text(
        &text, "{" HELLO ",\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"f\",\"parameters\":{\"$defs\":{",
        err));
    append_many(&text, "\"d#\":{\"$ref\":\"x\"}", 20000);
    assert_ok(buffer_append_text(&text, "}}}}]}", err));
    check_too_much(&text, "tools", "more than 32768 values");
    assert_ok(buffer_append_text(
        &text,
        "{" HELLO
        ",\"response_format\":{\"type\":\"json_schema\",\"json_schema\":{\"name\":\"f\",\"schema\":{\"enum\":[",
        err));
    append_many(&text, "#", 40000);
    assert_ok(buffer_append_text(&text, "]}}}}", err));
    check_too_much(&text, "response_format.json_schema.schema", "more than 32768 values");
    assert_ok(buffer_append_text(&text, "{" HELLO ",\"stop\":\"", err));
    for (int i = 0; i < 1001; i++) assert_ok(buffer_append_text(&text, "x", err));
    assert_ok(buffer_append_text(&text, "\"}", err));
    check_too_much(&text, "stop", "more than 1000 bytes");
    assert_ok(buffer_append_text(&text, "{" HELLO ",\"logit_bias\":{", err));
    append_many(&text, "\"#\":1", VOCABULARY);
    assert_ok(buffer_append_text(&text, ",\"0000\":1}}", err));
    check_too_much(&text, "logit_bias", "more tokens than the 1000");
}

static void shapes_failures(void **state) {
    (void)state;
    failure why = {0};
    assert_int_equal(failure_set(&why, 429, NULL, "queue_full", "wait %d", 3), GPTOSS_BUSY);
    cJSON *a = failure_json(&why);
    char *text = cJSON_PrintUnformatted(a);
    assert_string_equal(
        text,
        "{\"error\":{\"message\":\"wait 3\",\"type\":\"rate_limit_error\",\"param\":null,\"code\":\"queue_full\"}}");
    cJSON_free(text);
    cJSON_Delete(a);
    failure_field(&why, "n", "too many");
    assert_int_equal(failure_http(&why), 400);
    assert_string_equal(failure_type(&why), "invalid_request_error");
}

/* A field of the client's own that is too long to be named in full is cut between characters. */
static void names_long_fields_in_whole_characters(void **state) {
    (void)state;
    for (int shift = 0; shift < 4; shift++) {
        failure why = {0};
        buffer name = {0};
        assert_ok(buffer_append(&name, "abc", (size_t)shift, err));
        for (int i = 0; i < 200; i++) assert_ok(buffer_append_text(&name, "\U0001F642", err));
        failure_field(&why, name.data, "no");
        size_t size = strlen(why.param);
        assert_true(utf8_valid(why.param, size) && size >= sizeof why.param - 4);
        assert_memory_equal(why.param, name.data, size);
        buffer_free(&name);
    }
}

static void shapes_answers(void **state) {
    (void)state;
    static const struct {
        turn_letter kind;
        const char *text;
    } letters[] = {{TURN_REASONING, "Hm"},
                   {TURN_REASONING, "m."},
                   {TURN_CALL, "tide"},
                   {TURN_ARGUMENTS, "{"},
                   {TURN_ARGUMENTS, "}"}};
    chat_choice choice = {0};
    buffer chunks = {0};
    chat_flow flow = {0};
    const chat_heading heading = {.id = "x", .model = "m", .created = 7};
    for (size_t i = 0; i < sizeof letters / sizeof *letters; i++) {
        const letter l = {letters[i].kind, 0, letters[i].text, strlen(letters[i].text)};
        assert_ok(chat_choice_add(&choice, &l, NULL, 0, err));
        assert_ok(chat_chunk_letter(&heading, &l, &flow, NULL, &chunks, err));
    }
    choice.finish = "tool_calls";
    strcpy(choice.calls[0].id, "call_1");
    const chat_usage usage = {.prompt = 5, .cached = 2, .answer = 3, .reasoning = 1};
    cJSON *a = chat_answer_json(&heading, &choice, 1, false, &usage);
    char *text = cJSON_PrintUnformatted(a);
    assert_string_equal(text, "{\"id\":\"x\",\"object\":\"chat.completion\",\"created\":7,\"model\":\"m\",\"choices\":["
                              "{\"index\":0,\"message\":{"
                              "\"role\":\"assistant\",\"content\":null,\"refusal\":null,\"reasoning_content\":\"Hmm.\","
                              "\"reasoning\":\"Hmm.\","
                              "\"tool_calls\":[{\"id\":\"call_1\","
                              "\"type\":\"function\",\"function\":{\"name\":\"tide\",\"arguments\":\"{}\"}}]},"
                              "\"logprobs\":null,\"finish_reason\":\"tool_calls\"}],"
                              "\"usage\":{\"prompt_tokens\":5,\"completion_tokens\":3,\"total_tokens\":8,\"prompt_"
                              "tokens_details\":{\"cached_tokens\":2},"
                              "\"completion_tokens_details\":{\"reasoning_tokens\":1}}}");
    assert_non_null(strstr(
        chunks.data,
        "data: "
        "{\"id\":\"x\",\"object\":\"chat.completion.chunk\",\"created\":7,\"model\":\"m\",\"choices\":[{\"index\":0,"
        "\"delta\":{\"reasoning_content\":\"Hm\",\"reasoning\":\"Hm\"},\"finish_reason\":null}]}\n\n"));
    assert_non_null(strstr(chunks.data, "\"type\":\"function\",\"function\":{\"name\":\"tide\",\"arguments\":\"\"}"));
    assert_non_null(
        strstr(chunks.data, "\"delta\":{\"tool_calls\":[{\"index\":0,\"function\":{\"arguments\":\"}\"}}]}"));
    cJSON_free(text);
    cJSON_Delete(a);
    chat_choice_free(&choice);
    buffer_free(&chunks);
}

/* ---- hostile bodies ---- */

static const char *const seeds[] = {
    "{" HELLO
    ",\"temperature\":0.5,\"stop\":[\"a\",\"b\"],\"logit_bias\":{\"5\":-100},\"seed\":7,\"n\":2,\"stream\":true}",
    "{\"messages\":[{\"role\":\"assistant\",\"content\":null,\"reasoning\":\"r\",\"tool_calls\":[{\"id\":\"1\","
    "\"type\":\"function\","
    "\"function\":{\"name\":\"f\",\"arguments\":\"{}\"}}]},{\"role\":\"tool\",\"tool_call_id\":\"1\",\"content\":[{"
    "\"type\":\"text\","
    "\"text\":\"\\u00e9\"}]}],\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"f\",\"parameters\":{\"type\":"
    "\"object\","
    "\"properties\":{\"a\":{\"enum\":[1,null,\"x\"]}}}}}],\"tool_choice\":\"auto\"}",
    "{\"messages\":[{\"role\":\"system\",\"content\":\"s\"},{\"role\":\"user\",\"content\":\"u\"}],\"response_format\":"
    "{\"type\":"
    "\"json_schema\",\"json_schema\":{\"name\":\"f\",\"schema\":{\"$ref\":\"#\"}}},\"reasoning_effort\":\"low\"}"};

static gptoss_status read_and_render(cJSON *body, const harmony *h, tokens *prompt, failure *why) {
    chat_request r;
    gptoss_status status = chat_request_read(body, VOCABULARY, &r, why);
    if (status == GPTOSS_OK) status = harmony_render(h, &r.prompt, prompt, &why->error);
    chat_request_free(&r);
    return status;
}

static void survives_mutations(void **state) {
    (void)state;
    mutation_run(seeds, sizeof seeds / sizeof *seeds, 100000, read_and_render);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_json_strictly),
        cmocka_unit_test(limits_depth),
        cmocka_unit_test(limits_values),
        cmocka_unit_test(refuses_too_much),
        cmocka_unit_test(reads_options),
        cmocka_unit_test(takes_the_nearest_effort_it_knows),
        cmocka_unit_test(takes_any_seed_of_64_bits),
        cmocka_unit_test(reads_conversations),
        cmocka_unit_test(reads_tools_and_forms),
        cmocka_unit_test(describes_built_in_tools),
        cmocka_unit_test(allows_some_of_the_tools),
        cmocka_unit_test(finds_the_latest_call_of_an_id),
        cmocka_unit_test(reads_very_many_results),
        cmocka_unit_test(names_the_field_that_is_wrong),
        cmocka_unit_test(shapes_failures),
        cmocka_unit_test(names_long_fields_in_whole_characters),
        cmocka_unit_test(shapes_answers),
        cmocka_unit_test(survives_mutations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
