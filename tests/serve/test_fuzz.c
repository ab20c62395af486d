/* Requests that are almost right, and bytes that are hardly requests, over real connections: the server refuses what it
 * must, never fails, and goes on. `test_serve_fuzz COUNT [SEED]` sends COUNT of them. */
#include <pthread.h>
#include <stdatomic.h>
#include <sys/socket.h>

#include "random.h"
#include "serve/client.h"
#include "support.h"

enum { THREADS = 4, MOST_BYTES = 4096 };

#define CHAT "/v1/chat/completions"
#define COMPLETIONS "/v1/completions"

static const struct {
    const char *path, *body;
} kinds[] = {

    {CHAT, "{\"messages\":[{\"role\":\"user\",\"content\":\"What is 2+2?\"}],\"max_tokens\":3,\"temperature\":0}"},
    {CHAT,
     "{\"model\":\"demo\",\"messages\":[{\"role\":\"system\",\"content\":\"Be "
     "brief.\"},{\"role\":\"user\",\"content\":[{"
     "\"type\":\"text\",\"text\":\"a\\u00e9\\ud83d\\ude00\"}]},{\"role\":\"assistant\",\"content\":null,\"tool_calls\":"
     "["
     "{\"id\":\"c\",\"type\":\"function\",\"function\":{\"name\":\"f\",\"arguments\":\"{}\"}}]},{\"role\":\"tool\","
     "\"tool_call_id\":\"c\",\"content\":\"1\"}],\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"f\","
     "\"parameters\":{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"string\",\"enum\":[\"x\",\"y\"]}}}}}],"
     "\"tool_choice\":\"auto\",\"max_tokens\":2,\"stream\":true,\"stream_options\":{\"include_usage\":true}}"},
    {CHAT,
     "{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],\"n\":2,\"logprobs\":true,\"top_logprobs\":3,\"stop\":["
     "\"a\","
     "\"bc\"],\"logit_bias\":{\"5\":-1.5},\"seed\":7,\"top_p\":0.9,\"top_k\":4,\"min_p\":0.1,\"max_tokens\":2,"
     "\"reasoning_effort\":\"low\",\"presence_penalty\":1,\"frequency_penalty\":-1}"},
    {CHAT,
     "{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],\"max_tokens\":40,\"response_format\":{\"type\":"
     "\"json_schema\",\"json_schema\":{\"name\":\"r\",\"strict\":true,\"schema\":{\"type\":\"object\",\"properties\":{"
     "\"a\":{\"type\":\"integer\",\"minimum\":0,\"maximum\":9},\"b\":{\"type\":\"array\",\"items\":{\"$ref\":"
     "\"#/$defs/"
     "c\"},\"maxItems\":1}},\"required\":[\"a\"],\"additionalProperties\":false,\"$defs\":{\"c\":{\"anyOf\":[{"
     "\"type\":\"null\"},{\"type\":\"string\",\"pattern\":\"^[a-c]{1,2}$\"}]}}}}}}"},
    {COMPLETIONS, "{\"prompt\":[\"Hello\",\"there\"],\"max_tokens\":2,\"echo\":true,\"logprobs\":2,\"best_of\":1,"
                  "\"harmony\":false}"},
    {COMPLETIONS, "{\"prompt\":[1,2,3],\"max_tokens\":2,\"stream\":true}"},
    {"/v1/responses", "{\"model\":\"demo\",\"input\":\"hi\",\"max_output_tokens\":16,\"store\":false}"},
    {"/tokenize", "{\"content\":\"some text\"}"},
    {"/detokenize", "{\"tokens\":[1,2,3]}"},
    {"/apply-template", "{\"messages\":[{\"role\":\"user\",\"content\":\"What is 2+2?\"}]}"},
};

static const char *const pieces[] = {"null",
                                     "true",
                                     "-1",
                                     "1e999",
                                     "0.5",
                                     "99999999999999999999",
                                     "\"\"",
                                     "[]",
                                     "{}",
                                     "[[[[",
                                     "\\u0000",
                                     "\\ud800",
                                     "\xff",
                                     "\xc0\x80",
                                     "\"a\":",
                                     "\"n\":",
                                     "\n",
                                     "\t",
                                     "NaN",
                                     "Infinity",
                                     "18446744073709551616",
                                     "\"type\":",
                                     "\"$ref\":\"#\",",
                                     "{\"a\":",
                                     "}",
                                     "]",
                                     "\"<|start|>\"",
                                     "\"stream\":true,",
                                     "\"max_tokens\":1000000,",
                                     "%s%n",
                                     "\r\n\r\n",
                                     "Content-Length: 0\r\n",
                                     "Transfer-Encoding: chunked\r\n",
                                     "Expect: 100-continue\r\n",
                                     "HTTP/9.9",
                                     "GET ",
                                     "/../",
                                     "%00"};

enum { KINDS = sizeof kinds / sizeof *kinds, PIECES = sizeof pieces / sizeof *pieces };

/* ---- mutations of bytes[*size], with room for MOST_BYTES ---- */

static void insert(char *bytes, size_t *size, size_t at, const char *what, size_t count) {
    if (*size + count > MOST_BYTES) return;
    memmove(bytes + at + count, bytes + at, *size - at);
    memcpy(bytes + at, what, count);
    *size += count;
}

