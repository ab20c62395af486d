#include "cli/cache_dir.h"

#include <stdlib.h>

#include "base/buffer.h"

gptoss_status cache_dir_choose(const char *flag, char **out, gptoss_error *err) {
    const char *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    buffer path = {0};
    gptoss_status status = GPTOSS_OK;
    if (flag && flag[0])
        status = buffer_append_text(&path, flag, err);
    else if (cache && cache[0] == '/') /* others are to be ignored, says the XDG specification */
        status = buffer_printf(&path, err, "%s/gptoss-dist", cache);
    else if (home && home[0])
        status = buffer_printf(&path, err, "%s/.cache/gptoss-dist", home);
    if (status == GPTOSS_OK) *out = path.data;
    return status;
}
