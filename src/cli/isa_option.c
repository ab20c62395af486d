#include "cli/isa_option.h"

#include <stdio.h>
#include <string.h>

#include "kernels/isa.h"

gptoss_status isa_option_apply(const char *flag, const char *environment, gptoss_error *err) {
    const char *name = flag ? flag : environment, *source = flag ? "--isa" : "GPTOSS_ISA";
    isa wanted;
    if (!name || !name[0]) return GPTOSS_OK;
    if (isa_by_name(name, &wanted) && isa_available(wanted)) {
        isa_use(wanted);
        return GPTOSS_OK;
    }
    char available[80] = "";
    for (int i = 0; i < ISA_COUNT; i++) {
        if (!isa_available((isa)i)) continue;
        size_t used = strlen(available);
        snprintf(available + used, sizeof available - used, "%s%s", used ? ", " : "", isa_name((isa)i));
    }
    return error_set(err, GPTOSS_MISUSE, "%s: there is no instruction set \"%.40s\" on this machine; there are %s",
                     source, name, available);
}
