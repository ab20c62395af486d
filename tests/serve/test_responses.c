/* Bodies of /v1/responses become conversations: without a server. */
#include "serve/mutation.h"
#include "serve/responses_items.h"
#include "serve/responses_request.h"
#include "support.h"

enum { VOCABULARY = 1000, LIMIT = 1 << 20 };

static store *kept;

static int open_kept(void **state) {
    (void)state;
    return store_open(NULL, LIMIT, &kept, NULL) == GPTOSS_OK ? 0 : -1;
}

static int close_kept(void **state) {
    (void)state;
    store_close(kept);
    return 0;
}

static gptoss_status read_body(const char *text, responses_request *out, failure *why) {
    buffer body = {0};
    cJSON *whole;
    assert_ok(buffer_append_text(&body, text, err));
    gptoss_status status = json_input_parse(&body, &whole, why);
    buffer_free(&body);
    if (status != GPTOSS_OK) fail_msg("%s: %s", text, why->error.text);
    return responses_request_read(whole, VOCABULARY, kept, out, why);
}

static responses_request read_good(const char *text) {
    responses_request r;
    failure why = {0};
    if (read_body(text, &r, &why) != GPTOSS_OK) fail_msg("%s: %s", text, why.error.text);
    return r;
}

static void check_text(const cJSON *object, const char *name, const char *wanted) {
    assert_string_equal(cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(object, name)), wanted);
}

/* ---- requests ---- */

static void reads_options(void **state) {
    (void)state;
    responses_request r = read_good("{\"input\":\"Hello\"}");
    assert_true(r.store && !r.background && !r.truncate && !r.chat.logprobs && r.chat.rules.parallel);
    assert_int_equal(r.chat.prompt.effort, HARMONY_MEDIUM);
    assert_int_equal(r.chat.options.max_tokens, 0);
    assert_null(r.chat.prompt.instructions);
    responses_request_free(&r);
    r = read_good(
        "{\"input\":\"Hello\",\"instructions\":\"Be "
        "brief.\",\"store\":true,\"background\":true,\"truncation\":\"auto\","
        "\"max_output_tokens\":9,\"temperature\":0.5,\"top_p\":0.9,\"top_logprobs\":3,\"include\":[\"message.output_"
        "text.logprobs\",\"reasoning.encrypted_content\"],\"reasoning\":{\"effort\":\"high\",\"summary\":\"auto\"},"
        "\"metadata\":{\"a\":\"b\"},\"user\":\"me\",\"unknown\":[1],\"stream\":true,\"parallel_tool_calls\":false,"
        "\"tools\":[{\"type\":\"function\",\"name\":\"tide\",\"parameters\":{\"type\":\"object\"},\"strict\":true}],"
        "\"tool_choice\":{\"type\":\"function\",\"name\":\"tide\"},\"text\":{\"format\":{\"type\":\"json_schema\","
        "\"name\":\"f\",\"schema\":{\"type\":\"object\"},\"strict\":true}}}");
    assert_true(r.background && r.truncate && r.chat.logprobs && r.chat.options.stream && !r.chat.rules.parallel);
    assert_int_equal(r.chat.n_top, 3);
    assert_int_equal(r.chat.options.max_tokens, 9);
    assert_int_equal(r.chat.prompt.effort, HARMONY_HIGH);
    assert_string_equal(r.chat.prompt.instructions, "Be brief.");
    assert_int_equal(r.chat.rules.choice, CONSTRAINT_NAMED);
    assert_string_equal(r.chat.rules.name, "tide");
    assert_true(r.chat.functions[0].strict && r.chat.functions[0].parameters);
    assert_string_equal(r.chat.prompt.format_name, "f");
    assert_ptr_equal(r.chat.rules.schema, r.chat.prompt.format_schema);
    check_text(r.echo, "user", "me");
    check_text(cJSON_GetObjectItem(r.echo, "metadata"), "a", "b");
    check_text(cJSON_GetObjectItem(r.echo, "reasoning"), "effort", "high");
    assert_true(cJSON_IsNull(cJSON_GetObjectItem(cJSON_GetObjectItem(r.echo, "reasoning"), "summary")));
    check_text(cJSON_GetObjectItem(cJSON_GetObjectItem(r.echo, "text"), "format"), "name", "f");
    responses_request_free(&r);
}

