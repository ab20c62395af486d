/* What happens to responses without their clients: in the background, in the store, from one life of the server to the
 * next. */
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/clock.h"
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

/* ---- in the background ---- */

static void works_in_the_background(void **state) {
    (void)state;
    cJSON *a = responses_ask(server.port, "{" QUESTION ",\"background\":true}", 200);
    assert_string_equal(responses_status(a), "queued");
    cJSON *done = responses_get_ended(server.port, client_text(a, "id"));
    assert_string_equal(responses_status(done), "completed");
    assert_string_equal(responses_answer_text(done), ANSWER);
    cJSON *again = client_json(server.port, "POST", responses_path(client_text(a, "id"), "/cancel"), "", 200);
    assert_true(cJSON_Compare(again, done, true)); /* too late, which is no error */
    cJSON *events = responses_stream(server.port, "GET", responses_path(client_text(a, "id"), "?stream=true"), NULL, 0);
    assert_string_equal(client_text(events, "1.type"), "response.queued");
    assert_string_equal(client_text(events, "2.type"), "response.in_progress");
    cJSON_Delete(events);
    cJSON_Delete(again);
    cJSON_Delete(done);
    cJSON_Delete(a);
    events = responses_stream(server.port, "POST", RESPONSES, "{" QUESTION ",\"background\":true,\"stream\":true}", 0);
    assert_string_equal(client_text(responses_last(events), "type"), "response.completed");
    assert_string_equal(responses_answer_text(client_at(responses_last(events), "response")), ANSWER);
    cJSON_Delete(events);
}

static void goes_on_without_its_client(void **state) {
    (void)state;
    int number;
    char id[64], rest[64], *body = client_endless_response(server.port, 2000, "\"background\":true,\"stream\":true");
    int fd = responses_begin(server.port, body);
    number = responses_read_part(fd, 8000, id);
    close(fd);
    assert_true(number > 3);
    snprintf(rest, sizeof rest, "?stream=true&starting_after=%d", number);
    cJSON *events = responses_stream(server.port, "GET", responses_path(id, rest), NULL, number + 1);
    assert_string_equal(client_text(responses_last(events), "type"), "response.incomplete");
    assert_true(client_number(responses_last(events), "response.usage.output_tokens") == 2000);
    cJSON_Delete(events);
    free(body);
}

/* The texts of all items of a response, the last of which has the status given. */
static void join_items(const cJSON *response, const char *status, buffer *out) {
    const cJSON *item;
    buffer_clear(out);
    cJSON_ArrayForEach(item, client_at(response, "output")) {
        assert_ok(buffer_append_text(out, client_text(item, "content.0.text"), err));
        assert_string_equal(responses_status(item), item->next ? "completed" : status);
    }
}

/* Who asks for it meanwhile gets what there is of it, and more each time. */
static void shows_a_response_that_is_being_written(void **state) {
    (void)state;
    char *body = client_endless_response(server.port, 3900, "\"background\":true");
    cJSON *a = responses_ask(server.port, body, 200), *b = NULL;
    const char *id = client_text(a, "id");
    buffer seen = {0}, now = {0};
    assert_ok(buffer_append_text(&seen, "", err));
    for (int growths = 0; growths < 3; cJSON_Delete(b)) {
        b = responses_get(server.port, id, "", 200);
        if (strcmp(responses_status(b), "queued") == 0) continue;
        assert_string_equal(responses_status(b), "in_progress");
        join_items(b, "in_progress", &now);
        growths += now.size > seen.size;
        assert_true(now.size >= seen.size);
        if (now.size > 0) assert_memory_equal(now.data, seen.data, seen.size);
        buffer_clear(&seen);
        assert_ok(buffer_append(&seen, now.data, now.size, err));
    }
    b = client_json(server.port, "POST", responses_path(id, "/cancel"), NULL, 200);
    assert_string_equal(responses_status(b), "cancelled");
    join_items(b, "incomplete", &now);
    assert_true(now.size >= seen.size);
    assert_memory_equal(now.data, seen.data, seen.size);
    buffer_free(&seen);
    buffer_free(&now);
    cJSON_Delete(b);
    cJSON_Delete(a);
    free(body);
}

