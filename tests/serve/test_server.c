/* The server on two ranks with the demo model, as its clients see it. */
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "random.h"
#include "serve/client.h"
#include "support.h"

#ifndef RANKS
#define RANKS 2 /* 0: alone, not started by mpirun */
#endif

static served server;
static cJSON *expected; /* what `run --json` says of the same question on one rank */

static void ask_alone(void) {
    static const char *const arguments[] = {"run",    "--gguf",    DEMO_MODEL, "--prompt", "What is 2+2?",
                                            "--json", "--threads", "1",        NULL};
    process_result r = process_run(0, arguments, NULL);
    char *last = strstr(r.out.data, "{\"finish_reason\"");
    expected = last ? cJSON_Parse(last) : NULL;
    if (!expected) fail_msg("run --json: %s%s", r.out.data, r.err.data);
    process_free(&r);
}

static int start(void **state) {
    (void)state;
    ask_alone();
    static const char *const flags[] = {
        "--parallel", "4",    "--queue",        "64", "--max-kv",      "8192",
        "--max-body", "64K",  "--threads",      "1",  "--cpu-bind",    "none",
        "--alias",    "demo", "--idle-timeout", "2",  "--cors-origin", "https://example.org",
        NULL};
    server = served_start(RANKS, flags);
    return 0;
}

static int stop(void **state) {
    (void)state;
    cJSON_Delete(expected);
    return served_stop_well(&server);
}

static cJSON *ask(const char *path, const char *body, int http) {
    return client_json(server.port, "POST", path, body, http);
}

#define CHAT "/v1/chat/completions"
#define QUESTION "\"messages\":[{\"role\":\"user\",\"content\":\"What is 2+2?\"}],\"temperature\":0"

/* ---- models and health ---- */

static void says_what_it_serves(void **state) {
    (void)state;
    cJSON *a = client_json(server.port, "GET", "/health", NULL, 200);
    assert_string_equal(client_text(a, "status"), "ready");
    cJSON_Delete(a);
    a = client_json(server.port, "GET", "/v1/models", NULL, 200);
    assert_string_equal(client_text(a, "object"), "list");
    assert_string_equal(client_text(a, "data.0.id"), "Gpt-Oss-Demo");
    assert_string_equal(client_text(a, "data.0.owned_by"), "local");
    assert_true(client_number(a, "data.0.context_length") == 8192);
    assert_string_equal(client_text(a, "data.1.id"), "demo");
    cJSON_Delete(a);
    a = client_json(server.port, "GET", "/v1/models/Gpt-Oss-Demo", NULL, 200);
    assert_string_equal(client_text(a, "id"), "Gpt-Oss-Demo");
    cJSON_Delete(a);
    a = client_json(server.port, "GET", "/v1/models/gpt-9", NULL, 404);
    assert_string_equal(client_text(a, "error.code"), "model_not_found");
    cJSON_Delete(a);
}

/* ---- answers ---- */

static void answers_whole(void **state) {
    (void)state;
    cJSON *a = ask(CHAT, "{\"model\":\"demo\"," QUESTION "}", 200);
    assert_string_equal(client_text(a, "object"), "chat.completion");
    assert_string_equal(client_text(a, "model"), "demo");
    assert_string_equal(client_text(a, "choices.0.message.role"), "assistant");
    assert_string_equal(client_text(a, "choices.0.message.content"), client_text(expected, "content"));
    assert_string_equal(client_text(a, "choices.0.message.reasoning_content"), client_text(expected, "reasoning"));
    assert_string_equal(client_text(a, "choices.0.message.reasoning"), client_text(expected, "reasoning"));
    assert_string_equal(client_text(a, "choices.0.finish_reason"), "stop");
    double prompt = client_number(a, "usage.prompt_tokens"), answer = client_number(a, "usage.completion_tokens");
    assert_true(prompt == client_number(expected, "prompt_tokens"));
    assert_true(answer == client_number(expected, "completion_tokens"));
    assert_true(client_number(a, "usage.total_tokens") == prompt + answer);
    double thought = client_number(a, "usage.completion_tokens_details.reasoning_tokens");
    assert_true(thought > 5 && thought < answer - 5);
    cJSON_Delete(a);
    a = ask(CHAT, "{" QUESTION "}", 200);
    assert_true(client_number(a, "usage.prompt_tokens_details.cached_tokens") == prompt - 1);
    cJSON_Delete(a);
}

/* Puts the texts of a stream's deltas together. */
static void join_deltas(const cJSON *events, const char *field, buffer *out) {
    const cJSON *event;
    char path[64];
    snprintf(path, sizeof path, "choices.0.delta.%s", field);
    cJSON_ArrayForEach(event, events) {
        const char *text = client_text(event, path);
        if (text) assert_ok(buffer_append_text(out, text, err));
    }
    if (!out->data) assert_ok(buffer_append_text(out, "", err));
}

