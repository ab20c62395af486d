/* Nodes files, right, wrong and hostile. */
#include "plan/nodes.h"
#include "random.h"
#include "support.h"

static void a_file_tells_all_or_little(void **state) {
    (void)state;
    const char *text = "{\"nodes\": [{\"name\": \"front\", \"memory\": \"16G\", \"cores\": 8, \"read_gb_s\": 30.5},"
                       "{\"memory\": 4000000000, \"count\": 2}, {\"memory\": \"500m\", \"cores\": 1}],"
                       "\"link\": {\"latency_us\": 20, \"gbit_s\": 10}}";
    node_facts *nodes;
    uint32_t count;
    assert_ok(nodes_parse(text, strlen(text), &nodes, &count, err));
    assert_int_equal(count, 4);
    assert_string_equal(nodes[0].name, "front");
    assert_true(nodes[0].memory == UINT64_C(16) << 30 && nodes[0].cores == 8 && !nodes[0].is_assumed);
    assert_true(nodes[0].read_rate == 30.5e9);
    assert_true(nodes[1].memory == 4000000000 && nodes[1].is_assumed && nodes[1].cores == 4);
    assert_memory_equal(&nodes[1], &nodes[2], sizeof nodes[1]);
    assert_true(nodes[3].memory == UINT64_C(500) << 20 && nodes[3].read_rate < nodes[2].read_rate);
    for (uint32_t i = 0; i < count; i++)
        assert_true(nodes[i].link.latency == 20e-6 && nodes[i].link.bandwidth == 1.25e9);
    plan_node node = node_for_plan(&nodes[0]);
    assert_true(node.memory < nodes[0].memory && node.memory > nodes[0].memory / 10 * 8);
    free(nodes);
}

static void names_become_printable(void **state) {
    (void)state;
    const char *text = "{\"nodes\": [{\"name\": \"a<b>&\\u001b[31m\\u00e4 and much longer than any name of a machine "
                       "ever was in any office\", \"memory\": 1}]}";
    node_facts *nodes;
    uint32_t count;
    assert_ok(nodes_parse(text, strlen(text), &nodes, &count, err));
    assert_int_equal(strlen(nodes[0].name), sizeof nodes[0].name - 1);
    for (const char *c = nodes[0].name; *c; c++) assert_true(*c > ' ' && *c < 127 && !strchr("<>&\"'", *c));
    free(nodes);
}

