/* /v1/responses on two ranks with the demo model, as its clients see it. */
#include <pthread.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "serve/client.h"
#include "support.h"

#ifndef RANKS
#define RANKS 2 /* 0: alone, not started by mpirun */
#endif

#define RESPONSES "/v1/responses"
#define QUESTION "\"input\":\"What is 2+2?\",\"temperature\":0"
#define ANSWER "2 + 2 = 4."

static served server;

static int start(void **state) {
    (void)state;
    static const char *const flags[] = {"--parallel", "4",         "--queue",    "64",      "--max-kv",
                                        "8192",      "--threads", "1",          "--alias", "demo",
                                        "--cpu-bind", "none",      "--max-body", "256K",    NULL};
    server = served_start(RANKS, flags);
    return 0;
}

static int stop(void **state) {
    (void)state;
    process_result r = served_stop(&server);
    bool fine = r.exit_status == 0 && r.err.size == 0;
    if (!fine) print_message("exit %d, stderr: %s\n", r.exit_status, r.err.data);
    process_free(&r);
    return fine ? 0 : -1;
}

/* ---- asking ---- */

static cJSON *ask(const char *body, int http) { return client_json(server.port, "POST", RESPONSES, body, http); }

static const char *path_of(const char *id, const char *rest) {
    static char path[300];
    snprintf(path, sizeof path, RESPONSES "/%s%s", id, rest);
    return path;
}

static cJSON *get(const char *id, const char *rest, int http) {
    return client_json(server.port, "GET", path_of(id, rest), NULL, http);
}

/* The first output item of a type. */
static const cJSON *item_of(const cJSON *response, const char *type) {
    const cJSON *item;
    cJSON_ArrayForEach(item, client_at(response, "output")) {
        if (strcmp(client_text(item, "type"), type) == 0) return item;
    }
    return NULL;
}

static const char *answer_of(const cJSON *response) {
    return client_text(item_of(response, "message"), "content.0.text");
}

static const char *status_of(const cJSON *response) { return client_text(response, "status"); }

/* A response once it has ended. */
static cJSON *get_ended(const char *id) {
    for (double began = clock_seconds(); clock_seconds() - began < 60; usleep(10000)) {
        cJSON *a = get(id, "", 200);
        const char *status = status_of(a);
        if (strcmp(status, "queued") != 0 && strcmp(status, "in_progress") != 0) return a;
        cJSON_Delete(a);
    }
    fail_msg("%s does not end", id);
    return NULL;
}

static cJSON *stream_from(const char *method, const char *path, const char *body, int first) {
    client_answer a = client_ask(server.port, method, path, body ? "Content-Type: application/json\r\n" : NULL, body);
    if (a.http != 200 || !a.whole) fail_msg("%s %s: %d %s", method, path, a.http, a.body.data);
    assert_non_null(strstr(a.headers.data, "text/event-stream"));
    cJSON *events = client_response_events(&a.body, first);
    client_answer_free(&a);
    return events;
}

static const cJSON *last_of(const cJSON *events) { return cJSON_GetArrayItem(events, cJSON_GetArraySize(events) - 1); }

/* The texts of all deltas of a type. */
static void join_deltas(const cJSON *events, const char *type, buffer *out) {
    const cJSON *event;
    cJSON_ArrayForEach(event, events) {
        if (strcmp(client_text(event, "type"), type) == 0)
            assert_ok(buffer_append_text(out, client_text(event, "delta"), err));
    }
    if (!out->data) assert_ok(buffer_append_text(out, "", err));
}

/* Sends a request and reads the first bytes of its answer, if there are any to come. */
static int begin(int port, const char *body, bool streams) {
    buffer request = {0};
    char first;
    assert_ok(buffer_printf(&request, err,
                            "POST " RESPONSES " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
                            "Content-Length: %zu\r\n\r\n%s",
                            strlen(body), body));
    int fd = client_connect(port);
    client_send(fd, request.data, request.size);
    buffer_free(&request);
    if (streams) assert_int_equal(recv(fd, &first, 1, MSG_PEEK), 1);
    return fd;
}

