/* What of a chat's prompt is not read again: the instructions that another question came behind before, and all up to
 * the end of the user's last message, whatever of the former answer the client sends back. The ranks are two stages or,
 * with an argument, two shards. */
#include <unistd.h>

#include "serve/client.h"
#include "support.h"

#ifndef RANKS
#define RANKS 2 /* 0: alone, not started by mpirun */
#endif

static served server;
static int shards = 1;

static int start(void **state) {
    (void)state;
    server = served_start_grid(RANKS, shards, "4096");
    return 0;
}

static int stop(void **state) {
    (void)state;
    return served_stop_well(&server);
}

/* The prompt of a body's messages, as tokens. */
typedef struct prompt {
    int ids[4096], count;
    int starts[64], n_starts; /* where messages begin; the last is the answer's */
} prompt;

static prompt prompt_of(const char *body) {
    prompt p = {0};
    cJSON *a = client_json(server.port, "POST", "/apply-template", body, 200);
    const cJSON *id;
    cJSON_ArrayForEach(id, client_at(a, "tokens")) {
        assert_true(p.count < 4096 && p.n_starts < 64);
        p.ids[p.count] = id->valueint;
        if (p.ids[p.count] == p.ids[0]) p.starts[p.n_starts++] = p.count;
        p.count++;
    }
    cJSON_Delete(a);
    return p;
}

static char *body_of(const char *messages, const char *more) {
    buffer b = {0};
    assert_ok(buffer_printf(&b, err, "{\"messages\":[%s],\"temperature\":0,\"max_tokens\":300%s}", messages, more));
    return b.data;
}

/* Asks, and expects so many tokens of the prompt to be known: those up to and with the start of message `behind`,
 * counted from the last if it is negative. The caller deletes the answer. */
static cJSON *ask_behind(const char *messages, const char *more, int behind) {
    char *body = body_of(messages, more);
    prompt p = prompt_of(body);
    cJSON *a = client_json(server.port, "POST", "/v1/chat/completions", body, 200);
    double known = client_number(a, "usage.prompt_tokens_details.cached_tokens");
    assert_true(client_number(a, "usage.prompt_tokens") == p.count);
    int want = p.starts[behind < 0 ? p.n_starts + behind : behind] + 1;
    if (known != want) fail_msg("%g of %d tokens were known, not %d: %s", known, p.count, want, messages);
    free(body);
    return a;
}

static void expect_behind(const char *messages, int behind) { cJSON_Delete(ask_behind(messages, "", behind)); }

#define USER(text) "{\"role\":\"user\",\"content\":\"" text "\"}"
#define ASSISTANT(text) "{\"role\":\"assistant\",\"content\":\"" text "\"}"
#define INSTRUCTIONS(text) "{\"role\":\"system\",\"content\":\"" text "\"}"

/* messages of a prompt: system, developer, user */
static void another_question_behind_the_same_instructions(void **state) {
    (void)state;
    double hits = client_metric(server.port, "gptoss_prefix_cache_hits_total");
    char *body = body_of(INSTRUCTIONS("You are a pirate.") "," USER("What is 2+2?"), "");
    cJSON_Delete(client_json(server.port, "POST", "/v1/chat/completions", body, 200));
    free(body);
    expect_behind(INSTRUCTIONS("You are a pirate.") "," USER("Hello"), 2);
    expect_behind(INSTRUCTIONS("You are a pirate.") "," USER("What is the capital of Norway?"), 2);
    double now = client_metric(server.port, "gptoss_prefix_cache_hits_total");
    assert_true(now >= hits + 2);
    cJSON *a = client_json(server.port, "GET", "/cluster", NULL, 200);
    assert_true(client_number(a, "prefix_cache.hits") == now);
    assert_true(client_number(a, "prefix_cache.misses") ==
                client_metric(server.port, "gptoss_prefix_cache_misses_total"));
    assert_true(client_number(a, "prefix_cache.evictions") ==
                client_metric(server.port, "gptoss_prefix_cache_evictions_total"));
    assert_true(client_number(a, "prefix_cache.resume_points") ==
                client_metric(server.port, "gptoss_prefix_cache_points"));
    assert_true(client_number(a, "prefix_cache.resume_points") >= 3);
    cJSON_Delete(a);
}

/* Examples that an application puts before each question. */
static void another_question_behind_the_same_examples(void **state) {
    (void)state;
#define EXAMPLES INSTRUCTIONS("Answer in one word.") "," USER("Hello") "," ASSISTANT("Hi!") ","
    char *body = body_of(EXAMPLES USER("What is 2+2?"), "");
    cJSON_Delete(client_json(server.port, "POST", "/v1/chat/completions", body, 200));
    free(body);
    expect_behind(EXAMPLES USER("What is 3+3?"), -2);
    expect_behind(INSTRUCTIONS("Answer in one word.") "," USER("What is 3+3?"), 2);
}

/* Clients send back what they show: the final text. What the model thought is in no prompt again. */
static void a_follow_up_reads_what_is_new(void **state) {
    (void)state;
    buffer talk = {0};
    static const char *const questions[] = {"What is the capital of France?", "And of Italy?", "And of Norway?"};
    for (int turn = 0; turn < 3; turn++) {
        assert_ok(
            buffer_printf(&talk, err, "%s{\"role\":\"user\",\"content\":\"%s\"}", turn ? "," : "", questions[turn]));
        char *body = body_of(talk.data, "");
        /* before the first turn nothing but the system message can be known */
        cJSON *a =
            turn ? ask_behind(talk.data, "", -3) : client_json(server.port, "POST", "/v1/chat/completions", body, 200);
        assert_true(client_number(a, "usage.completion_tokens_details.reasoning_tokens") > 5);
        assert_ok(buffer_printf(&talk, err, ",{\"role\":\"assistant\",\"content\":\"%s\"}",
                                client_text(a, "choices.0.message.content")));
        cJSON_Delete(a);
        free(body);
    }
    buffer_free(&talk);
}

