/* `gptoss-dist synth` as a user meets it; what it writes is checked in tests/gguf/test_synth.c. */
#include <sys/stat.h>
#include <unistd.h>

#include "gguf/craft.h"
#include "process.h"

static void expect(const char *const *arguments, int exit_status, const char *out, const char *err) {
    process_result r = process_run(0, arguments, NULL);
    if (r.exit_status != exit_status || !strstr(r.out.data ? r.out.data : "", out) ||
        !strstr(r.err.data ? r.err.data : "", err))
        fail_msg("exit status %d for %d, stdout: %s, stderr: %s", r.exit_status, exit_status, r.out.data, r.err.data);
    if (exit_status != 0) { /* one line, and nothing else */
        assert_int_equal(r.out.size, 0);
        assert_ptr_equal(strchr(r.err.data, '\n'), r.err.data + r.err.size - 1);
    }
    process_free(&r);
}

#define SYNTH(...) ((const char *const[]){"synth", __VA_ARGS__, NULL})

static void a_written_model_can_be_inspected_and_run(void **state) {
    const char *path = craft_path(state, "nano.gguf");
    expect(SYNTH(path, "--shape", "nano", "--layers", "3"), 0, "60 tensors, ", "");
    expect((const char *const[]){"inspect", path, NULL}, 0, "blk.2.ffn_down_exps.weight", "");
    expect((const char *const[]){"run", "--gguf", path, "--tokens", "1,2,3", "--max-tokens", "1", NULL}, 0, "", "");
}

static void flags_choose_types_seed_vocabulary_and_parts(void **state) {
    const char *vocab = craft_path(state, "small.tiktoken");
    FILE *f = fopen(vocab, "w");
    fputs("YQ== 0\nYg== 1\nYWI= 2\n", f);
    fclose(f);
    expect(SYNTH(craft_path(state, "parts.gguf"), "--shape=nano", "--vocab", vocab, "--type-attn=q4_k",
                 "--type-experts", "Q5_0", "--seed", "7", "--split-size", "256K"),
           0, " in ", "");
    size_t parts = 0;
    for (uint32_t count = 2; count < 20; count++) {
        char name[64];
        snprintf(name, sizeof name, "parts-00001-of-%05u.gguf", count);
        if (access(craft_path(state, name), F_OK) != 0) continue;
        parts = count;
        expect((const char *const[]){"inspect", craft_path(state, name), NULL}, 0, "Q5_0", "");
    }
    assert_true(parts > 1);
    assert_int_equal(access(craft_path(state, "parts.gguf"), F_OK), -1);
}

static void wrong_flags_are_named_and_nothing_is_written(void **state) {
    const char *path = craft_path(state, "wrong.gguf");
    expect((const char *const[]){"synth", NULL}, 2, "", "name of one file");
    expect(SYNTH(path, "another"), 2, "", "name of one file");
    expect(SYNTH(path, "--shape", "7b"), 2, "", "7b");
    expect(SYNTH(path, "--layers", "0"), 2, "", "--layers");
    expect(SYNTH(path, "--type-attn", "Q9"), 2, "", "--type-attn");
    expect(SYNTH(path, "--type-experts", "IQ1_S"), 2, "", "IQ1_S");
    expect(SYNTH(path, "--vocab", "/nowhere/at/all"), 2, "", "/nowhere/at/all");
    expect(SYNTH(path, "--vocab", TEST_DATA "/golden/f32.gguf"), 2, "", "line 1");
    expect(SYNTH("/nowhere/at/all.gguf"), 2, "", "cannot create /nowhere/at/all.gguf");
    expect(SYNTH(path, "--shap", "nano"), 2, "", "--shape");
    expect(SYNTH(path, "--shape", "120b", "--layers", "4096"), 1, "", "GB are free");
    assert_int_equal(access(path, F_OK), -1);
    assert_int_equal(access(craft_path(state, "wrong.gguf.partial"), F_OK), -1);
}

static void an_existing_file_is_replaced_only_by_force(void **state) {
    const char *path = craft_path(state, "twice.gguf");
    expect(SYNTH(path, "--shape", "nano"), 0, "79 tensors", "");
    struct stat before, after;
    assert_int_equal(stat(path, &before), 0);
    expect(SYNTH(path, "--shape", "nano", "--layers", "1"), 2, "", "--force");
    assert_int_equal(stat(path, &after), 0);
    assert_int_equal(before.st_size, after.st_size);
    expect(SYNTH(path, "--shape", "nano", "--layers", "1", "--force"), 0, "22 tensors", "");
    assert_int_equal(stat(path, &after), 0);
    assert_true(after.st_size < before.st_size);
}

static void help_lists_the_flags(void **state) {
    (void)state;
    expect(SYNTH("--help"), 0, "--type-experts TYPE", "");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_written_model_can_be_inspected_and_run),
        cmocka_unit_test(flags_choose_types_seed_vocabulary_and_parts),
        cmocka_unit_test(wrong_flags_are_named_and_nothing_is_written),
        cmocka_unit_test(an_existing_file_is_replaced_only_by_force),
        cmocka_unit_test(help_lists_the_flags),
    };
    return cmocka_run_group_tests(tests, craft_folder_make, craft_folder_remove);
}