/* ---- answers ---- */

static void answers_whole(void **state) {
    (void)state;
    cJSON *a = ask("{\"model\":\"demo\"," QUESTION ",\"metadata\":{\"a\":\"b\"}}", 200);
    cJSON *chat =
        client_json(server.port, "POST", "/v1/chat/completions",
                    "{\"messages\":[{\"role\":\"user\",\"content\":\"What is 2+2?\"}],\"temperature\":0}", 200);
    assert_string_equal(client_text(a, "object"), "response");
    assert_memory_equal(client_text(a, "id"), "resp_", 5);
    assert_string_equal(client_text(a, "model"), "demo");
    assert_string_equal(status_of(a), "completed");
    assert_string_equal(client_text(a, "metadata.a"), "b");
    assert_string_equal(answer_of(a), ANSWER);
    assert_string_equal(answer_of(a), client_text(chat, "choices.0.message.content"));
    assert_string_equal(client_text(item_of(a, "reasoning"), "content.0.text"),
                        client_text(chat, "choices.0.message.reasoning_content"));
    assert_int_equal(cJSON_GetArraySize(client_at(item_of(a, "reasoning"), "summary")), 0);
    assert_true(client_number(a, "usage.input_tokens") == client_number(chat, "usage.prompt_tokens"));
    assert_true(client_number(a, "usage.output_tokens") == client_number(chat, "usage.completion_tokens"));
    assert_true(client_number(a, "usage.output_tokens_details.reasoning_tokens") ==
                client_number(chat, "usage.completion_tokens_details.reasoning_tokens"));
    cJSON *kept = get(client_text(a, "id"), "", 200);
    assert_true(cJSON_Compare(a, kept, true));
    cJSON_Delete(kept);
    cJSON_Delete(chat);
    cJSON_Delete(a);
    a = ask("{" QUESTION ",\"store\":false}", 200);
    assert_true(client_number(a, "usage.input_tokens_details.cached_tokens") > 0);
    cJSON_Delete(get(client_text(a, "id"), "", 404));
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
    cJSON *events = stream_from("POST", RESPONSES, "{" QUESTION ",\"stream\":true}", 0);
    const cJSON *event = events->child, *end = client_at(last_of(events), "response");
    for (size_t i = 0; i < sizeof order / sizeof *order; i++) {
        bool repeats = strstr(order[i], ".delta");
        assert_string_equal(client_text(event, "type"), order[i]);
        do event = event->next;
        while (repeats && strcmp(client_text(event, "type"), order[i]) == 0);
    }
    assert_null(event);
    buffer text = {0};
    join_deltas(events, "response.output_text.delta", &text);
    assert_string_equal(text.data, ANSWER);
    assert_string_equal(answer_of(end), ANSWER);
    buffer_clear(&text);
    join_deltas(events, "response.reasoning_text.delta", &text);
    assert_string_equal(text.data, client_text(item_of(end, "reasoning"), "content.0.text"));
    buffer_free(&text);
    cJSON *kept = get(client_text(end, "id"), "", 200);
    assert_true(cJSON_Compare(end, kept, true));
    cJSON_Delete(kept);
    /* The same again, whole and from the middle. */
    cJSON *again = stream_from("GET", path_of(client_text(end, "id"), "?stream=true"), NULL, 0);
    assert_true(cJSON_Compare(events, again, true));
    cJSON_Delete(again);
    again = stream_from("GET", path_of(client_text(end, "id"), "?stream=true&starting_after=6"), NULL, 7);
    assert_int_equal(cJSON_GetArraySize(again), cJSON_GetArraySize(events) - 7);
    assert_true(cJSON_Compare(last_of(again), last_of(events), true));
    cJSON_Delete(again);
    again = stream_from("GET", path_of(client_text(end, "id"), "?stream=true&starting_after=999"), NULL, 1000);
    assert_int_equal(cJSON_GetArraySize(again), 0);
    cJSON_Delete(again);
    cJSON_Delete(events);
}

