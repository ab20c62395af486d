/* `gptoss-dist run` as a user meets it: the same answer on any number of ranks, clear refusals, a clean end. */
#include <signal.h>
#include <unistd.h>

#include <cjson/cJSON.h>

#include "base/clock.h"
#include "process.h"
#include "support.h"

#define MODEL TEST_DATA "/golden/q8_0-mxfp4.gguf"
#if defined(__x86_64__)
#define OTHER_ISA "neon"
#else
#define OTHER_ISA "avx2"
#endif
#define ARGUMENTS(...) ((const char *const[]){"run", __VA_ARGS__, NULL})

static void write_file(const char *path, const char *text) {
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static char *scratch_path(const char *name) {
    static char path[256];
    snprintf(path, sizeof path, "%s/gptoss-run-%d-%s", getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp", (int)getpid(),
             name);
    return path;
}

static void expect_success(const process_result *r) {
    if (r->exit_status != 0) fail_msg("exit status %d, stderr: %s", r->exit_status, r->err.data);
}

static void tokens_text(const golden *g, char *text, size_t size) {
    size_t at = 0;
    for (size_t i = 0; i < g->positions; i++)
        at += (size_t)snprintf(text + at, size - at, "%s%u", i ? "," : "", g->tokens[i]);
}

static void dumped_logits_equal_the_golden_ones_on_any_ranks(void **state) {
    (void)state;
    char *dump = strdup(scratch_path("logits"));
    for (const char *const *name = golden_names; *name; name++) {
        golden g;
        golden_load(*name, &g);
        char tokens[1024];
        tokens_text(&g, tokens, sizeof tokens);
        buffer first = {0};
        const struct {
            int ranks;
            const char *chunk;
        } ways[] = {{0, "100"}, {1, "100"}, {2, "100"}, {3, "7"}, {4, "7"}, {4, "1"}};
        for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
            process_result r =
                process_run(ways[i].ranks,
                            ARGUMENTS("--gguf", g.path, "--tokens", tokens, "--max-tokens", "0", "--chunk",
                                      ways[i].chunk, "--isa", "reference", "--dump-logits", dump),
                            NULL);
            expect_success(&r);
            process_free(&r);
            buffer logits = {0};
            assert_ok(buffer_read_file(&logits, dump, 1 << 24, err));
            assert_int_equal(logits.size, g.positions * g.n_vocab * sizeof(float));
            if (i == 0) {
                assert_true(relative_error((float *)(void *)logits.data, g.logits, g.positions * g.n_vocab) < 2e-6);
                first = logits;
            } else {
                assert_memory_equal(logits.data, first.data, first.size);
                buffer_free(&logits);
            }
        }
        buffer_free(&first);
        golden_free(&g);
    }
    unlink(dump);
    free(dump);
}

/* Greedy and sampled answers, raw and Harmony, from one process and from three ranks. */
static void the_answer_does_not_depend_on_ranks(void **state) {
    (void)state;
    const char *const *ways[] = {
        ARGUMENTS("--gguf", MODEL, "--prompt", "Tell me.", "--date", "2026-01-02", "--max-tokens", "30"),
        ARGUMENTS("--gguf", MODEL, "--prompt", "Tell me.", "--no-harmony", "--max-tokens", "40", "--temperature", "0.9",
                  "--top-p", "0.9", "--seed", "7"),
        ARGUMENTS("--gguf", MODEL, "--prompt", "Tell me.", "--no-harmony", "--max-tokens", "40", "--temperature", "1",
                  "--seed", "8", "--repetition-penalty", "1.2", "--logit-bias", "5=-100"),
        ARGUMENTS("--gguf", MODEL, "--prompt", "Tell me.", "--no-harmony", "--layers", "3", "--moe-fallback"),
    };
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        process_result alone = process_run(0, ways[i], NULL), shared = process_run(3, ways[i], NULL);
        expect_success(&alone);
        expect_success(&shared);
        assert_true(alone.out.size > 2);
        assert_string_equal(alone.out.data, shared.out.data);
        assert_non_null(strstr(shared.err.data, "[finish_reason="));
        assert_non_null(strstr(shared.err.data, "rank 2: layer"));
        process_free(&alone);
        process_free(&shared);
    }
}

