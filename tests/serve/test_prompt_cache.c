/* --prompt-cache: what was read of prompts outlives the program, or is read anew where a file is not right; the answer
 * is the same either way. */
#include <dirent.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "serve/client.h"
#include "support.h"

#define GOLDEN TEST_DATA "/golden/q8_0-mxfp4.gguf"

static char dir[256];

static void for_files(void (*each)(const char *path, void *context), void *context) {
    DIR *d = opendir(dir);
    char path[600];
    if (!d) return;
    for (struct dirent *e; (e = readdir(d)) != NULL;) {
        if (e->d_name[0] == '.') continue;
        snprintf(path, sizeof path, "%s/%s", dir, e->d_name);
        each(path, context);
    }
    closedir(d);
}

static void remove_one(const char *path, void *context) {
    (void)context;
    assert_int_equal(unlink(path), 0);
}

static int begin(void **state) {
    (void)state;
    snprintf(dir, sizeof dir, "%s/gptoss-prompts-%d", getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp", (int)getpid());
    return 0;
}

static int clean(void **state) {
    (void)state;
    for_files(remove_one, NULL);
    rmdir(dir);
    return 0;
}

/* ---- run ---- */

typedef struct told {
    char *answer; /* the lines of tokens; owned */
    double prompt, cached;
    buffer err;
} told;

static const char *answer_tokens = "20";

/* flags: up to four more, or NULL. */
static told ask(int ranks, const char *model, const char *const *flags) {
    static char prompt[600];
    for (size_t i = 0; i < 100; i++) snprintf(prompt + 5 * i, sizeof prompt - 5 * i, "%03zu, ", i * 7 % 500);
    const char *arguments[24] = {
        "run",         "--gguf",    model, "--prompt",       prompt, "--no-harmony", "--max-tokens",
        answer_tokens, "--threads", "1",   "--prompt-cache", dir,    "--json"};
    size_t count = 13;
    while (flags && *flags) arguments[count++] = *flags++;
    process_result r = process_run(ranks, arguments, NULL);
    if (r.exit_status != 0) fail_msg("exit %d: %s", r.exit_status, r.err.data);
    char *summary = strstr(r.out.data, "{\"finish_reason\"");
    assert_non_null(summary);
    cJSON *s = cJSON_Parse(summary);
    told t = {.prompt = client_number(s, "prompt_tokens"), .cached = client_number(s, "cached_tokens"), .err = r.err};
    cJSON_Delete(s);
    *summary = '\0';
    t.answer = r.out.data;
    assert_true(strlen(t.answer) > 100);
    return t;
}

/* Asks, and expects the answer, so much of the prompt known, and one line of warning with the text, or no line. */
static void expect(int ranks, const char *model, const char *const *flags, const char *answer, bool cached,
                   const char *warning) {
    told t = ask(ranks, model, flags);
    if (answer) assert_string_equal(t.answer, answer);
    if (t.cached != (cached ? t.prompt - 1 : 0)) fail_msg("%g tokens of %g cached", t.cached, t.prompt);
    const char *line = t.err.data ? strstr(t.err.data, "--prompt-cache: ") : NULL;
    if (!warning && line) fail_msg("not expected: %s", t.err.data);
    if (warning && (!line || !strstr(line, warning) || strstr(line + 1, "--prompt-cache: ")))
        fail_msg("\"%s\" was expected: %s", warning, t.err.data ? t.err.data : "nothing");
    free(t.answer);
    buffer_free(&t.err);
}

static const char *const one_stage[] = {"--stages", "1", "--shards", "2", NULL};
static const struct {
    int ranks;
    const char *const *flags;
} grids[] = {{0, NULL}, {1, NULL}, {2, NULL}, {2, one_stage}};
enum { GRIDS = sizeof grids / sizeof *grids };

static void a_prompt_is_known_the_next_time(void **state) {
    (void)state;
    static const char *const models[] = {DEMO_MODEL, GOLDEN};
    for (int i = 0; i < GRIDS; i++) {
        for (int m = 0; m < 2; m++) {
            told first = ask(grids[i].ranks, models[m], grids[i].flags);
            assert_true(first.prompt > 100 && first.cached == 0);
            expect(grids[i].ranks, models[m], grids[i].flags, first.answer, true, NULL);
            if (grids[i].ranks == 0) expect(0, models[m], NULL, first.answer, true, NULL); /* what was kept twice */
            free(first.answer);
            buffer_free(&first.err);
        }
        clean(NULL);
    }
}

static void what_was_longer_hides_nothing(void **state) {
    (void)state;
    told first = ask(0, GOLDEN, NULL);
    answer_tokens = "150";
    told longer = ask(0, GOLDEN, NULL);
    assert_true(longer.cached == longer.prompt - 1 && strlen(longer.answer) > 2 * strlen(first.answer));
    answer_tokens = "20";
    expect(0, GOLDEN, NULL, first.answer, true, NULL);
    free(first.answer);
    free(longer.answer);
    buffer_free(&first.err);
    buffer_free(&longer.err);
    clean(NULL);
}

/* ---- files that are not right ---- */

enum { CUT, CUT_SHORT, LONGER, EMPTY, GONE, HEADER, WORDS, LAST, DAMAGES };

static void note_path(const char *path, void *context) {
    if (strcmp(path, context) > 0) strcpy(context, path);
}

static void flip(const char *path, long at, int from) {
    FILE *f = fopen(path, "r+b");
    assert_non_null(f);
    fseek(f, at, from);
    int c = fgetc(f);
    fseek(f, at, from);
    fputc(c ^ 0x40, f);
    fclose(f);
}

/* Of one rank's file, whichever it is. */
static void damage(int how) {
    char path[600] = "";
    struct stat info;
    for_files(note_path, path);
    assert_int_equal(stat(path, &info), 0);
    switch (how) {
    case CUT: assert_int_equal(truncate(path, info.st_size - 1), 0); break;
    case CUT_SHORT: assert_int_equal(truncate(path, 60), 0); break;
    case LONGER: assert_int_equal(truncate(path, info.st_size + 1), 0); break;
    case EMPTY: assert_int_equal(truncate(path, 0), 0); break;
    case GONE: assert_int_equal(unlink(path), 0); break;
    case HEADER: flip(path, 76, SEEK_SET); break; /* the number of words */
    case WORDS: flip(path, 130, SEEK_SET); break;
    case LAST: flip(path, -40, SEEK_END); break;
    }
}

static void one_damaged_file_is_enough_to_read_anew(void **state) {
    (void)state;
    for (int i = 0; i < GRIDS; i++) {
        if (grids[i].ranks == 1) continue; /* as alone */
        told first = ask(grids[i].ranks, DEMO_MODEL, grids[i].flags);
        for (int how = 0; how < DAMAGES; how++) {
            bool all_gone = how == GONE && grids[i].ranks == 0;
            if (grids[i].ranks > 0 && how != CUT && how != GONE && how != LAST) continue;
            damage(how);
            expect(grids[i].ranks, DEMO_MODEL, grids[i].flags, first.answer, false,
                   all_gone      ? NULL
                   : how == GONE ? "no file"
                                 : "damaged");
        }
        expect(grids[i].ranks, DEMO_MODEL, grids[i].flags, first.answer, true, NULL);
        free(first.answer);
        buffer_free(&first.err);
        clean(NULL);
    }
}

/* Each has files of its own. */
static void others_do_not_take_them(void **state) {
    (void)state;
    told first = ask(2, DEMO_MODEL, NULL);
    expect(2, DEMO_MODEL, (const char *const[]){"--kv-type", "q8_0", NULL}, NULL, false, NULL);
    expect(2, DEMO_MODEL, (const char *const[]){"--isa", "reference", NULL}, NULL, false, NULL);
    expect(2, DEMO_MODEL, one_stage, NULL, false, NULL);
    expect(1, DEMO_MODEL, NULL, NULL, false, NULL);
    expect(2, GOLDEN, NULL, NULL, false, NULL);
    expect(2, DEMO_MODEL, NULL, first.answer, true, NULL);
    free(first.answer);
    buffer_free(&first.err);
}

/* A model that was trained further has the same metadata. */
static void other_weights_do_not_take_them(void **state) {
    (void)state;
    buffer model = {0};
    char path[300];
    snprintf(path, sizeof path, "%s.gguf", dir);
    assert_ok(buffer_read_file(&model, GOLDEN, 1 << 26, err));
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(model.data, 1, model.size, f), model.size);
    fclose(f);
    expect(1, path, NULL, NULL, false, NULL);
    expect(1, path, NULL, NULL, true, NULL);
    /* Behind the metadata is some tensor; all are sampled, but not every byte. Change most of them a little. */
    f = fopen(path, "r+b");
    assert_non_null(f);
    for (size_t at = model.size / 2; at < model.size; at++) {
        fseek(f, (long)at, SEEK_SET);
        fputc(model.data[at] ^ 1, f);
    }
    fclose(f);
    expect(1, path, NULL, NULL, false, "other weights");
    unlink(path);
    buffer_free(&model);
}

