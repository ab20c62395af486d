#include "cluster/sums.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/folder.h"

enum { LONGEST_PATH = 4096 };

static bool name_file(const char *dir, digest identity, char path[LONGEST_PATH]) {
    char text[DIGEST_TEXT];
    digest_print(identity, text);
    int n = dir ? snprintf(path, LONGEST_PATH, "%s/sum-%s", dir, text) : -1;
    return n > 0 && n < LONGEST_PATH;
}

bool sums_find(const char *dir, digest identity, digest *out) {
    char path[LONGEST_PATH], text[DIGEST_TEXT + 1] = "";
    if (!name_file(dir, identity, path)) return false;
    FILE *f = fopen(path, "r");
    if (!f) return false;
    bool got = fgets(text, sizeof text, f) != NULL;
    fclose(f);
    text[strcspn(text, "\n")] = '\0';
    return got && digest_parse(text, out);
}

void sums_keep(const char *dir, digest identity, digest sum) {
    char path[LONGEST_PATH], partial[LONGEST_PATH + 32], text[DIGEST_TEXT];
    if (!name_file(dir, identity, path) || folder_make(dir, NULL) != GPTOSS_OK) return;
    snprintf(partial, sizeof partial, "%s.%ld", path, (long)getpid());
    digest_print(sum, text);
    FILE *f = fopen(partial, "w");
    if (!f) return;
    bool written = fprintf(f, "%s\n", text) > 0;
    if (fclose(f) != 0 || !written || rename(partial, path) != 0) unlink(partial);
}