/* Two stages of two shards say what one rank says, and tell who holds what. */
static void shards_share_the_layers_of_a_stage(void **state) {
    (void)state;
    char *path = strdup(scratch_path("experts.json"));
    write_file(path, "{\"shards\": [\"0-2\", \"3-7\"]}");
    process_result alone = process_run(0, ARGUMENTS("--gguf", MODEL, "--tokens", "5,6,7", "--isa", "reference"), NULL);
    process_result shared = process_run(4,
                                        ARGUMENTS("--gguf", MODEL, "--tokens", "5,6,7", "--isa", "reference",
                                                  "--shards", "2", "--expert-placement", path),
                                        NULL);
    expect_success(&alone);
    expect_success(&shared);
    assert_string_equal(alone.out.data, shared.out.data);
    assert_non_null(strstr(shared.err.data, "2 stages x 2 shards\n"));
    assert_non_null(strstr(shared.err.data, "rank 0: layers 0 to 1, KV head 0, experts 0 to 2, "));
    assert_non_null(strstr(shared.err.data, "rank 3: layers 2 to 3, KV head 1, experts 3 to 7, "));
    process_free(&alone);
    process_free(&shared);
    write_file(path, "{\"shards\": [\"0-2\", \"4-7\"]}");
    const char *const gap[] = {"run", "--gguf", MODEL, "--tokens", "1", "--shards", "2", "--expert-placement",
                               path,  NULL};
    process_result refused = process_run(2, gap, NULL);
    assert_int_equal(refused.exit_status, 2);
    assert_non_null(strstr(refused.err.data, "shards[1] begins with expert 4, but expert 3 is the next one"));
    process_free(&refused);
    unlink(path);
    free(path);
}

/* However many threads there are for however many cores, and wherever they go. */
static void the_answer_does_not_depend_on_threads_and_bindings(void **state) {
    (void)state;
    const char *const *ways[] = {
        ARGUMENTS("--gguf", MODEL, "--prompt", "x", "--no-harmony", "--max-tokens", "5", "--threads", "1"),
        ARGUMENTS("--gguf", MODEL, "--prompt", "x", "--no-harmony", "--max-tokens", "5", "--threads", "5"),
        ARGUMENTS("--gguf", MODEL, "--prompt", "x", "--no-harmony", "--max-tokens", "5", "--cpu-bind", "none"),
        ARGUMENTS("--gguf", MODEL, "--prompt", "x", "--no-harmony", "--max-tokens", "5", "--cpu-bind", "numa"),
        ARGUMENTS("--gguf", MODEL, "--prompt", "x", "--no-harmony", "--max-tokens", "5", "--cpu-bind", "core",
                  "--threads", "2"),
    };
    buffer first = {0};
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        process_result r = process_run(i % 2 ? 3 : 0, ways[i], NULL);
        expect_success(&r);
        if (i == 0)
            assert_ok(buffer_append(&first, r.out.data, r.out.size, err));
        else
            assert_string_equal(r.out.data, first.data);
        process_free(&r);
    }
    buffer_free(&first);
}

static void the_environment_chooses_the_instruction_set(void **state) {
    (void)state;
    const char *const *plain = ARGUMENTS("--gguf", MODEL, "--tokens", "1", "--max-tokens", "2");
    const char *const *flag = ARGUMENTS("--gguf", MODEL, "--tokens", "1", "--max-tokens", "2", "--isa", "reference");
    setenv("GPTOSS_ISA", "sse1", 1);
    process_result r = process_run(2, plain, NULL);
    assert_int_equal(r.exit_status, 2);
    assert_non_null(strstr(r.err.data, "GPTOSS_ISA: there is no"));
    process_free(&r);
    r = process_run(0, flag, NULL); /* a flag is the last word */
    expect_success(&r);
    process_free(&r);
    setenv("GPTOSS_ISA", "reference", 1);
    r = process_run(2, plain, NULL);
    expect_success(&r);
    process_free(&r);
    unsetenv("GPTOSS_ISA");
}