static void wrong_files_are_refused_with_the_place(void **state) {
    (void)state;
    const struct {
        const char *text, *hint;
    } cases[] = {
        {"", "no JSON"},
        {"{\n\"nodes\": [\n{]", "line 3"},
        {"[]", "no JSON object"},
        {"null", "no JSON object"},
        {"{}", "\"nodes\" is missing"},
        {"{\"nodes\": {}}", "\"nodes\" is missing or no list"},
        {"{\"nodes\": []}", "empty"},
        {"{\"nodes\": [1]}", "node 0 is no object"},
        {"{\"nodes\": [{\"memory\": \"1G\"}, {}]}", "node 1: \"memory\" must be there"},
        {"{\"nodes\": [{\"memory\": \"much\"}]}", "\"memory\" must be there"},
        {"{\"nodes\": [{\"memory\": \"1GB\"}]}", "\"memory\""},
        {"{\"nodes\": [{\"memory\": \"-1G\"}]}", "\"memory\""},
        {"{\"nodes\": [{\"memory\": 0}]}", "\"memory\""},
        {"{\"nodes\": [{\"memory\": 1e300}]}", "\"memory\""},
        {"{\"nodes\": [{\"memory\": \"99999999999999999999G\"}]}", "\"memory\""},
        {"{\"nodes\": [{\"memory\": \"18014398509481984K\"}]}", "\"memory\""},
        {"{\"nodes\": [{\"memory\": null}]}", "\"memory\""},
        {"{\"nodes\": [{\"memory\": 1, \"cores\": 0}]}", "\"cores\" must be a number from 1"},
        {"{\"nodes\": [{\"memory\": 1, \"cores\": 1.5}]}", "\"cores\" must be a whole number"},
        {"{\"nodes\": [{\"memory\": 1, \"cores\": \"4\"}]}", "\"cores\""},
        {"{\"nodes\": [{\"memory\": 1, \"read_gb_s\": 0}]}", "\"read_gb_s\""},
        {"{\"nodes\": [{\"memory\": 1, \"read_gb_s\": 1e99}]}", "\"read_gb_s\""},
        {"{\"nodes\": [{\"memory\": 1, \"count\": 1025}]}", "\"count\""},
        {"{\"nodes\": [{\"memory\": 1, \"count\": 1000}, {\"memory\": 1, \"count\": 25}]}", "more than 1024 nodes"},
        {"{\"nodes\": [{\"memory\": 1, \"name\": 7}]}", "\"name\" must be a text"},
        {"{\"nodes\": [{\"memory\": 1, \"memroy\": 7}]}", "\"memroy\" is no key"},
        {"{\"nodes\": [{\"memory\": 1, \"memory\": 7}]}", "\"memory\" is there twice"},
        {"{\"nodes\": [{\"memory\": 1}], \"links\": 1}", "the file: \"links\" is no key"},
        {"{\"nodes\": [{\"memory\": 1}], \"link\": 1}", "\"link\" is no object"},
        {"{\"nodes\": [{\"memory\": 1}], \"link\": {\"gbit_s\": 0}}", "link: \"gbit_s\""},
        {"{\"nodes\": [{\"memory\": 1}], \"link\": {\"latency_us\": -1}}", "link: \"latency_us\""},
        {"{\"nodes\": [{\"memory\": 1}], \"link\": {\"latency\": 1}}", "\"latency\" is no key"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        node_facts *nodes;
        uint32_t count;
        gptoss_error err = {0};
        gptoss_status status = nodes_parse(cases[i].text, strlen(cases[i].text), &nodes, &count, &err);
        if (status != GPTOSS_BAD_INPUT || !strstr(err.text, cases[i].hint))
            fail_msg("%s: %s, \"%s\"", cases[i].text, gptoss_status_name(status), err.text);
    }
}

/* Whatever is done to a good file, it is read or refused; sanitizers watch. */
static void damaged_files_do_no_harm(void **state) {
    (void)state;
    const char good[] =
        "{\"nodes\": [{\"name\": \"a\", \"memory\": \"16G\", \"cores\": 8, \"count\": 3, \"read_gb_s\": "
        "3e1}], \"link\": {\"latency_us\": 20}}";
    uint64_t seed = 1;
    for (int round = 0; round < 20000; round++) {
        char text[sizeof good];
        memcpy(text, good, sizeof good);
        size_t size = round % 2 ? sizeof good - 1 : (size_t)random_below(&seed, sizeof good);
        for (uint64_t n = random_below(&seed, 4); n > 0 && size > 0; n--)
            text[random_below(&seed, size)] = (char)random_below(&seed, 256);
        char *exact = malloc(size ? size : 1);
        memcpy(exact, text, size);
        node_facts *nodes;
        uint32_t count;
        gptoss_error err = {0};
        if (nodes_parse(exact, size, &nodes, &count, &err) == GPTOSS_OK) {
            assert_true(count >= 1 && count <= NODES_MOST);
            for (uint32_t i = 0; i < count; i++)
                assert_true(nodes[i].memory > 0 && nodes[i].read_rate > 0 && nodes[i].cores > 0);
            free(nodes);
        } else {
            assert_true(err.text[0]);
        }
        free(exact);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_file_tells_all_or_little),
        cmocka_unit_test(names_become_printable),
        cmocka_unit_test(wrong_files_are_refused_with_the_place),
        cmocka_unit_test(damaged_files_do_no_harm),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
