#include "serve/call_names.h"

#include <search.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

typedef struct call {
    const char *id, *name;
} call;

static int by_id(const void *a, const void *b) { return strcmp(((const call *)a)->id, ((const call *)b)->id); }

gptoss_status call_names_add(call_names *c, const char *id, const char *name, gptoss_error *err) {
    call *own;
    TRY(mem_array(1, sizeof *own, "a call of a function", &own, err));
    *own = (call){id, name};
    call **at = tsearch(own, &c->root, by_id);
    if (at && *at == own) return GPTOSS_OK;
    free(own);
    if (!at) return error_set(err, GPTOSS_NO_MEMORY, "cannot allocate a call of a function");
    (*at)->name = name;
    return GPTOSS_OK;
}

const char *call_names_find(const call_names *c, const char *id) {
    const call wanted = {id, NULL};
    call *const *at = tfind(&wanted, &c->root, by_id);
    return at ? (*at)->name : NULL;
}

void call_names_free(call_names *c) {
    tdestroy(c->root, free);
    *c = (call_names){0};
}
