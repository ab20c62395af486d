/* What models write becomes the items and events of a response: without a server. */
#include "serve/client.h"
#include "serve/responses_answer.h"
#include "serve/responses_request.h"
#include "support.h"

static responses_answer open_answer(bool queued) {
    responses_answer a;
    cJSON *echo = cJSON_Parse("{\"store\":true}");
    const responses_terms terms = {.model = "m", .queued = queued, .echo = echo};
    assert_ok(responses_answer_open(&terms, &a, err));
    cJSON_Delete(echo);
    return a;
}

static void add(responses_answer *a, turn_letter kind, const char *text) {
    const letter l = {kind, 0, text, strlen(text)};
    assert_ok(responses_answer_add(a, &l, err));
}

/* Their types, a line each, and whether they are numbered one after the other. */
static void check_events(responses_answer *a, int64_t first, const char *wanted) {
    buffer types = {0};
    store_event *events = responses_answer_events(a);
    for (size_t i = 0; i < a->event_count; i++) {
        const char *data = strstr(events[i].text, "\ndata: ");
        assert_int_equal(events[i].number, first + (int64_t)i);
        assert_memory_equal(events[i].text + events[i].size - 2, "\n\n", 2);
        cJSON *event = cJSON_ParseWithLength(data + 7, events[i].size - (size_t)(data + 7 - events[i].text));
        const char *type = cJSON_GetStringValue(cJSON_GetObjectItem(event, "type"));
        assert_memory_equal(events[i].text, "event: ", 7);
        assert_memory_equal(events[i].text + 7, type, strlen(type));
        assert_true(cJSON_GetObjectItem(event, "sequence_number")->valuedouble == (double)events[i].number);
        assert_ok(buffer_printf(&types, err, "%s\n", strchr(type, '.') + 1));
        cJSON_Delete(event);
    }
    assert_string_equal(types.data ? types.data : "", wanted);
    buffer_free(&types);
    free(events);
    responses_answer_forget(a);
}

/* The output as it is meanwhile: types, states and texts, a line for each item. */
static void check_output(const responses_answer *a, const char *wanted) {
    buffer lines = {0};
    cJSON *output = responses_answer_output(a);
    const cJSON *item;
    cJSON_ArrayForEach(item, output) {
        const cJSON *part = cJSON_GetArrayItem(cJSON_GetObjectItem(item, "content"), 0);
        const char *text = cJSON_GetStringValue(cJSON_GetObjectItem(part ? part : item, part ? "text" : "arguments"));
        assert_ok(buffer_printf(&lines, err, "%s %s %s\n", cJSON_GetObjectItem(item, "type")->valuestring,
                                cJSON_GetObjectItem(item, "status")->valuestring, text));
    }
    assert_string_equal(lines.data ? lines.data : "", wanted);
    cJSON_Delete(output);
    buffer_free(&lines);
}

static void shows_what_there_is_so_far(void **state) {
    (void)state;
    responses_answer a = open_answer(false);
    check_output(&a, "");
    add(&a, TURN_REASONING, "Hm");
    check_output(&a, "reasoning in_progress Hm\n");
    add(&a, TURN_MESSAGE, "");
    check_output(&a, "reasoning completed Hm\n");
    add(&a, TURN_CONTENT, "Let ");
    add(&a, TURN_CONTENT, "me");
    check_output(&a, "reasoning completed Hm\nmessage in_progress Let me\n");
    add(&a, TURN_MESSAGE, "");
    add(&a, TURN_CALL, "tide");
    add(&a, TURN_ARGUMENTS, "{");
    check_output(&a, "reasoning completed Hm\nmessage completed Let me\nfunction_call in_progress {\n");
    responses_answer_close(&a);
}

