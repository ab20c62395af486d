#include "serve/client.h"

#include <arpa/inet.h>
#include <errno.h>
#include <math.h>
#include <poll.h>
#include <signal.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "support.h"

static const double PATIENCE = 60; /* seconds, for anything */

/* ---- the server ---- */

/* The line that tells where it listens. */
static void read_greeting(served *s) {
    buffer line = {0};
    const char *at = NULL;
    double began = clock_seconds();
    while (!at || !strchr(at, '\n')) {
        char c;
        struct pollfd fd = {.fd = s->process.err, .events = POLLIN};
        if (clock_seconds() - began > PATIENCE || (poll(&fd, 1, 1000) == 1 && read(fd.fd, &c, 1) != 1))
            fail_msg("the server did not start: %s", line.data ? line.data : "");
        if (fd.revents) assert_ok(buffer_append(&line, &c, 1, err));
        at = line.data ? strstr(line.data, "listens on http") : NULL;
    }
    int rank0 = 0;
    at = strstr(at, "://");
    assert_int_equal(at ? sscanf(at, "://127.0.0.1:%d (process %d)", &s->port, &rank0) : 0, 2);
    s->rank0 = rank0;
    buffer_free(&line);
}

/* A test that fails leaves its servers behind. */
enum { MOST_STARTED = 32 };
static pid_t started[MOST_STARTED];
static size_t started_count;

static void end_started(void) {
    for (size_t i = 0; i < started_count; i++)
        if (started[i] > 0) kill(-started[i], SIGTERM); /* the launcher ends its ranks */
}

static void remember_started(pid_t pid) {
    if (started_count == 0) atexit(end_started);
    assert_true(started_count < MOST_STARTED);
    started[started_count++] = pid;
}

process_result served_wait(served *s) {
    process_result r = process_wait(&s->process, clock_seconds() - s->process.started + PATIENCE);
    for (size_t i = 0; i < started_count; i++)
        if (started[i] == s->process.pid) started[i] = 0;
    return r;
}

served served_start_command(const char *const *command) {
    served s = {.process = process_start(command, NULL)};
    remember_started(s.process.pid);
    read_greeting(&s);
    return s;
}

served served_start(int ranks, const char *const *flags) {
    const char *arguments[32] = {"serve", "--gguf", DEMO_MODEL, "--bind", "127.0.0.1:0"};
    size_t count = 5;
    for (; flags && *flags; flags++) arguments[count++] = *flags;
    arguments[count] = NULL;
    const char **command = process_command(ranks, arguments);
    served s = served_start_command(command);
    free(command);
    return s;
}

served served_start_grid(int ranks, int shards, const char *max_kv) {
    const char *const flags[] = {"--parallel", "4",          "--max-kv", max_kv,     "--threads",
                                 "1",          "--cpu-bind", "none",     "--shards", shards > 1 ? "2" : "1",
                                 NULL};
    return served_start(ranks, flags);
}

process_result served_stop(served *s) {
    kill(s->rank0, SIGTERM);
    return served_wait(s);
}

int served_stop_well(served *s) {
    process_result r = served_stop(s);
    bool well = r.exit_status == 0 && r.err.size == 0;
    if (!well) print_message("exit %d, stderr: %s\n", r.exit_status, r.err.data);
    process_free(&r);
    return well ? 0 : -1;
}

/* ---- an exchange ---- */

int client_connect(int port) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct timeval patience = {.tv_sec = (long)PATIENCE};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
    return fd;
}

