/* `gptoss-dist slice`, and runs on slices, as a user meets them. */
#include <sys/stat.h>
#include <unistd.h>

#include "gguf/craft.h"
#include "process.h"

#define GOLDEN TEST_DATA "/golden/like-q4_k_m.gguf"
#define SHARED TEST_DATA "/golden/q8_0-mxfp4.gguf" /* whose heads can be parted */
#define COMMAND(...) ((const char *const[]){__VA_ARGS__, NULL})

/* The lines that `run` writes of 40 tokens, but for the summary, which has times in it; the caller frees them. */
static char *answer_lines(const char *model, int ranks, const char *const *flags) {
    const char *command[24] = {"run",          "--gguf", model,          "--prompt", "Why?",
                               "--no-harmony", "--json", "--max-tokens", "40"};
    for (size_t i = 9; *flags; i++) command[i] = *flags++;
    process_result answer = process_expect(ranks, command, 0, "\"token\"", "");
    char *end = strstr(answer.out.data, "\"finish_reason\"");
    assert_non_null(end);
    assert_true(end - answer.out.data > 60);
    char *lines = strndup(answer.out.data, (size_t)(end - answer.out.data));
    process_free(&answer);
    return lines;
}

/* The same tokens from slices of a grid as from the whole file: by ranks that hold the same of both. */
static void compare_answers(void **state, const char *model, int stages, int shards, bool fallback) {
    const char *pattern = craft_path(state, "slice-%r.gguf");
    char p[16], t[16];
    snprintf(p, sizeof p, "%d", stages);
    snprintf(t, sizeof t, "%d", shards);
    const char *const flags[] = {"--stages", p, "--shards", t, fallback ? "--moe-fallback" : NULL, NULL};
    const char *command[16] = {"slice", model, pattern, "--force"};
    memcpy(command + 4, flags, sizeof flags);
    process_expect_only(0, command, 0, "slice-0.gguf: layer", "");
    char *whole = shards == 1 ? answer_lines(model, 0, flags + (fallback ? 4 : 5)) /* on one rank */
                              : answer_lines(model, stages * shards, flags);
    char *parts = answer_lines(pattern, stages * shards, flags);
    assert_string_equal(whole, parts);
    free(whole);
    free(parts);
}

static void answers_from_slices_are_those_of_the_whole_file(void **state) {
    for (const char *const *name = golden_names; *name; name++) {
        char model[512];
        snprintf(model, sizeof model, TEST_DATA "/golden/%s.gguf", *name);
        compare_answers(state, model, 1 + (int)(name - golden_names) % 4, 1, false);
    }
    for (int ranks = 1; ranks <= 4; ranks++) compare_answers(state, DEMO_MODEL, ranks, 1, false);
    compare_answers(state, GOLDEN, 3, 1, true);
    compare_answers(state, SHARED, 1, 2, false);
    compare_answers(state, SHARED, 2, 2, false);
    compare_answers(state, SHARED, 1, 2, true);
}

/* Some ranks have the file, others slices, and those hold more than is needed. */
static void slices_and_whole_files_work_together(void **state) {
    const char *wide = craft_path(state, "m-1.gguf"), *whole = craft_path(state, "m-0.gguf");
    char target[512];
    assert_non_null(realpath(GOLDEN, target));
    assert_int_equal(symlink(target, whole), 0);
    process_expect_only(0, COMMAND("slice", GOLDEN, wide, "--layers", "1-3"), 0, "layers 1 to 3 of 4, all experts", "");
    process_result alone = process_expect(0, COMMAND("run", "--gguf", GOLDEN, "--tokens", "1,2,3"), 0, "", "");
    process_result both = process_expect(
        2, COMMAND("run", "--gguf", craft_path(state, "m-%r.gguf"), "--tokens", "1,2,3"), 0, "", "rank 1: layer");
    assert_true(alone.out.size > 2);
    assert_string_equal(alone.out.data, both.out.data);
    process_free(&alone);
    process_free(&both);
}

