/* What requests may say beyond OpenAI's API: telemetry, and the engine that they count on. */
#include <math.h>

#include "serve/client.h"
#include "support.h"

#define CHAT "/v1/chat/completions"
#define QUESTION "\"messages\":[{\"role\":\"user\",\"content\":\"What is 2+2?\"}],\"temperature\":0"

static served server;

static int start(void **state) {
    (void)state;
    static const char *const flags[] = {
        "--max-kv", "4096", "--threads", "1", "--layers", "3", "--constrain-headers=off", NULL};
    server = served_start(2, flags);
    return 0;
}

static int stop(void **state) {
    (void)state;
    return served_stop_well(&server);
}

static cJSON *ask(const char *path, const char *body, int http) {
    return client_json(server.port, "POST", path, body, http);
}

/* Of each token: what it is, how sure the model was, and as many candidates as were asked for, the likeliest first. */
static void check_telemetry(const cJSON *list, double tokens, int candidates) {
    assert_int_equal(cJSON_GetArraySize(list), tokens);
    for (const cJSON *item = list->child; item; item = item->next) {
        double least = 0;
        assert_non_null(client_text(item, "token"));
        assert_true(client_number(item, "entropy") >= 0 && client_number(item, "logprob") <= 0);
        const cJSON *top = client_at(item, "candidates");
        assert_int_equal(cJSON_GetArraySize(top), candidates);
        for (const cJSON *c = top->child; c; c = c->next) {
            assert_true(client_number(c, "logprob") <= least);
            least = client_number(c, "logprob");
        }
        if (candidates == 0) continue;
        assert_true(client_number(item, "candidates.0.id") ==
                    client_number(item, "id")); /* at temperature 0, no rule forbidding it */
        assert_true(client_number(item, "candidates.0.logprob") == client_number(item, "logprob"));
        assert_string_equal(client_text(item, "candidates.0.token"), client_text(item, "token"));
    }
}

static void tells_what_the_model_hesitates_over(void **state) {
    (void)state;
    cJSON *a = ask(CHAT, "{" QUESTION ",\"max_tokens\":30,\"telemetry\":true}", 200);
    check_telemetry(client_at(a, "choices.0.telemetry"), client_number(a, "usage.completion_tokens"), 0);
    cJSON_Delete(a);
    a = ask(CHAT, "{" QUESTION ",\"max_tokens\":30,\"telemetry\":4,\"logprobs\":true,\"top_logprobs\":2}", 200);
    check_telemetry(client_at(a, "choices.0.telemetry"), client_number(a, "usage.completion_tokens"), 4);
    assert_int_equal(cJSON_GetArraySize(client_at(a, "choices.0.logprobs.content.0.top_logprobs")), 2);
    cJSON_Delete(a);
    a = ask("/v1/completions", "{\"prompt\":\"What is 2+2?\",\"temperature\":0,\"max_tokens\":30,\"telemetry\":3}",
            200);
    check_telemetry(client_at(a, "choices.0.telemetry"), client_number(a, "usage.completion_tokens"), 3);
    cJSON_Delete(a);
    a = ask(CHAT, "{" QUESTION ",\"max_tokens\":5,\"telemetry\":false}", 200);
    assert_null(client_at(a, "choices.0.telemetry"));
    cJSON_Delete(a);
}