static void drop(char *bytes, size_t *size, size_t at, size_t count) {
    if (count > *size - at) count = *size - at;
    memmove(bytes + at, bytes + at + count, *size - at - count);
    *size -= count;
}

static void mutate(char *bytes, size_t *size, uint64_t *seed) {
    size_t at = *size ? random_below(seed, *size) : 0;
    const char *piece = pieces[random_below(seed, PIECES)];
    char copy[64];
    switch (random_below(seed, 6)) {
    case 0:
        if (*size) bytes[at] = (char)random_below(seed, 256);
        break;
    case 1: drop(bytes, size, at, 1 + random_below(seed, 20)); break;
    case 2: insert(bytes, size, at, piece, strlen(piece)); break;
    case 3: /* in place of what stands there, as far as the next comma or brace */
        drop(bytes, size, at, strcspn(bytes + at, ",}]"));
        insert(bytes, size, at, piece, strlen(piece));
        break;
    case 4: { /* a stretch twice */
        size_t count = *size - at < sizeof copy ? *size - at : sizeof copy;
        memcpy(copy, bytes + at, count);
        insert(bytes, size, at, copy, count);
        break;
    }
    default: *size = at; break; /* cut off */
    }
    bytes[*size] = '\0';
}

/* ---- requests ---- */

typedef struct request {
    char bytes[MOST_BYTES + 512];
    size_t size;
    bool sound; /* its head is */
} request;

static void make_request(request *r, uint64_t *seed) {
    char body[MOST_BYTES + 1];
    size_t kind = random_below(seed, KINDS), other = random_below(seed, KINDS);
    snprintf(body, sizeof body, "%s", kinds[kind].body);
    size_t size = strlen(body);
    for (uint64_t n = random_below(seed, 4); n > 0; n--) mutate(body, &size, seed);
    int head = snprintf(r->bytes, 512,
                        "POST %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\n"
                        "Content-Length: %zu\r\n\r\n",
                        kinds[random_below(seed, 8) ? kind : other].path, size);
    memcpy(r->bytes + head, body, size + 1);
    r->size = (size_t)head + size;
    r->sound = random_below(seed, 4) > 0;
    if (r->sound || r->size > MOST_BYTES) return;
    for (uint64_t n = 1 + random_below(seed, 4); n > 0; n--) mutate(r->bytes, &r->size, seed);
}

static bool is_right(const request *r, int http) {
    if (r->sound) return (http >= 200 && http < 300) || (http >= 400 && http < 500);
    return http == 0 || (http >= 100 && http < 500) || http == 501 || http == 505; /* HTTP that nobody speaks */
}

/* ---- many of them ---- */

static uint32_t wanted = 2000;
static uint64_t first_seed = 1;
static served server;
static atomic_uint sent, answered, refused;

static void *send_many(void *context) {
    uint64_t seed = (first_seed * THREADS + (uint64_t)(size_t)context + 1) * 2685821657736338717u;
    while (sent++ < wanted) {
        request r;
        uint64_t before = seed;
        make_request(&r, &seed);
        int fd = client_connect(server.port);
        client_send(fd, r.bytes, r.size);
        if (!r.sound) shutdown(fd, SHUT_WR); /* so that the server does not wait for what was cut off */
        client_answer a = client_receive(fd);
        if (!is_right(&r, a.http)) {
            fprintf(stderr, "seed %llu: %d %s\n%.*s\n", (unsigned long long)before, a.http, a.body.data, (int)r.size,
                    r.bytes);
            exit(1);
        }
        if (a.http >= 200 && a.http < 300) answered++;
        if (a.http >= 400) refused++;
        client_answer_free(&a);
    }
    return NULL;
}

static void survives_requests_that_are_almost_right(void **state) {
    (void)state;
    static const char question[] =
        "{\"messages\":[{\"role\":\"user\",\"content\":\"What is 2+2?\"}],\"temperature\":0,\"max_tokens\":50}";
    static const char *const flags[] = {"--max-kv",   "256", "--max-tokens",   "4",   "--threads", "1",
                                        "--parallel", "4",   "--idle-timeout", "600", "--alias",   "demo",
                                        NULL};
    pthread_t threads[THREADS];
    server = served_start(2, flags);
    cJSON *before = client_json(server.port, "POST", CHAT, question, 200);
    for (size_t i = 0; i < THREADS; i++) assert_int_equal(pthread_create(&threads[i], NULL, send_many, (void *)i), 0);
    for (size_t i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
    cJSON *after = client_json(server.port, "POST", CHAT, question, 200);
    assert_string_equal(client_text(after, "choices.0.message.content"),
                        client_text(before, "choices.0.message.content"));
    cJSON_Delete(before);
    cJSON_Delete(after);
    assert_true(answered > wanted / 100 && refused > wanted / 4); /* both kinds were among them */
    print_message("%u requests: %u answered, %u refused\n", wanted, answered, refused);
    process_result r = served_stop(&server);
    if (r.exit_status != 0 || r.err.size > 0) fail_msg("exit %d, stderr: %s", r.exit_status, r.err.data);
    process_free(&r);
}

int main(int argc, char **argv) {
    if (argc > 1) wanted = (uint32_t)strtoul(argv[1], NULL, 10);
    if (argc > 2) first_seed = strtoull(argv[2], NULL, 10);
    const struct CMUnitTest tests[] = {cmocka_unit_test(survives_requests_that_are_almost_right)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