#define WEATHER                                                                                                     \
    ",\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"get_weather\",\"parameters\":{\"type\":\"object\"" \
    ",\"properties\":{\"city\":{\"type\":\"string\"}},\"required\":[\"city\"]}}}]"

static char *quoted(const char *text) {
    cJSON *string = cJSON_CreateString(text);
    char *out = cJSON_PrintUnformatted(string);
    cJSON_Delete(string);
    return out;
}

/* What the model thought before a call is sent back with its result, and is known; after the answer it is left out. */
static void results_of_functions_are_read_alone(void **state) {
    (void)state;
    const char *question = USER("What is the weather in Paris?");
    buffer talk = {0};
    char *body = body_of(question, WEATHER ",\"tool_choice\":\"required\"");
    cJSON *a = client_json(server.port, "POST", "/v1/chat/completions", body, 200);
    const char *thought = client_text(a, "choices.0.message.reasoning_content");
    char *reasoning = quoted(thought ? thought : "");
    char *arguments = quoted(client_text(a, "choices.0.message.tool_calls.0.function.arguments"));
    free(body);
    assert_true(thought && strlen(thought) > 0);
    assert_ok(buffer_printf(&talk, err,
                            "%s,{\"role\":\"assistant\",\"reasoning_content\":%s,\"tool_calls\":[{\"id\":\"c1\","
                            "\"type\":\"function\",\"function\":{\"name\":\"get_weather\",\"arguments\":%s}}]},"
                            "{\"role\":\"tool\",\"tool_call_id\":\"c1\",\"content\":\"sunny\"}",
                            question, reasoning, arguments));
    cJSON_Delete(a);
    /* The prompt ends with the thought, the call, the result, and the answer's beginning. */
    body = body_of(talk.data, WEATHER);
    prompt p = prompt_of(body);
    a = client_json(server.port, "POST", "/v1/chat/completions", body, 200);
    double known = client_number(a, "usage.prompt_tokens_details.cached_tokens");
    if (known != p.starts[p.n_starts - 3]) fail_msg("%g tokens known, not %d", known, p.starts[p.n_starts - 3]);
    assert_ok(buffer_printf(&talk, err, ",{\"role\":\"assistant\",\"content\":\"It is sunny.\"},%s", USER("Hello")));
    cJSON_Delete(a);
    /* ... call, result, answer, question, the next answer's beginning: the thought has gone */
    cJSON_Delete(ask_behind(talk.data, WEATHER, -5));
    cJSON_free(reasoning);
    cJSON_free(arguments);
    free(body);
    buffer_free(&talk);
}

/* The prompt of several choices is read once, and the usage tells of it as of one. */
static void choices_share_their_prompt(void **state) {
    (void)state;
    double before = client_metric(server.port, "gptoss_cached_prompt_tokens_total");
    char *body = body_of(INSTRUCTIONS("Greet in three ways.") "," USER("Hello there"), ",\"n\":3");
    prompt p = prompt_of(body);
    cJSON *a = client_json(server.port, "POST", "/v1/chat/completions", body, 200);
    double known = client_number(a, "usage.prompt_tokens_details.cached_tokens");
    assert_true(known < p.starts[2]);
    double after = client_metric(server.port, "gptoss_cached_prompt_tokens_total");
    assert_true(after - before == known + 2 * (p.count - 1));
    cJSON_Delete(a);
    free(body);
}

/* ---- from one run to the next ---- */

static void a_run_knows_the_instructions_of_the_one_before(void **state) {
    (void)state;
    char dir[256], command[300];
    snprintf(dir, sizeof dir, "%s/gptoss-prefix-%d", getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp", (int)getpid());
    const char *const questions[] = {"Hello", "What is 2+2?", "What is the capital of Italy?"};
    for (int i = 0; i < 3; i++) {
        const char *const arguments[] = {"run",
                                         "--gguf",
                                         DEMO_MODEL,
                                         "--system",
                                         "You are a pirate.",
                                         "--prompt",
                                         questions[i],
                                         "--max-tokens",
                                         "5",
                                         "--threads",
                                         "1",
                                         "--prompt-cache",
                                         dir,
                                         "--json",
                                         "--shards",
                                         shards > 1 ? "2" : "1",
                                         "--date",
                                         "2025-01-02",
                                         NULL};
        process_result r = process_run(RANKS, arguments, NULL);
        if (r.exit_status != 0) fail_msg("exit %d: %s", r.exit_status, r.err.data);
        cJSON *summary = cJSON_Parse(strstr(r.out.data, "{\"finish_reason\""));
        char *body = body_of(INSTRUCTIONS("You are a pirate.") "," USER("Hello"), "");
        prompt p = prompt_of(body);
        assert_true(client_number(summary, "cached_tokens") == (i ? p.starts[2] + 1 : 0));
        free(body);
        cJSON_Delete(summary);
        process_free(&r);
    }
    snprintf(command, sizeof command, "rm -r '%s'", dir);
    assert_int_equal(system(command), 0);
}

int main(int argc, char **argv) {
    (void)argv;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(another_question_behind_the_same_instructions),
        cmocka_unit_test(another_question_behind_the_same_examples),
        cmocka_unit_test(a_follow_up_reads_what_is_new),
        cmocka_unit_test(results_of_functions_are_read_alone),
        cmocka_unit_test(choices_share_their_prompt),
        cmocka_unit_test(a_run_knows_the_instructions_of_the_one_before),
    };
    shards = argc > 1 ? 2 : 1;
    return cmocka_run_group_tests(tests, start, stop);
}