/* ---- a disk that is full ---- */

static void count_one(const char *path, void *context) {
    (void)path;
    (*(int *)context)++;
}

static void a_folder_that_cannot_be_written_is_told(void **state) {
    (void)state;
    FILE *f = fopen(dir, "w"); /* a file is in its place */
    assert_non_null(f);
    fclose(f);
    expect(2, DEMO_MODEL, NULL, NULL, false, "cannot make the folder");
    unlink(dir);
}

static void a_full_disk_leaves_what_was_kept(void **state) {
    (void)state;
    told first = ask(0, DEMO_MODEL, NULL);
    struct rlimit before, small = {.rlim_cur = 4096};
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    small.rlim_max = before.rlim_max;
    signal(SIGXFSZ, SIG_IGN); /* then write fails */
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    expect(0, DEMO_MODEL, NULL, first.answer, true, "cannot write");
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    int files = 0;
    for_files(count_one, &files);
    assert_int_equal(files, 1);
    expect(0, DEMO_MODEL, NULL, first.answer, true, NULL);
    free(first.answer);
    buffer_free(&first.err);
}

/* ---- serve ---- */

static char *serve_once(int ranks, const char *const *flags, bool cached) {
    served s = served_start(ranks, flags);
    cJSON *a = client_json(s.port, "POST", "/v1/chat/completions",
                           "{\"messages\":[{\"role\":\"system\",\"content\":\"You count from one to three.\"},"
                           "{\"role\":\"user\",\"content\":\"What is 2+2?\"}],\"temperature\":0,\"max_tokens\":40}",
                           200);
    double known = client_number(a, "usage.prompt_tokens_details.cached_tokens");
    double prompt = client_number(a, "usage.prompt_tokens");
    if (cached ? known != prompt - 1 : known > 0) fail_msg("%g tokens of %g cached", known, prompt);
    char *answer = cJSON_PrintUnformatted(client_at(a, "choices"));
    cJSON_Delete(a);
    process_result r = served_stop(&s);
    if (r.exit_status != 0 || r.err.size > 0) fail_msg("exit %d, stderr: %s", r.exit_status, r.err.data);
    process_free(&r);
    return answer;
}