static void tells_it_in_streams(void **state) {
    (void)state;
    static const struct {
        const char *path, *body;
    } cases[] = {{CHAT, "{" QUESTION ",\"max_tokens\":30,\"telemetry\":2%s}"},
                 {"/v1/completions", "{\"prompt\":\"What is 2+2?\",\"temperature\":0,\"telemetry\":2%s}"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char body[300];
        snprintf(body, sizeof body, cases[i].body, "");
        cJSON *whole = ask(cases[i].path, body, 200), *joined = cJSON_CreateArray(), *event, *item;
        snprintf(body, sizeof body, cases[i].body, ",\"stream\":true");
        client_answer a = client_ask(server.port, "POST", cases[i].path, NULL, body);
        cJSON *events = client_events(&a.body);
        cJSON_ArrayForEach(event, events) cJSON_ArrayForEach(item, client_at(event, "choices.0.telemetry"))
            cJSON_AddItemToArray(joined, cJSON_Duplicate(item, true));
        assert_true(cJSON_Compare(joined, client_at(whole, "choices.0.telemetry"), true));
        cJSON_Delete(joined);
        cJSON_Delete(events);
        cJSON_Delete(whole);
        client_answer_free(&a);
    }
}

/* In /v1/responses it is a field of the response, and in streams an event of its own for each token. */
static void tells_it_in_responses(void **state) {
    (void)state;
#define RESPONSE "{\"input\":\"What is 2+2?\",\"temperature\":0,\"max_output_tokens\":30"
    cJSON *a = ask("/v1/responses", RESPONSE ",\"telemetry\":3}", 200), *joined = cJSON_CreateArray(), *event, *item;
    check_telemetry(client_at(a, "telemetry"), client_number(a, "usage.output_tokens"), 3);
    client_answer s =
        client_ask(server.port, "POST", "/v1/responses", NULL, RESPONSE ",\"telemetry\":3,\"stream\":true}");
    cJSON *events = client_response_events(&s.body, 0);
    cJSON_ArrayForEach(event, events) {
        if (strcmp(client_text(event, "type"), "response.telemetry.delta") == 0)
            cJSON_ArrayForEach(item, client_at(event, "telemetry"))
                cJSON_AddItemToArray(joined, cJSON_Duplicate(item, true));
        if (client_at(event, "response.telemetry"))
            assert_true(cJSON_Compare(client_at(event, "response.telemetry"), joined, true));
    }
    assert_true(cJSON_Compare(joined, client_at(a, "telemetry"), true));
    cJSON_Delete(events);
    cJSON_Delete(joined);
    cJSON_Delete(a);
    client_answer_free(&s);
    a = ask("/v1/responses", RESPONSE "}", 200);
    assert_null(client_at(a, "telemetry"));
    cJSON_Delete(a);
}

static void bounds_the_positions_of_a_request(void **state) {
    (void)state;
    cJSON *a = ask(CHAT, "{" QUESTION ",\"max_tokens\":1}", 200);
    unsigned prompt = (unsigned)client_number(a, "usage.prompt_tokens");
    char body[300];
    cJSON_Delete(a);
    snprintf(body, sizeof body, "{\"harmony\":false,\"prompt\":[1,2,3,4,5],\"max_kv\":%u,\"logit_bias\":{}}", 9);
    a = ask("/v1/completions", body, 200);
    assert_true(client_number(a, "usage.total_tokens") <= 9);
    cJSON_Delete(a);
    snprintf(body, sizeof body, "{" QUESTION ",\"max_kv\":%u}", prompt + 3);
    a = ask(CHAT, body, 200);
    assert_string_equal(client_text(a, "choices.0.finish_reason"), "length");
    assert_true(client_number(a, "usage.completion_tokens") == 3);
    cJSON_Delete(a);
    snprintf(body, sizeof body, "{" QUESTION ",\"max_kv\":%u,\"max_tokens\":4}", prompt + 3);
    a = ask(CHAT, body, 422);
    assert_string_equal(client_text(a, "error.code"), "context_length_exceeded");
    cJSON_Delete(a);
    snprintf(body, sizeof body, "{" QUESTION ",\"max_kv\":%u}", prompt);
    a = ask(CHAT, body, 422);
    assert_non_null(strstr(client_text(a, "error.message"), "together"));
    cJSON_Delete(a);
}

static void refuses_another_engine(void **state) {
    (void)state;
    static const struct {
        const char *field;
        int http;
        const char *param, *words;
    } cases[] = {
        {"\"layers\":3", 200, NULL, NULL},
        {"\"moe_fallback\":false", 200, NULL, NULL},
        {"\"max_kv\":4096", 200, NULL, NULL},
        {"\"layers\":2", 400, "layers", "serve --layers 2"},
        {"\"layers\":0", 400, "layers", "whole number"},
        {"\"layers\":\"3\"", 400, "layers", "whole number"},
        {"\"moe_fallback\":true", 400, "moe_fallback", "without --moe-fallback"},
        {"\"moe_fallback\":1", 400, "moe_fallback", "true or false"},
        {"\"max_kv\":4097", 400, "max_kv", "4096"},
        {"\"max_kv\":1", 400, "max_kv", "whole number"},
        {"\"telemetry\":\"all\"", 400, "telemetry", "number of candidates"},
        {"\"telemetry\":21", 400, "telemetry", "from 0 to 20"},
        {"\"telemetry\":1.5", 400, "telemetry", "from 0 to 20"},
    };
    static const char *const beginnings[][2] = {{CHAT, "{" QUESTION ",\"max_tokens\":2,"},
                                                {"/v1/completions", "{\"prompt\":\"Hello\",\"max_tokens\":2,"}};
    for (size_t i = 0; i < 2 * sizeof cases / sizeof *cases; i++) {
        char body[300];
        size_t n = i / 2;
        snprintf(body, sizeof body, "%s%s}", beginnings[i % 2][1], cases[n].field);
        cJSON *a = ask(beginnings[i % 2][0], body, cases[n].http);
        if (cases[n].param) assert_string_equal(client_text(a, "error.param"), cases[n].param);
        if (cases[n].words && !strstr(client_text(a, "error.message"), cases[n].words))
            fail_msg("%s: %s", body, client_text(a, "error.message"));
        cJSON_Delete(a);
    }
}

/* A model that cannot write a header is understood nevertheless, and counted. */
static void counts_what_was_mended(void **state) {
    (void)state;
    static const char metric[] = "gptoss_harmony_recoveries_total{kind=\"header\"}";
    double before = client_metric(server.port, metric);
    char *body = client_endless_response(server.port, 8, "\"temperature\":0");
    cJSON *a = ask("/v1/responses", body, 200);
    assert_string_equal(client_text(a, "output.0.type"), "message");
    assert_true(strlen(client_text(a, "output.0.content.0.text")) > 0);
    assert_true(client_metric(server.port, metric) == before + 1);
    cJSON_Delete(a);
    free(body);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tells_what_the_model_hesitates_over),
        cmocka_unit_test(tells_it_in_streams),
        cmocka_unit_test(tells_it_in_responses),
        cmocka_unit_test(bounds_the_positions_of_a_request),
        cmocka_unit_test(refuses_another_engine),
        cmocka_unit_test(counts_what_was_mended),
    };
    return cmocka_run_group_tests(tests, start, stop);
}
