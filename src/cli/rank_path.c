#include "cli/rank_path.h"

#include <string.h>

#include "base/buffer.h"

bool rank_path_is_pattern(const char *pattern) { return strstr(pattern, "%r") != NULL; }

gptoss_status rank_path_expand(const char *pattern, int rank, char **out, gptoss_error *err) {
    buffer path = {0};
    gptoss_status status = GPTOSS_OK;
    for (const char *rest = pattern, *mark; status == GPTOSS_OK && rest; rest = mark ? mark + 2 : NULL) {
        mark = strstr(rest, "%r");
        status = buffer_append(&path, rest, mark ? (size_t)(mark - rest) : strlen(rest), err);
        if (status == GPTOSS_OK && mark) status = buffer_printf(&path, err, "%d", rank);
    }
    if (status != GPTOSS_OK)
        buffer_free(&path);
    else
        *out = path.data;
    return status;
}