static void partial_models_run_from_slices(void **state) {
    const char *first = craft_path(state, "p-0.gguf"), *last = craft_path(state, "p-1.gguf");
    const char *pattern = craft_path(state, "p-%r.gguf");
    process_expect_only(0, COMMAND("slice", GOLDEN, first, "--layers", "0"), 0, "layer 0 of 4", "");
    process_expect_only(0, COMMAND("slice", GOLDEN, last, "--layers", "1-2", "--with-output"), 0, "layers 1 to 2 of 4",
                        "");
    process_result alone =
        process_expect(0, COMMAND("run", "--gguf", GOLDEN, "--tokens", "1,2,3", "--layers", "3"), 0, "", "");
    process_result both = process_expect(2, COMMAND("run", "--gguf", pattern, "--tokens", "1,2,3", "--layers", "3"), 0,
                                         "", "rank 1: layers 1");
    assert_string_equal(alone.out.data, both.out.data);
    process_free(&alone);
    process_free(&both);
    process_expect_only(2, COMMAND("run", "--gguf", pattern, "--tokens", "1,2,3"), 2, "",
                        "its slice ends with layer 2");
}

static void what_is_missing_is_told(void **state) {
    const char *pattern = craft_path(state, "q-%r.gguf");
    process_expect_only(0, COMMAND("slice", GOLDEN, pattern, "--ranks", "3"), 0, "q-2.gguf", "");
    process_expect_only(2, COMMAND("run", "--gguf", pattern, "--tokens", "1"), 2, "",
                        "rank 1, the last one, needs layer 3");
    process_expect_only(4, COMMAND("run", "--gguf", pattern, "--tokens", "1", "--weights", "local"), 2, "",
                        "q-3.gguf: cannot open");
    process_expect_only(1, COMMAND("run", "--gguf", craft_path(state, "q-1.gguf"), "--tokens", "1"), 2, "",
                        "rank 0 needs layer 0");
    /* Of another model. */
    process_expect_only(
        0, COMMAND("slice", TEST_DATA "/golden/bf16.gguf", craft_path(state, "q-1.gguf"), "--rank=1/3", "--force"), 0,
        "q-1.gguf", "");
    process_expect_only(3, COMMAND("run", "--gguf", pattern, "--tokens", "1"), 2, "", "differs from that of rank 0");
    /* Of too few experts. */
    process_expect_only(
        0, COMMAND("slice", GOLDEN, craft_path(state, "q-1.gguf"), "--rank=1/3", "--experts", "0-3", "--force"), 0,
        "experts 0 to 3 of 8", "");
    process_expect_only(3, COMMAND("run", "--gguf", pattern, "--tokens", "1"), 2, "", "q-1.gguf lacks experts: 0 to 7");
}

static void inspect_tells_that_a_file_is_a_slice(void **state) {
    const char *path = craft_path(state, "look.gguf");
    process_expect_only(0, COMMAND("slice", GOLDEN, path, "--layers", "1-2", "--experts", "3"), 0, "", "");
    process_expect_only(0, COMMAND("inspect", path), 0,
                        "a slice with layers 1 to 2 of 4, expert 3 of 8, neither embedding", "");
    process_expect_only(0, COMMAND("inspect", path, "--json"), 0,
                        "\"slice\": {\"layers\": [1, 3], \"experts\": [3, 4], ", "");
    process_expect_only(0, COMMAND("inspect", GOLDEN, "--json"), 0, "\"slice\": null", "");
}

/* Each row of the grid has its layers, and in it each shard its heads and experts; nothing is in two files. */
static void slices_of_a_grid_have_the_shards_parts(void **state) {
    static const char *const parts[] = {
        "layers 0 to 1 of 4, KV head 0 of 2, experts 0 to 3 of 8, embedding rows 0 to ",
        "layers 0 to 1 of 4, KV head 1 of 2, experts 4 to 7 of 8, embedding rows ",
        "layers 2 to 3 of 4, KV head 0 of 2, experts 0 to 3 of 8, no embedding rows, output rows ",
        "layers 2 to 3 of 4, KV head 1 of 2, experts 4 to 7 of 8, no embedding rows, output rows ",
    };
    const char *pattern = craft_path(state, "grid-%r.gguf");
    process_expect_only(0, COMMAND("slice", SHARED, pattern, "--stages", "2", "--shards", "2"), 0, "grid-3.gguf: layer",
                        "");
    for (int i = 0; i < 4; i++) {
        char name[16], rank[8];
        snprintf(name, sizeof name, "grid-%d.gguf", i);
        snprintf(rank, sizeof rank, "%d/4", i);
        const char *path = craft_path(state, name), *alone = craft_path(state, "alone.gguf");
        process_expect_only(0, COMMAND("inspect", path), 0, parts[i], "");
        process_expect_only(0, COMMAND("inspect", path), 0, i == 0 ? "with the tokenizer" : "output rows", "");
        /* One at a time they are the same. */
        process_expect_only(0, COMMAND("slice", SHARED, alone, "--rank", rank, "--shards", "2", "--force"), 0, "", "");
        craft_assert_same_file(path, alone);
    }
    process_expect_only(
        0, COMMAND("slice", SHARED, craft_path(state, "grid-%r.gguf"), "--shards", "2", "--moe-fallback", "--force"), 0,
        "KV head 1 of 2, no experts, ", "");
}