typedef struct told {
    harmony_role role;
    harmony_channel channel;
    const char *tool, *text;
} told;

static void check_told(const responses_request *r, const told *wanted, size_t count) {
    assert_int_equal(r->chat.prompt.message_count, count);
    for (size_t i = 0; i < count; i++) {
        const harmony_message *m = &r->chat.prompt.messages[i];
        assert_int_equal(m->role, wanted[i].role);
        assert_int_equal(m->channel, wanted[i].channel);
        assert_int_equal(m->size, strlen(wanted[i].text));
        assert_memory_equal(m->text, wanted[i].text, m->size);
        assert_int_equal(!m->tool, !wanted[i].tool);
        if (m->tool) assert_string_equal(m->tool, wanted[i].tool);
    }
}

static void reads_items(void **state) {
    (void)state;
    responses_request r = read_good(
        "{\"instructions\":\"Be kind.\",\"input\":[{\"role\":\"developer\",\"content\":\"Be brief.\"},"
        "{\"role\":\"user\",\"content\":[{\"type\":\"input_text\",\"text\":\"Ti\"},{\"type\":\"input_text\",\"text\":"
        "\"de?\"}]},{\"type\":\"reasoning\",\"id\":\"rs_1\",\"summary\":[],\"content\":[{\"type\":\"reasoning_text\","
        "\"text\":\"A call.\"}]},{\"type\":\"message\",\"role\":\"assistant\",\"status\":\"completed\",\"id\":\"m1\","
        "\"content\":[{\"type\":\"output_text\",\"text\":\"Let me look.\",\"annotations\":[]}]},"
        "{\"type\":\"function_call\",\"call_id\":\"1\",\"name\":\"tide\",\"arguments\":\"{\\\"a\\\":1}\"},"
        "{\"type\":\"function_call\",\"call_id\":\"2\",\"name\":\"moon\",\"arguments\":\"{}\"},"
        "{\"type\":\"function_call_output\",\"call_id\":\"2\",\"output\":\"full\"},"
        "{\"type\":\"function_call_output\",\"call_id\":\"1\",\"output\":[{\"type\":\"input_text\",\"text\":\"low\"}]},"
        "{\"type\":\"reasoning\",\"summary\":[{\"type\":\"summary_text\",\"text\":\"Hm.\"}],\"encrypted_content\":null}"
        ","
        "{\"role\":\"assistant\",\"content\":\"High.\"},{\"type\":\"reasoning\",\"summary\":[]}]}");
    static const told wanted[] = {{HARMONY_USER, HARMONY_FINAL, NULL, "Tide?"},
                                  {HARMONY_ASSISTANT, HARMONY_ANALYSIS, NULL, "A call."},
                                  {HARMONY_ASSISTANT, HARMONY_COMMENTARY, NULL, "Let me look."},
                                  {HARMONY_ASSISTANT, HARMONY_COMMENTARY, "functions.tide", "{\"a\":1}"},
                                  {HARMONY_ASSISTANT, HARMONY_COMMENTARY, "functions.moon", "{}"},
                                  {HARMONY_TOOL, HARMONY_COMMENTARY, "functions.moon", "full"},
                                  {HARMONY_TOOL, HARMONY_COMMENTARY, "functions.tide", "low"},
                                  {HARMONY_ASSISTANT, HARMONY_ANALYSIS, NULL, "Hm."},
                                  {HARMONY_ASSISTANT, HARMONY_FINAL, NULL, "High."}};
    assert_string_equal(r.chat.prompt.instructions, "Be kind.\n\nBe brief.");
    check_told(&r, wanted, sizeof wanted / sizeof *wanted);
    assert_int_equal(cJSON_GetArraySize(r.items), 11);
    check_text(cJSON_GetArrayItem(r.items, 2), "id", "rs_1");
    const cJSON *item;
    cJSON_ArrayForEach(item, r.items) {
        assert_true(cJSON_IsString(cJSON_GetObjectItem(item, "id")) && cJSON_GetObjectItem(item, "id")->valuestring[0]);
    }
    responses_request_free(&r);
}

