/* A server with its options in a file, as the examples in configs/ have it. */
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "serve/client.h"
#include "support.h"

static char config[] = "/tmp/gptoss_config_XXXXXX", key[] = "/tmp/gptoss_key_XXXXXX";

static void write_file(char *name, const char *text) {
    int fd = open(name, O_WRONLY | O_TRUNC | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    assert_int_equal(close(fd), 0);
}

static int make_files(void **state) {
    (void)state;
    int a = mkstemp(config), b = mkstemp(key);
    return a < 0 || b < 0 ? -1 : close(a) + close(b);
}

static int remove_files(void **state) {
    (void)state;
    return unlink(config) + unlink(key);
}

/* Nothing is left to say. */
static void check_end(process_result r) {
    if (r.exit_status != 0 || r.err.size > 0) fail_msg("exit %d, stderr: %s", r.exit_status, r.err.data);
    process_free(&r);
}

/* What systemd would do to stop the service: ends when the launcher does, and was waited for. */
static process begin_stop(pid_t launcher) {
    char pid[20];
    snprintf(pid, sizeof pid, "%d", (int)launcher);
    assert_int_equal(setenv("MAINPID", pid, 1), 0);
    static const char *const command[] = {"/bin/sh", "-c",
                                          "eval \"$(sed -n 's/^ExecStop=//p' " CONFIGS "/gptoss-dist.service)\"", NULL};
    return process_start(command, NULL);
}

static void the_examples_work(void **state) {
    (void)state;
    served s = served_start(2, (const char *const[]){"--config", CONFIGS "/serve.conf", "--threads", "1", NULL});
    cJSON *models = client_json(s.port, "GET", "/v1/models", NULL, 200);
    assert_string_equal(client_text(models, "data.1.id"), "gpt-oss");
    cJSON_Delete(models);
    char *body = client_endless(s.port, 2000, true), first;
    buffer request = {0};
    assert_ok(buffer_printf(&request, err,
                            "POST /v1/completions HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
                            "Content-Length: %zu\r\n\r\n%s",
                            strlen(body), body));
    int fd = client_connect(s.port);
    client_send(fd, request.data, request.size);
    assert_int_equal(recv(fd, &first, 1, MSG_PEEK), 1);
    buffer_free(&request);
    free(body);

    process stop = begin_stop(s.process.pid);
    client_answer whole = client_receive(fd);
    assert_true(whole.whole);
    assert_non_null(strstr(whole.body.data, "[DONE]"));
    client_answer_free(&whole);
    check_end(served_wait(&s));
    check_end(process_wait(&stop, 20));
}

/* Rank 1's machine has neither. */
static void only_rank_0_needs_the_files(void **state) {
    (void)state;
    char text[200];
    snprintf(text, sizeof text, "bind = 127.0.0.1:0\nthreads = 1\napi-key-file = %s\n", key);
    write_file(config, text);
    write_file(key, "sesame\n");
    const char *const arguments[] = {"serve",    "--gguf",     DEMO_MODEL,       "--config",     config,   ":",
                                     "-np",      "1",          PROGRAM,          "serve",        "--gguf", DEMO_MODEL,
                                     "--config", "/nowhere/c", "--api-key-file", "/nowhere/key", NULL};
    const char **command = process_command(1, arguments);
    served s = served_start_command(command);
    free(command);
    static const char *const headers[] = {NULL, "Authorization: Bearer sesame\r\n"};
    for (int i = 0; i < 2; i++) {
        client_answer a = client_ask(s.port, "GET", "/cluster", headers[i], NULL);
        assert_int_equal(a.http, i ? 200 : 401);
        if (i) assert_non_null(strstr(a.body.data, "\"grid\":\"2 stages x 1 shard\""));
        client_answer_free(&a);
    }
    check_end(served_stop(&s));
}

static void faults_are_told_once(void **state) {
    (void)state;
    static const struct {
        const char *text, *words;
    } cases[] = {{"parallel = 4\nparalel = 4", ":2: unknown flag --paralel; did you mean --parallel?"},
                 {"bind = nonsense", ":1: --bind wants HOST:PORT"},
                 {"\nstages = 3", ":2: --stages 3 does not divide the 2 ranks"},
                 {"api-key-file = /nowhere/key", "cannot open /nowhere/key"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        write_file(config, cases[i].text);
        const char *const arguments[] = {"serve", "--gguf", DEMO_MODEL, "--config", config, NULL};
        process_result r = process_expect(2, arguments, 2, "", cases[i].words);
        const char *at = strstr(r.err.data, cases[i].words);
        assert_null(strstr(at + 1, cases[i].words));
        process_free(&r);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_examples_work),
        cmocka_unit_test(only_rank_0_needs_the_files),
        cmocka_unit_test(faults_are_told_once),
    };
    return cmocka_run_group_tests(tests, make_files, remove_files);
}