static void cancels(void **state) {
    (void)state;
    char *body = client_endless_response(server.port, 3900, "\"background\":true");
    cJSON *a = responses_ask(server.port, body, 200), *b = NULL;
    const char *id = client_text(a, "id");
    cJSON_Delete(client_json(server.port, "DELETE", responses_path(id, ""), NULL, 409));
    for (double began = clock_seconds(); clock_seconds() - began < 20; usleep(10000)) {
        b = responses_get(server.port, id, "", 200);
        if (strcmp(responses_status(b), "in_progress") == 0) break;
        cJSON_Delete(b);
    }
    cJSON_Delete(b);
    for (int i = 0; i < 2; i++) {
        b = client_json(server.port, "POST", responses_path(id, "/cancel"), i ? "{}" : NULL, 200);
        assert_string_equal(responses_status(b), "cancelled");
        cJSON_Delete(b);
    }
    cJSON *events = responses_stream(server.port, "GET", responses_path(id, "?stream=true"), NULL, 0);
    assert_string_equal(client_text(responses_last(events), "type"), "response.cancelled");
    cJSON_Delete(events);
    cJSON_Delete(client_json(server.port, "DELETE", responses_path(id, ""), NULL, 200));
    cJSON_Delete(responses_get(server.port, id, "", 404));
    cJSON_Delete(a);
    free(body);
}

/* Reads a stream up to the beginning of an event, whose sender may still be at it, and tells the response's id. */
static int read_up_to(int port, const char *body, const char *event, char id[64]) {
    buffer text = {0};
    char part[4096];
    int fd = responses_begin(port, body);
    do {
        ssize_t got = read(fd, part, sizeof part);
        assert_true(got > 0);
        assert_ok(buffer_append(&text, part, (size_t)got, err));
    } while (!strstr(text.data, event));
    const char *at = strstr(text.data, "\"resp_");
    assert_int_equal(at ? sscanf(at, "\"%63[^\"]", id) : 0, 1);
    buffer_free(&text);
    return fd;
}

/* Who has read of the end, in whatever way, may delete the response. */
static void is_over_when_its_end_is_told(void **state) {
    (void)state;
    for (int i = 0; i < 40; i++) {
        char id[64];
        int fd =
            read_up_to(server.port,
                       i % 2 ? "{" QUESTION ",\"stream\":true}" : "{" QUESTION ",\"stream\":true,\"background\":true}",
                       "event: response.completed", id);
        cJSON_Delete(client_json(server.port, "DELETE", responses_path(id, ""), NULL, 200));
        close(fd);
    }
}

static void ends_with_its_client(void **state) {
    (void)state;
    char id[64], *body = client_endless_response(server.port, 3900, "\"stream\":true");
    int fd = responses_begin(server.port, body);
    responses_read_part(fd, 4000, id);
    cJSON *a = client_json(server.port, "POST", responses_path(id, "/cancel"), NULL, 400);
    assert_string_equal(client_text(a, "error.param"), "response_id");
    cJSON_Delete(a);
    close(fd);
    a = responses_get_ended(server.port, id);
    assert_string_equal(responses_status(a), "cancelled");
    cJSON_Delete(a);
    free(body);
}

/* ---- what is kept ---- */

