/* Ranks that work together: what is told of them, clients that leave, and many at once. The ranks are two stages or,
 * with an argument, two shards. */
#include <pthread.h>
#include <unistd.h>

#include "base/clock.h"
#include "serve/client.h"
#include "support.h"

#ifndef RANKS
#define RANKS 2 /* 0: alone, not started by mpirun */
#endif

static served server;
static int shards = 1;

static int start(void **state) {
    (void)state;
    server = served_start_grid(RANKS, shards, "8192");
    return 0;
}

static int stop(void **state) {
    (void)state;
    return served_stop_well(&server);
}

/* ---- what is told of the ranks ---- */

static int ranks_count(void) { return RANKS ? RANKS : 1; }

static void says_which_rank_holds_what(void **state) {
    (void)state;
    cJSON *a = client_json(server.port, "GET", "/cluster", NULL, 200);
    const cJSON *ranks = client_at(a, "ranks"), *rank;
    double layers = 0, heads = 0, rows = 0;
    assert_int_equal(cJSON_GetArraySize(ranks), ranks_count());
    assert_true(client_number(a, "stages") * client_number(a, "shards") == ranks_count());
    assert_true(client_number(a, "shards") == shards);
    cJSON_ArrayForEach(rank, ranks) {
        assert_true(client_number(rank, "layer_begin") == (shards > 1 ? 0 : layers));
        layers = client_number(rank, "layer_end");
        assert_true(client_number(rank, "kv_head_begin") == (shards > 1 ? heads : 0));
        heads = client_number(rank, "kv_head_end");
        assert_true(client_number(rank, "output_row_begin") == rows);
        rows = client_number(rank, "output_row_end");
    }
    assert_true(layers == client_number(a, "layers"));
    if (shards > 1) assert_non_null(strstr(client_text(a, "ranks.1.holds"), "KV head"));
    assert_true(client_number(a, "ranks.0.resident_bytes") > 1e6);
    assert_true(client_number(a, "kv_pages.full.all") >= client_number(a, "kv_pages.full.running"));
    cJSON_Delete(a);
}

/* ---- clients that leave ---- */

static int begin_endless(bool streams) {
    buffer request = {0};
    char *body = client_endless(server.port, 8000, streams);
    assert_ok(buffer_printf(&request, err, "POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %zu\r\n\r\n%s",
                            strlen(body), body));
    free(body);
    int fd = client_connect(server.port);
    client_send(fd, request.data, request.size);
    buffer_free(&request);
    return fd;
}

static bool comes_to(const char *name, double value) {
    for (double began = clock_seconds(); clock_seconds() - began < 20; usleep(10000))
        if (client_metric(server.port, name) == value) return true;
    return false;
}

static void frees_the_place_of_a_client_that_left(void **state) {
    (void)state;
    for (int streams = 0; streams < 2; streams++) {
        double before = client_metric(server.port, "gptoss_answers_abandoned_total");
        int fd = begin_endless(streams);
        assert_true(comes_to("gptoss_requests_running", 1));
        close(fd);
        assert_true(comes_to("gptoss_requests_running", 0));
        assert_true(comes_to("gptoss_answers_abandoned_total", before + 1));
        assert_true(client_metric(server.port, "gptoss_kv_pages{layers=\"full\",state=\"running\"}") == 0);
    }
}

static void says_what_ranks_have_done(void **state) {
    (void)state;
    assert_true(comes_to("gptoss_requests_running", 0));
    cJSON *before = client_json(server.port, "GET", "/cluster", NULL, 200);
    cJSON_Delete(client_json(server.port, "POST", "/v1/completions",
                             "{\"prompt\":\"Hello\",\"temperature\":0,\"max_tokens\":8}", 200));
    cJSON *after = client_json(server.port, "GET", "/cluster", NULL, 200);
    const cJSON *old = client_at(before, "ranks.0"), *new;
    assert_true(client_number(after, "waves") > client_number(before, "waves"));
    assert_true(client_number(after, "generated_tokens") > client_number(before, "generated_tokens"));
    assert_true(client_number(after, "kv_pages.full.running") == 0);
    cJSON_ArrayForEach(new, client_at(after, "ranks")) {
        assert_true(client_number(new, "waves") > client_number(old, "waves"));
        assert_true(client_number(new, "busy_seconds") > client_number(old, "busy_seconds"));
        assert_true(client_number(new, "waited_seconds") >= client_number(old, "waited_seconds"));
        assert_true(shards > 1 ? client_number(new, "sum_seconds") > client_number(old, "sum_seconds")
                               : client_number(new, "sum_seconds") == 0);
        if (RANKS == 0) continue;
        /* All waves but those whose logits nobody wanted, and which came after the last of the others. */
        assert_true(client_number(new, "waves") == client_number(after, "ranks.0.waves"));
        old = old->next;
    }
    cJSON_Delete(before);
    cJSON_Delete(after);
}

/* ---- many at once ---- */

typedef struct visitor {
    pthread_t thread;
    char body[300];
    char *alone, *together; /* owned: choices as JSON */
} visitor;

static char *choices_of(const char *body) {
    cJSON *a = client_json(server.port, "POST", "/v1/chat/completions", body, 200);
    char *text = cJSON_PrintUnformatted(client_at(a, "choices"));
    cJSON_Delete(a);
    return text;
}

static void *visit(void *context) {
    visitor *v = context;
    v->together = choices_of(v->body);
    return NULL;
}

static void gives_each_of_many_what_it_would_get_alone(void **state) {
    (void)state;
    enum { VISITORS = RANKS ? 64 : 16 };
    static visitor v[VISITORS];
    int slow = begin_endless(true); /* who reads nothing holds up nobody */
    for (int i = 0; i < VISITORS; i++) {
        snprintf(v[i].body, sizeof v[i].body,
                 "{\"messages\":[{\"role\":\"user\",\"content\":\"What is "
                 "%d+%d?\"}],\"temperature\":%d,\"seed\":%d,\"max_tokens\":40}",
                 i % 10, i / 8, i % 2, i);
        v[i].alone = choices_of(v[i].body);
    }
    for (int i = 0; i < VISITORS; i++) assert_int_equal(pthread_create(&v[i].thread, NULL, visit, &v[i]), 0);
    for (int i = 0; i < VISITORS; i++) pthread_join(v[i].thread, NULL);
    for (int i = 0; i < VISITORS; i++) {
        assert_string_equal(v[i].together, v[i].alone);
        cJSON_free(v[i].together);
        cJSON_free(v[i].alone);
    }
    close(slow);
}

int main(int argc, char **argv) {
    (void)argv;
    shards = argc > 1 ? 2 : 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(says_which_rank_holds_what),
        cmocka_unit_test(frees_the_place_of_a_client_that_left),
        cmocka_unit_test(says_what_ranks_have_done),
        cmocka_unit_test(gives_each_of_many_what_it_would_get_alone),
    };
    return cmocka_run_group_tests(tests, start, stop);
}
