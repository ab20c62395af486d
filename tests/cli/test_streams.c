/* What commands print arrives or is missed aloud, and goes nowhere else. */
#include <sys/stat.h>
#include <unistd.h>

#include "process.h"
#include "support.h"

#define MODEL TEST_DATA "/golden/q8_0-mxfp4.gguf"
enum { VOCABULARY = 288 };

static char *scratch_path(const char *name) {
    static char path[256];
    snprintf(path, sizeof path, "%s/gptoss-streams-%d-%s", getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp", (int)getpid(),
             name);
    return path;
}

/* Runs `script` in a shell, where "$@" is the program with the arguments up to NULL. */
static process_result run_in_shell(const char *script, const char *const *arguments) {
    const char *command[24] = {"sh", "-c", script, "sh", PROGRAM};
    for (size_t i = 0; arguments[i]; i++) command[5 + i] = arguments[i];
    return process_run_command(command, NULL);
}

#define ARGUMENTS(...) ((const char *const[]){__VA_ARGS__, NULL})

static void expect_one_line(const process_result *r, int exit_status, const char *says) {
    const char *line = strstr(r->err.data, "gptoss-dist: ");
    if (r->exit_status != exit_status || !line || !strstr(line, says) || strstr(line + 1, "gptoss-dist: "))
        fail_msg("exit status %d, stderr: %s", r->exit_status, r->err.data);
}

static void what_does_not_fit_is_told_by_every_command(void **state) {
    (void)state;
    char *made = scratch_path("made.gguf");
    const char *const *commands[] = {
        ARGUMENTS("--help"),
        ARGUMENTS("--version"),
        ARGUMENTS("run", "--help"),
        ARGUMENTS("serve", "--help"),
        ARGUMENTS("bench", "--help"),
        ARGUMENTS("plan", "--help"),
        ARGUMENTS("plan", "--gguf", MODEL),
        ARGUMENTS("inspect", MODEL),
        ARGUMENTS("inspect", "--json", MODEL),
        ARGUMENTS("tokenize", "--gguf", MODEL),
        ARGUMENTS("synth", made, "--shape", "nano", "--force"),
        ARGUMENTS("run", "--gguf", MODEL, "--prompt", "x", "--no-harmony", "--max-tokens", "3"),
    };
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
        process_result r = run_in_shell("\"$@\" >/dev/full </dev/null", commands[i]);
        expect_one_line(&r, 1, "cannot write to standard output: No space left on device");
        process_free(&r);
    }
    unlink(made);
}

static void a_reader_that_went_away_is_told_nothing(void **state) {
    (void)state;
    const char *const *commands[] = {
        ARGUMENTS("run", "--help"),
        ARGUMENTS("inspect", "--json", MODEL),
        ARGUMENTS("tokenize", "--gguf", MODEL),
        ARGUMENTS("run", "--gguf", MODEL, "--prompt", "x", "--no-harmony", "--max-tokens", "3"),
    };
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
        process_result r =
            run_in_shell("{ sleep 0.2; \"$@\" </dev/null; echo \"status $?\" >&2; } | true", commands[i]);
        assert_string_equal(r.err.data, "status 1\n");
        process_free(&r);
    }
}

/* The first file that is opened gets the number of a stream that is closed. */
static void files_take_no_text_of_closed_streams(void **state) {
    (void)state;
    char *dump = scratch_path("logits");
    struct stat s;
    process_result r =
        run_in_shell("exec \"$@\" >&- <&-", ARGUMENTS("run", "--gguf", MODEL, "--tokens", "1", "--max-tokens", "0",
                                                      "--dump-logits", dump, "--json"));
    expect_one_line(&r, 1, "cannot write to standard output");
    process_free(&r);
    assert_int_equal(stat(dump, &s), 0);
    assert_int_equal(s.st_size, VOCABULARY * sizeof(float));
    r = run_in_shell("exec \"$@\" 2>&-",
                     ARGUMENTS("run", "--gguf", MODEL, "--tokens", "1", "--max-tokens", "0", "--dump-logits", dump));
    assert_int_equal(r.exit_status, 0);
    process_free(&r);
    assert_int_equal(stat(dump, &s), 0);
    assert_int_equal(s.st_size, VOCABULARY * sizeof(float));
    unlink(dump);
}