static void keep(const char *id, const char *response, const char *input, bool ended) {
    const store_change change = {.response = response, .ended = ended};
    assert_ok(store_add(kept, id, response, input, err));
    assert_ok(store_write(kept, id, &change, err));
}

#define KEPT_INPUT                                                                                                     \
    "[{\"type\":\"message\",\"id\":\"m\",\"role\":\"user\",\"content\":[{\"type\":\"input_text\",\"text\":\"Tide?\"}]" \
    "}]"

static void goes_on_from_a_response(void **state) {
    (void)state;
    keep("resp_1",
         "{\"status\":\"completed\",\"instructions\":\"Be rude.\",\"output\":[{\"type\":\"function_call\",\"id\":\"f\","
         "\"call_id\":\"c\",\"name\":\"tide\",\"arguments\":\"{}\"}]}",
         KEPT_INPUT, true);
    responses_request r =
        read_good("{\"previous_response_id\":\"resp_1\",\"input\":[{\"type\":\"function_call_output\","
                  "\"call_id\":\"c\",\"output\":\"low\"}]}");
    static const told wanted[] = {{HARMONY_USER, HARMONY_FINAL, NULL, "Tide?"},
                                  {HARMONY_ASSISTANT, HARMONY_COMMENTARY, "functions.tide", "{}"},
                                  {HARMONY_TOOL, HARMONY_COMMENTARY, "functions.tide", "low"}};
    check_told(&r, wanted, 3);
    assert_null(r.chat.prompt.instructions); /* they do not carry over */
    assert_int_equal(cJSON_GetArraySize(r.items), 3);
    check_text(r.echo, "previous_response_id", "resp_1");
    responses_request_free(&r);
}

static void keep_item(const char *response, const char *id, const char *text) {
    const store_item item = {id, text};
    const store_change change = {.items = &item, .item_count = 1};
    assert_ok(store_write(kept, response, &change, err));
}

static void refers_to_items_of_responses(void **state) {
    (void)state;
    keep("resp_items", "{\"status\":\"completed\",\"output\":[]}", "[]", true);
    keep_item("resp_items", "m1",
              "{\"type\":\"message\",\"id\":\"m1\",\"role\":\"user\",\"content\":[{\"type\":\"input_text\",\"text\":"
              "\"Tide?\"}]}");
    keep_item("resp_items", "f1",
              "{\"type\":\"function_call\",\"id\":\"f1\",\"call_id\":\"c\",\"name\":\"tide\",\"arguments\":\"{}\"}");
    keep_item("resp_items", "o1",
              "{\"type\":\"function_call_output\",\"id\":\"o1\",\"call_id\":\"c\",\"output\":\"low\"}");
    keep_item("resp_items", "damaged", "{");
    responses_request r = read_good("{\"input\":[{\"id\":\"m1\"},{\"type\":\"item_reference\",\"id\":\"f1\"},{\"type\":"
                                    "\"item_reference\",\"id\":\"o1\"},{\"role\":\"user\",\"content\":\"Sure?\"}]}");
    static const told wanted[] = {{HARMONY_USER, HARMONY_FINAL, NULL, "Tide?"},
                                  {HARMONY_ASSISTANT, HARMONY_COMMENTARY, "functions.tide", "{}"},
                                  {HARMONY_TOOL, HARMONY_COMMENTARY, "functions.tide", "low"},
                                  {HARMONY_USER, HARMONY_FINAL, NULL, "Sure?"}};
    check_told(&r, wanted, 4);
    responses_request_free(&r);
    static const struct {
        const char *body, *param;
        int http;
    } bad[] = {{"{\"input\":[{\"type\":\"item_reference\",\"id\":\"x\"}]}", "input[0].id", 404},
               {"{\"input\":[{\"id\":\"o1\"}]}", "input[0].id", 400}, /* without its call */
               {"{\"input\":[{\"id\":\"damaged\"}]}", "input[0].id", 500}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        failure why = {0};
        assert_int_not_equal(read_body(bad[i].body, &r, &why), GPTOSS_OK);
        assert_string_equal(why.param, bad[i].param);
        assert_int_equal(failure_http(&why), bad[i].http);
        responses_request_free(&r);
    }
}