static cJSON *stream(const char *path, const char *body) {
    client_answer a = client_ask(server.port, "POST", path, "Content-Type: application/json\r\n", body);
    assert_int_equal(a.http, 200);
    assert_true(a.whole);
    assert_non_null(strstr(a.headers.data, "text/event-stream"));
    cJSON *events = client_events(&a.body);
    client_answer_free(&a);
    return events;
}

static void answers_in_a_stream(void **state) {
    (void)state;
    buffer content = {0}, reasoning = {0};
    cJSON *events = stream(CHAT, "{" QUESTION ",\"stream\":true,\"stream_options\":{\"include_usage\":true}}");
    int count = cJSON_GetArraySize(events);
    assert_true(count > 10); /* a part for each token, not all at once */
    assert_string_equal(client_text(cJSON_GetArrayItem(events, 0), "choices.0.delta.role"), "assistant");
    join_deltas(events, "content", &content);
    join_deltas(events, "reasoning_content", &reasoning);
    assert_string_equal(content.data, client_text(expected, "content"));
    assert_string_equal(reasoning.data, client_text(expected, "reasoning"));
    assert_string_equal(client_text(cJSON_GetArrayItem(events, count - 2), "choices.0.finish_reason"), "stop");
    assert_int_equal(cJSON_GetArraySize(client_at(cJSON_GetArrayItem(events, count - 1), "choices")), 0);
    assert_true(client_number(cJSON_GetArrayItem(events, count - 1), "usage.completion_tokens") ==
                client_number(expected, "completion_tokens"));
    const char *id = client_text(cJSON_GetArrayItem(events, 0), "id");
    for (int i = 0; i < count; i++) assert_string_equal(client_text(cJSON_GetArrayItem(events, i), "id"), id);
    buffer_free(&content);
    buffer_free(&reasoning);
    cJSON_Delete(events);
}

static void ends_where_it_is_told_to(void **state) {
    (void)state;
    cJSON *a = ask(CHAT, "{" QUESTION ",\"stop\":\" =\"}", 200);
    assert_string_equal(client_text(a, "choices.0.message.content"), "2 + 2"); /* of "2 + 2 = ..." */
    assert_string_equal(client_text(a, "choices.0.finish_reason"), "stop");
    cJSON_Delete(a);
    /* What could have become a stop string, and did not, comes out at the end. */
    a = ask(CHAT, "{" QUESTION ",\"stop\":[\".!\"]}", 200);
    assert_string_equal(client_text(a, "choices.0.message.content"), client_text(expected, "content"));
    cJSON_Delete(a);
    a = ask(CHAT, "{" QUESTION ",\"max_completion_tokens\":5}", 200);
    assert_string_equal(client_text(a, "choices.0.finish_reason"), "length");
    assert_true(client_number(a, "usage.completion_tokens") == 5);
    cJSON_Delete(a);
}

static void makes_several_choices(void **state) {
    (void)state;
    const char *body = "{\"messages\":[{\"role\":\"user\",\"content\":\"Hello\"}],\"n\":3,\"seed\":5,\"temperature\":2,"
                       "\"max_tokens\":40}";
    cJSON *a = ask(CHAT, body, 200), *b = ask(CHAT, body, 200);
    assert_int_equal(cJSON_GetArraySize(client_at(a, "choices")), 3);
    assert_true(cJSON_Compare(client_at(a, "choices"), client_at(b, "choices"), true)); /* the seed decides */
    assert_false(cJSON_Compare(client_at(a, "choices.0.message"), client_at(a, "choices.1.message"), true));
    assert_true(client_number(a, "choices.2.index") == 2);
    cJSON_Delete(a);
    cJSON_Delete(b);
}

static void tells_log_probabilities(void **state) {
    (void)state;
    cJSON *a = ask(CHAT, "{" QUESTION ",\"logprobs\":true,\"top_logprobs\":3}", 200), *item;
    buffer text = {0};
    cJSON_ArrayForEach(item, client_at(a, "choices.0.logprobs.content")) {
        assert_ok(buffer_append_text(&text, client_text(item, "token"), err));
        assert_int_equal(cJSON_GetArraySize(client_at(item, "top_logprobs")), 3);
        assert_string_equal(client_text(item, "top_logprobs.0.token"), client_text(item, "token")); /* greedy */
        assert_true(client_number(item, "logprob") == client_number(item, "top_logprobs.0.logprob"));
        assert_true(client_number(item, "logprob") <= 0);
    }
    assert_string_equal(text.data, client_text(expected, "content"));
    buffer_free(&text);
    cJSON_Delete(a);
}

