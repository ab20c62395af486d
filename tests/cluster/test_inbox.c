/* Slices on their way into a cache folder: interrupted, damaged, without room. */
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cluster/inbox.h"
#include "cluster/sums.h"
#include "support.h"

enum { SIZE = 300000 };

static char folder[64], cache[96];
static uint8_t content[SIZE];
static digest sum;

static int make_folder(void **state) {
    (void)state;
    snprintf(folder, sizeof folder, "%s/gptoss-inbox-XXXXXX", P_tmpdir);
    if (!mkdtemp(folder)) return -1;
    snprintf(cache, sizeof cache, "%s/new/cache", folder);
    for (int i = 0; i < SIZE; i++) content[i] = (uint8_t)(i * 7 + i / 251);
    sum = digest_of(content, SIZE);
    return 0;
}

static int remove_folder(void **state) {
    (void)state;
    char command[128];
    snprintf(command, sizeof command, "rm -r '%s'", folder);
    return system(command);
}

static inbox *open_box(uint64_t expected) {
    inbox *b;
    assert_ok(inbox_open(cache, sum, SIZE, NULL, NULL, &b, err));
    assert_int_equal(inbox_has(b), expected);
    return b;
}

static void append(inbox *b, size_t size) { assert_ok(inbox_append(b, content + inbox_has(b), size, err)); }

static const char *file_path(bool partial) {
    static char path[256];
    char name[DIGEST_TEXT];
    digest_print(sum, name);
    snprintf(path, sizeof path, "%s/%s.gguf%s", cache, name, partial ? ".partial" : "");
    return path;
}

static bool exists(bool partial) { return access(file_path(partial), F_OK) == 0; }

static void flip_byte(const char *path, long at) {
    FILE *f = fopen(path, "r+");
    assert_non_null(f);
    fseek(f, at, SEEK_SET);
    int c = fgetc(f);
    fseek(f, at, SEEK_SET);
    fputc(c ^ 1, f);
    fclose(f);
}

static void start_fresh(void) {
    unlink(file_path(false));
    unlink(file_path(true));
}

static void a_file_comes_in_parts_and_is_found_again(void **state) {
    (void)state;
    start_fresh();
    inbox *b = open_box(0);
    append(b, 100000);
    inbox_close(b); /* interrupted */
    assert_true(exists(true) && !exists(false));
    b = open_box(100000);
    append(b, 1);
    append(b, SIZE - 100001);
    assert_ok(inbox_finish(b, err));
    assert_string_equal(inbox_path(b), file_path(false));
    inbox_close(b);
    assert_true(exists(false) && !exists(true));
    b = open_box(SIZE);
    assert_ok(inbox_finish(b, err));
    inbox_close(b);
}

/* Killed between the last byte and the new name. */
static void what_has_come_entirely_is_finished(void **state) {
    (void)state;
    start_fresh();
    inbox *b = open_box(0);
    append(b, SIZE);
    inbox_close(b);
    b = open_box(SIZE);
    assert_ok(inbox_finish(b, err));
    inbox_close(b);
    assert_true(exists(false));
}

static void a_damaged_file_is_removed(void **state) {
    (void)state;
    start_fresh();
    inbox *b = open_box(0);
    append(b, SIZE);
    assert_ok(inbox_finish(b, err));
    inbox_close(b);
    flip_byte(file_path(false), SIZE / 2);
    b = open_box(0);
    assert_false(exists(false));
    inbox_close(b);
    /* And one that was cut short. */
    b = open_box(0);
    append(b, SIZE);
    assert_ok(inbox_finish(b, err));
    inbox_close(b);
    assert_int_equal(truncate(file_path(false), SIZE - 1), 0);
    inbox_close(open_box(0));
}

/* Otherwise it would come anew each time, and in vain where it cannot be replaced either. */
static void a_file_that_cannot_be_opened_is_told_of(void **state) {
    (void)state;
    start_fresh();
    inbox *b;
    gptoss_error why;
    assert_int_equal(symlink("itself", file_path(false)), 0);
    assert_int_equal(inbox_open(cache, sum, SIZE, NULL, NULL, &b, &why), GPTOSS_IO);
    assert_non_null(strstr(why.text, "cannot open"));
    assert_non_null(strstr(why.text, "--cache"));
}

static void damaged_parts_are_not_taken_for_the_whole(void **state) {
    (void)state;
    start_fresh();
    inbox *b = open_box(0);
    append(b, SIZE / 2);
    inbox_close(b);
    flip_byte(file_path(true), 1000);
    b = open_box(SIZE / 2);
    append(b, SIZE - SIZE / 2);
    gptoss_error fault = {0};
    assert_int_equal(inbox_finish(b, &fault), GPTOSS_BAD_INPUT);
    assert_int_equal(inbox_has(b), 0);
    append(b, SIZE);
    assert_ok(inbox_finish(b, err));
    inbox_close(b);
    /* One that is longer than it should be is of no use. */
    start_fresh();
    FILE *f = fopen(file_path(true), "w");
    for (int i = 0; i <= SIZE; i++) fputc('x', f);
    fclose(f);
    inbox_close(open_box(0));
}