/* A short body that refers to a long text often must not become a long conversation. */
static void limits_what_is_referred_to(void **state) {
    (void)state;
    enum { SIZE = LIMIT / 2 };
    buffer item = {0}, body = {0};
    responses_request r;
    failure why = {0};
    assert_ok(buffer_append_text(&item, "{\"type\":\"message\",\"id\":\"m\",\"role\":\"user\",\"content\":\"", err));
    while (item.size < SIZE) assert_ok(buffer_append_text(&item, "abcdefghijklmnop", err));
    assert_ok(buffer_append_text(&item, "\"}", err));
    keep("resp_long", "{\"status\":\"completed\",\"output\":[]}", "[]", true);
    keep_item("resp_long", "m", item.data);
    for (int i = 0; i <= RESPONSES_KEPT_BYTES / SIZE; i++)
        assert_ok(buffer_append_text(&body, i ? ",{\"id\":\"m\"}" : "{\"input\":[{\"id\":\"m\"}", err));
    assert_ok(buffer_append_text(&body, "]}", err));
    assert_int_equal(read_body(body.data, &r, &why), GPTOSS_BAD_INPUT);
    assert_non_null(strstr(why.error.text, "more than 33554432 bytes"));
    responses_request_free(&r);
    buffer_free(&item);
    buffer_free(&body);
}

static void allows_some_of_the_tools(void **state) {
    (void)state;
    responses_request r = read_good("{\"input\":\"Hello\",\"tools\":[{\"type\":\"function\",\"name\":\"tide\"},{"
                                    "\"type\":\"function\",\"name\":\"moon\"}"
                                    "],\"tool_choice\":{\"type\":\"allowed_tools\",\"mode\":\"required\",\"tools\":[{"
                                    "\"type\":\"function\",\"name\":"
                                    "\"moon\"}]}}");
    assert_int_equal(r.chat.prompt.function_count, 2);
    assert_true(r.chat.functions[0].barred && !r.chat.functions[1].barred);
    assert_int_equal(r.chat.rules.choice, CONSTRAINT_REQUIRED);
    check_text(cJSON_GetObjectItem(r.echo, "tool_choice"), "mode", "required");
    responses_request_free(&r);
}

#define INPUT "\"input\":\"Hello\""

