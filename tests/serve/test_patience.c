/* Clients that take their time, and how long the server lets them. */
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "serve/client.h"
#include "support.h"

static served server;

static int start_with(const char *idle_timeout) {
    const char *const flags[] = {"--parallel",
                                 "3",
                                 "--max-kv",
                                 "40000",
                                 "--threads",
                                 "1",
                                 "--idle-timeout",
                                 idle_timeout,
                                 "--connections-per-peer",
                                 "8",
                                 NULL};
    server = served_start(2, flags);
    return 0;
}

static int start_hasty(void **state) {
    (void)state;
    return start_with("5");
}

/* When a client begins to read after ten seconds, the system may let it wait for as many more: TCP asks ever more
 * rarely whether there is room. That is not the client's fault. */
static int start_patient(void **state) {
    (void)state;
    return start_with("60");
}

static int stop(void **state) {
    (void)state;
    return served_stop_well(&server);
}

/* ---- clients that write slowly ---- */

/* Sends `text` and then a byte of `more`, again and again, every 50 ms: the seconds until the server has had enough. */
static double trickle(const char *text, char more) {
    int fd = client_connect(server.port);
    double began = clock_seconds();
    client_send(fd, text, strlen(text));
    while (clock_seconds() - began < 30) {
        char reply;
        if (recv(fd, &reply, 1, MSG_DONTWAIT) >= 0) break;
        client_send(fd, &more, 1);
        usleep(50000);
    }
    close(fd);
    return clock_seconds() - began;
}

static void closes_connections_whose_requests_trickle_in(void **state) {
    (void)state;
    static const struct {
        const char *text;
        char more;
    } cases[] = {{"", 'G'},
                 {"GET /health?", 'a'},
                 {"GET /health HTTP/1.1\r\nHost: x\r\nX: ", 'a'},
                 {"POST /tokenize HTTP/1.1\r\nHost: x\r\nContent-Length: 9999\r\n\r\n{", ' '}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        double seconds = trickle(cases[i].text, cases[i].more);
        if (seconds < 4.9 || seconds > 20) fail_msg("case %zu: closed after %.1f s", i, seconds);
    }
}

static void closes_connections_that_say_nothing(void **state) {
    (void)state;
    double began = clock_seconds();
    client_answer a = client_receive(client_connect(server.port));
    assert_true(clock_seconds() - began < 15);
    assert_int_equal(a.http, 0);
    client_answer_free(&a);
    /* neither at first nor after a request */
    int fd = client_connect(server.port);
    static const char request[] = "GET /health HTTP/1.1\r\nHost: x\r\n\r\n";
    client_send(fd, request, sizeof request - 1);
    began = clock_seconds();
    a = client_receive(fd);
    assert_true(clock_seconds() - began < 15);
    assert_int_equal(a.http, 200);
    client_answer_free(&a);
}

/* ---- clients that read slowly ---- */

static void ask_something(void) {
    cJSON_Delete(client_json(server.port, "POST", "/v1/completions", "{\"prompt\":\"Hello\",\"max_tokens\":5}", 200));
}

/* A long stream of large events, of which nothing is read yet. */
static int begin_large_stream(int length) {
    buffer request = {0};
    char *body = client_endless(server.port, length, true);
    body[strlen(body) - 1] = '\0';
    assert_ok(buffer_printf(&request, err,
                            "POST /v1/completions HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %zu"
                            "\r\n\r\n%s,\"logprobs\":20}",
                            strlen(body) + strlen(",\"logprobs\":20}"), body));
    int fd = client_connect(server.port);
    /* so that the system keeps little of what is not read */
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &(int){16384}, sizeof(int)), 0);
    client_send(fd, request.data, request.size);
    buffer_free(&request);
    free(body);
    return fd;
}

static bool comes_to_rest(void) {
    for (double began = clock_seconds(); clock_seconds() - began < 60;) {
        double waves = client_metric(server.port, "gptoss_waves_total");
        usleep(200000);
        if (client_metric(server.port, "gptoss_waves_total") == waves) return true;
    }
    return false;
}

static void waits_for_a_slow_reader_alone(void **state) {
    (void)state;
    enum { LENGTH = 2500 };
    int fd = begin_large_stream(LENGTH);
    assert_true(comes_to_rest());
    assert_int_equal(client_metric(server.port, "gptoss_requests_running"), 1); /* it has not ended, it has stopped */
    ask_something();                                                            /* which others do not notice */
    client_answer a = client_receive(fd);
    if (!a.whole) fail_msg("cut off after %zu bytes", a.body.size);
    cJSON *events = client_events(&a.body);
    const cJSON *last = cJSON_GetArrayItem(events, cJSON_GetArraySize(events) - 1);
    assert_string_equal(client_text(last, "choices.0.finish_reason"), "length");
    cJSON_Delete(events);
    client_answer_free(&a);
}

static void gives_a_reader_up_that_takes_nothing(void **state) {
    (void)state;
    double before = client_metric(server.port, "gptoss_answers_abandoned_total");
    int fd = begin_large_stream(30000);
    assert_true(comes_to_rest());
    for (double began = clock_seconds(); client_metric(server.port, "gptoss_requests_running") > 0; usleep(50000))
        assert_true(clock_seconds() - began < 30);
    assert_int_equal(client_metric(server.port, "gptoss_answers_abandoned_total"), before + 1);
    assert_int_equal(client_metric(server.port, "gptoss_kv_pages{layers=\"full\",state=\"running\"}"), 0);
    close(fd);
}

/* ---- one client with many connections ---- */

static void limits_the_connections_of_one_client(void **state) {
    (void)state;
    enum { MOST = 8 };
    int fds[MOST];
    char nothing;
    for (int i = 0; i < MOST; i++) {
        fds[i] = client_connect(server.port);
        client_send(fds[i], "G", 1);
    }
    usleep(200000);
    client_answer refused = client_ask(server.port, "GET", "/health", NULL, NULL);
    assert_int_equal(refused.http, 0);
    client_answer_free(&refused);
    for (int i = 0; i < MOST; i++) {
        assert_int_equal(recv(fds[i], &nothing, 1, MSG_DONTWAIT), -1); /* those that were there stay */
        close(fds[i]);
    }
    for (double began = clock_seconds();;) { /* and make room when they go */
        client_answer a = client_ask(server.port, "GET", "/health", NULL, NULL);
        int http = a.http;
        client_answer_free(&a);
        if (http == 200) break;
        assert_true(clock_seconds() - began < 10);
        usleep(50000);
    }
}

int main(void) {
    const struct CMUnitTest of_hasty[] = {
        cmocka_unit_test(closes_connections_whose_requests_trickle_in),
        cmocka_unit_test(closes_connections_that_say_nothing),
        cmocka_unit_test(gives_a_reader_up_that_takes_nothing),
        cmocka_unit_test(limits_the_connections_of_one_client),
    };
    const struct CMUnitTest of_patient[] = {cmocka_unit_test(waits_for_a_slow_reader_alone)};
    return cmocka_run_group_tests(of_hasty, start_hasty, stop) +
           cmocka_run_group_tests(of_patient, start_patient, stop);
}
