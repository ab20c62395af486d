/* How a server begins and ends, and whom it lets in. */
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "serve/client.h"
#include "support.h"

#define ASK "POST /v1/completions HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %zu\r\n\r\n%s"

/* Ranks end with 0, and nothing is left to say. */
static void check_end(process_result r) {
    if (r.exit_status != 0 || r.err.size > 0) fail_msg("exit %d, stderr: %s", r.exit_status, r.err.data);
    process_free(&r);
}

/* Begins an answer of `length` tokens that streams, and reads its first part. */
static int begin_stream(int port, int length) {
    buffer request = {0};
    char *body = client_endless(port, length, true);
    assert_ok(buffer_printf(&request, err, ASK, strlen(body), body));
    free(body);
    int fd = client_connect(port);
    client_send(fd, request.data, request.size);
    char first;
    assert_int_equal(recv(fd, &first, 1, MSG_PEEK), 1);
    buffer_free(&request);
    return fd;
}

static void lets_answers_end_before_it_ends(void **state) {
    (void)state;
    served s = served_start(2, (const char *const[]){"--parallel", "2", "--max-kv", "4096", "--threads", "1", NULL});
    int fd = begin_stream(s.port, 3000);
    kill(s.rank0, SIGTERM);
    cJSON *a = NULL;
    for (int i = 0; i < 200 && !a; i++, usleep(10000)) {
        client_answer health = client_ask(s.port, "GET", "/health", NULL, NULL);
        if (health.http == 503) a = cJSON_Parse(health.body.data);
        client_answer_free(&health);
    }
    assert_string_equal(client_text(a, "status"), "draining");
    cJSON_Delete(a);
    a = client_json(s.port, "POST", "/v1/completions", "{\"prompt\":\"Hello\"}", 503);
    assert_string_equal(client_text(a, "error.code"), "draining");
    cJSON_Delete(a);
    client_answer whole = client_receive(fd);
    assert_true(whole.whole);
    cJSON *events = client_events(&whole.body);
    const cJSON *last = cJSON_GetArrayItem(events, cJSON_GetArraySize(events) - 1);
    assert_string_equal(client_text(last, "choices.0.finish_reason"), "length");
    cJSON_Delete(events);
    client_answer_free(&whole);
    check_end(served_wait(&s));
}

static void gives_answers_up_that_take_too_long(void **state) {
    (void)state;
    static const char *const flags[] = {"--drain-timeout", "0", "--parallel", "2", "--threads", "1", NULL};
    served s = served_start(2, flags);
    int fd = begin_stream(s.port, 100000);
    kill(s.rank0, SIGTERM);
    client_answer cut = client_receive(fd);
    assert_non_null(strstr(cut.body.data, "data: {\"error\":{\"message\":\"the answer was given up"));
    assert_null(strstr(cut.body.data, "[DONE]"));
    client_answer_free(&cut);
    check_end(served_wait(&s));
}

static void says_when_the_queue_is_full(void **state) {
    (void)state;
    static const char *const flags[] = {"--parallel", "1",         "--queue", "0", "--drain-timeout",
                                        "0",          "--threads", "1",       NULL};
    served s = served_start(1, flags);
    int fd = begin_stream(s.port, 100000);
    client_answer a = client_ask(s.port, "POST", "/v1/completions", NULL, "{\"prompt\":\"Hello\"}");
    assert_int_equal(a.http, 429);
    assert_non_null(strstr(a.headers.data, "Retry-After: "));
    assert_non_null(strstr(a.body.data, "rate_limit_error"));
    client_answer_free(&a);
    close(fd);
    check_end(served_stop(&s));
}

static void asks_for_its_key(void **state) {
    (void)state;
    served s = served_start(1, (const char *const[]){"--api-key", "sesame", "--threads", "1", NULL});
    static const struct {
        const char *path, *headers;
        int http;
    } cases[] = {{"/v1/models", NULL, 401},
                 {"/v1/models", "Authorization: Bearer sesam\r\n", 401},
                 {"/v1/models", "Authorization: Bearer sesamesesame\r\n", 401},
                 {"/v1/models", "Authorization: Bearer \r\n", 401},
                 {"/v1/models", "Authorization: sesame\r\n", 401},
                 {"/v1/models", "Authorization: Bearer sesame\r\n", 200},
                 {"/metrics", NULL, 401},
                 {"/health", NULL, 200}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        client_answer a = client_ask(s.port, "GET", cases[i].path, cases[i].headers, NULL);
        if (a.http != cases[i].http) fail_msg("%s %s: %d", cases[i].path, cases[i].headers, a.http);
        client_answer_free(&a);
    }
    check_end(served_stop(&s));
}

