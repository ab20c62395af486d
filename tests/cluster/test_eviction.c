/* Which slices leave the cache folder. */
#include <fcntl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "cluster/eviction.h"
#include "cluster/inbox.h"
#include "support.h"

enum { HOUR = 3600, SIZE = 8192 };

static char folder[64];

static int make_folder(void **state) {
    (void)state;
    snprintf(folder, sizeof folder, "%s/gptoss-eviction-XXXXXX", P_tmpdir);
    return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state) {
    (void)state;
    char command[128];
    snprintf(command, sizeof command, "rm -r '%s'", folder);
    return system(command);
}

static const char *path_of(const char *name) {
    static char path[256];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

static bool exists(const char *name) { return access(path_of(name), F_OK) == 0; }

static void make_file(const char *name, int hours_ago) {
    static const char zeros[SIZE];
    FILE *f = fopen(path_of(name), "w");
    assert_non_null(f);
    assert_int_equal(fwrite(zeros, 1, SIZE, f), SIZE);
    fclose(f);
    const struct timespec then[] = {{time(NULL) - (time_t)hours_ago * HOUR, 0},
                                    {time(NULL) - (time_t)hours_ago * HOUR, 0}};
    assert_int_equal(utimensat(AT_FDCWD, path_of(name), then, 0), 0);
}

#define SLICE(digit) #digit "123456789abcdef0123456789abcdef.gguf"

static void the_oldest_goes_first(void **state) {
    (void)state;
    const char *const others[] = {"speed-here-avx2-1x1", "model.gguf", SLICE(0) ".bak", SLICE(0) "x", "sums"};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) make_file(others[i], 1000);
    make_file(SLICE(1), 50);
    make_file(SLICE(2), 23);
    make_file(SLICE(3) ".partial", 70);
    make_file(SLICE(4), 30);
    assert_true(eviction_possible(folder) >= 3 * SIZE && eviction_possible(folder) < 4 * SIZE);
    assert_true(eviction_drop_oldest(folder));
    assert_false(exists(SLICE(3) ".partial"));
    assert_true(eviction_drop_oldest(folder));
    assert_false(exists(SLICE(1)));
    assert_true(exists(SLICE(4)));
    int fd = open(path_of(SLICE(4)), O_RDONLY);
    eviction_note_use(fd); /* as when a run takes it */
    close(fd);
    assert_int_equal(eviction_possible(folder), 0);
    assert_false(eviction_drop_oldest(folder));
    assert_true(exists(SLICE(2)) && exists(SLICE(4)));
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) assert_true(exists(others[i]));
    assert_false(eviction_drop_oldest("/nowhere"));
    assert_int_equal(eviction_possible("/nowhere"), 0);
}

/* A slice that no disk has room for costs no other one. */
static void nothing_goes_in_vain(void **state) {
    (void)state;
    inbox *b;
    make_file(SLICE(5), 100);
    assert_int_equal(inbox_open(folder, digest_of("a", 1), UINT64_C(1) << 60, NULL, NULL, &b, NULL), GPTOSS_IO);
    assert_true(exists(SLICE(5)));
}

/* A slice that is found again counts as used. */
static void what_is_taken_stays(void **state) {
    (void)state;
    static const char zeros[SIZE];
    char name[DIGEST_TEXT + 8], digits[DIGEST_TEXT];
    inbox *b;
    digest_print(digest_of(zeros, SIZE), digits);
    snprintf(name, sizeof name, "%s.gguf", digits);
    make_file(name, 100);
    assert_ok(inbox_open(folder, digest_of(zeros, SIZE), SIZE, NULL, NULL, &b, err));
    inbox_close(b);
    while (eviction_drop_oldest(folder)) {
    }
    assert_true(exists(name));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_oldest_goes_first),
        cmocka_unit_test(nothing_goes_in_vain),
        cmocka_unit_test(what_is_taken_stays),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
