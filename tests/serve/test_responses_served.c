/* /v1/responses on two ranks with the demo model, as its clients see it: answers, conversations. */
#include <pthread.h>

#include "serve/responses_client.h"
#include "support.h"

#ifndef RANKS
#define RANKS 2 /* 0: alone, not started by mpirun */
#endif

static served server;

static int start(void **state) {
    (void)state;
    static const char *const flags[] = {"--parallel", "4",         "--queue",    "64",      "--max-kv",
                                        "4096",       "--threads", "1",          "--alias", "demo",
                                        "--cpu-bind", "none",      "--max-body", "256K",    NULL};
    server = served_start(RANKS, flags);
    return 0;
}

static int stop(void **state) {
    (void)state;
    return served_stop_well(&server);
}

/* ---- answers ---- */

static void answers_whole(void **state) {
    (void)state;
    cJSON *a = responses_ask(server.port, "{\"model\":\"demo\"," QUESTION ",\"metadata\":{\"a\":\"b\"}}", 200);
    cJSON *chat =
        client_json(server.port, "POST", "/v1/chat/completions",
                    "{\"messages\":[{\"role\":\"user\",\"content\":\"What is 2+2?\"}],\"temperature\":0}", 200);
    assert_string_equal(client_text(a, "object"), "response");
    assert_memory_equal(client_text(a, "id"), "resp_", 5);
    assert_string_equal(client_text(a, "model"), "demo");
    assert_string_equal(responses_status(a), "completed");
    assert_string_equal(client_text(a, "metadata.a"), "b");
    assert_string_equal(responses_answer_text(a), ANSWER);
    assert_string_equal(responses_answer_text(a), client_text(chat, "choices.0.message.content"));
    assert_string_equal(client_text(responses_item(a, "reasoning"), "content.0.text"),
                        client_text(chat, "choices.0.message.reasoning_content"));
    assert_int_equal(cJSON_GetArraySize(client_at(responses_item(a, "reasoning"), "summary")), 0);
    assert_true(client_number(a, "usage.input_tokens") == client_number(chat, "usage.prompt_tokens"));
    assert_true(client_number(a, "usage.output_tokens") == client_number(chat, "usage.completion_tokens"));
    assert_true(client_number(a, "usage.output_tokens_details.reasoning_tokens") ==
                client_number(chat, "usage.completion_tokens_details.reasoning_tokens"));
    cJSON *kept = responses_get(server.port, client_text(a, "id"), "", 200);
    assert_true(cJSON_Compare(a, kept, true));
    cJSON_Delete(kept);
    cJSON_Delete(chat);
    cJSON_Delete(a);
    a = responses_ask(server.port, "{" QUESTION ",\"store\":false}", 200);
    assert_true(client_number(a, "usage.input_tokens_details.cached_tokens") > 0);
    cJSON_Delete(responses_get(server.port, client_text(a, "id"), "", 404));
    cJSON_Delete(a);
}

static void answers_in_a_stream(void **state) {
    (void)state;
    static const char *const order[] = {"response.created",
                                        "response.in_progress",
                                        "response.output_item.added",
                                        "response.content_part.added",
                                        "response.reasoning_text.delta",
                                        "response.reasoning_text.done",
                                        "response.content_part.done",
                                        "response.output_item.done",
                                        "response.output_item.added",
                                        "response.content_part.added",
                                        "response.output_text.delta",
                                        "response.output_text.done",
                                        "response.content_part.done",
                                        "response.output_item.done",
                                        "response.completed"};
    cJSON *events = responses_stream(server.port, "POST", RESPONSES, "{" QUESTION ",\"stream\":true}", 0);
    const cJSON *event = events->child, *end = client_at(responses_last(events), "response");
    for (size_t i = 0; i < sizeof order / sizeof *order; i++) {
        bool repeats = strstr(order[i], ".delta");
        assert_string_equal(client_text(event, "type"), order[i]);
        do event = event->next;
        while (repeats && strcmp(client_text(event, "type"), order[i]) == 0);
    }
    assert_null(event);
    buffer text = {0};
    responses_join(events, "response.output_text.delta", &text);
    assert_string_equal(text.data, ANSWER);
    assert_string_equal(responses_answer_text(end), ANSWER);
    buffer_clear(&text);
    responses_join(events, "response.reasoning_text.delta", &text);
    assert_string_equal(text.data, client_text(responses_item(end, "reasoning"), "content.0.text"));
    buffer_free(&text);
    cJSON *kept = responses_get(server.port, client_text(end, "id"), "", 200);
    assert_true(cJSON_Compare(end, kept, true));
    cJSON_Delete(kept);
    /* The same again, whole and from the middle. */
    cJSON *again =
        responses_stream(server.port, "GET", responses_path(client_text(end, "id"), "?stream=true"), NULL, 0);
    assert_true(cJSON_Compare(events, again, true));
    cJSON_Delete(again);
    again = responses_stream(server.port, "GET",
                             responses_path(client_text(end, "id"), "?stream=true&starting_after=6"), NULL, 7);
    assert_int_equal(cJSON_GetArraySize(again), cJSON_GetArraySize(events) - 7);
    assert_true(cJSON_Compare(responses_last(again), responses_last(events), true));
    cJSON_Delete(again);
    again = responses_stream(server.port, "GET",
                             responses_path(client_text(end, "id"), "?stream=true&starting_after=999"), NULL, 1000);
    assert_int_equal(cJSON_GetArraySize(again), 0);
    cJSON_Delete(again);
    cJSON_Delete(events);
}