void client_send(int fd, const char *bytes, size_t size) {
    for (size_t sent = 0; sent < size;) {
        ssize_t n = send(fd, bytes + sent, size - sent, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return;
        sent += (size_t)n;
    }
}

static const char *find_header(const buffer *headers, const char *name) {
    for (const char *at = headers->data; at && *at; at = strstr(at, "\r\n") ? strstr(at, "\r\n") + 2 : NULL)
        if (strncasecmp(at, name, strlen(name)) == 0) return at + strlen(name);
    return NULL;
}

/* Joins chunks; false when the last one is missing. */
static bool join_chunks(const char *at, const char *last, buffer *out) {
    for (;;) {
        char *end;
        unsigned long size = strtoul(at, &end, 16);
        if (end == at || strncmp(end, "\r\n", 2) != 0) return false;
        if (size == 0) return true;
        if ((size_t)(last - (end + 2)) < size + 2) return false;
        assert_ok(buffer_append(out, end + 2, size, err));
        at = end + 2 + size + 2;
    }
}

client_answer client_receive(int fd) {
    client_answer a = {0};
    buffer all = {0};
    char block[16384];
    for (;;) {
        ssize_t n = recv(fd, block, sizeof block, 0);
        if (n < 0 && errno == EINTR) continue; /* the test was stopped and goes on */
        if (n <= 0) break;
        assert_ok(buffer_append(&all, block, (size_t)n, err));
    }
    close(fd);
    const char *body = all.data ? strstr(all.data, "\r\n\r\n") : NULL;
    if (body) {
        assert_int_equal(sscanf(all.data, "HTTP/1.1 %d", &a.http), 1);
        assert_ok(buffer_append(&a.headers, all.data, (size_t)(body + 2 - all.data), err));
        body += 4;
        const char *length = find_header(&a.headers, "Content-Length: ");
        if (find_header(&a.headers, "Transfer-Encoding: chunked")) {
            a.whole = join_chunks(body, all.data + all.size, &a.body);
        } else {
            assert_ok(buffer_append_text(&a.body, body, err));
            a.whole = length && strtoul(length, NULL, 10) == a.body.size;
        }
    }
    if (!a.body.data) assert_ok(buffer_append_text(&a.body, "", err));
    if (!a.headers.data) assert_ok(buffer_append_text(&a.headers, "", err));
    buffer_free(&all);
    return a;
}

client_answer client_ask(int port, const char *method, const char *path, const char *headers, const char *body) {
    buffer request = {0};
    assert_ok(buffer_printf(&request, err, "%s %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n%s", method, path,
                            headers ? headers : ""));
    if (body) assert_ok(buffer_printf(&request, err, "Content-Length: %zu\r\n\r\n%s", strlen(body), body));
    if (!body) assert_ok(buffer_append_text(&request, "\r\n", err));
    int fd = client_connect(port);
    client_send(fd, request.data, request.size);
    buffer_free(&request);
    return client_receive(fd);
}

void client_answer_free(client_answer *a) {
    buffer_free(&a->headers);
    buffer_free(&a->body);
}

cJSON *client_json(int port, const char *method, const char *path, const char *body, int http) {
    client_answer a = client_ask(port, method, path, body ? "Content-Type: application/json\r\n" : NULL, body);
    if (a.http != http || !a.whole)
        fail_msg("%s %s %.300s: %d, not %d: %s", method, path, body ? body : "", a.http, http, a.body.data);
    cJSON *whole = cJSON_Parse(a.body.data);
    if (!whole) fail_msg("%s %s: no JSON: %s", method, path, a.body.data);
    client_answer_free(&a);
    return whole;
}

/* A "logit_bias" that keeps an answer from ending. */
static void add_endless_bias(int port, buffer *out) {
    enum { SPECIALS = 40 }; /* at the end of the vocabulary */
    unsigned last = 0;
    cJSON *a = client_json(port, "POST", "/detokenize", "{\"tokens\":[-1]}", 400);
    assert_int_equal(sscanf(client_text(a, "error.message"), "tokens[0] must be a token id from 0 to %u", &last), 1);
    cJSON_Delete(a);
    assert_ok(buffer_append_text(out, "\"logit_bias\":{", err));
    for (unsigned i = 0; i < SPECIALS; i++) assert_ok(buffer_printf(out, err, "%s\"%u\":-100", i ? "," : "", last - i));
    assert_ok(buffer_append_text(out, "}", err));
}

double client_metric(int port, const char *name) {
    client_answer a = client_ask(port, "GET", "/metrics", NULL, NULL);
    buffer wanted = {0};
    assert_int_equal(a.http, 200);
    assert_ok(buffer_printf(&wanted, err, "\n%s ", name));
    const char *at = strstr(a.body.data, wanted.data);
    if (!at) fail_msg("no metric %s", name);
    double value = strtod(at + wanted.size, NULL);
    buffer_free(&wanted);
    client_answer_free(&a);
    return value;
}

char *client_endless(int port, int length, bool streams) {
    buffer body = {0};
    assert_ok(buffer_printf(&body, err, "{\"prompt\":\"Hello\",\"harmony\":false,\"max_tokens\":%d,\"stream\":%s,",
                            length, streams ? "true" : "false"));
    add_endless_bias(port, &body);
    assert_ok(buffer_append_text(&body, "}", err));
    return body.data;
}

char *client_endless_response(int port, int length, const char *fields) {
    buffer body = {0};
    assert_ok(buffer_printf(&body, err, "{\"input\":\"Hello\",\"max_output_tokens\":%d,%s,", length, fields));
    add_endless_bias(port, &body);
    assert_ok(buffer_append_text(&body, "}", err));
    return body.data;
}

/* ---- what it says ---- */

const cJSON *client_at(const cJSON *whole, const char *path) {
    while (whole && *path) {
        char name[64];
        size_t size = strcspn(path, ".");
        snprintf(name, sizeof name, "%.*s", (int)size, path);
        whole = cJSON_IsArray(whole) ? cJSON_GetArrayItem(whole, atoi(name))
                                     : cJSON_GetObjectItemCaseSensitive(whole, name);
        path += size + (path[size] == '.');
    }
    return whole;
}

const char *client_text(const cJSON *whole, const char *path) { return cJSON_GetStringValue(client_at(whole, path)); }

double client_number(const cJSON *whole, const char *path) {
    const cJSON *item = client_at(whole, path);
    return cJSON_IsNumber(item) ? item->valuedouble : NAN;
}

cJSON *client_events(const buffer *body) {
    cJSON *events = cJSON_CreateArray();
    bool done = false;
    for (const char *at = body->data; *at;) {
        const char *end = strstr(at, "\n\n");
        if (!end) fail_msg("an event is cut off: %s", at);
        if (strncmp(at, "data: [DONE]", 12) == 0) {
            done = true;
        } else if (*at != ':') {
            cJSON *event = strncmp(at, "data: ", 6) == 0 ? cJSON_ParseWithLength(at + 6, (size_t)(end - at) - 6) : NULL;
            if (!event || done) fail_msg("no event, or one too many: %s", at);
            cJSON_AddItemToArray(events, event);
        }
        at = end + 2;
    }
    if (!done) fail_msg("the stream does not end in [DONE]: %s", body->data);
    return events;
}

cJSON *client_response_events(const buffer *body, int first) {
    cJSON *events = cJSON_CreateArray();
    for (const char *at = body->data; *at;) {
        char type[64] = "";
        const char *end = strstr(at, "\n\n"), *data = strstr(at, "\ndata: ");
        if (!end) fail_msg("an event is cut off: %s", at);
        if (*at != ':') {
            cJSON *event = data && data < end ? cJSON_ParseWithLength(data + 7, (size_t)(end - data) - 7) : NULL;
            const char *name = client_text(event, "type");
            if (!name || sscanf(at, "event: %63s", type) != 1 || strcmp(name, type) != 0 ||
                client_number(event, "sequence_number") != first + cJSON_GetArraySize(events))
                fail_msg("not event %d: %s", first + cJSON_GetArraySize(events), at);
            cJSON_AddItemToArray(events, event);
        }
        at = end + 2;
    }
    return events;
}