static void a_server_knows_what_it_read_before_it_ended(void **state) {
    (void)state;
    const char *const plain[] = {"--prompt-cache", dir, "--threads", "1", NULL};
    const char *const shards[] = {"--prompt-cache", dir, "--threads", "1", "--stages", "1", "--shards", "2", NULL};
    for (int i = 0; i < 3; i++) {
        int ranks = i == 0 ? 1 : 2;
        char *first = serve_once(ranks, i == 2 ? shards : plain, false);
        char *again = serve_once(ranks, i == 2 ? shards : plain, true);
        assert_string_equal(first, again);
        free(first);
        free(again);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(a_prompt_is_known_the_next_time, clean),
        cmocka_unit_test_teardown(what_was_longer_hides_nothing, clean),
        cmocka_unit_test_teardown(one_damaged_file_is_enough_to_read_anew, clean),
        cmocka_unit_test_teardown(others_do_not_take_them, clean),
        cmocka_unit_test_teardown(other_weights_do_not_take_them, clean),
        cmocka_unit_test_teardown(a_folder_that_cannot_be_written_is_told, clean),
        cmocka_unit_test_teardown(a_full_disk_leaves_what_was_kept, clean),
        cmocka_unit_test_teardown(a_server_knows_what_it_read_before_it_ended, clean),
    };
    return cmocka_run_group_tests(tests, begin, NULL);
}