static void lists_input_items(void **state) {
    (void)state;
    cJSON *a = responses_ask(
        server.port,
        "{\"max_output_tokens\":1,\"input\":[{\"role\":\"user\",\"content\":\"0\",\"id\":\"m0\"},{\"role\":"
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
        cJSON *page = responses_get(server.port, id, rest, 200);
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
        cJSON *page = responses_get(server.port, id, rest, 400);
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
            cJSON *a = client_json(server.port, methods[k][0], responses_path(ids[i], methods[k][1]), NULL, 404);
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
        int fd = responses_begin(s.port, body);
        number = responses_read_part(fd, 6000, id);
        kill(s.rank0, sudden ? SIGKILL : SIGTERM);
        process_result r = served_wait(&s);
        if (!sudden) assert_int_equal(r.exit_status, 0);
        process_free(&r);
        close(fd);
        s = start_with_store();
        cJSON *b = client_json(s.port, "GET", responses_path(done, ""), NULL, 200);
        assert_true(cJSON_Compare(a, b, true));
        cJSON_Delete(b);
        b = client_json(s.port, "GET", responses_path(id, ""), NULL, 200);
        assert_string_equal(responses_status(b), "failed");
        assert_string_equal(client_text(b, "error.code"), "server_error");
        cJSON_Delete(b);
        client_answer whole = client_ask(s.port, "GET", responses_path(id, "?stream=true"), NULL, NULL);
        cJSON *events = client_response_events(&whole.body, 0); /* all that its client has seen, and the end */
        assert_true(cJSON_GetArraySize(events) > number + 1);
        assert_string_equal(client_text(responses_last(events), "type"), "response.failed");
        cJSON_Delete(events);
        client_answer_free(&whole);
    }
    buffer reference = {0}; /* items are found after both ends, too: the question, and what was thought and said */
    cJSON *items = client_json(s.port, "GET", responses_path(done, "/input_items"), NULL, 200);
    assert_ok(
        buffer_printf(&reference, err,
                      "{\"input\":[{\"type\":\"item_reference\",\"id\":\"%s\"},{\"id\":\"%s\"},{\"role\":\"user\","
                      "\"content\":\"What is 3+3?\"}],\"temperature\":0}",
                      client_text(items, "data.0.id"), client_text(responses_item(a, "message"), "id")));
    cJSON *b = client_json(s.port, "POST", RESPONSES, reference.data, 200);
    assert_string_equal(responses_status(b), "completed");
    cJSON *input =
        client_json(s.port, "GET", responses_path(client_text(b, "id"), "/input_items?order=asc"), NULL, 200);
    assert_true(cJSON_Compare(client_at(input, "data.0"), client_at(items, "data.0"), true));
    assert_true(cJSON_Compare(client_at(input, "data.1"), responses_item(a, "message"), true));
    cJSON_Delete(client_json(s.port, "POST", RESPONSES, "{\"input\":[{\"id\":\"msg_0\"}]}", 404));
    cJSON_Delete(input);
    cJSON_Delete(b);
    cJSON_Delete(items);
    buffer_free(&reference);
    process_result r = served_stop(&s);
    assert_int_equal(r.exit_status, 0);
    process_free(&r);
    free(body);
    cJSON_Delete(a);
    remove_store();
}

/* A disk that is full ends the response that cannot be kept any more, and says so. */
static void says_when_the_disk_is_full(void **state) {
    (void)state;
    enum { BYTES = 1 << 20 };
    struct rlimit before, small;
    strcpy(store_path + sizeof store_path - 7, "XXXXXX");
    close(mkstemp(store_path));
    getrlimit(RLIMIT_FSIZE, &before);
    small = (struct rlimit){BYTES, before.rlim_max};
    signal(SIGXFSZ, SIG_IGN); /* the server inherits this, as it does the limit */
    setrlimit(RLIMIT_FSIZE, &small);
    served s = served_start(0, (const char *const[]){"--store", store_path, "--threads", "1", NULL});
    setrlimit(RLIMIT_FSIZE, &before);
    char *body = client_endless_response(s.port, 50000, "\"stream\":true");
    client_answer whole = client_ask(s.port, "POST", RESPONSES, "Content-Type: application/json\r\n", body);
    cJSON *events = client_response_events(&whole.body, 0);
    assert_string_equal(client_text(responses_last(events), "type"), "response.failed");
    assert_non_null(strstr(client_text(responses_last(events), "response.error.message"), store_path));
    cJSON *a = client_json(s.port, "POST", RESPONSES, "{" QUESTION ",\"store\":false}", 200);
    assert_string_equal(responses_answer_text(a), ANSWER);
    cJSON_Delete(a);
    cJSON_Delete(events);
    client_answer_free(&whole);
    process_result r = served_stop(&s);
    assert_int_equal(r.exit_status, 0);
    process_free(&r);
    free(body);
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
        cmocka_unit_test(works_in_the_background),
        cmocka_unit_test(goes_on_without_its_client),
        cmocka_unit_test(shows_a_response_that_is_being_written),
        cmocka_unit_test(cancels),
        cmocka_unit_test(is_over_when_its_end_is_told),
        cmocka_unit_test(ends_with_its_client),
        cmocka_unit_test(lists_input_items),
        cmocka_unit_test(knows_only_its_own_ids),
        cmocka_unit_test(keeps_responses_in_a_file),
        cmocka_unit_test(says_when_the_disk_is_full),
        cmocka_unit_test(refuses_to_start),
    };
    return cmocka_run_group_tests(tests, start, stop);
}
