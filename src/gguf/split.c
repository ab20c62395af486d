#include "gguf/split.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"

static const char pattern[] = "-#####-of-#####.gguf"; /* # is a digit */

bool split_parse(const char *path, split_name *out) {
    size_t length = strlen(path), suffix = sizeof pattern - 1;
    if (length <= suffix) return false;
    const char *at = path + length - suffix;
    uint32_t numbers[2] = {0, 0};
    for (size_t i = 0; i < suffix; i++) {
        bool is_digit = at[i] >= '0' && at[i] <= '9';
        if (pattern[i] == '#' ? !is_digit : at[i] != pattern[i]) return false;
        uint32_t *number = &numbers[i > 6]; /* the count begins behind "-#####-" */
        if (is_digit) *number = *number * 10 + (uint32_t)(at[i] - '0');
    }
    if (numbers[0] == 0 || numbers[0] > numbers[1]) return false;
    *out = (split_name){length - suffix, numbers[0], numbers[1]};
    return true;
}

gptoss_status split_path(const char *stem, size_t stem_size, uint32_t number, uint32_t count, char **out,
                         gptoss_error *err) {
    char suffix[48];
    int length = snprintf(suffix, sizeof suffix, "-%05u-of-%05u.gguf", number, count);
    char *path;
    TRY(mem_array(stem_size + (size_t)length + 1, 1, "path of a part", &path, err));
    memcpy(path, stem, stem_size);
    memcpy(path + stem_size, suffix, (size_t)length + 1);
    *out = path;
    return GPTOSS_OK;
}