static const char *const wrong[][2] = {
    {"{}", "input"},
    {"{\"input\":7}", "input"},
    {"{\"input\":[]}", "input"},
    {"{\"input\":[7]}", "input[0]"},
    {"{\"input\":[{\"role\":\"king\",\"content\":\"\"}]}", "input[0].role"},
    {"{\"input\":[{\"content\":\"\"}]}", "input[0].role"},
    {"{\"input\":[{\"role\":\"user\"}]}", "input[0].content"},
    {"{\"input\":[{\"role\":\"user\",\"content\":{}}]}", "input[0].content"},
    {"{\"input\":[{\"role\":\"user\",\"content\":[{\"type\":\"input_image\",\"image_url\":\"x\"}]}]}",
     "input[0].content[0].type"},
    {"{\"input\":[{\"role\":\"user\",\"content\":[{\"type\":\"input_file\"}]}]}", "input[0].content[0].type"},
    {"{\"input\":[{\"role\":\"user\",\"content\":[{\"type\":\"input_text\"}]}]}", "input[0].content[0].text"},
    {"{\"input\":[{\"role\":\"user\",\"content\":\"a\",\"id\":7}]}", "input[0].id"},
    {"{\"input\":[{\"type\":\"computer_call\"}]}", "input[0].type"},
    {"{\"input\":[{\"type\":\"item_reference\"}]}", "input[0].id"},
    {"{\"input\":[{\"type\":\"item_reference\",\"id\":7}]}", "input[0].id"},
    {"{\"input\":[{\"type\":\"function_call\",\"name\":\"a\"}]}", "input[0].call_id"},
    {"{\"input\":[{\"type\":\"function_call\",\"call_id\":\"a\"}]}", "input[0].name"},
    {"{\"input\":[{\"type\":\"function_call\",\"call_id\":\"a\",\"name\":\"b\",\"arguments\":{}}]}",
     "input[0].arguments"},
    {"{\"input\":[{\"type\":\"function_call_output\",\"call_id\":\"a\",\"output\":\"\"}]}", "input[0].call_id"},
    {"{\"input\":[{\"type\":\"function_call\",\"call_id\":\"a\",\"name\":\"b\"},{\"type\":\"function_call_output\","
     "\"call_id\":\"a\"}]}",
     "input[1].output"},
    {"{\"input\":[{\"type\":\"reasoning\",\"content\":[{\"type\":\"text\",\"text\":\"\"}]}]}",
     "input[0].content[0].type"},
    {"{\"input\":[{\"type\":\"reasoning\",\"summary\":[{\"type\":\"summary_text\"}]}]}", "input[0].summary[0].text"},
    {"{\"input\":[{\"type\":\"reasoning\",\"summary\":7}]}", "input[0].summary"},
    {"{" INPUT ",\"messages\":[]}", "messages"},
    {"{" INPUT ",\"max_tokens\":5}", "max_tokens"},
    {"{" INPUT ",\"response_format\":{}}", "response_format"},
    {"{" INPUT ",\"reasoning_effort\":\"low\"}", "reasoning_effort"},
    {"{" INPUT ",\"n\":2}", "n"},
    {"{" INPUT ",\"logprobs\":true}", "logprobs"},
    {"{" INPUT ",\"conversation\":\"c\"}", "conversation"},
    {"{" INPUT ",\"prompt\":{\"id\":\"p\"}}", "prompt"},
    {"{" INPUT ",\"harmony\":false}", "harmony"},
    {"{" INPUT ",\"max_output_tokens\":0}", "max_output_tokens"},
    {"{" INPUT ",\"temperature\":3}", "temperature"},
    {"{" INPUT ",\"instructions\":[]}", "instructions"},
    {"{" INPUT ",\"reasoning\":\"high\"}", "reasoning"},
    {"{" INPUT ",\"reasoning\":{\"effort\":\"huge\"}}", "reasoning.effort"},
    {"{" INPUT ",\"text\":\"json\"}", "text"},
    {"{" INPUT ",\"text\":{\"format\":{\"type\":\"xml\"}}}", "text.format.type"},
    {"{" INPUT ",\"text\":{\"format\":{\"type\":\"json_schema\",\"schema\":{}}}}", "text.format.name"},
    {"{" INPUT ",\"text\":{\"format\":{\"type\":\"json_schema\",\"name\":\"f\"}}}", "text.format.schema"},
    {"{" INPUT ",\"text\":{\"format\":{\"type\":\"json_schema\",\"name\":\"f\",\"strict\":1,\"schema\":{}}}}",
     "text.format.strict"},
    {"{" INPUT ",\"tools\":[{\"type\":\"web_search\"}]}", "tools[0].type"},
    {"{" INPUT ",\"tools\":[{\"name\":\"a\"}]}", "tools[0].type"},
    {"{" INPUT ",\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"a\"}}]}", "tools[0].name"},
    {"{" INPUT ",\"tools\":[{\"type\":\"function\",\"name\":\"a b\"}]}", "tools[0].name"},
    {"{" INPUT ",\"tool_choice\":\"required\"}", "tool_choice"},
    {"{" INPUT ",\"tool_choice\":{\"type\":\"web_search\"}}", "tool_choice.type"},
    {"{" INPUT ",\"tool_choice\":{\"type\":\"function\",\"name\":\"x\"}}", "tool_choice.name"},
    {"{" INPUT ",\"tool_choice\":{\"type\":\"allowed_tools\",\"tools\":[{\"type\":\"function\",\"name\":\"x\"}]}}",
     "tool_choice.mode"},
    {"{" INPUT ",\"tool_choice\":{\"type\":\"allowed_tools\",\"mode\":\"none\"}}", "tool_choice.mode"},
    {"{" INPUT ",\"tool_choice\":{\"type\":\"allowed_tools\",\"mode\":\"auto\"}}", "tool_choice.tools"},
    {"{" INPUT ",\"tool_choice\":{\"type\":\"allowed_tools\",\"mode\":\"auto\",\"tools\":[]}}", "tool_choice.tools"},
    {"{" INPUT ",\"tools\":[{\"type\":\"function\",\"name\":\"a\"}],\"tool_choice\":{\"type\":\"allowed_tools\","
     "\"mode\":\"auto\",\"tools\":[{\"type\":\"function\",\"name\":\"x\"}]}}",
     "tool_choice.tools[0].name"},
    {"{" INPUT ",\"tools\":[{\"type\":\"function\",\"name\":\"a\"}],\"tool_choice\":{\"type\":\"allowed_tools\","
     "\"mode\":\"auto\",\"tools\":[{\"type\":\"mcp\",\"server_label\":\"x\"}]}}",
     "tool_choice.tools[0].type"},
    {"{" INPUT ",\"include\":\"all\"}", "include"},
    {"{" INPUT ",\"include\":[7]}", "include[0]"},
    {"{" INPUT ",\"include\":[\"file_search_call.results\"]}", "include[0]"},
    {"{" INPUT ",\"top_logprobs\":2}", "top_logprobs"},
    {"{" INPUT ",\"include\":[\"message.output_text.logprobs\"],\"top_logprobs\":21}", "top_logprobs"},
    {"{" INPUT ",\"truncation\":\"middle\"}", "truncation"},
    {"{" INPUT ",\"store\":\"yes\"}", "store"},
    {"{" INPUT ",\"store\":false,\"background\":true}", "background"},
    {"{" INPUT ",\"metadata\":{\"a\":1}}", "metadata.a"},
    {"{" INPUT ",\"metadata\":[]}", "metadata"},
    {"{" INPUT ",\"metadata\":{\"12345678901234567890123456789012345678901234567890123456789012345\":\"\"}}",
     "metadata.12345678901234567890123456789012345678901234567890"},
    {"{" INPUT ",\"metadata\":{\"1\":\"\",\"2\":\"\",\"3\":\"\",\"4\":\"\",\"5\":\"\",\"6\":\"\",\"7\":\"\",\"8\":\"\","
     "\"9\":\"\",\"10\":\"\",\"11\":\"\",\"12\":\"\",\"13\":\"\",\"14\":\"\",\"15\":\"\",\"16\":\"\",\"17\":\"\"}}",
     "metadata"},
    {"{" INPUT ",\"user\":7}", "user"},
    {"{" INPUT ",\"max_tool_calls\":-1}", "max_tool_calls"},
    {"{" INPUT ",\"model\":7}", "model"},
    {"{" INPUT ",\"telemetry\":\"all\"}", "telemetry"},
    {"{" INPUT ",\"max_kv\":1}", "max_kv"},
    {"{" INPUT ",\"previous_response_id\":7}", "previous_response_id"},
    {"{" INPUT ",\"previous_response_id\":\"resp_0\"}", "previous_response_id"},
    {"{" INPUT ",\"previous_response_id\":\"' OR 1=1 --\"}", "previous_response_id"},
    {"{" INPUT ",\"previous_response_id\":\"resp_failed\"}", "previous_response_id"},
    {"{" INPUT ",\"previous_response_id\":\"resp_runs\"}", "previous_response_id"},
    {"{" INPUT ",\"previous_response_id\":\"resp_damaged\"}", "previous_response_id"},
};