/* Chunks tell a token and its log probability together. */
static void tells_log_probabilities_in_streams(void **state) {
    (void)state;
    cJSON *a = stream(CHAT, "{" QUESTION ",\"stream\":true,\"logprobs\":true}"), *event;
    buffer text = {0};
    cJSON_ArrayForEach(event, a) {
        const char *content = client_text(event, "choices.0.delta.content");
        if (!content || !content[0]) continue;
        assert_string_equal(content, client_text(event, "choices.0.logprobs.content.0.token"));
        assert_ok(buffer_append_text(&text, content, err));
    }
    assert_string_equal(text.data, client_text(expected, "content"));
    cJSON_Delete(a);
    buffer_clear(&text);
    a = stream("/v1/completions", "{\"prompt\":\"What is 2+2?\",\"temperature\":0,\"stream\":true,\"logprobs\":1}");
    cJSON_ArrayForEach(event, a) {
        const char *content = client_text(event, "choices.0.text");
        if (!content[0]) continue;
        assert_string_equal(content, client_text(event, "choices.0.logprobs.tokens.0"));
        assert_ok(buffer_append_text(&text, content, err));
    }
    assert_string_equal(text.data, client_text(expected, "content"));
    cJSON_Delete(a);
    /* text that is held back as the beginning of a stop string comes with none, and in the end */
    buffer_clear(&text);
    a = stream(CHAT, "{" QUESTION ",\"stream\":true,\"logprobs\":true,\"stop\":[\"4.!\",\" + 2 =!\"]}");
    join_deltas(a, "content", &text);
    assert_string_equal(text.data, client_text(expected, "content"));
    buffer_free(&text);
    cJSON_Delete(a);
}

static void remembers_the_conversation(void **state) {
    (void)state;
    cJSON *a = ask(CHAT,
                   "{\"temperature\":0,\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":"
                   "\"What is the capital of France?\"}]},"
                   "{\"role\":\"assistant\",\"reasoning_content\":\"It is Paris.\",\"content\":\"The capital of France "
                   "is Paris.\"},"
                   "{\"role\":\"user\",\"content\":\"And of Italy?\"}]}",
                   200);
    assert_string_equal(client_text(a, "choices.0.message.content"), "The capital of Italy is Rome.");
    cJSON_Delete(a);
}

static void completes_prompts(void **state) {
    (void)state;
    cJSON *a =
        ask("/v1/completions",
            "{\"prompt\":[\"What is 2+2?\",\"What is the capital of Norway?\"],\"temperature\":0,\"echo\":true}", 200);
    const char *echoed = client_text(a, "choices.0.text");
    assert_memory_equal(echoed, "What is 2+2?", 12);
    assert_string_equal(echoed + 12, client_text(expected, "content"));
    assert_string_equal(client_text(a, "choices.1.text"),
                        "What is the capital of Norway?The capital of Norway is Oslo.");
    cJSON_Delete(a);
    cJSON *t = ask("/apply-template", "{" QUESTION "}", 200);
    char *ids = cJSON_PrintUnformatted(client_at(t, "tokens"));
    buffer body = {0};
    assert_ok(buffer_printf(&body, err, "{\"prompt\":%s,\"temperature\":0,\"stream\":true}", ids));
    cJSON *events = stream("/v1/completions", body.data);
    buffer text = {0};
    const cJSON *event;
    cJSON_ArrayForEach(event, events) assert_ok(buffer_append_text(&text, client_text(event, "choices.0.text"), err));
    assert_string_equal(text.data, client_text(expected, "content"));
    assert_non_null(strstr(client_text(t, "prompt"), "<|start|>user<|message|>What is 2+2?<|end|><|start|>assistant"));
    buffer_free(&text);
    buffer_free(&body);
    cJSON_free(ids);
    cJSON_Delete(events);
    cJSON_Delete(t);
}

/* Offsets count from the beginning of the text that is told, and what was chosen is always among the likely. */
static void tells_log_probabilities_of_completions(void **state) {
    (void)state;
    static const char prompt[] = "Caf\u00e9?";
    static const char *const echoes[] = {"false", "true"};
    for (size_t echo = 0; echo < 2; echo++)
        for (int top = 0; top < 2; top++) {
            buffer body = {0};
            assert_ok(
                buffer_printf(&body, err,
                              "{\"prompt\":\"%s\",\"harmony\":false,\"max_tokens\":20,\"temperature\":2,\"seed\":3,"
                              "\"logit_bias\":{\"1591\":-100},\"logprobs\":%d,\"echo\":%s}",
                              prompt, top, echoes[echo]));
            cJSON *a = ask("/v1/completions", body.data, 200);
            const cJSON *token, *l = client_at(a, "choices.0.logprobs"), *offset = client_at(l, "text_offset.0");
            const cJSON *likely = client_at(l, "top_logprobs.0");
            assert_true(offset->valuedouble == (echo ? 5 : 0)); /* characters of the prompt */
            bool unlikely = false;
            cJSON_ArrayForEach(token, client_at(l, "tokens")) {
                assert_non_null(cJSON_GetObjectItemCaseSensitive(likely, token->valuestring));
                unlikely |= cJSON_GetArraySize(likely) > top;
                likely = likely->next;
            }
            assert_true(unlikely);
            buffer_free(&body);
            cJSON_Delete(a);
        }
}