static void tells_items_in_order(void **state) {
    (void)state;
    responses_answer a = open_answer(false);
    check_events(&a, 0, "created\nin_progress\n");
    add(&a, TURN_WORK, "");
    check_events(&a, 2, ""); /* it is in progress already */
    add(&a, TURN_MESSAGE, "");
    add(&a, TURN_REASONING, "Hm");
    add(&a, TURN_REASONING, "m.");
    check_events(&a, 2, "output_item.added\ncontent_part.added\nreasoning_text.delta\nreasoning_text.delta\n");
    add(&a, TURN_MESSAGE, "");
    add(&a, TURN_CONTENT, "Let me look.");
    check_events(&a, 6,
                 "reasoning_text.done\ncontent_part.done\noutput_item.done\noutput_item.added\ncontent_part.added\n"
                 "output_text.delta\n");
    add(&a, TURN_MESSAGE, "");
    add(&a, TURN_CALL, "tide");
    add(&a, TURN_ARGUMENTS, "{");
    add(&a, TURN_ARGUMENTS, "}");
    check_events(&a, 12,
                 "output_text.done\ncontent_part.done\noutput_item.done\noutput_item.added\n"
                 "function_call_arguments.delta\nfunction_call_arguments.delta\n");
    add(&a, TURN_MESSAGE, "");
    add(&a, TURN_CALL, "moon"); /* without arguments */
    const turn_end end = {
        .finish = "tool_calls", .prompt_tokens = 9, .cached_tokens = 4, .answer_tokens = 7, .reasoning_tokens = 2};
    assert_ok(responses_answer_end(&a, &end, err));
    check_events(&a, 18,
                 "function_call_arguments.done\noutput_item.done\noutput_item.added\nfunction_call_arguments.done\n"
                 "output_item.done\ncompleted\n");
    char *output = cJSON_PrintUnformatted(cJSON_GetObjectItem(a.response, "output"));
    const cJSON *item = cJSON_GetObjectItem(a.response, "output")->child;
    char wanted[1200];
    const char *ids[4], *calls[4];
    for (int i = 0; i < 4; i++, item = item->next) {
        ids[i] = cJSON_GetStringValue(cJSON_GetObjectItem(item, "id"));
        calls[i] = cJSON_GetStringValue(cJSON_GetObjectItem(item, "call_id"));
    }
    snprintf(
        wanted, sizeof wanted,
        "[{\"id\":\"%s\",\"type\":\"reasoning\",\"status\":\"completed\",\"summary\":[],\"content\":[{\"type\":"
        "\"reasoning_text\",\"text\":\"Hmm.\"}]},{\"id\":\"%s\",\"type\":\"message\",\"status\":\"completed\","
        "\"role\":\"assistant\",\"content\":[{\"type\":\"output_text\",\"text\":\"Let me look.\",\"annotations\":[]"
        ",\"logprobs\":[]}]},{\"id\":\"%s\",\"type\":\"function_call\",\"status\":\"completed\",\"call_id\":\"%s\","
        "\"name\":\"tide\",\"arguments\":\"{}\"},{\"id\":\"%s\",\"type\":\"function_call\",\"status\":"
        "\"completed\",\"call_id\":\"%s\",\"name\":\"moon\",\"arguments\":\"\"}]",
        ids[0], ids[1], ids[2], calls[2], ids[3], calls[3]);
    assert_string_equal(output, wanted);
    cJSON_free(output);
    char *usage = cJSON_PrintUnformatted(cJSON_GetObjectItem(a.response, "usage"));
    assert_string_equal(usage, "{\"input_tokens\":9,\"input_tokens_details\":{\"cached_tokens\":4},\"output_tokens\":7,"
                               "\"output_tokens_details\":{\"reasoning_tokens\":2},\"total_tokens\":16}");
    cJSON_free(usage);
    assert_string_equal(client_text(a.response, "status"), "completed");
    responses_answer_close(&a);
}

static void tells_how_it_ended(void **state) {
    (void)state;
    static const struct {
        const char *status, *last;
    } cases[] = {{"incomplete", "incomplete"}, {"failed", "failed"}, {"cancelled", "cancelled"}};
    for (int i = 0; i < 3; i++) {
        char wanted[200];
        const turn_end end = {.finish = "length"};
        responses_answer a = open_answer(true);
        check_events(&a, 0, "created\nqueued\n");
        assert_string_equal(client_text(a.response, "status"), "queued");
        add(&a, TURN_WORK, "");
        assert_true(a.moved);
        check_events(&a, 2, "in_progress\n");
        assert_string_equal(client_text(a.response, "status"), "in_progress");
        add(&a, TURN_CONTENT, "Half");
        check_events(&a, 3, "output_item.added\ncontent_part.added\noutput_text.delta\n");
        if (i == 0) assert_ok(responses_answer_end(&a, &end, err));
        if (i == 1) assert_ok(responses_answer_fail(&a, "Oh.", err));
        if (i == 2) assert_ok(responses_answer_cancel(&a, err));
        assert_ok(responses_answer_fail(&a, "Too late.", err));
        snprintf(wanted, sizeof wanted, "output_text.done\ncontent_part.done\noutput_item.done\n%s\n", cases[i].last);
        check_events(&a, 6, wanted);
        assert_string_equal(client_text(a.response, "status"), cases[i].status);
        assert_string_equal(client_text(a.response, "output.0.status"), "incomplete");
        if (i == 0) assert_string_equal(client_text(a.response, "incomplete_details.reason"), "max_output_tokens");
        if (i == 1) assert_string_equal(client_text(a.response, "error.code"), "server_error");
        if (i == 1) assert_string_equal(client_text(a.response, "error.message"), "Oh.");
        responses_answer_close(&a);
    }
}

static void reads_back_what_it_tells(void **state) {
    (void)state;
    responses_answer a = open_answer(false);
    add(&a, TURN_REASONING, "A call.");
    add(&a, TURN_CALL, "tide");
    add(&a, TURN_ARGUMENTS, "{}");
    assert_ok(responses_answer_end(&a, &(turn_end){.finish = "tool_calls"}, err));
    char *output = cJSON_PrintUnformatted(cJSON_GetObjectItem(a.response, "output"));
    cJSON *body = cJSON_CreateObject();
    cJSON_AddRawToObject(body, "input", output);
    char *text = cJSON_PrintUnformatted(body);
    responses_request r;
    failure why = {0};
    assert_int_equal(responses_request_read(cJSON_Parse(text), 1000, NULL, &r, &why), GPTOSS_OK);
    char *items = cJSON_PrintUnformatted(r.items);
    assert_int_equal(strlen(items), strlen(output));
    assert_int_equal(r.chat.prompt.message_count, 2);
    cJSON_free(items);
    cJSON_free(output);
    cJSON_free(text);
    cJSON_Delete(body);
    responses_request_free(&r);
    responses_answer_close(&a);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shows_what_there_is_so_far),
        cmocka_unit_test(tells_items_in_order),
        cmocka_unit_test(tells_how_it_ended),
        cmocka_unit_test(reads_back_what_it_tells),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