static void tells_log_probabilities(void **state) {
    (void)state;
    cJSON *events = responses_stream(server.port, "POST", RESPONSES,
                                     "{" QUESTION ",\"stream\":true,\"include\":[\"message.output_text.logprobs\"],"
                                     "\"top_logprobs\":2}",
                                     0);
    const cJSON *event, *one;
    buffer text = {0}, tokens = {0};
    cJSON_ArrayForEach(event, events) {
        if (strcmp(client_text(event, "type"), "response.output_text.delta") != 0) continue;
        assert_ok(buffer_append_text(&text, client_text(event, "delta"), err));
        cJSON_ArrayForEach(one, client_at(event, "logprobs")) {
            assert_ok(buffer_append_text(&tokens, client_text(one, "token"), err));
            assert_int_equal(cJSON_GetArraySize(client_at(one, "top_logprobs")), 2);
        }
        assert_string_equal(text.data, tokens.data); /* each comes with its text */
    }
    assert_string_equal(tokens.data, ANSWER);
    buffer_clear(&tokens);
    cJSON_ArrayForEach(one, client_at(responses_item(client_at(responses_last(events), "response"), "message"),
                                      "content.0.logprobs")) {
        assert_ok(buffer_append_text(&tokens, client_text(one, "token"), err));
    }
    assert_string_equal(tokens.data, ANSWER);
    buffer_free(&text);
    buffer_free(&tokens);
    cJSON_Delete(events);
}

static void ends_at_the_limit(void **state) {
    (void)state;
    cJSON *a = responses_ask(server.port, "{" QUESTION ",\"max_output_tokens\":5}", 200);
    assert_string_equal(responses_status(a), "incomplete");
    assert_string_equal(client_text(a, "incomplete_details.reason"), "max_output_tokens");
    assert_true(client_number(a, "usage.output_tokens") == 5);
    cJSON_Delete(a);
    cJSON *events =
        responses_stream(server.port, "POST", RESPONSES, "{" QUESTION ",\"max_output_tokens\":25,\"stream\":true}", 0);
    assert_string_equal(client_text(responses_last(events), "type"), "response.incomplete");
    cJSON_Delete(events);
}

static void keeps_to_a_schema(void **state) {
    (void)state;
    cJSON *a = responses_ask(
        server.port,
        "{" QUESTION ",\"max_output_tokens\":400,\"text\":{\"format\":{\"type\":\"json_schema\",\"name\":\"sum\","
        "\"strict\":true,\"schema\":{\"type\":\"object\",\"properties\":{\"ok\":{\"type\":\"boolean\"}},"
        "\"required\":[\"ok\"],\"additionalProperties\":false}}}}",
        200);
    cJSON *content = cJSON_Parse(responses_answer_text(a));
    assert_true(cJSON_IsBool(client_at(content, "ok")));
    cJSON_Delete(content);
    cJSON_Delete(a);
    a = responses_ask(server.port,
                      "{" QUESTION
                      ",\"text\":{\"format\":{\"type\":\"json_schema\",\"name\":\"x\",\"schema\":{\"type\":\"string\","
                      "\"format\":\"color\"}}}}",
                      400);
    assert_string_equal(client_text(a, "error.param"), "text.format");
    cJSON_Delete(a);
}

/* ---- conversations ---- */