static void no_model_is_written_over(void **state) {
    (void)state;
    char *path = scratch_path("model.gguf");
    buffer model = {0}, after = {0};
    assert_ok(buffer_read_file(&model, MODEL, 1 << 24, err));
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(model.data, 1, model.size, f), model.size);
    assert_int_equal(fclose(f), 0);
    const struct {
        const char *const *arguments, *flag;
    } ways[] = {
        {ARGUMENTS("run", "--gguf", path, "--tokens", "1", "--max-tokens", "0", "--dump-logits", path),
         "--dump-logits"},
        {ARGUMENTS("plan", "--gguf", path, "--svg", path), "--svg"},
        {ARGUMENTS("bench", "--gguf", path, "--prompt", "1", "--gen", "0", "--reps", "1", "--plot", path), "--plot"},
        {ARGUMENTS("bench", "--gguf", path, "--prompt", "1", "--gen", "0", "--reps", "1", "--trace", path), "--trace"},
    };
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        process_result r = run_in_shell("exec \"$@\"", ways[i].arguments);
        expect_one_line(&r, 2, ways[i].flag);
        process_free(&r);
        assert_ok(buffer_read_file(&after, path, 1 << 24, err));
        assert_int_equal(after.size, model.size);
        assert_memory_equal(after.data, model.data, model.size);
        buffer_free(&after);
    }
    unlink(path);
    buffer_free(&model);
}

/* Both the wait for words on standard input and the wait for somebody to open the other end of a named pipe. */
static void a_signal_ends_the_wait_for_input(void **state) {
    (void)state;
    char *pipe = scratch_path("pipe");
    assert_int_equal(mkfifo(pipe, 0600), 0);
    const struct {
        const char *const *arguments, *script;
    } ways[] = {
        {ARGUMENTS("tokenize", "--gguf", MODEL, pipe),
         "fifo=$5; set -- \"$1\" \"$2\" \"$3\" \"$4\"; exec 3<>\"$fifo\";"},
        {ARGUMENTS("run", "--gguf", MODEL, "--prompt-file", pipe), "exec 3</dev/null;"},
    };
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        char script[300];
        snprintf(script, sizeof script,
                 "%s \"$@\" <&3 & exec 3<&-; sleep 0.7; kill -TERM $!; wait $!; echo \"status $?\" >&2",
                 ways[i].script);
        process_result r = run_in_shell(script, ways[i].arguments);
        if (!strstr(r.err.data, "gptoss-dist: interrupted while reading ") || !strstr(r.err.data, "status 130\n"))
            fail_msg("way %zu: %s", i, r.err.data);
        process_free(&r);
    }
    unlink(pipe);
}

/* Alone it asks what there is; behind a command, or flags of one, for those. */
static void h_is_short_for_help(void **state) {
    (void)state;
    process_expect_only(0, ARGUMENTS("-h"), 0, "gptoss-dist COMMAND --help", "");
    process_expect_only(0, ARGUMENTS("run", "-h"), 0, "--max-tokens", "");
    process_expect_only(2, ARGUMENTS("-h"), 0, "gptoss-dist COMMAND --help", "");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_does_not_fit_is_told_by_every_command),
        cmocka_unit_test(a_reader_that_went_away_is_told_nothing),
        cmocka_unit_test(files_take_no_text_of_closed_streams),
        cmocka_unit_test(no_model_is_written_over),
        cmocka_unit_test(a_signal_ends_the_wait_for_input),
        cmocka_unit_test(h_is_short_for_help),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
