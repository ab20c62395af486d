/* Ranks that were told different things do not work together; where only the machine differs, they do. */
#include "process.h"
#include "support.h"

#define MODEL TEST_DATA "/golden/q8_0-mxfp4.gguf"
#define LAUNCHER MPIEXEC, "--oversubscribe", "--quiet"
#define RUN PROGRAM, "run", "--tokens", "1,2,3", "--max-tokens", "3"
#define WITH_MODEL "--gguf", MODEL
#define COMMAND(...) ((const char *const[]){LAUNCHER, __VA_ARGS__, NULL})

static void what_differs_is_named_once(void **state) {
    (void)state;
    const struct {
        const char *const *command;
        const char *says;
    } cases[] = {
        {COMMAND("-np", "1", RUN, WITH_MODEL, ":", "-np", "2", RUN, WITH_MODEL, "--chunk", "1"), "--chunk differs"},
        {COMMAND("-np", "1", RUN, WITH_MODEL, "--prompt-cache", "/nonexistent", ":", "-np", "1", RUN, WITH_MODEL),
         "--prompt-cache differs"},
        {COMMAND("-np", "1", RUN, WITH_MODEL, ":", "-np", "1", RUN, WITH_MODEL, "--help"), "--help differs"},
        {COMMAND("-np", "1", RUN, WITH_MODEL, "--stop", "a", "--stop", "b", ":", "-np", "1", RUN, WITH_MODEL, "--stop",
                 "b", "--stop", "a"),
         "--stop differs"},
        {COMMAND("-np", "1", RUN, WITH_MODEL, "--top-p", "0.5", ":", "-np", "1", RUN, WITH_MODEL), "--top-p differs"},
        {COMMAND("-np", "1", RUN, WITH_MODEL, ":", "-np", "1", PROGRAM, "bench", WITH_MODEL),
         "was started with the command bench, but rank 0 with run"},
        {COMMAND("-np", "1", PROGRAM, "bench", WITH_MODEL, ":", "-np", "1", PROGRAM, "bench", WITH_MODEL, "--depth",
                 "0,1"),
         "--depth differs"},
        /* Some commands need no other ranks, and would not wait for them. */
        {COMMAND("-np", "1", RUN, WITH_MODEL, ":", "-np", "1", PROGRAM, "inspect", MODEL), "the command inspect, but"},
        {COMMAND("-np", "1", PROGRAM, "inspect", MODEL, ":", "-np", "2", RUN, WITH_MODEL), "the command run, but"},
        {COMMAND("-np", "1", PROGRAM, "--version", ":", "-np", "1", PROGRAM, "plan", WITH_MODEL), "the command plan,"},
        {COMMAND("-np", "1", RUN, WITH_MODEL, ":", "-np", "1", PROGRAM, "rum"), "unknown command \"rum\""},
        {COMMAND("-np", "1", PROGRAM, "plan", WITH_MODEL, ":", "-np", "1", PROGRAM, "plan", WITH_MODEL, "--rank", "1"),
         "unknown flag --rank"},
        {COMMAND("-np", "1", PROGRAM, "plan", WITH_MODEL, ":", "-np", "1", PROGRAM, "plan", WITH_MODEL, "--nodes",
                 "/nonexistent"),
         "--nodes differs"},
        {COMMAND("-np", "1", PROGRAM, "plan", "--help", ":", "-np", "1", PROGRAM, "plan", WITH_MODEL),
         "--help differs"},
        {COMMAND("-np", "1", RUN, WITH_MODEL, ":", "-np", "1", RUN, WITH_MODEL, "--threads", "0"),
         "--threads 0 is out"},
        {COMMAND("-np", "1", PROGRAM, "bench", WITH_MODEL, ":", "-np", "1", PROGRAM, "bench", WITH_MODEL, "--threads",
                 "1,2"),
         "--threads differs"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        process_result r = process_run_command(cases[i].command, NULL);
        const char *line = strstr(r.err.data, "gptoss-dist: rank 1 on ");
        if (r.exit_status != 2 || !line || !strstr(line, cases[i].says) || strstr(line + 1, "gptoss-dist: "))
            fail_msg("case %zu: exit status %d, stderr: %s", i, r.exit_status, r.err.data);
        process_free(&r);
    }
}

static void machines_may_differ(void **state) {
    (void)state;
    process_result r = process_run_command(COMMAND("-np", "1", RUN, WITH_MODEL, ":", "-np", "1", RUN, WITH_MODEL,
                                                   "--threads", "2", "--isa", "portable", "--cpu-bind", "none",
                                                   "--cache", "/nonexistent", "--config", "/nonexistent"),
                                           NULL);
    assert_int_equal(r.exit_status, 0);
    process_free(&r);
}

/* The environment of rank 0 does not reach other machines. */
static void ranks_without_a_model_take_that_of_rank_0(void **state) {
    (void)state;
    unsetenv("GPT_OSS_GGUF_PATH");
    process_result r =
        process_run_command(COMMAND("-np", "1", "env", "GPT_OSS_GGUF_PATH=" MODEL, RUN, ":", "-np", "2", RUN), NULL);
    if (r.exit_status != 0) fail_msg("exit status %d, stderr: %s", r.exit_status, r.err.data);
    process_free(&r);
    r = process_run_command(COMMAND("-np", "1", RUN, ":", "-np", "1", RUN, WITH_MODEL), NULL);
    assert_int_equal(r.exit_status, 2);
    assert_non_null(strstr(r.err.data, "no model is given"));
    process_free(&r);
}

/* Ranks that are told nothing do what rank 0 does; and what only rank 0 does is done once. */
static void ranks_follow_rank_0(void **state) {
    (void)state;
    unsetenv("GPT_OSS_GGUF_PATH");
    process_result r = process_run_command(COMMAND("-np", "1", PROGRAM, "--version", ":", "-np", "1", PROGRAM), NULL);
    if (r.exit_status != 0) fail_msg("exit status %d, stderr: %s", r.exit_status, r.err.data);
    assert_true(strncmp(r.out.data, "gptoss-dist ", 12) == 0 && strchr(r.out.data, '\n')[1] == '\0');
    process_free(&r);
    r = process_run_command(COMMAND("-np", "3", PROGRAM, "inspect", "/nonexistent"), NULL);
    assert_int_equal(r.exit_status, 2);
    assert_null(strstr(strstr(r.err.data, "gptoss-dist: ") + 1, "gptoss-dist: "));
    process_free(&r);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_differs_is_named_once),
        cmocka_unit_test(machines_may_differ),
        cmocka_unit_test(ranks_without_a_model_take_that_of_rank_0),
        cmocka_unit_test(ranks_follow_rank_0),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
