#include <sys/stat.h>
#include <unistd.h>

#include "base/folder.h"
#include "support.h"

static void folders_are_made_with_those_above_them(void **state) {
    (void)state;
    char root[64], path[128];
    snprintf(root, sizeof root, "%s/gptoss-folder-XXXXXX", P_tmpdir);
    assert_non_null(mkdtemp(root));
    snprintf(path, sizeof path, "%s/a/b//c/", root);
    struct stat s;
    for (int i = 0; i < 2; i++) { /* also when it is there */
        assert_ok(folder_make(path, err));
        assert_true(stat(path, &s) == 0 && S_ISDIR(s.st_mode));
    }
    snprintf(path, sizeof path, "%s/file", root);
    fclose(fopen(path, "w"));
    gptoss_error err = {0};
    assert_int_equal(folder_make(path, &err), GPTOSS_IO);
    assert_non_null(strstr(err.text, "/file"));
    strcat(path, "/below");
    assert_int_equal(folder_make(path, &err), GPTOSS_IO);
    snprintf(path, sizeof path, "rm -r '%s'", root);
    assert_int_equal(system(path), 0);
}

static void a_renamed_file_is_not_there_any_more(void **state) {
    (void)state;
    char path[64], other[80];
    snprintf(path, sizeof path, "%s/gptoss-there-XXXXXX", P_tmpdir);
    int fd = mkstemp(path);
    snprintf(other, sizeof other, "%s.other", path);
    assert_true(folder_still_has(fd, path));
    assert_int_equal(rename(path, other), 0);
    assert_false(folder_still_has(fd, path));
    fclose(fopen(path, "w")); /* nor when another has its name */
    assert_false(folder_still_has(fd, path));
    assert_true(folder_still_has(fd, other));
    close(fd);
    unlink(path);
    unlink(other);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(folders_are_made_with_those_above_them),
        cmocka_unit_test(a_renamed_file_is_not_there_any_more),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
