/* Runs where not every rank has the model's file, as a user meets them. */
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "gguf/craft.h"
#include "process.h"

#define GOLDEN TEST_DATA "/golden/like-q4_k_m.gguf"
#define COMMAND(...) ((const char *const[]){__VA_ARGS__, NULL})

static const char *folder;

static const char *path_in(const char *name) {
    static char paths[6][512];
    static unsigned next;
    char *path = paths[next++ % 6];
    snprintf(path, sizeof paths[0], "%s/%s", folder, name);
    return path;
}

static void shell(const char *format, const char *argument) {
    char command[1200];
    snprintf(command, sizeof command, format, argument);
    assert_int_equal(system(command), 0);
}

static process_result expect(int ranks, const char *const *arguments, int exit_status, const char *err) {
    process_result r = process_run(ranks, arguments, NULL);
    if (r.exit_status != exit_status || !strstr(r.err.data, err))
        fail_msg("exit status %d for %d, stdout: %s, stderr: %s", r.exit_status, exit_status, r.out.data, r.err.data);
    return r;
}

static void expect_failure(int ranks, const char *const *arguments, int exit_status, const char *err) {
    process_result r = expect(ranks, arguments, exit_status, err);
    assert_int_equal(r.out.size, 0);
    const char *told = strstr(r.err.data, "gptoss-dist: ");
    assert_non_null(told);
    assert_null(strstr(told + 1, "gptoss-dist: ")); /* once */
    process_free(&r);
}

/* The answer of one process with the whole file. */
static void expect_same_answer(const process_result *got, const char *model, bool fallback) {
    process_result alone =
        expect(0,
               fallback ? COMMAND("run", "--gguf", model, "--tokens", "1,2,3", "--max-tokens", "20", "--moe-fallback")
                        : COMMAND("run", "--gguf", model, "--tokens", "1,2,3", "--max-tokens", "20"),
               0, "rank 0: layer");
    assert_true(alone.out.size > 2);
    assert_string_equal(got->out.data, alone.out.data);
    process_free(&alone);
}

/* What stands in the cache: names, sizes and when each file was made; using one marks the time of its last change. The
 * caller frees it. */
static char *listing(const char *cache) {
    char command[600];
    buffer text = {0};
    snprintf(command, sizeof command, "ls -l --time=birth --time-style=+%%s.%%N '%s'", cache);
    FILE *f = popen(command, "r");
    assert_non_null(f);
    char line[512];
    while (fgets(line, sizeof line, f)) assert_ok(buffer_append_text(&text, line, err));
    pclose(f);
    assert_non_null(text.data);
    return text.data;
}

static void ranks_without_the_file_get_their_slices_once(void **state) {
    (void)state;
    const char *cache = path_in("streamed");
    char *first = NULL;
    for (int round = 0; round < 2; round++) {
        process_result r = expect(3,
                                  COMMAND("run", "--gguf", GOLDEN, "--tokens", "1,2,3", "--max-tokens", "20",
                                          "--weights", "stream", "--cache", cache),
                                  0, "rank 2: layer");
        expect_same_answer(&r, GOLDEN, false);
        process_free(&r);
        char *now = listing(cache);
        if (first) assert_string_equal(now, first);
        if (!first) assert_non_null(strstr(now, ".gguf\n"));
        assert_null(strstr(now, ".partial"));
        free(first);
        first = now;
    }
    free(first);
    /* Each is a slice file like any other. */
    shell("cd '%s' && for f in *.gguf; do " PROGRAM " inspect $f | grep -q '^a slice with layer'; done", cache);
}

static void any_rank_can_be_the_one_with_the_file(void **state) {
    (void)state;
    const char *cache = path_in("any");
    char only_2[64], pattern[600];
    snprintf(pattern, sizeof pattern, "%s", path_in("only-%r.gguf"));
    snprintf(only_2, sizeof only_2, "only-2.gguf");
    shell("cp " GOLDEN " '%s'", path_in(only_2));
    for (int fallback = 0; fallback < 2; fallback++) {
        process_result r = expect(
            4,
            fallback ? COMMAND("run", "--gguf", pattern, "--tokens", "1,2,3", "--max-tokens", "20", "--cache", cache,
                               "--moe-fallback")
                     : COMMAND("run", "--gguf", pattern, "--tokens", "1,2,3", "--max-tokens", "20", "--cache", cache),
            0, "rank 3: layer");
        expect_same_answer(&r, GOLDEN, fallback);
        process_free(&r);
    }
    /* Rank 0 has its tokenizer from there, too. */
    process_result r = expect(
        2,
        COMMAND("run", "--gguf", path_in("none-%r.gguf"), "--prompt", "Hello", "--max-tokens", "3", "--cache", cache),
        2, "none-0.gguf: cannot open: no rank has such a file");
    process_free(&r);
    r = expect(3, COMMAND("run", "--gguf", pattern, "--prompt", "Hello", "--max-tokens", "3", "--cache", cache), 0,
               "rank 0: layer");
    process_free(&r);
}