#define WEATHER                                                                                                       \
    "\"tools\":[{\"type\":\"function\",\"name\":\"get_weather\",\"parameters\":{\"type\":\"object\",\"properties\":{" \
    "\"city\":{\"type\":\"string\"}},\"required\":[\"city\"],\"additionalProperties\":false}}]"

static void goes_on(void **state) {
    (void)state;
    char body[400];
    cJSON *a = responses_ask(server.port, "{\"input\":\"What is the capital of France?\",\"temperature\":0}", 200);
    snprintf(body, sizeof body, "{\"previous_response_id\":\"%s\",\"input\":\"And of Italy?\",\"temperature\":0}",
             client_text(a, "id"));
    cJSON *b = responses_ask(server.port, body, 200);
    assert_string_equal(responses_answer_text(b), "The capital of Italy is Rome.");
    assert_string_equal(client_text(b, "previous_response_id"), client_text(a, "id"));
    cJSON *items = responses_get(server.port, client_text(b, "id"), "/input_items?order=asc", 200);
    assert_int_equal(cJSON_GetArraySize(client_at(items, "data")), 4); /* question, thought, answer, question */
    assert_string_equal(client_text(items, "data.3.content.0.text"), "And of Italy?");
    cJSON_Delete(items);
    /* It does not need the one before any more. */
    cJSON_Delete(client_json(server.port, "DELETE", responses_path(client_text(a, "id"), ""), NULL, 200));
    cJSON_Delete(responses_ask(server.port, body, 400));
    snprintf(body, sizeof body, "{\"previous_response_id\":\"%s\",\"input\":\"And of Norway?\",\"temperature\":0}",
             client_text(b, "id"));
    cJSON *c = responses_ask(server.port, body, 200);
    assert_string_equal(responses_answer_text(c), "The capital of Norway is Oslo.");
    cJSON_Delete(a);
    cJSON_Delete(b);
    cJSON_Delete(c);
}

static void calls_functions(void **state) {
    (void)state;
    char body[700];
    cJSON *events = responses_stream(server.port, "POST", RESPONSES,
                                     "{\"input\":\"What is the weather in Paris?\",\"temperature\":0,\"stream\":true,"
                                     "\"max_output_tokens\":300," WEATHER ",\"tool_choice\":\"required\"}",
                                     0);
    const cJSON *response = client_at(responses_last(events), "response"),
                *call = responses_item(response, "function_call");
    assert_string_equal(client_text(call, "name"), "get_weather");
    assert_memory_equal(client_text(call, "call_id"), "call_", 5);
    cJSON *arguments = cJSON_Parse(client_text(call, "arguments"));
    assert_true(cJSON_IsString(client_at(arguments, "city")));
    cJSON_Delete(arguments);
    buffer text = {0};
    responses_join(events, "response.function_call_arguments.delta", &text);
    assert_string_equal(text.data, client_text(call, "arguments"));
    buffer_free(&text);
    snprintf(body, sizeof body,
             "{\"previous_response_id\":\"%s\",\"input\":[{\"type\":\"function_call_output\",\"call_id\":\"%s\","
             "\"output\":\"cold\"}],\"temperature\":0,\"max_output_tokens\":100," WEATHER ",\"tool_choice\":\"none\"}",
             client_text(response, "id"), client_text(call, "call_id"));
    cJSON *a = responses_ask(server.port, body, 200);
    assert_null(responses_item(a, "function_call"));
    assert_true(client_number(a, "usage.input_tokens") > client_number(response, "usage.input_tokens"));
    cJSON_Delete(a);
    cJSON_Delete(events);
}

static void shortens_long_conversations(void **state) {
    (void)state;
    enum { WORDS = 500, TURNS = 8 }; /* together more than --max-kv */
    buffer body = {0};
    assert_ok(buffer_append_text(&body, "{\"temperature\":0,\"input\":[", err));
    for (int i = 0; i < TURNS; i++) {
        assert_ok(buffer_append_text(&body, "{\"role\":\"user\",\"content\":\"", err));
        for (int k = 0; k < WORDS; k++) assert_ok(buffer_append_text(&body, "ox ", err));
        assert_ok(buffer_append_text(&body, "\"},{\"role\":\"assistant\",\"content\":\"Yes.\"},", err));
    }
    assert_ok(buffer_append_text(&body, "{\"role\":\"user\",\"content\":\"What is 2+2?\"}]", err));
    size_t size = body.size;
    assert_ok(buffer_append_text(&body, "}", err));
    cJSON *a = responses_ask(server.port, body.data, 422);
    assert_string_equal(client_text(a, "error.param"), "input");
    cJSON_Delete(a);
    body.size = size;
    assert_ok(buffer_append_text(&body, ",\"truncation\":\"auto\",\"max_output_tokens\":500}", err));
    a = responses_ask(server.port, body.data, 200);
    double tokens = client_number(a, "usage.input_tokens");
    assert_true(tokens > 2000 && tokens <= 4096 - 500); /* no more than needed was left out */
    cJSON_Delete(a);
    buffer_free(&body);
}

