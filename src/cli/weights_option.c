#include "cli/weights_option.h"

#include <string.h>

static const char *const names[] = {[WEIGHTS_AUTO] = "auto", [WEIGHTS_LOCAL] = "local", [WEIGHTS_STREAM] = "stream"};

gptoss_status weights_option_read(const char *text, weights_origin *out, gptoss_error *err) {
    for (weights_origin i = WEIGHTS_AUTO; i <= WEIGHTS_STREAM; i++) {
        if (text && strcmp(text, names[i]) != 0) continue;
        *out = i;
        return GPTOSS_OK;
    }
    return error_set(err, GPTOSS_MISUSE, "--weights is auto, local or stream, not \"%.40s\"", text);
}