static void seeds_change_the_answer_and_repeat_it(void **state) {
    (void)state;
    buffer answers[3];
    const char *seeds[] = {"1", "1", "2"};
    for (int i = 0; i < 3; i++) {
        process_result r = process_run(
            0, ARGUMENTS("--gguf", MODEL, "--prompt", "x", "--no-harmony", "--temperature", "2", "--seed", seeds[i]),
            NULL);
        expect_success(&r);
        answers[i] = r.out;
        buffer_free(&r.err);
    }
    assert_string_equal(answers[0].data, answers[1].data);
    assert_string_not_equal(answers[0].data, answers[2].data);
    for (int i = 0; i < 3; i++) buffer_free(&answers[i]);
}

/* Every refusal: exit status 2, one line from one rank that names the flag, nothing on standard output. */
static void misuse_is_refused_in_one_line(void **state) {
    (void)state;
    const struct {
        const char *const *arguments;
        const char *names;
    } cases[] = {
        {ARGUMENTS("--gguf", MODEL), "--prompt"},
        {ARGUMENTS("--prompt", "x"), "--gguf"},
        {ARGUMENTS("--gguf", MODEL, "--promt", "x"), "--prompt"},
        {ARGUMENTS("--gguf", MODEL, "--prompt"), "--prompt"},
        {ARGUMENTS("--gguf", MODEL, "--prompt", ""), "prompt is empty"},
        {ARGUMENTS("--gguf", MODEL, "--prompt", "x", "--max-tokens", "-1"), "--max-tokens"},
        {ARGUMENTS("--gguf", MODEL, "--prompt", "x", "--temperature", "nan"), "--temperature"},
        {ARGUMENTS("--gguf", MODEL, "--prompt", "x", "--top-p", "1.5"), "--top-p"},
        {ARGUMENTS("--gguf", MODEL, "--prompt", "x", "--reasoning", "deep"), "--reasoning"},
        {ARGUMENTS("--gguf", MODEL, "--prompt", "x", "--tokens", "1"), "--tokens"},
        {ARGUMENTS("--gguf", MODEL, "--tokens", "1,,2"), "--tokens"},
        {ARGUMENTS("--gguf", MODEL, "--tokens", "288"), "--tokens"},
        {ARGUMENTS("--gguf", MODEL, "--tokens", "1,2,"), "--tokens"},
        {ARGUMENTS("--gguf", MODEL, "--tokens", "1", "--logit-bias", "42="), "--logit-bias"},
        {ARGUMENTS("--gguf", MODEL, "--tokens", "1", "--logit-bias", "42=1e99"), "--logit-bias"},
        {ARGUMENTS("--gguf", MODEL, "--prompt", "x", "--no-harmony", "--system", "y"), "--system"},
        {ARGUMENTS("--gguf", MODEL, "--prompt", "x", "--no-harmony", "--reasoning", "low"), "--reasoning"},
        {ARGUMENTS("--gguf", MODEL, "--prompt", "x", "--date", "2026-13-01"), "--date"},
        {ARGUMENTS("--gguf", MODEL, "--prompt", "x", "--max-tokens", "99999999999999999999999"), "out of range"},
        {ARGUMENTS("--gguf", MODEL, "--prompt", "x", "--layers", "5"), "--layers"},
        {ARGUMENTS("--gguf", MODEL, "--prompt", "x", "--cpu-bind", "socket"), "core, numa or none"},
        {ARGUMENTS("--gguf", MODEL, "--prompt", "x", "--isa", "mmx"), "there are reference, portable"},
        {ARGUMENTS("--gguf", MODEL, "--prompt", "x", "--isa", OTHER_ISA), OTHER_ISA},
        {ARGUMENTS("--gguf", MODEL, "--prompt", "x", "--layers", "1"),
         "2 stages cannot share 1 layer: start at most 1 rank"},
        {ARGUMENTS("--gguf", MODEL, "--prompt", "x", "--stages", "2", "--shards", "2"), "make 4 ranks"},
        {ARGUMENTS("--gguf", MODEL, "--prompt", "x", "--shards", "3"), "does not divide the 2 ranks"},
        {ARGUMENTS("--gguf", TEST_DATA "/golden/like-q4_k_m.gguf", "--prompt", "x", "--shards", "2"),
         "2 shards cannot share"},
        {ARGUMENTS("--gguf", MODEL, "--prompt", "x", "--max-kv", "131073"), "--max-kv"},
        {ARGUMENTS("--gguf", MODEL, "--prompt", "x", "--max-kv", "100"), "--max-kv"},
        {ARGUMENTS("--gguf", MODEL, "--prompt", "x", "--max-kv", "100", "--truncate-prompt"), "--max-tokens"},
        {ARGUMENTS("--gguf", MODEL, "--prompt", "x", "--logit-bias", "300=1"), "300"},
        {ARGUMENTS("--gguf", MODEL, "--prompt", "x", "--logit-bias", "a"), "--logit-bias"},
        {ARGUMENTS("--gguf", MODEL, "--prompt", "x", "--stop", ""), "--stop"},
        {ARGUMENTS("--gguf", MODEL, "--prompt", "x", "--top-logprobs", "3"), "--top-logprobs"},
        {ARGUMENTS("--gguf", MODEL, "--prompt", "x", "--dump-logits", "/nonexistent/x"), "--dump-logits"},
        {ARGUMENTS("--gguf", MODEL, "--prompt-file", "/nonexistent"), "/nonexistent"},
        {ARGUMENTS("--gguf", "/nonexistent.gguf", "--prompt", "x"), "/nonexistent.gguf"},
        {ARGUMENTS("--gguf", TEST_DATA "/golden/f32.json", "--prompt", "x"), "f32.json"},
    };
    unsetenv("GPT_OSS_GGUF_PATH");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int ranks = i % 3 == 0 || strstr(cases[i].names, "rank") || strstr(cases[i].names, "shards") ? 2 : 0;
        process_result r = process_run(ranks, cases[i].arguments, NULL);
        if (r.exit_status != 2) fail_msg("case %zu: exit status %d, stderr: %s", i, r.exit_status, r.err.data);
        assert_int_equal(r.out.size, 0);
        char *line = strstr(r.err.data, "gptoss-dist: ");
        if (!line || !strstr(line, cases[i].names)) fail_msg("case %zu: %s", i, r.err.data);
        assert_null(strstr(line + 1, "gptoss-dist: ")); /* once */
        process_free(&r);
    }
}