/* The mean log probability of the tokens of a choice. */
static double score_of(const cJSON *choice) {
    double sum = 0;
    const cJSON *token, *all = client_at(choice, "telemetry");
    cJSON_ArrayForEach(token, all) sum += client_number(token, "logprob");
    return sum / cJSON_GetArraySize(all);
}

static void tells_the_best_of_several(void **state) {
    (void)state;
#define SEVERAL \
    "{\"prompt\":\"What is 2+2?\",\"max_tokens\":9,\"seed\":5,\"temperature\":2,\"best_of\":6,\"telemetry\":true"
    cJSON *all = ask("/v1/completions", SEVERAL ",\"n\":6}", 200),
          *best = ask("/v1/completions", SEVERAL ",\"n\":2}", 200);
    const cJSON *choice, *first = NULL, *second = NULL;
    cJSON_ArrayForEach(choice, client_at(all, "choices")) {
        if (!first || score_of(choice) > score_of(first)) {
            second = first;
            first = choice;
        } else if (!second || score_of(choice) > score_of(second)) {
            second = choice;
        }
    }
    assert_int_equal(cJSON_GetArraySize(client_at(best, "choices")), 2);
    assert_true(score_of(first) > score_of(second)); /* they are not all alike */
    assert_true(cJSON_Compare(client_at(best, "choices.0.telemetry"), client_at(first, "telemetry"), true));
    assert_true(cJSON_Compare(client_at(best, "choices.1.telemetry"), client_at(second, "telemetry"), true));
    assert_string_equal(client_text(best, "choices.1.text"), client_text(second, "text"));
    assert_true(client_number(best, "choices.1.index") == 1);
    assert_true(client_number(best, "usage.completion_tokens") == client_number(all, "usage.completion_tokens"));
    assert_true(client_number(best, "usage.prompt_tokens") == client_number(all, "usage.prompt_tokens"));
    cJSON_Delete(best);
    cJSON_Delete(all);
    static const char *const wrong[] = {SEVERAL ",\"n\":7}", SEVERAL ",\"stream\":true}",
                                        "{\"prompt\":\"Hi\",\"best_of\":17}"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        cJSON *a = ask("/v1/completions", wrong[i], 400);
        assert_string_equal(client_text(a, "error.param"), "best_of");
        cJSON_Delete(a);
    }
}

static void turns_text_into_tokens_and_back(void **state) {
    (void)state;
    cJSON *a = ask("/tokenize", "{\"content\":\"Gr\\u00fc\\u00dfe <|end|>\"}", 200);
    char *text = cJSON_PrintUnformatted(a);
    cJSON *b = ask("/detokenize", text, 200);
    assert_string_equal(client_text(b, "content"), "Gr\xC3\xBC\xC3\x9F"
                                                   "e <|end|>");
    assert_true(cJSON_GetArraySize(client_at(a, "tokens")) > 5); /* no special token */
    cJSON_free(text);
    cJSON_Delete(a);
    cJSON_Delete(b);
}

/* The token of byte 0 has this id: what it writes is told as U+FFFD, and nothing behind it is lost. */
static void tells_texts_with_nul_to_their_end(void **state) {
    (void)state;
#define NUL "\xEF\xBF\xBD"
    cJSON *a = ask("/detokenize", "{\"tokens\":[97,0,98]}", 200);
    assert_string_equal(client_text(a, "content"), "a" NUL "b");
    cJSON_Delete(a);
    a = ask("/v1/completions",
            "{\"prompt\":[97,0,98],\"harmony\":false,\"echo\":true,\"max_tokens\":2,\"logit_bias\":{\"0\":100},"
            "\"temperature\":0,\"logprobs\":1}",
            200);
    assert_string_equal(client_text(a, "choices.0.text"), "a" NUL "b" NUL NUL);
    assert_string_equal(client_text(a, "choices.0.logprobs.tokens.1"), NUL);
    assert_true(client_number(a, "choices.0.logprobs.text_offset.1") == 4);
    cJSON_Delete(a);
    a = ask(CHAT, "{" QUESTION ",\"max_tokens\":12,\"logit_bias\":{\"0\":100}}", 200);
    assert_memory_equal(client_text(a, "choices.0.message.reasoning_content"), NUL NUL NUL, 9);
    cJSON_Delete(a);
}

/* ---- functions and forms ---- */

