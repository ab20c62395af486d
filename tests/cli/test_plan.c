/* `gptoss-dist plan` as a user meets it. */
#include <unistd.h>

#include <cjson/cJSON.h>

#include "gguf/craft.h"
#include "process.h"

#define GOLDEN TEST_DATA "/golden/like-q4_k_m.gguf"
#define PARTED TEST_DATA "/golden/f32.gguf" /* the other one has blocks as wide as two heads */
#define COMMAND(...) ((const char *const[]){__VA_ARGS__, NULL})

static void write_file(const char *path, const char *text) {
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static double number(const cJSON *object, const char *name) {
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, name);
    if (!cJSON_IsNumber(item)) fail_msg("no number %s", name);
    return item->valuedouble;
}

static double bound(const cJSON *rank, const char *range, int which) {
    return cJSON_GetArrayItem(cJSON_GetObjectItemCaseSensitive(rank, range), which)->valuedouble;
}

/* Stages follow each other from layer 0 to the last, shards and rows likewise; sums are right. The caller deletes it.
 */
static cJSON *planned(int ranks, const char *const *arguments, int want_ranks) {
    process_result r = process_expect(ranks, arguments, 0, "{", "");
    cJSON *plan = cJSON_Parse(r.out.data), *rank;
    assert_non_null(plan);
    process_free(&r);
    const cJSON *list = cJSON_GetObjectItemCaseSensitive(plan, "ranks");
    assert_int_equal(cJSON_GetArraySize(list), want_ranks);
    double layer = 0, head = 0, expert = 0, row = 0, weights = 0, shards = number(plan, "shards");
    assert_true(number(plan, "stages") * shards == want_ranks);
    cJSON_ArrayForEach(rank, list) {
        bool first = number(rank, "shard") == 0, last = number(rank, "shard") == shards - 1;
        assert_true(bound(rank, "layers", 0) == layer && bound(rank, "layers", 1) > layer);
        assert_true(bound(rank, "kv_heads", 0) == (first ? 0 : head) &&
                    bound(rank, "experts", 0) == (first ? 0 : expert));
        assert_true(bound(rank, "output_rows", 0) == row);
        head = bound(rank, "kv_heads", 1);
        expert = bound(rank, "experts", 1);
        row = bound(rank, "output_rows", 1);
        if (last) layer = bound(rank, "layers", 1);
        weights += number(rank, "weight_bytes");
        assert_true(number(rank, "ms") < 1.001 * number(plan, "ms_per_token") + 1e-3); /* one rank: but for rounding */
    }
    assert_true(layer == number(plan, "layers"));
    assert_true(weights == number(plan, "weight_bytes"));
    assert_true(number(plan, "network_ms_per_token") < number(plan, "ms_per_token"));
    return plan;
}

static void it_plans_for_the_machines_that_are_here(void **state) {
    const char *cache = craft_path(state, "cache");
    static const char *const STAGES[] = {"1", "1", "2", "3"};
    setenv("XDG_CACHE_HOME", cache, 1);
    for (int ranks = 0; ranks <= 3; ranks++)
        cJSON_Delete(
            planned(ranks, COMMAND("plan", "--gguf", GOLDEN, "--json", "--stages", STAGES[ranks]), ranks ? ranks : 1));
    cJSON_Delete(planned(4, COMMAND("plan", "--gguf", PARTED, "--json", "--shards", "2"), 4));
    process_expect_only(2, COMMAND("plan", "--gguf", GOLDEN), 0, "rank  node", "");
    process_expect_only(0, COMMAND("plan", "--gguf", GOLDEN), 0, "one sequence: ", "");
    process_expect_only(5, COMMAND("plan", "--gguf", GOLDEN), 2, "", "5 ranks form no grid");
    char command[600];
    snprintf(command, sizeof command, "ls '%s'/gptoss-dist/speed-* > /dev/null && rm -r '%s'", cache, cache);
    assert_int_equal(system(command), 0); /* measured figures were kept */
    unsetenv("XDG_CACHE_HOME");
}