static void slices_can_be_passed_on(void **state) {
    (void)state;
    const char *cache = path_in("passed"), *pattern = path_in("pass-%r.gguf");
    shell(PROGRAM " slice " GOLDEN " '%s' --ranks 3 > /dev/null", pattern);
    unlink(path_in("pass-1.gguf")); /* nobody else has its layers */
    expect_failure(3, COMMAND("run", "--gguf", pattern, "--tokens", "1", "--cache", cache), 2,
                   "rank 1 has no file, and no rank has all of its slice to send: layer");
    shell(PROGRAM " slice " GOLDEN " '%s' --layers 1-3 --force > /dev/null", path_in("pass-2.gguf"));
    process_result r =
        expect(3, COMMAND("run", "--gguf", pattern, "--tokens", "1,2,3", "--max-tokens", "20", "--cache", cache), 0,
               "rank 1: layer");
    expect_same_answer(&r, GOLDEN, false);
    process_free(&r);
}

static void what_cannot_be_is_told(void **state) {
    (void)state;
    const char *cache = path_in("refused");
    shell("cp " GOLDEN " '%s'", path_in("some-0.gguf"));
    const char *some = path_in("some-%r.gguf");
    expect_failure(2, COMMAND("run", "--gguf", some, "--tokens", "1", "--weights", "local", "--cache", cache), 2,
                   "some-1.gguf: cannot open");
    expect_failure(2, COMMAND("run", "--gguf", some, "--tokens", "1", "--cache", "/proc/none"), 1,
                   "a slice cannot be kept (--cache DIR names another folder): cannot make the folder /proc/none");
    expect_failure(0, COMMAND("run", "--gguf", some, "--tokens", "1", "--weights", "elsewhere"), 2,
                   "--weights is auto, local or stream");
    /* Another model on one of the ranks. */
    shell("cp " TEST_DATA "/golden/bf16.gguf '%s'", path_in("some-2.gguf"));
    expect_failure(3, COMMAND("run", "--gguf", some, "--tokens", "1", "--cache", cache), 2, "the model file differs");
    /* Not even a model. */
    shell("echo none > '%s'", path_in("some-1.gguf"));
    expect_failure(2, COMMAND("run", "--gguf", some, "--tokens", "1", "--cache", cache), 2, "some-1.gguf: byte 0");
}

/* Killed at any moment, a run leaves nothing that the next one stumbles over. */
static void a_killed_transfer_is_completed_later(void **state) {
    (void)state;
    const char *model = path_in("large.gguf"), *cache = path_in("killed");
    shell(PROGRAM " synth '%s' --shape tiny --layers 30 > /dev/null", model);
    const char *const *arguments = COMMAND("run", "--gguf", model, "--tokens", "1,2,3", "--max-tokens", "20",
                                           "--weights", "stream", "--cache", cache);
    const char **command = process_command(2, arguments);
    for (int round = 0; round < 4; round++) {
        process p = process_start(command, NULL);
        double start = clock_seconds();
        char *now = NULL;
        bool coming = false;
        while (!coming && clock_seconds() - start < 60 && kill(p.pid, 0) == 0) {
            usleep(1000 + 3000 * (useconds_t)round);
            if (access(cache, F_OK) != 0) continue;
            now = listing(cache);
            coming = strstr(now, ".gguf") != NULL;
            free(now);
        }
        kill(-p.pid, SIGKILL);
        process_result r = process_wait(&p, 60);
        process_free(&r);
    }
    free(command);
    process_result r = expect(2, arguments, 0, "rank 1: layer");
    expect_same_answer(&r, model, false);
    process_free(&r);
    char *now = listing(cache);
    assert_null(strstr(now, ".partial"));
    free(now);
}

static int make_folder(void **state) {
    int result = craft_folder_make(state);
    folder = *state;
    return result;
}

static int remove_folder(void **state) {
    (void)state;
    char command[600];
    snprintf(command, sizeof command, "rm -r '%s'", folder);
    return system(command);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ranks_without_the_file_get_their_slices_once),
        cmocka_unit_test(any_rank_can_be_the_one_with_the_file),
        cmocka_unit_test(slices_can_be_passed_on),
        cmocka_unit_test(what_cannot_be_is_told),
        cmocka_unit_test(a_killed_transfer_is_completed_later),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