/* What is refused leaves the file for the logits as it was. */
static void a_refused_run_writes_no_logits(void **state) {
    (void)state;
    char *dump = scratch_path("logits");
    write_file(dump, "precious");
    process_result r = process_run(
        2, ARGUMENTS("--gguf", MODEL, "--tokens", "1", "--dump-logits", dump, "--logit-bias", "288=1"), NULL);
    assert_int_equal(r.exit_status, 2);
    process_free(&r);
    buffer left = {0};
    assert_ok(buffer_read_file(&left, dump, 100, err));
    assert_string_equal(left.data, "precious");
    buffer_free(&left);
    unlink(dump);
}

static void ranks_with_different_files_refuse_to_work(void **state) {
    (void)state;
    const char *const command[] = {MPIEXEC,    "--oversubscribe",
                                   "--quiet",  "-np",
                                   "1",        PROGRAM,
                                   "run",      "--gguf",
                                   MODEL,      "--prompt",
                                   "x",        ":",
                                   "-np",      "2",
                                   PROGRAM,    "run",
                                   "--gguf",   TEST_DATA "/golden/f32.gguf",
                                   "--prompt", "x",
                                   NULL};
    process_result r = process_run_command(command, NULL);
    assert_int_equal(r.exit_status, 2);
    assert_non_null(strstr(r.err.data, "the model file differs from that of rank 0"));
    assert_non_null(strstr(r.err.data, "rank 1 on "));
    assert_null(strstr(r.err.data, "rank 2 on "));
    process_free(&r);
}