static void names_the_field_that_is_wrong(void **state) {
    (void)state;
    keep("resp_failed", "{\"status\":\"failed\",\"output\":[]}", KEPT_INPUT, true);
    keep("resp_runs", "{\"status\":\"in_progress\",\"output\":[]}", KEPT_INPUT, false);
    keep("resp_damaged", "{\"status\":", "[", true);
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        responses_request r;
        failure why = {0};
        if (read_body(wrong[i][0], &r, &why) == GPTOSS_OK) fail_msg("accepted: %s", wrong[i][0]);
        if (strcmp(why.param, wrong[i][1]) != 0 || failure_http(&why) != 400)
            fail_msg("%s: %s, %s", wrong[i][0], why.param, why.error.text);
        responses_request_free(&r);
    }
}

static void limits_the_number_of_items(void **state) {
    (void)state;
    buffer body = {0};
    responses_request r;
    failure why = {0};
    assert_ok(
        buffer_append_text(&body, "{\"input\":[{\"type\":\"function_call\",\"call_id\":\"c\",\"name\":\"f\"}", err));
    for (int i = 0; i < 40000; i++)
        assert_ok(
            buffer_append_text(&body, ",{\"type\":\"function_call_output\",\"call_id\":\"c\",\"output\":\"\"}", err));
    assert_ok(buffer_append_text(&body, "]}", err));
    assert_int_equal(read_body(body.data, &r, &why), GPTOSS_BAD_INPUT);
    assert_string_equal(why.param, "input");
    responses_request_free(&r);
    buffer_free(&body);
}

