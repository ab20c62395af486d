#include "serve/responses_client.h"

#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "support.h"

cJSON *responses_ask(int port, const char *body, int http) { return client_json(port, "POST", RESPONSES, body, http); }

const char *responses_path(const char *id, const char *rest) {
    static _Thread_local char path[300];
    snprintf(path, sizeof path, RESPONSES "/%s%s", id, rest);
    return path;
}

cJSON *responses_get(int port, const char *id, const char *rest, int http) {
    return client_json(port, "GET", responses_path(id, rest), NULL, http);
}

const cJSON *responses_item(const cJSON *response, const char *type) {
    const cJSON *item;
    cJSON_ArrayForEach(item, client_at(response, "output")) {
        if (strcmp(client_text(item, "type"), type) == 0) return item;
    }
    return NULL;
}

const char *responses_answer_text(const cJSON *response) {
    return client_text(responses_item(response, "message"), "content.0.text");
}

const char *responses_status(const cJSON *response) { return client_text(response, "status"); }

cJSON *responses_get_ended(int port, const char *id) {
    for (double began = clock_seconds(); clock_seconds() - began < 60; usleep(10000)) {
        cJSON *a = responses_get(port, id, "", 200);
        const char *status = responses_status(a);
        if (strcmp(status, "queued") != 0 && strcmp(status, "in_progress") != 0) return a;
        cJSON_Delete(a);
    }
    fail_msg("%s does not end", id);
    return NULL;
}

cJSON *responses_stream(int port, const char *method, const char *path, const char *body, int first) {
    client_answer a = client_ask(port, method, path, body ? "Content-Type: application/json\r\n" : NULL, body);
    if (a.http != 200 || !a.whole) fail_msg("%s %s: %d %s", method, path, a.http, a.body.data);
    assert_non_null(strstr(a.headers.data, "text/event-stream"));
    cJSON *events = client_response_events(&a.body, first);
    client_answer_free(&a);
    return events;
}

const cJSON *responses_last(const cJSON *events) { return cJSON_GetArrayItem(events, cJSON_GetArraySize(events) - 1); }

void responses_join(const cJSON *events, const char *type, buffer *out) {
    const cJSON *event;
    cJSON_ArrayForEach(event, events) {
        if (strcmp(client_text(event, "type"), type) == 0)
            assert_ok(buffer_append_text(out, client_text(event, "delta"), err));
    }
    if (!out->data) assert_ok(buffer_append_text(out, "", err));
}

int responses_begin(int port, const char *body) {
    buffer request = {0};
    assert_ok(buffer_printf(&request, err,
                            "POST " RESPONSES " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
                            "Content-Length: %zu\r\n\r\n%s",
                            strlen(body), body));
    int fd = client_connect(port);
    client_send(fd, request.data, request.size);
    buffer_free(&request);
    return fd;
}

int responses_read_part(int fd, size_t bytes, char id[64]) {
    buffer part = {0};
    char block[4096];
    int number = -1;
    while (part.size < bytes) {
        ssize_t n = recv(fd, block, sizeof block, 0);
        assert_true(n > 0);
        assert_ok(buffer_append(&part, block, (size_t)n, err));
    }
    const char *at = strstr(part.data, "\"id\":\"resp_"), *event = part.data;
    assert_non_null(at);
    assert_int_equal(sscanf(at, "\"id\":\"%40[^\"]", id), 1);
    while ((event = strstr(event, "\"sequence_number\":"))) sscanf(event++, "\"sequence_number\":%d", &number);
    buffer_free(&part);
    return number;
}