/* A file cut anywhere: every rank ends, one of them says why. */
static void a_truncated_file_ends_every_rank(void **state) {
    (void)state;
    buffer whole = {0};
    char *path = scratch_path("cut.gguf");
    assert_ok(buffer_read_file(&whole, MODEL, 1 << 24, err));
    for (size_t part = 0; part < 4; part++) {
        FILE *f = fopen(path, "wb");
        fwrite(whole.data, 1, whole.size * part / 4, f);
        fclose(f);
        process_result r = process_run(3, ARGUMENTS("--gguf", path, "--prompt", "x"), NULL);
        assert_int_equal(r.exit_status, 2);
        char *line = strstr(r.err.data, "gptoss-dist: ");
        if (!line || !strstr(line, path) || strstr(line + 1, "gptoss-dist: "))
            fail_msg("part %zu: %s", part, r.err.data);
        process_free(&r);
    }
    unlink(path);
    buffer_free(&whole);
}

static void a_stop_string_ends_the_answer_before_it(void **state) {
    (void)state;
    process_result whole = process_run(0, ARGUMENTS("--gguf", MODEL, "--prompt", "Stop?", "--no-harmony"), NULL);
    expect_success(&whole);
    char stop[3] = {whole.out.data[20], whole.out.data[21], 0};
    char *at = strstr(whole.out.data, stop);
    /* A stop string must be text: skip over a broken character that was printed as U+FFFD. */
    while ((unsigned char)stop[0] >= 0x80 || (unsigned char)stop[1] >= 0x80 || stop[0] == '\n' || stop[1] == '\n') {
        at++;
        assert_true(at[0] && at[1]);
        stop[0] = at[0];
        stop[1] = at[1];
    }
    at = strstr(whole.out.data, stop);
    process_result cut =
        process_run(2, ARGUMENTS("--gguf", MODEL, "--prompt", "Stop?", "--no-harmony", "--stop", stop), NULL);
    expect_success(&cut);
    assert_non_null(strstr(cut.err.data, "[finish_reason=stop]"));
    assert_memory_equal(cut.out.data, whole.out.data, (size_t)(at - whole.out.data));
    assert_int_equal(cut.out.size, (size_t)(at - whole.out.data) + 1); /* and a line break */
    process_free(&whole);
    process_free(&cut);
}

static void json_is_one_object_a_token_and_a_summary(void **state) {
    (void)state;
    process_result r = process_run(
        2, ARGUMENTS("--gguf", MODEL, "--prompt", "x", "--json", "--max-tokens", "5", "--top-logprobs", "3"), NULL);
    expect_success(&r);
    int lines = 0;
    cJSON *last = NULL;
    for (char *line = strtok(r.out.data, "\n"); line; line = strtok(NULL, "\n")) {
        cJSON_Delete(last);
        last = cJSON_Parse(line);
        assert_non_null(last);
        if (lines++ < 5) assert_int_equal(cJSON_GetArraySize(cJSON_GetObjectItem(last, "top_logprobs")), 3);
    }
    assert_int_equal(lines, 6);
    assert_string_equal(cJSON_GetStringValue(cJSON_GetObjectItem(last, "finish_reason")), "length");
    assert_int_equal(cJSON_GetArraySize(cJSON_GetObjectItem(last, "ranks")), 2);
    cJSON_Delete(last);
    process_free(&r);
}

static void prompts_come_from_files_and_standard_input(void **state) {
    (void)state;
    char *path = scratch_path("prompt");
    write_file(path, "How deep is the sea?");
    const char *const *ways[] = {
        ARGUMENTS("--gguf", MODEL, "--date", "2026-01-01", "--prompt", "How deep is the sea?"),
        ARGUMENTS("--gguf", MODEL, "--date", "2026-01-01", "--prompt-file", path),
        ARGUMENTS("--gguf", MODEL, "--date", "2026-01-01", "--prompt-file", "-"),
    };
    process_result first = process_run(2, ways[0], NULL);
    expect_success(&first);
    for (int i = 1; i < 3; i++) {
        process_result r = process_run(2, ways[i], i == 2 ? "How deep is the sea?" : NULL);
        expect_success(&r);
        assert_string_equal(r.out.data, first.out.data);
        process_free(&r);
    }
    process_free(&first);
    unlink(path);
}

