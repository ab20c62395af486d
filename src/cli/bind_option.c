#include "cli/bind_option.h"

#include <string.h>

static const char *const names[] = {[BIND_CORE] = "core", [BIND_NUMA] = "numa", [BIND_NONE] = "none"};

gptoss_status bind_option_read(const char *text, topology_bind *out, gptoss_error *err) {
    for (topology_bind i = BIND_CORE; i <= BIND_NONE; i++) {
        if (text && strcmp(text, names[i]) != 0) continue;
        *out = i;
        return GPTOSS_OK;
    }
    return error_set(err, GPTOSS_MISUSE, "--cpu-bind is core, numa or none, not \"%.40s\"", text);
}

const char *bind_option_name(topology_bind bind) { return names[bind]; }