/* ---- hostile bodies ---- */

static void survives_hostile_bodies(void **state) {
    (void)state;
    enum { BYTES = 200 << 10 };
    char *body = malloc(BYTES + 1);
    memset(body, '[', BYTES);
    body[BYTES] = '\0';
    cJSON *a = responses_ask(server.port, body, 400);
    assert_non_null(strstr(client_text(a, "error.message"), "nested"));
    cJSON_Delete(a);
    memset(body, 'a', BYTES);
    memcpy(body, "{\"input\":\"", 10);
    memcpy(body + BYTES - 2, "\"}", 2);
    cJSON_Delete(responses_ask(server.port, body, 422)); /* longer than the context */
    memcpy(body, "{\"previous_response_id\":\"", 25);
    cJSON_Delete(responses_ask(server.port, body, 400));
    memcpy(body, "{\"instructions\":\"\",\"x\":\"", 24);
    cJSON_Delete(responses_ask(server.port, body, 400));
    free(body);
    a = responses_ask(server.port, "{" QUESTION ",\"model\":\"gpt-9\"}", 404);
    assert_string_equal(client_text(a, "error.param"), "model");
    cJSON_Delete(a);
}

/* ---- many at once ---- */

typedef struct visitor {
    pthread_t thread;
    int number;
    char *alone, *together;
} visitor;

static char *visit_once(int number, bool background) {
    char body[200];
    snprintf(body, sizeof body,
             "{\"input\":\"What is %d+%d?\",\"temperature\":%d,\"seed\":%d,\"max_output_tokens\":60,\"background\":%s}",
             number % 10, number / 4, number % 2, number, background ? "true" : "false");
    cJSON *a = responses_ask(server.port, body, 200);
    if (background) {
        char path[300];
        snprintf(path, sizeof path, RESPONSES "/%s?stream=true", client_text(a, "id"));
        cJSON *events = responses_stream(server.port, "GET", path, NULL, 0);
        cJSON_Delete(a);
        a = cJSON_Duplicate(client_at(responses_last(events), "response"), true);
        cJSON_Delete(events);
    }
    const char *answer = responses_answer_text(a),
               *thought = client_text(responses_item(a, "reasoning"), "content.0.text");
    char *text = malloc(2000);
    snprintf(text, 2000, "%s: %s / %s", responses_status(a), thought ? thought : "", answer ? answer : "");
    cJSON_Delete(a);
    return text;
}

static void *visit(void *context) {
    visitor *v = context;
    v->together = visit_once(v->number, v->number % 3 > 0);
    return NULL;
}

static void gives_each_of_many_what_it_would_get_alone(void **state) {
    (void)state;
    enum { VISITORS = 16 };
    static visitor v[VISITORS];
    for (int i = 0; i < VISITORS; i++) v[i].alone = visit_once(v[i].number = i, false);
    for (int i = 0; i < VISITORS; i++) assert_int_equal(pthread_create(&v[i].thread, NULL, visit, &v[i]), 0);
    for (int i = 0; i < VISITORS; i++) pthread_join(v[i].thread, NULL);
    for (int i = 0; i < VISITORS; i++) {
        assert_string_equal(v[i].together, v[i].alone);
        free(v[i].together);
        free(v[i].alone);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers_whole),           cmocka_unit_test(answers_in_a_stream),
        cmocka_unit_test(tells_log_probabilities), cmocka_unit_test(ends_at_the_limit),
        cmocka_unit_test(keeps_to_a_schema),       cmocka_unit_test(goes_on),
        cmocka_unit_test(calls_functions),         cmocka_unit_test(shortens_long_conversations),
        cmocka_unit_test(survives_hostile_bodies), cmocka_unit_test(gives_each_of_many_what_it_would_get_alone),
    };
    return cmocka_run_group_tests(tests, start, stop);
}