#define WEATHER                                                                                                     \
    "\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"get_weather\",\"parameters\":{\"type\":\"object\"," \
    "\"properties\":{"                                                                                              \
    "\"city\":{\"type\":\"string\"}},\"required\":[\"city\"],\"additionalProperties\":false}}}]"

static void calls_functions(void **state) {
    (void)state;
    static const char *const choices[] = {"\"required\"",
                                          "{\"type\":\"function\",\"function\":{\"name\":\"get_weather\"}}"};
    for (int i = 0; i < 2; i++) {
        buffer body = {0};
        assert_ok(buffer_printf(
            &body, err,
            "{\"messages\":[{\"role\":\"user\",\"content\":\"What is the weather in Paris?\"}],\"temperature\":0,"
            "\"max_tokens\":300," WEATHER ",\"tool_choice\":%s}",
            choices[i]));
        cJSON *a = ask(CHAT, body.data, 200);
        assert_string_equal(client_text(a, "choices.0.finish_reason"), "tool_calls");
        assert_string_equal(client_text(a, "choices.0.message.tool_calls.0.function.name"), "get_weather");
        assert_memory_equal(client_text(a, "choices.0.message.tool_calls.0.id"), "call_", 5);
        cJSON *arguments = cJSON_Parse(client_text(a, "choices.0.message.tool_calls.0.function.arguments"));
        assert_true(cJSON_IsString(client_at(arguments, "city")));
        cJSON_Delete(arguments);
        cJSON_Delete(a);
        buffer_free(&body);
    }
    cJSON *a = ask(CHAT, "{" QUESTION "," WEATHER ",\"tool_choice\":\"none\",\"max_tokens\":60}", 200);
    assert_null(client_at(a, "choices.0.message.tool_calls"));
    cJSON_Delete(a);
}

/* The model is told of all functions, but may call those alone that a request allows. */
static void calls_allowed_functions_alone(void **state) {
    (void)state;
#define FUNCTION(name) "{\"type\":\"function\",\"function\":{\"name\":\"" name "\"}}"
#define ALLOWING(mode, tools)                                                                              \
    "{\"messages\":[{\"role\":\"user\",\"content\":\"What is the weather in Paris?\"}],\"temperature\":0," \
    "\"max_tokens\":300,\"tools\":[" FUNCTION("get_weather") "," FUNCTION(                                 \
        "get_moon") "],\"tool_choice\":{\"type\":"                                                         \
                    "\"allowed_tools\",\"allowed_tools\":{\"mode\":\"" mode "\",\"tools\":[" tools "]}}}"
    static const char required[] = ALLOWING("required", FUNCTION("get_moon"));
    cJSON *a = ask(CHAT, required, 200);
    assert_string_equal(client_text(a, "choices.0.finish_reason"), "tool_calls");
    const cJSON *call;
    cJSON_ArrayForEach(call, client_at(a, "choices.0.message.tool_calls"))
        assert_string_equal(client_text(call, "function.name"), "get_moon");
    cJSON_Delete(a);
    a = ask(CHAT, ALLOWING("auto", FUNCTION("get_moon")), 200);
    cJSON_ArrayForEach(call, client_at(a, "choices.0.message.tool_calls"))
        assert_string_equal(client_text(call, "function.name"), "get_moon");
    cJSON_Delete(a);
    a = ask("/apply-template", required, 200);
    assert_non_null(strstr(client_text(a, "prompt"), "type get_weather = "));
    cJSON_Delete(a);
}

/* A call that runs out of tokens is brought to a valid end, and the answer says that it was cut. */
static void tells_that_a_call_was_cut_short(void **state) {
    (void)state;
    cJSON *a = ask(CHAT, "{" QUESTION "," WEATHER ",\"tool_choice\":\"required\",\"max_tokens\":5}", 400);
    unsigned least = 0;
    assert_string_equal(client_text(a, "error.param"), "max_tokens");
    const char *words = strstr(client_text(a, "error.message"), "needs room for ");
    assert_int_equal(words ? sscanf(words, "needs room for %u", &least) : 0, 1);
    cJSON_Delete(a);
    char body[600];
    snprintf(body, sizeof body, "{" QUESTION "," WEATHER ",\"tool_choice\":\"required\",\"max_tokens\":%u}", least);
    a = ask(CHAT, body, 200);
    assert_string_equal(client_text(a, "choices.0.finish_reason"), "length");
    cJSON *arguments = cJSON_Parse(client_text(a, "choices.0.message.tool_calls.0.function.arguments"));
    assert_true(cJSON_IsString(client_at(arguments, "city")));
    cJSON_Delete(arguments);
    cJSON_Delete(a);
}