static void refuses_to_start(void **state) {
    (void)state;
    served s = served_start(1, (const char *const[]){"--threads", "1", NULL});
    char taken[32];
    snprintf(taken, sizeof taken, "127.0.0.1:%d", s.port);
    const struct {
        const char *bind, *words;
    } cases[] = {{"0.0.0.0:0", "--insecure"},
                 {"[::]:0", "--insecure"},
                 {"nonsense", "--bind wants HOST:PORT"},
                 {"127.0.0.1:70000", "--bind wants HOST:PORT"},
                 {taken, "choose another port"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *const arguments[] = {"serve", "--gguf", DEMO_MODEL, "--bind", cases[i].bind, NULL};
        process_result r = process_run(0, arguments, NULL);
        if (r.exit_status != 2 || !strstr(r.err.data, cases[i].words))
            fail_msg("--bind %s: %d %s", cases[i].bind, r.exit_status, r.err.data);
        process_free(&r);
    }
    check_end(served_stop(&s));
}

/* ---- a cluster that breaks ---- */

/* The process of rank 1: the launcher's other child. */
static pid_t find_rank1(const served *s) {
    char path[64], text[512];
    snprintf(path, sizeof path, "/proc/%d/task/%d/children", (int)s->process.pid, (int)s->process.pid);
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    assert_non_null(fgets(text, sizeof text, f));
    fclose(f);
    for (char *at = text; *at;) {
        pid_t pid = (pid_t)strtol(at, &at, 10);
        if (pid > 0 && pid != s->rank0) return pid;
        while (*at == ' ') at++;
    }
    fail_msg("the launcher has no other child: %s", text);
    return 0;
}

/* Ends as it must after a loss: soon, with a message from rank 0, and not with 0. */
static void check_end_after_loss(served *s, double lost_at) {
    process_result r = served_wait(s);
    if (r.exit_status <= 0 || !strstr(r.err.data, "gptoss-dist: rank 1 is lost: its process has ended"))
        fail_msg("exit %d, stderr: %s", r.exit_status, r.err.data);
    assert_true(clock_seconds() - lost_at < 10);
    process_free(&r);
}

static void tells_clients_that_a_rank_is_lost(void **state) {
    (void)state;
    served s = served_start(2, (const char *const[]){"--parallel", "3", "--threads", "1", NULL});
    char *body = client_endless(s.port, 100000, false);
    buffer request = {0};
    assert_ok(buffer_printf(&request, err, ASK, strlen(body), body));
    int streamed = begin_stream(s.port, 100000), whole = client_connect(s.port);
    client_send(whole, request.data, request.size);
    free(body);
    buffer_free(&request);
    usleep(100000);
    double lost_at = clock_seconds();
    assert_int_equal(kill(find_rank1(&s), SIGKILL), 0);

    client_answer a = client_receive(whole);
    assert_int_equal(a.http, 503);
    assert_non_null(strstr(a.body.data, "\"code\":\"cluster_lost\""));
    client_answer_free(&a);
    client_answer health = client_ask(s.port, "GET", "/health", NULL, NULL);
    assert_int_equal(health.http, 503);
    assert_string_equal(health.body.data, "{\"status\":\"lost\"}");
    client_answer_free(&health);
    cJSON *refused = client_json(s.port, "POST", "/v1/completions", "{\"prompt\":\"Hello\"}", 503);
    assert_string_equal(client_text(refused, "error.code"), "cluster_lost");
    cJSON_Delete(refused);
    a = client_receive(streamed);
    assert_true(a.whole);
    assert_non_null(strstr(a.body.data, "data: {\"error\":{\"message\":\"rank 1 is lost"));
    assert_null(strstr(a.body.data, "[DONE]"));
    client_answer_free(&a);
    check_end_after_loss(&s, lost_at);
}

static void notices_a_lost_rank_while_idle(void **state) {
    (void)state;
    served s = served_start(2, (const char *const[]){"--threads", "1", NULL});
    double lost_at = clock_seconds();
    assert_int_equal(kill(find_rank1(&s), SIGKILL), 0);
    check_end_after_loss(&s, lost_at);
}

/* Rank 0 waits in the midst of a layer for the sum with what rank 1 has of it. */
static void notices_a_lost_shard_at_work(void **state) {
    (void)state;
    served s = served_start(2, (const char *const[]){"--shards", "2", "--threads", "1", NULL});
    int streamed = begin_stream(s.port, 100000);
    usleep(100000);
    double lost_at = clock_seconds();
    assert_int_equal(kill(find_rank1(&s), SIGKILL), 0);
    client_answer a = client_receive(streamed);
    assert_non_null(strstr(a.body.data, "data: {\"error\":{\"message\":\"rank 1 is lost"));
    client_answer_free(&a);
    check_end_after_loss(&s, lost_at);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lets_answers_end_before_it_ends),
        cmocka_unit_test(gives_answers_up_that_take_too_long),
        cmocka_unit_test(says_when_the_queue_is_full),
        cmocka_unit_test(asks_for_its_key),
        cmocka_unit_test(refuses_to_start),
        cmocka_unit_test(tells_clients_that_a_rank_is_lost),
        cmocka_unit_test(notices_a_lost_rank_while_idle),
        cmocka_unit_test(notices_a_lost_shard_at_work),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