static void wrong_requests_are_named(void **state) {
    const char *path = craft_path(state, "wrong.gguf");
    const struct {
        const char *const *arguments;
        const char *hint;
    } cases[] = {
        {COMMAND("slice", GOLDEN), "slice wants two files"},
        {COMMAND("slice", GOLDEN, path), "one of --rank R/N, --ranks N, --stages P"},
        {COMMAND("slice", GOLDEN, path, "--layers", "0-1", "--rank", "0/2"), "one of --rank R/N"},
        {COMMAND("slice", GOLDEN, path, "--layers", "2-1"), "the model has layers 0 to 3"},
        {COMMAND("slice", GOLDEN, path, "--layers", "3-4"), "the model has layers 0 to 3"},
        {COMMAND("slice", GOLDEN, path, "--layers", "1-"), "--layers wants A-B"},
        {COMMAND("slice", GOLDEN, path, "--layers", "99999999999999999999"), "--layers wants A-B"},
        {COMMAND("slice", GOLDEN, path, "--layers", "0", "--experts", "8"), "the model has experts 0 to 7"},
        {COMMAND("slice", GOLDEN, path, "--rank", "2/2"), "there are 2 ranks, counted from 0"},
        {COMMAND("slice", GOLDEN, path, "--rank", "0/5"), "at most 4 ranks"},
        {COMMAND("slice", GOLDEN, path, "--rank", "0"), "--rank wants R/N"},
        {COMMAND("slice", GOLDEN, path, "--ranks", "2"), "put %r where the rank goes"},
        {COMMAND("slice", GOLDEN, path, "--layers", "0", "--experts", "0", "--moe-fallback"), "give one of them"},
        {COMMAND("slice", GOLDEN, path, "--stages", "2"), "put %r where the rank goes"},
        {COMMAND("slice", GOLDEN, path, "--layers", "0", "--shards", "2"), "--stages and --shards would deal them"},
        {COMMAND("slice", GOLDEN, path, "--rank", "0/4", "--shards", "2", "--experts", "0-3"),
         "--shards would deal them"},
        {COMMAND("slice", GOLDEN, path, "--rank", "0/3", "--shards", "2"), "3 ranks are no grid of 2 shards a stage"},
        {COMMAND("slice", GOLDEN, path, "--rank", "0/4", "--shards", "2", "--stages", "3"), "4 ranks are no grid of 2"},
        {COMMAND("slice", GOLDEN, path, "--rank", "0/2", "--shards", "2"), "2 shards cannot share 2 KV heads"},
        {COMMAND("slice", GOLDEN, path, "--rank", "0/2", "--with-output"), "--with-output goes with --layers"},
        {COMMAND("slice", "/nowhere.gguf", path, "--layers", "0"), "/nowhere.gguf: cannot open"},
        {COMMAND("slice", GOLDEN, "/nowhere/x.gguf", "--layers", "0"), "cannot create /nowhere/x.gguf"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        process_expect_only(0, cases[i].arguments, 2, "", cases[i].hint);
    assert_int_equal(access(path, F_OK), -1);
    process_expect_only(0, COMMAND("slice", GOLDEN, path, "--layers", "0"), 0, "", "");
    process_expect_only(0, COMMAND("slice", GOLDEN, path, "--layers", "0"), 2, "", "--force replaces it");
    process_expect_only(0, COMMAND("slice", path, craft_path(state, "other.gguf"), "--layers", "1"), 2, "",
                        "it cannot give");
    process_expect_only(0, COMMAND("slice", path, path, "--layers", "0", "--force"), 2, "", "is the model itself");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers_from_slices_are_those_of_the_whole_file),
        cmocka_unit_test(slices_and_whole_files_work_together),
        cmocka_unit_test(partial_models_run_from_slices),
        cmocka_unit_test(what_is_missing_is_told),
        cmocka_unit_test(inspect_tells_that_a_file_is_a_slice),
        cmocka_unit_test(slices_of_a_grid_have_the_shards_parts),
        cmocka_unit_test(wrong_requests_are_named),
    };
    return cmocka_run_group_tests(tests, craft_folder_make, craft_folder_remove);
}