static void expect_equal_items(const cJSON *a, const cJSON *b, const char *name) {
    char *x = cJSON_PrintUnformatted(cJSON_GetObjectItemCaseSensitive(a, name));
    char *y = cJSON_PrintUnformatted(cJSON_GetObjectItemCaseSensitive(b, name));
    assert_non_null(x);
    assert_string_equal(x, y);
    cJSON_free(x);
    cJSON_free(y);
}

/* The last line of --json is the summary. */
static cJSON *summary_of(int ranks, const char *goal) {
    process_result r = process_expect(
        ranks, COMMAND("run", "--gguf", PARTED, "--tokens", "5,6,7", "--max-tokens", "1", "--json", "--for", goal), 0,
        "finish_reason", "");
    cJSON *summary = cJSON_Parse(process_last_line(&r));
    assert_non_null(summary);
    process_free(&r);
    return summary;
}

static void run_takes_the_grid_that_is_planned(void **state) {
    const char *cache = craft_path(state, "cache");
    static const char *const GOALS[] = {"latency", "throughput"};
    setenv("XDG_CACHE_HOME", cache, 1);
    for (int i = 0; i < 4; i++) {
        int ranks = i < 2 ? 2 : 4;
        cJSON *plan = planned(ranks, COMMAND("plan", "--gguf", PARTED, "--json", "--for", GOALS[i % 2]), ranks);
        cJSON *run = summary_of(ranks, GOALS[i % 2]);
        expect_equal_items(plan, run, "stages");
        expect_equal_items(plan, run, "shards");
        for (int r = 0; r < ranks; r++) {
            const cJSON *a = cJSON_GetArrayItem(cJSON_GetObjectItemCaseSensitive(plan, "ranks"), r);
            const cJSON *b = cJSON_GetArrayItem(cJSON_GetObjectItemCaseSensitive(run, "ranks"), r);
            expect_equal_items(a, b, "layers");
            expect_equal_items(a, b, "kv_heads");
            expect_equal_items(a, b, "experts");
        }
        cJSON_Delete(plan);
        cJSON_Delete(run);
    }
    process_expect_only(2, COMMAND("run", "--gguf", PARTED, "--tokens", "5", "--max-tokens", "1", "--for", "latency"),
                        0, "", ", chosen for latency\n");
    process_expect_only(2, COMMAND("run", "--gguf", PARTED, "--tokens", "5", "--for", "fun"), 2, "", "--for is");
    char command[600];
    snprintf(command, sizeof command, "ls '%s'/gptoss-dist/link-* > /dev/null && rm -r '%s'", cache, cache);
    assert_int_equal(system(command), 0); /* links were measured and kept */
    unsetenv("XDG_CACHE_HOME");
}

static void it_plans_for_machines_elsewhere(void **state) {
    const char *nodes = craft_path(state, "nodes.json");
    write_file(nodes, "{\"nodes\": [{\"name\": \"front\", \"memory\": \"2G\", \"read_gb_s\": 10},"
                      "{\"name\": \"slow\", \"memory\": \"2G\", \"read_gb_s\": 1}, {\"memory\": \"2G\"}]}");
    cJSON *plan = planned(0, COMMAND("plan", "--gguf", GOLDEN, "--nodes", nodes, "--json", "--stages", "3"), 3);
    const cJSON *list = cJSON_GetObjectItemCaseSensitive(plan, "ranks");
    const cJSON *front = cJSON_GetArrayItem(list, 0);
    assert_string_equal(cJSON_GetObjectItemCaseSensitive(front, "node")->valuestring, "front");
    /* Its single layer takes the slow one longer than all others take the rest. */
    const cJSON *slow = cJSON_GetObjectItemCaseSensitive(cJSON_GetArrayItem(list, 1), "layers");
    assert_int_equal(cJSON_GetArrayItem(slow, 1)->valueint - cJSON_GetArrayItem(slow, 0)->valueint, 1);
    cJSON_Delete(plan);
    process_expect_only(3, COMMAND("plan", "--gguf", GOLDEN, "--nodes", nodes, "--parallel", "8", "--for", "latency"),
                        0, "8 sequences at once", "");
}