static void more_than_announced_is_refused(void **state) {
    (void)state;
    start_fresh();
    inbox *b = open_box(0);
    append(b, SIZE - 10);
    assert_int_equal(inbox_append(b, content, 11, NULL), GPTOSS_PEER);
    append(b, 10);
    assert_ok(inbox_finish(b, err));
    assert_int_equal(inbox_append(b, content, 1, NULL), GPTOSS_PEER);
    inbox_close(b);
}

static void two_cannot_receive_the_same(void **state) {
    (void)state;
    start_fresh();
    inbox *first = open_box(0), *second;
    gptoss_error err = {0};
    assert_int_equal(inbox_open(cache, sum, SIZE, NULL, NULL, &second, &err), GPTOSS_MISUSE);
    assert_non_null(strstr(err.text, "another process"));
    inbox_close(first);
    inbox_close(open_box(0));
}

/* Another process finishes the file while this one waits for it: its file is taken as it is, and not written to. */
static void what_another_process_finishes_is_found(void **state) {
    (void)state;
    start_fresh();
    inbox *first = open_box(0), *second;
    append(first, SIZE);
    pid_t other = fork();
    assert_true(other >= 0);
    if (other == 0) { /* which has the lock, too, and lets go of it later */
        usleep(500000);
        _exit(inbox_finish(first, NULL) == GPTOSS_OK ? 0 : 1);
    }
    inbox_close(first);
    assert_ok(inbox_open(cache, sum, SIZE, NULL, NULL, &second, err));
    assert_int_equal(inbox_has(second), SIZE);
    assert_ok(inbox_finish(second, err));
    inbox_close(second);
    int status;
    assert_int_equal(waitpid(other, &status, 0), other);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    assert_true(exists(false));
}

static void too_little_room_is_told(void **state) {
    (void)state;
    start_fresh();
    inbox *b;
    gptoss_error fault = {0};
    assert_int_equal(inbox_open(cache, sum, UINT64_C(1) << 60, NULL, NULL, &b, &fault), GPTOSS_IO);
    assert_non_null(strstr(fault.text, "are free in"));
    assert_non_null(strstr(fault.text, "--cache"));
    assert_int_equal(inbox_open("/proc/none/cache", sum, SIZE, NULL, NULL, &b, &fault), GPTOSS_IO);
    assert_non_null(strstr(fault.text, "/proc/none"));
    /* A disk that fills up meanwhile. */
    struct rlimit before, now;
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    now = (struct rlimit){200000, before.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &now), 0);
    b = open_box(0);
    append(b, 150000);
    assert_int_equal(inbox_append(b, content + 150000, 100000, &fault), GPTOSS_IO);
    setrlimit(RLIMIT_FSIZE, &before);
    assert_non_null(strstr(fault.text, "cannot write"));
    inbox_close(b);
    b = open_box(200000); /* all that went in is kept, and goes on */
    append(b, 100000);
    assert_ok(inbox_finish(b, err));
    inbox_close(b);
}

static void sums_are_remembered(void **state) {
    (void)state;
    const digest key = {5, 6}, other = {5, 7};
    digest got = {0, 0};
    assert_false(sums_find(cache, key, &got));
    sums_keep(cache, key, sum);
    assert_true(sums_find(cache, key, &got) && digest_equal(got, sum));
    assert_false(sums_find(cache, other, &got));
    assert_false(sums_find(NULL, key, &got));
    sums_keep(NULL, key, sum);
    sums_keep("/proc/none", key, sum);
    char command[256];
    snprintf(command, sizeof command, "for f in '%s'/sum-*; do echo broken > $f; done", cache);
    assert_int_equal(system(command), 0);
    assert_false(sums_find(cache, key, &got));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_file_comes_in_parts_and_is_found_again),
        cmocka_unit_test(what_has_come_entirely_is_finished),
        cmocka_unit_test(a_damaged_file_is_removed),
        cmocka_unit_test(a_file_that_cannot_be_opened_is_told_of),
        cmocka_unit_test(damaged_parts_are_not_taken_for_the_whole),
        cmocka_unit_test(more_than_announced_is_refused),
        cmocka_unit_test(two_cannot_receive_the_same),
        cmocka_unit_test(what_another_process_finishes_is_found),
        cmocka_unit_test(too_little_room_is_told),
        cmocka_unit_test(sums_are_remembered),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