static void reads_results_of_functions(void **state) {
    (void)state;
    cJSON *a = ask("/apply-template",
                   "{\"messages\":[{\"role\":\"user\",\"content\":\"Weather?\"},{\"role\":\"assistant\",\"content\":"
                   "null,\"reasoning\":\"I need it.\","
                   "\"tool_calls\":[{\"id\":\"c1\",\"type\":\"function\",\"function\":{\"name\":\"get_weather\","
                   "\"arguments\":\"{}\"}}]},"
                   "{\"role\":\"tool\",\"tool_call_id\":\"c1\",\"content\":\"cold\"}]," WEATHER "}",
                   200);
    const char *prompt = client_text(a, "prompt");
    assert_non_null(strstr(prompt, "<|channel|>analysis<|message|>I need it.<|end|>"));
    assert_non_null(strstr(prompt, "to=functions.get_weather"));
    assert_non_null(
        strstr(prompt, "<|start|>functions.get_weather to=assistant<|channel|>commentary<|message|>cold<|end|>"));
    assert_non_null(strstr(prompt, "type get_weather = "));
    cJSON_Delete(a);
}

static void keeps_to_a_schema(void **state) {
    (void)state;
    cJSON *a = ask(CHAT,
                   "{" QUESTION ",\"max_tokens\":400,\"response_format\":{\"type\":\"json_schema\",\"json_schema\":{"
                   "\"name\":\"sum\",\"strict\":true,\"schema\":"
                   "{\"type\":\"object\",\"properties\":{\"word\":{\"enum\":[\"red\",\"blue\"]},\"ok\":{\"type\":"
                   "\"boolean\"}},\"required\":[\"word\",\"ok\"],"
                   "\"additionalProperties\":false}}}}",
                   200);
    cJSON *content = cJSON_Parse(client_text(a, "choices.0.message.content"));
    const char *word = client_text(content, "word");
    assert_true(word && (strcmp(word, "red") == 0 || strcmp(word, "blue") == 0));
    assert_true(cJSON_IsBool(client_at(content, "ok")));
    cJSON_Delete(content);
    cJSON_Delete(a);
    a = ask(CHAT, "{" QUESTION ",\"max_tokens\":200,\"response_format\":{\"type\":\"json_object\"}}", 200);
    content = cJSON_Parse(client_text(a, "choices.0.message.content"));
    assert_true(cJSON_IsObject(content));
    cJSON_Delete(content);
    cJSON_Delete(a);
#define COLOR(strict)                                                                                           \
    "{" QUESTION                                                                                                \
    ",\"max_tokens\":200,\"response_format\":{\"type\":\"json_schema\",\"json_schema\":{\"name\":\"x\"," strict \
    "\"schema\":{\"type\":\"string\",\"format\":\"color\"}}}}"
    static const char *const strict[] = {COLOR(""), COLOR("\"strict\":true,"), COLOR("\"strict\":null,")};
    for (int i = 0; i < 3; i++) {
        a = ask(CHAT, strict[i], 400);
        assert_string_equal(client_text(a, "error.param"), "response_format");
        assert_non_null(strstr(client_text(a, "error.message"), "\"format\""));
        cJSON_Delete(a);
    }
    a = ask(CHAT, COLOR("\"strict\":false,"), 200);
    content = cJSON_Parse(client_text(a, "choices.0.message.content"));
    assert_true(cJSON_IsObject(content));
    cJSON_Delete(content);
    cJSON_Delete(a);
    a = ask(
        "/v1/responses",
        "{\"input\":\"Hi\",\"max_output_tokens\":200,\"temperature\":0,\"text\":{\"format\":{\"type\":\"json_schema\","
        "\"name\":\"x\",\"strict\":false,\"schema\":{\"not\":{}}}}}",
        200);
    cJSON_Delete(a);
}

/* ---- what is refused ---- */