static int occurrences(const char *text, const char *what) {
    int count = 0;
    for (; (text = strstr(text, what)); text++) count++;
    return count;
}

/* Of a stage's shards each is drawn and told what it holds. */
static void grids_are_shown_and_drawn(void **state) {
    const char *nodes = craft_path(state, "grid.json"), *svg = craft_path(state, "grid.svg");
    write_file(nodes,
               "{\"nodes\": [{\"name\": \"big\", \"memory\": \"4G\", \"count\": 2}, {\"name\": \"small\", \"memory\": "
               "\"2G\", \"count\": 2}]}");
    process_result r = process_expect(
        0, COMMAND("plan", "--gguf", PARTED, "--nodes", nodes, "--stages", "2", "--shards", "2", "--svg", svg), 0,
        "2 stages x 2 shards", "");
    assert_int_equal(occurrences(r.out.data, " 0-3 "), 2); /* experts of 8 */
    assert_int_equal(occurrences(r.out.data, " 4-7 "), 2);
    process_free(&r);
    buffer picture = {0};
    assert_ok(buffer_read_file(&picture, svg, 1 << 20, err));
    assert_non_null(strstr(picture.data, "<svg "));
    assert_int_equal(occurrences(picture.data, "  small</text>"), 2);
    assert_int_equal(occurrences(picture.data, "experts 4 to 7, head 1</text>"), 2);
    assert_int_equal(occurrences(picture.data, "layers 0 to 1</text>"), 1);
    assert_non_null(strstr(picture.data, "</svg>"));
    buffer_free(&picture);
    process_expect_only(0, COMMAND("plan", "--gguf", PARTED, "--stages", "2", "--shards", "2"), 0,
                        "2 stages x 2 shards", "");
}

/* Numbers that people will act on: what is advised must do. */
static void too_little_memory_is_explained(void **state) {
    const char *nodes = craft_path(state, "small.json"), *model = craft_path(state, "tiny.gguf");
    process_expect_only(0, COMMAND("synth", model, "--shape", "tiny", "--layers", "40"), 0, "", "");
    write_file(nodes, "{\"nodes\": [{\"memory\": \"672M\"}]}"); /* 160 MB beside what the system keeps */
    process_result r = process_expect(0, COMMAND("plan", "--gguf", model, "--max-kv", "512", "--nodes", nodes), 1, "",
                                      "are missing in all");
    assert_non_null(strstr(r.err.data, " GiB more; or"));
    assert_non_null(strstr(r.err.data, "or with another node that has"));
    assert_non_null(strstr(r.err.data, "or expert 0 alone (--moe-fallback)"));
    const char *layers = strstr(r.err.data, "--layers ");
    assert_non_null(layers);
    char count[16];
    snprintf(count, sizeof count, "%d", atoi(layers + 9));
    process_expect_only(0, COMMAND("plan", "--gguf", model, "--max-kv", "512", "--nodes", nodes, "--layers", count), 0,
                        "one sequence", "");
    snprintf(count, sizeof count, "%d", atoi(layers + 9) + 1);
    process_expect_only(0, COMMAND("plan", "--gguf", model, "--max-kv", "512", "--nodes", nodes, "--layers", count), 1,
                        "", "does not fit");
    process_expect_only(0, COMMAND("plan", "--gguf", model, "--max-kv", "512", "--nodes", nodes, "--moe-fallback"), 0,
                        "one sequence", "");
    process_expect_only(0, COMMAND("plan", "--gguf", model, "--max-kv", "512", "--nodes", nodes, "--memory", "4G"), 0,
                        "one sequence", "");
    process_expect_only(0, COMMAND("plan", "--gguf", model, "--max-kv", "512", "--memory", "700M", "--ranks", "2"), 0,
                        "one sequence", "");
    process_free(&r);
}