static void a_long_prompt_is_truncated_on_demand(void **state) {
    (void)state;
    char text[4001];
    memset(text, 'a', sizeof text - 1);
    text[4000] = '\0';
    process_result r =
        process_run(2, ARGUMENTS("--gguf", MODEL, "--prompt", text, "--max-kv", "600", "--max-tokens", "5"), NULL);
    assert_int_equal(r.exit_status, 2);
    assert_non_null(strstr(r.err.data, "--truncate-prompt"));
    process_free(&r);
    r = process_run(
        2, ARGUMENTS("--gguf", MODEL, "--prompt", text, "--max-kv", "600", "--max-tokens", "5", "--truncate-prompt"),
        NULL);
    expect_success(&r);
    assert_non_null(strstr(r.err.data, "prompt 595 tokens"));
    process_free(&r);
}

/* mpirun passes an interrupt on as a termination signal to every rank; all must be gone within a second or so. */
static void an_interrupt_ends_all_ranks(void **state) {
    (void)state;
    for (int ranks = 0; ranks <= 3; ranks += 3) {
        const char **command = process_command(
            ranks, ARGUMENTS("--gguf", MODEL, "--prompt", "x", "--no-harmony", "--max-tokens", "100000", "--logit-bias",
                             "268=-1000", "--logit-bias", "274=-1000", "--logit-bias", "267=-1000"));
        process p = process_start(command, NULL);
        usleep(1500000);
        double at = clock_seconds();
        kill(p.pid, SIGINT);
        process_result r = process_wait(&p, 20);
        assert_int_not_equal(r.exit_status, 0);
        assert_int_not_equal(r.exit_status, -1);
        print_message("%d ranks: ended %.2f s after the interrupt, exit status %d\n", ranks, clock_seconds() - at,
                      r.exit_status);
        process_free(&r);
        free(command);
    }
}

static void instruction_sets_are_chosen_by_name(void **state) {
    (void)state;
    golden g;
    golden_load("q8_0-mxfp4", &g);
    const struct {
        const char *isa, *says;
    } ways[] = {{"portable", NULL}, {"reference", NULL}, {"sse9", "--isa: there is no instruction set"}};
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        process_result r = process_run(
            2, ARGUMENTS("--gguf", g.path, "--tokens", "1,2,3", "--max-tokens", "2", "--isa", ways[i].isa), NULL);
        if (ways[i].says) {
            assert_int_equal(r.exit_status, 2);
            assert_non_null(strstr(r.err.data, ways[i].says));
            assert_non_null(strstr(r.err.data, "portable"));
        } else {
            expect_success(&r);
        }
        process_free(&r);
    }
    golden_free(&g);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(dumped_logits_equal_the_golden_ones_on_any_ranks),
        cmocka_unit_test(instruction_sets_are_chosen_by_name),
        cmocka_unit_test(the_answer_does_not_depend_on_ranks),
        cmocka_unit_test(shards_share_the_layers_of_a_stage),
        cmocka_unit_test(the_answer_does_not_depend_on_threads_and_bindings),
        cmocka_unit_test(the_environment_chooses_the_instruction_set),
        cmocka_unit_test(seeds_change_the_answer_and_repeat_it),
        cmocka_unit_test(misuse_is_refused_in_one_line),
        cmocka_unit_test(a_refused_run_writes_no_logits),
        cmocka_unit_test(ranks_with_different_files_refuse_to_work),
        cmocka_unit_test(a_truncated_file_ends_every_rank),
        cmocka_unit_test(a_stop_string_ends_the_answer_before_it),
        cmocka_unit_test(json_is_one_object_a_token_and_a_summary),
        cmocka_unit_test(prompts_come_from_files_and_standard_input),
        cmocka_unit_test(a_long_prompt_is_truncated_on_demand),
        cmocka_unit_test(an_interrupt_ends_all_ranks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
