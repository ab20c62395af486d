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

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(folders_are_made_with_those_above_them)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