static void a_slice_tells_of_the_whole_model(void **state) {
    const char *slice = craft_path(state, "part.gguf"), *nodes = craft_path(state, "nodes.json");
    write_file(nodes, "{\"nodes\": [{\"memory\": \"2G\", \"count\": 2}]}");
    process_expect_only(0, COMMAND("slice", GOLDEN, slice, "--layers", "1", "--experts", "2-3"), 0, "", "");
    assert_int_equal(symlink(slice, craft_path(state, "part-0.gguf")), 0);
    process_expect_only(0, COMMAND("plan", "--gguf", craft_path(state, "part-%r.gguf"), "--nodes", nodes), 0,
                        "one sequence", "");
    process_result whole =
        process_expect(0, COMMAND("plan", "--gguf", GOLDEN, "--nodes", nodes, "--json"), 0, "ranks", "");
    process_result part =
        process_expect(0, COMMAND("plan", "--gguf", slice, "--nodes", nodes, "--json"), 0, "ranks", "");
    assert_string_equal(whole.out.data, part.out.data);
    process_free(&whole);
    process_free(&part);
}

static void wrong_requests_are_named(void **state) {
    const char *nodes = craft_path(state, "broken.json");
    write_file(nodes, "{\"nodes\": [{\"memory\": \"lots\"}]}");
    const struct {
        const char *const *arguments;
        const char *hint;
    } cases[] = {
        {COMMAND("plan"), "no model is given"},
        {COMMAND("plan", "--gguf", GOLDEN, "--nodes", nodes), "broken.json: node 0: \"memory\""},
        {COMMAND("plan", "--gguf", GOLDEN, "--nodes", "/nowhere.json"), "/nowhere.json"},
        {COMMAND("plan", "--gguf", "/nowhere.gguf"), "/nowhere.gguf: cannot open"},
        {COMMAND("plan", "--gguf", GOLDEN, "--memory", "some"), "--memory wants bytes"},
        {COMMAND("plan", "--gguf", GOLDEN, "--for", "fun"), "--for is latency or throughput"},
        {COMMAND("plan", "--gguf", GOLDEN, "--layers", "5"), "--layers 5 is more than the 4 layers"},
        {COMMAND("plan", "--gguf", GOLDEN, "--max-kv", "1000000"), "--max-kv 1000000 is more than"},
        {COMMAND("plan", "--gguf", GOLDEN, "--svg", "/nowhere/x.svg"), "/nowhere/x.svg"},
        {COMMAND("plan", "--gguf", PARTED, "--shards", "3"), "ask for at most 2 shards"},
        {COMMAND("plan", "--gguf", GOLDEN, "--shards", "2"), "share blocks of attn_output"},
        {COMMAND("plan", "--gguf", GOLDEN, "--stages", "5"), "5 stages cannot share 4 layers"},
        {COMMAND("plan", "--gguf", PARTED, "--ranks", "3", "--shards", "2"), "3 ranks cannot be dealt to 2 shards"},
        {COMMAND("plan", "--gguf", GOLDEN, "--ranks", "2", "--nodes", nodes), "exclude each other"},
    };
    unsetenv("GPT_OSS_GGUF_PATH");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        process_expect_only(0, cases[i].arguments, 2, "", cases[i].hint);
    process_expect_only(2, COMMAND("plan", "--gguf", GOLDEN, "--for", "fun"), 2, "", "--for is");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_plans_for_the_machines_that_are_here),
        cmocka_unit_test(run_takes_the_grid_that_is_planned),
        cmocka_unit_test(it_plans_for_machines_elsewhere),
        cmocka_unit_test(grids_are_shown_and_drawn),
        cmocka_unit_test(too_little_memory_is_explained),
        cmocka_unit_test(a_slice_tells_of_the_whole_model),
        cmocka_unit_test(wrong_requests_are_named),
    };
    return cmocka_run_group_tests(tests, craft_folder_make, craft_folder_remove);
}