/* ---- hostile bodies ---- */

static const char *const seeds[] = {
    "{" INPUT ",\"instructions\":\"i\",\"max_output_tokens\":9,\"reasoning\":{\"effort\":\"low\"},\"metadata\":{\"a\":"
    "\"b\"},\"include\":[\"message.output_text.logprobs\"],\"top_logprobs\":2,\"truncation\":\"auto\",\"stream\":true}",
    "{\"input\":[{\"role\":\"user\",\"content\":[{\"type\":\"input_text\",\"text\":\"\\u00e9\"}]},{\"type\":"
    "\"reasoning\",\"summary\":[{\"type\":\"summary_text\",\"text\":\"s\"}],\"content\":[]},{\"type\":\"function_"
    "call\","
    "\"call_id\":\"1\",\"name\":\"f\",\"arguments\":\"{}\"},{\"type\":\"function_call_output\",\"call_id\":\"1\","
    "\"output\":\"o\"}],\"tools\":[{\"type\":\"function\",\"name\":\"f\",\"parameters\":{\"type\":\"object\","
    "\"properties\":{\"a\":{\"enum\":[1,null,\"x\"]}}}}],\"tool_choice\":\"auto\"}",
    "{\"previous_response_id\":\"resp_1\",\"input\":[{\"type\":\"function_call_output\",\"call_id\":\"c\",\"output\":"
    "\"\"}],\"text\":{\"format\":{\"type\":\"json_schema\",\"name\":\"f\",\"schema\":{\"$ref\":\"#\"}}},\"store\":"
    "false,\"background\":false}"};

static gptoss_status read_and_render(cJSON *body, const harmony *h, tokens *prompt, failure *why) {
    responses_request r;
    gptoss_status status = responses_request_read(body, VOCABULARY, kept, &r, why);
    if (status == GPTOSS_OK) status = harmony_render(h, &r.chat.prompt, prompt, &why->error);
    responses_request_free(&r);
    return status;
}

static void survives_mutations(void **state) {
    (void)state;
    mutation_run(seeds, sizeof seeds / sizeof *seeds, 30000, read_and_render);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_options),
        cmocka_unit_test(reads_items),
        cmocka_unit_test(goes_on_from_a_response),
        cmocka_unit_test(refers_to_items_of_responses),
        cmocka_unit_test(limits_what_is_referred_to),
        cmocka_unit_test(allows_some_of_the_tools),
        cmocka_unit_test(names_the_field_that_is_wrong),
        cmocka_unit_test(limits_the_number_of_items),
        cmocka_unit_test(survives_mutations),
    };
    return cmocka_run_group_tests(tests, open_kept, close_kept);
}