static void refuses_with_the_right_status(void **state) {
    (void)state;
    static const struct {
        const char *method, *path, *headers, *body;
        int http;
        const char *param, *words;
    } cases[] = {
        {"GET", "/", NULL, NULL, 404, NULL, "there is no GET /"},
        {"GET", CHAT, NULL, NULL, 405, NULL, "wants POST"},
        {"DELETE", "/health", NULL, NULL, 405, NULL, "wants GET"},
        {"POST", CHAT, "Content-Type: text/plain\r\n", "{}", 415, NULL, "application/json"},
        {"POST", CHAT, NULL, "", 400, NULL, "empty"},
        {"POST", CHAT, NULL, "{", 400, NULL, "not JSON"},
        {"POST", CHAT, NULL, "[]", 400, NULL, "object"},
        {"POST", CHAT, NULL, "{} x", 400, NULL, "not JSON"},
        {"POST", CHAT, NULL, "{\"a\":\"\xFF\"}", 400, NULL, "UTF-8"},
        {"POST", CHAT, NULL, "{\"messages\":NaN}", 400, NULL, "not JSON"},
        {"POST", CHAT, NULL, "{\"temperature\":1e999," QUESTION "}", 400, "temperature", "too large"},
        {"POST", CHAT, NULL, "{\"messages\":\"\\u0000\"}", 400, NULL, "u0000"},
        {"POST", CHAT, NULL, "{}", 400, "messages", "at least one"},
        {"POST", CHAT, NULL, "{\"messages\":5}", 400, "messages", "array"},
        {"POST", CHAT, NULL, "{\"messages\":[5]}", 400, "messages[0]", "object"},
        {"POST", CHAT, NULL, "{\"messages\":[{\"role\":\"king\",\"content\":\"\"}]}", 400, "messages[0].role", "king"},
        {"POST", CHAT, NULL, "{\"messages\":[{\"role\":\"user\"}]}", 400, "messages[0].content", "missing"},
        {"POST", CHAT, NULL, "{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"image_url\"}]}]}", 400,
         "messages[0].content[0].type", "text"},
        {"POST", CHAT, NULL, "{\"messages\":[{\"role\":\"tool\",\"tool_call_id\":\"z\",\"content\":\"\"}]}", 400,
         "messages[0].tool_call_id", "no earlier message"},
        {"POST", CHAT, NULL, "{" QUESTION ",\"top_p\":\"1\"}", 400, "top_p", "number from 0 to 1"},
        {"POST", CHAT, NULL, "{" QUESTION ",\"n\":0}", 400, "n", "from 1 to"},
        {"POST", CHAT, NULL, "{" QUESTION ",\"seed\":1.5}", 400, "seed", "whole number"},
        {"POST", CHAT, NULL, "{" QUESTION ",\"stop\":[1]}", 400, "stop", "strings"},
        {"POST", CHAT, NULL, "{" QUESTION ",\"top_logprobs\":2}", 400, "top_logprobs", "logprobs"},
        {"POST", CHAT, NULL, "{" QUESTION ",\"logit_bias\":{\"999999\":1}}", 400, "logit_bias", "999999"},
        {"POST", CHAT, NULL, "{" QUESTION ",\"reasoning_effort\":\"huge\"}", 400, "reasoning_effort", "huge"},
        {"POST", CHAT, NULL, "{" QUESTION ",\"tool_choice\":\"required\"}", 400, "tool_choice", "no functions"},
        {"POST", CHAT, NULL, "{" QUESTION ",\"stream_options\":{}}", 400, "stream_options", "stream"},
        {"POST", CHAT, NULL, "{\"model\":\"gpt-9\"," QUESTION "}", 404, "model", "gpt-9"},
        {"POST", CHAT, NULL, "{" QUESTION ",\"max_tokens\":9000}", 422, "max_tokens", "8192"},
        {"POST", "/v1/completions", NULL, "{\"prompt\":\"a\",\"suffix\":\"b\"}", 400, "suffix", "not supported"},
        {"POST", "/v1/completions", NULL, "{\"prompt\":[[99999]]}", 400, "prompt", "token ids"},
        {"POST", "/v1/completions", NULL, "{\"prompt\":[]}", 400, "prompt", "empty"},
        {"POST", "/v1/completions", NULL, "{\"prompt\":[\"a\",[1]]}", 400, "prompt", "not both"},
        {"POST", "/v1/completions", NULL, "{\"prompt\":[[1],\"a\"]}", 400, "prompt", "not both"},
        {"POST", "/detokenize", NULL, "{\"tokens\":[-1]}", 400, "tokens[0]", "token id"},
        {"POST", "/tokenize", NULL, "{}", 400, "content", "missing"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        client_answer a = client_ask(server.port, cases[i].method, cases[i].path, cases[i].headers, cases[i].body);
        cJSON *whole = cJSON_Parse(a.body.data);
        const char *message = client_text(whole, "error.message"), *param = client_text(whole, "error.param");
        bool right = a.http == cases[i].http && message && strstr(message, cases[i].words) &&
                     client_text(whole, "error.type") && (!cases[i].param) == (!param) &&
                     (!param || strcmp(param, cases[i].param) == 0);
        if (!right)
            fail_msg("%s %s %s: %d %s", cases[i].method, cases[i].path, cases[i].body ? cases[i].body : "", a.http,
                     a.body.data);
        cJSON_Delete(whole);
        client_answer_free(&a);
    }
}

static void survives_deep_and_large_bodies(void **state) {
    (void)state;
    static char body[200 << 10];
    memset(body, '[', sizeof body - 1);
    body[50000] = '\0';
    cJSON *a = ask(CHAT, body, 400);
    assert_non_null(strstr(client_text(a, "error.message"), "nested"));
    cJSON_Delete(a);
    memset(body, ' ', sizeof body - 1);
    a = ask(CHAT, body, 413);
    assert_non_null(strstr(client_text(a, "error.message"), "65536"));
    cJSON_Delete(a);
    memset(body, 'a', sizeof body - 1);
    memcpy(body, "{\"prompt\":\"", 11);
    strcpy(body + 60000, "\"}");
    a = ask("/v1/completions", body, 422);
    assert_string_equal(client_text(a, "error.code"), "context_length_exceeded");
    cJSON_Delete(a);
}

static void survives_bad_http(void **state) {
    (void)state;
    static const char *const requests[] = {
        "\r\n\r\n",
        "GET\r\n\r\n",
        "\x16\x03\x01\x02",
        "POST " CHAT " HTTP/1.1\r\nContent-Length: -5\r\n\r\n",
        "POST " CHAT " HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999\r\n\r\n{}",
        "POST " CHAT " HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzzz\r\n"};
    for (size_t i = 0; i < sizeof requests / sizeof *requests; i++) {
        int fd = client_connect(server.port);
        client_send(fd, requests[i], strlen(requests[i]));
        shutdown(fd, SHUT_WR);
        client_answer a = client_receive(fd);
        if (a.http != 0 && (a.http < 400 || a.http > 499)) fail_msg("request %zu: %d", i, a.http);
        client_answer_free(&a);
    }
    /* Noise, some of it within a request. */
    uint64_t noise = 12345;
    for (int i = 0; i < 300; i++) {
        char bytes[600] = "POST " CHAT " HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n";
        size_t at = i % 2 ? strlen(bytes) : 0;
        for (size_t k = at; k < at + 100; k++) bytes[k] = (char)random_below(&noise, 256);
        int fd = client_connect(server.port);
        client_send(fd, bytes, at + 100);
        shutdown(fd, SHUT_WR);
        client_answer a = client_receive(fd);
        if (a.http != 0 && (a.http < 400 || a.http > 499)) fail_msg("noise %d: %d", i, a.http);
        client_answer_free(&a);
    }
    /* One who sends a part and then nothing is not waited for: --idle-timeout 2. */
    const char *part = "POST " CHAT " HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{";
    int fd = client_connect(server.port);
    client_send(fd, part, strlen(part));
    double began = clock_seconds();
    client_answer a = client_receive(fd);
    assert_true(clock_seconds() - began < 30);
    assert_true(a.http == 0 || a.http == 408);
    client_answer_free(&a);
}

static void lets_web_pages_in(void **state) {
    (void)state;
    /* OpenAI's package in a page asks for headers of its own, before its first request */
    static const char asks[] = "Origin: https://example.org\r\nAccess-Control-Request-Method: POST\r\n"
                               "Access-Control-Request-Headers: authorization,content-type,x-stainless-os\r\n";
    client_answer a = client_ask(server.port, "OPTIONS", CHAT, asks, NULL);
    assert_int_equal(a.http, 204);
    assert_non_null(strstr(a.headers.data, "Access-Control-Allow-Origin: https://example.org\r\n"));
    assert_non_null(
        strstr(a.headers.data, "Access-Control-Allow-Headers: authorization,content-type,x-stainless-os\r\n"));
    client_answer_free(&a);
    a = client_ask(server.port, "OPTIONS", CHAT, NULL, NULL);
    assert_int_equal(a.http, 204);
    assert_non_null(strstr(a.headers.data, "Access-Control-Allow-Headers: Authorization, Content-Type\r\n"));
    client_answer_free(&a);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(says_what_it_serves),
        cmocka_unit_test(answers_whole),
        cmocka_unit_test(answers_in_a_stream),
        cmocka_unit_test(ends_where_it_is_told_to),
        cmocka_unit_test(makes_several_choices),
        cmocka_unit_test(tells_log_probabilities),
        cmocka_unit_test(tells_log_probabilities_in_streams),
        cmocka_unit_test(remembers_the_conversation),
        cmocka_unit_test(completes_prompts),
        cmocka_unit_test(tells_log_probabilities_of_completions),
        cmocka_unit_test(tells_the_best_of_several),
        cmocka_unit_test(turns_text_into_tokens_and_back),
        cmocka_unit_test(tells_texts_with_nul_to_their_end),
        cmocka_unit_test(calls_functions),
        cmocka_unit_test(calls_allowed_functions_alone),
        cmocka_unit_test(tells_that_a_call_was_cut_short),
        cmocka_unit_test(reads_results_of_functions),
        cmocka_unit_test(keeps_to_a_schema),
        cmocka_unit_test(refuses_with_the_right_status),
        cmocka_unit_test(survives_deep_and_large_bodies),
        cmocka_unit_test(survives_bad_http),
        cmocka_unit_test(lets_web_pages_in),
    };
    return cmocka_run_group_tests(tests, start, stop);
}