static void tells_log_probabilities(void **state) {
    (void)state;
    cJSON *events = stream_from("POST", RESPONSES,
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
    cJSON_ArrayForEach(one,
                       client_at(item_of(client_at(last_of(events), "response"), "message"), "content.0.logprobs")) {
        assert_ok(buffer_append_text(&tokens, client_text(one, "token"), err));
    }
    assert_string_equal(tokens.data, ANSWER);
    buffer_free(&text);
    buffer_free(&tokens);
    cJSON_Delete(events);
}

static void ends_at_the_limit(void **state) {
    (void)state;
    cJSON *a = ask("{" QUESTION ",\"max_output_tokens\":5}", 200);
    assert_string_equal(status_of(a), "incomplete");
    assert_string_equal(client_text(a, "incomplete_details.reason"), "max_output_tokens");
    assert_true(client_number(a, "usage.output_tokens") == 5);
    cJSON_Delete(a);
    cJSON *events = stream_from("POST", RESPONSES, "{" QUESTION ",\"max_output_tokens\":25,\"stream\":true}", 0);
    assert_string_equal(client_text(last_of(events), "type"), "response.incomplete");
    cJSON_Delete(events);
}

static void keeps_to_a_schema(void **state) {
    (void)state;
    cJSON *a =
        ask("{" QUESTION ",\"max_output_tokens\":400,\"text\":{\"format\":{\"type\":\"json_schema\",\"name\":\"sum\","
            "\"strict\":true,\"schema\":{\"type\":\"object\",\"properties\":{\"ok\":{\"type\":\"boolean\"}},"
            "\"required\":[\"ok\"],\"additionalProperties\":false}}}}",
            200);
    cJSON *content = cJSON_Parse(answer_of(a));
    assert_true(cJSON_IsBool(client_at(content, "ok")));
    cJSON_Delete(content);
    cJSON_Delete(a);
    a = ask("{" QUESTION
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
    cJSON *a = ask("{\"input\":\"What is the capital of France?\",\"temperature\":0}", 200);
    snprintf(body, sizeof body, "{\"previous_response_id\":\"%s\",\"input\":\"And of Italy?\",\"temperature\":0}",
             client_text(a, "id"));
    cJSON *b = ask(body, 200);
    assert_string_equal(answer_of(b), "The capital of Italy is Rome.");
    assert_string_equal(client_text(b, "previous_response_id"), client_text(a, "id"));
    cJSON *items = get(client_text(b, "id"), "/input_items?order=asc", 200);
    assert_int_equal(cJSON_GetArraySize(client_at(items, "data")), 4); /* question, thought, answer, question */
    assert_string_equal(client_text(items, "data.3.content.0.text"), "And of Italy?");
    cJSON_Delete(items);
    /* It does not need the one before any more. */
    cJSON_Delete(client_json(server.port, "DELETE", path_of(client_text(a, "id"), ""), NULL, 200));
    cJSON_Delete(ask(body, 400));
    snprintf(body, sizeof body, "{\"previous_response_id\":\"%s\",\"input\":\"And of Norway?\",\"temperature\":0}",
             client_text(b, "id"));
    cJSON *c = ask(body, 200);
    assert_string_equal(answer_of(c), "The capital of Norway is Oslo.");
    cJSON_Delete(a);
    cJSON_Delete(b);
    cJSON_Delete(c);
}

static void calls_functions(void **state) {
    (void)state;
    char body[700];
    cJSON *events = stream_from("POST", RESPONSES,
                                "{\"input\":\"What is the weather in Paris?\",\"temperature\":0,\"stream\":true,"
                                "\"max_output_tokens\":300," WEATHER ",\"tool_choice\":\"required\"}",
                                0);
    const cJSON *response = client_at(last_of(events), "response"), *call = item_of(response, "function_call");
    assert_string_equal(client_text(call, "name"), "get_weather");
    assert_memory_equal(client_text(call, "call_id"), "call_", 5);
    cJSON *arguments = cJSON_Parse(client_text(call, "arguments"));
    assert_true(cJSON_IsString(client_at(arguments, "city")));
    cJSON_Delete(arguments);
    buffer text = {0};
    join_deltas(events, "response.function_call_arguments.delta", &text);
    assert_string_equal(text.data, client_text(call, "arguments"));
    buffer_free(&text);
    snprintf(body, sizeof body,
             "{\"previous_response_id\":\"%s\",\"input\":[{\"type\":\"function_call_output\",\"call_id\":\"%s\","
             "\"output\":\"cold\"}],\"temperature\":0,\"max_output_tokens\":100," WEATHER ",\"tool_choice\":\"none\"}",
             client_text(response, "id"), client_text(call, "call_id"));
    cJSON *a = ask(body, 200);
    assert_null(item_of(a, "function_call"));
    assert_true(client_number(a, "usage.input_tokens") > client_number(response, "usage.input_tokens"));
    cJSON_Delete(a);
    cJSON_Delete(events);
}

static void shortens_long_conversations(void **state) {
    (void)state;
    enum { WORDS = 1000, TURNS = 8 }; /* together more than --max-kv */
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
    cJSON *a = ask(body.data, 422);
    assert_string_equal(client_text(a, "error.param"), "input");
    cJSON_Delete(a);
    body.size = size;
    assert_ok(buffer_append_text(&body, ",\"truncation\":\"auto\",\"max_output_tokens\":1000}", err));
    a = ask(body.data, 200);
    double tokens = client_number(a, "usage.input_tokens");
    assert_true(tokens > 4000 && tokens <= 8192 - 1000); /* no more than needed was left out */
    cJSON_Delete(a);
    buffer_free(&body);
}

/* ---- in the background ---- */

static void works_in_the_background(void **state) {
    (void)state;
    cJSON *a = ask("{" QUESTION ",\"background\":true}", 200);
    assert_string_equal(status_of(a), "queued");
    cJSON *done = get_ended(client_text(a, "id"));
    assert_string_equal(status_of(done), "completed");
    assert_string_equal(answer_of(done), ANSWER);
    cJSON *again = client_json(server.port, "POST", path_of(client_text(a, "id"), "/cancel"), "", 200);
    assert_true(cJSON_Compare(again, done, true)); /* too late, which is no error */
    cJSON *events = stream_from("GET", path_of(client_text(a, "id"), "?stream=true"), NULL, 0);
    assert_string_equal(client_text(events, "1.type"), "response.queued");
    assert_string_equal(client_text(events, "2.type"), "response.in_progress");
    cJSON_Delete(events);
    cJSON_Delete(again);
    cJSON_Delete(done);
    cJSON_Delete(a);
    events = stream_from("POST", RESPONSES, "{" QUESTION ",\"background\":true,\"stream\":true}", 0);
    assert_string_equal(client_text(last_of(events), "type"), "response.completed");
    assert_string_equal(answer_of(client_at(last_of(events), "response")), ANSWER);
    cJSON_Delete(events);
}

/* The number and the response's id of the last whole event in a part of a stream. */
static void read_part(int fd, size_t bytes, int *number, char id[64]) {
    buffer part = {0};
    char block[4096];
    while (part.size < bytes) {
        ssize_t n = recv(fd, block, sizeof block, 0);
        assert_true(n > 0);
        assert_ok(buffer_append(&part, block, (size_t)n, err));
    }
    const char *at = strstr(part.data, "\"id\":\"resp_"), *event = part.data;
    assert_non_null(at);
    assert_int_equal(sscanf(at, "\"id\":\"%40[^\"]", id), 1);
    *number = -1;
    while ((event = strstr(event, "\"sequence_number\":"))) sscanf(event++, "\"sequence_number\":%d", number);
    buffer_free(&part);
}

static void goes_on_without_its_client(void **state) {
    (void)state;
    int number;
    char id[64], rest[64], *body = client_endless_response(server.port, 2000, "\"background\":true,\"stream\":true");
    int fd = begin(server.port, body, true);
    read_part(fd, 8000, &number, id);
    close(fd);
    assert_true(number > 3);
    snprintf(rest, sizeof rest, "?stream=true&starting_after=%d", number);
    cJSON *events = stream_from("GET", path_of(id, rest), NULL, number + 1);
    assert_string_equal(client_text(last_of(events), "type"), "response.incomplete");
    assert_true(client_number(last_of(events), "response.usage.output_tokens") == 2000);
    cJSON_Delete(events);
    free(body);
}

static void cancels(void **state) {
    (void)state;
    char *body = client_endless_response(server.port, 8000, "\"background\":true");
    cJSON *a = ask(body, 200), *b = NULL;
    const char *id = client_text(a, "id");
    cJSON_Delete(client_json(server.port, "DELETE", path_of(id, ""), NULL, 409));
    for (double began = clock_seconds(); clock_seconds() - began < 20; usleep(10000)) {
        b = get(id, "", 200);
        if (strcmp(status_of(b), "in_progress") == 0) break;
        cJSON_Delete(b);
    }
    cJSON_Delete(b);
    for (int i = 0; i < 2; i++) {
        b = client_json(server.port, "POST", path_of(id, "/cancel"), i ? "{}" : NULL, 200);
        assert_string_equal(status_of(b), "cancelled");
        cJSON_Delete(b);
    }
    cJSON *events = stream_from("GET", path_of(id, "?stream=true"), NULL, 0);
    assert_string_equal(client_text(last_of(events), "type"), "response.cancelled");
    cJSON_Delete(events);
    cJSON_Delete(client_json(server.port, "DELETE", path_of(id, ""), NULL, 200));
    cJSON_Delete(get(id, "", 404));
    cJSON_Delete(a);
    free(body);
}

static void ends_with_its_client(void **state) {
    (void)state;
    int number;
    char id[64], *body = client_endless_response(server.port, 8000, "\"stream\":true");
    int fd = begin(server.port, body, true);
    read_part(fd, 4000, &number, id);
    cJSON *a = client_json(server.port, "POST", path_of(id, "/cancel"), NULL, 400);
    assert_string_equal(client_text(a, "error.param"), "response_id");
    cJSON_Delete(a);
    close(fd);
    a = get_ended(id);
    assert_string_equal(status_of(a), "cancelled");
    cJSON_Delete(a);
    free(body);
}

/* ---- what is kept ---- */

static void lists_input_items(void **state) {
    (void)state;
    cJSON *a = ask("{\"max_output_tokens\":1,\"input\":[{\"role\":\"user\",\"content\":\"0\",\"id\":\"m0\"},{\"role\":"
                   "\"user\",\"content\":\"1\",\"id\":\"m1\"},{\"role\":\"user\",\"content\":\"2\",\"id\":\"m2\"}]}",
                   200);
    const char *id = client_text(a, "id");
    static const struct {
        const char *query, *ids[4];
        bool more;
    } cases[] = {{"", {"m2", "m1", "m0"}, false},
                 {"?order=asc", {"m0", "m1", "m2"}, false},
                 {"?limit=2", {"m2", "m1"}, true},
                 {"?limit=2&after=m1", {"m0"}, false},
                 {"?limit=1&order=asc&after=m0", {"m1"}, true},
                 {"?order=asc&after=m2", {NULL}, false}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char rest[64];
        snprintf(rest, sizeof rest, "/input_items%s", cases[i].query);
        cJSON *page = get(id, rest, 200);
        const cJSON *item = client_at(page, "data")->child;
        for (int k = 0; cases[i].ids[k]; k++, item = item->next)
            assert_string_equal(client_text(item, "id"), cases[i].ids[k]);
        assert_null(item);
        assert_int_equal(cJSON_IsTrue(client_at(page, "has_more")), cases[i].more);
        if (cases[i].ids[0]) assert_string_equal(client_text(page, "first_id"), cases[i].ids[0]);
        cJSON_Delete(page);
    }
    static const char *const bad[][2] = {
        {"?limit=0", "limit"}, {"?limit=x", "limit"}, {"?order=up", "order"}, {"?after=m9", "after"}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char rest[64];
        snprintf(rest, sizeof rest, "/input_items%s", bad[i][0]);
        cJSON *page = get(id, rest, 400);
        assert_string_equal(client_text(page, "error.param"), bad[i][1]);
        cJSON_Delete(page);
    }
    cJSON_Delete(a);
}

static void knows_only_its_own_ids(void **state) {
    (void)state;
    static const char *const ids[] = {"resp_0", "%27%20OR%201=1%20--", "%F0%9F%98%80", "%FF", "..", "a%2Fb", "%25s%25n",
                                      "*"};
    static const char *const methods[][2] = {
        {"GET", ""}, {"GET", "?stream=true"}, {"GET", "/input_items"}, {"DELETE", ""}, {"POST", "/cancel"}};
    for (size_t i = 0; i < sizeof ids / sizeof *ids; i++)
        for (size_t k = 0; k < sizeof methods / sizeof *methods; k++) {
            cJSON *a = client_json(server.port, methods[k][0], path_of(ids[i], methods[k][1]), NULL, 404);
            assert_non_null(client_text(a, "error.message"));
            assert_string_equal(client_text(a, "error.type"), "invalid_request_error");
            cJSON_Delete(a);
        }
    char path[3000] = RESPONSES "/";
    memset(path + strlen(path), 'x', 2500);
    cJSON_Delete(client_json(server.port, "GET", path, NULL, 404));
    cJSON_Delete(client_json(server.port, "PUT", RESPONSES, NULL, 405));
    cJSON_Delete(client_json(server.port, "GET", RESPONSES, NULL, 405));
    cJSON_Delete(client_json(server.port, "GET", RESPONSES "/x/cancel", NULL, 405));
    cJSON_Delete(client_json(server.port, "GET", RESPONSES "/x?stream=maybe", NULL, 400));
    cJSON_Delete(client_json(server.port, "GET", RESPONSES "/x?stream=true&starting_after=-1", NULL, 400));
    cJSON_Delete(client_json(server.port, "GET", RESPONSES "/x?starting_after=1", NULL, 400));
}

static void survives_hostile_bodies(void **state) {
    (void)state;
    enum { BYTES = 200 << 10 };
    char *body = malloc(BYTES + 1);
    memset(body, '[', BYTES);
    body[BYTES] = '\0';
    cJSON *a = ask(body, 400);
    assert_non_null(strstr(client_text(a, "error.message"), "nested"));
    cJSON_Delete(a);
    memset(body, 'a', BYTES);
    memcpy(body, "{\"input\":\"", 10);
    memcpy(body + BYTES - 2, "\"}", 2);
    cJSON_Delete(ask(body, 422)); /* longer than the context */
    memcpy(body, "{\"previous_response_id\":\"", 25);
    cJSON_Delete(ask(body, 400));
    memcpy(body, "{\"instructions\":\"\",\"x\":\"", 24);
    cJSON_Delete(ask(body, 400));
    free(body);
    a = ask("{" QUESTION ",\"model\":\"gpt-9\"}", 404);
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
    cJSON *a = ask(body, 200);
    if (background) {
        char path[300];
        snprintf(path, sizeof path, RESPONSES "/%s?stream=true", client_text(a, "id"));
        cJSON *events = stream_from("GET", path, NULL, 0);
        cJSON_Delete(a);
        a = cJSON_Duplicate(client_at(last_of(events), "response"), true);
        cJSON_Delete(events);
    }
    const char *answer = answer_of(a), *thought = client_text(item_of(a, "reasoning"), "content.0.text");
    char *text = malloc(2000);
    snprintf(text, 2000, "%s: %s / %s", status_of(a), thought ? thought : "", answer ? answer : "");
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

/* ---- from one life to the next ---- */

static char store_path[] = "/tmp/gptoss-responses-XXXXXX";

static served start_with_store(void) {
    const char *const flags[] = {"--store", store_path, "--drain-timeout", "0", "--parallel", "2", "--threads",
                                 "1",       NULL};
    return served_start(RANKS, flags);
}

static void remove_store(void) {
    static const char *const ends[] = {"", "-wal", "-shm"};
    for (int i = 0; i < 3; i++) {
        char path[64];
        snprintf(path, sizeof path, "%s%s", store_path, ends[i]);
        unlink(path);
    }
}

static void keeps_responses_in_a_file(void **state) {
    (void)state;
    char done[64], id[64];
    int number;
    close(mkstemp(store_path));
    served s = start_with_store();
    cJSON *a = client_json(s.port, "POST", RESPONSES, "{" QUESTION "}", 200);
    snprintf(done, sizeof done, "%s", client_text(a, "id"));
    char *body = client_endless_response(s.port, 100000, "\"background\":true,\"stream\":true");
    for (int sudden = 0; sudden < 2; sudden++) {
        int fd = begin(s.port, body, true);
        read_part(fd, 6000, &number, id);
        kill(s.rank0, sudden ? SIGKILL : SIGTERM);
        process_result r = served_wait(&s);
        if (!sudden) assert_int_equal(r.exit_status, 0);
        process_free(&r);
        close(fd);
        s = start_with_store();
        cJSON *b = client_json(s.port, "GET", path_of(done, ""), NULL, 200);
        assert_true(cJSON_Compare(a, b, true));
        cJSON_Delete(b);
        b = client_json(s.port, "GET", path_of(id, ""), NULL, 200);
        assert_string_equal(status_of(b), "failed");
        assert_string_equal(client_text(b, "error.code"), "server_error");
        cJSON_Delete(b);
        client_answer whole = client_ask(s.port, "GET", path_of(id, "?stream=true"), NULL, NULL);
        cJSON *events = client_response_events(&whole.body, 0); /* all that its client has seen, and the end */
        assert_true(cJSON_GetArraySize(events) > number + 1);
        assert_string_equal(client_text(last_of(events), "type"), "response.failed");
        cJSON_Delete(events);
        client_answer_free(&whole);
    }
    process_result r = served_stop(&s);
    assert_int_equal(r.exit_status, 0);
    process_free(&r);
    free(body);
    cJSON_Delete(a);
    remove_store();
}

static void refuses_to_start(void **state) {
    (void)state;
    static const char *const cases[][2] = {{DEMO_MODEL, "no SQLite database"},
                                           {"/nowhere/x", "cannot open /nowhere/x"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *const arguments[] = {"serve",     "--gguf", DEMO_MODEL,    "--store",
                                         cases[i][0], "--bind", "127.0.0.1:0", NULL};
        process_result r = process_run(0, arguments, NULL);
        if (r.exit_status != 2 || !strstr(r.err.data, cases[i][1])) fail_msg("%d %s", r.exit_status, r.err.data);
        process_free(&r);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers_whole),
        cmocka_unit_test(answers_in_a_stream),
        cmocka_unit_test(tells_log_probabilities),
        cmocka_unit_test(ends_at_the_limit),
        cmocka_unit_test(keeps_to_a_schema),
        cmocka_unit_test(goes_on),
        cmocka_unit_test(calls_functions),
        cmocka_unit_test(shortens_long_conversations),
        cmocka_unit_test(works_in_the_background),
        cmocka_unit_test(goes_on_without_its_client),
        cmocka_unit_test(cancels),
        cmocka_unit_test(ends_with_its_client),
        cmocka_unit_test(lists_input_items),
        cmocka_unit_test(knows_only_its_own_ids),
        cmocka_unit_test(survives_hostile_bodies),
        cmocka_unit_test(gives_each_of_many_what_it_would_get_alone),
        cmocka_unit_test(keeps_responses_in_a_file),
        cmocka_unit_test(refuses_to_start),
    };
    return cmocka_run_group_tests(tests, start, stop);
}
