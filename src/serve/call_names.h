/* call_names.h: which function is called under which id: results of functions say the id of the call alone. */
#ifndef SERVE_CALL_NAMES_H
#define SERVE_CALL_NAMES_H

#include "base/error.h"

typedef struct call_names { /* zero-initialize */
    void *root;             /* of the C library's search tree, whose depth grows with the logarithm of what is in it */
} call_names;

/* Borrows both texts. A later call of the same id takes the place of an earlier one. */
gptoss_status call_names_add(call_names *c, const char *id, const char *name, gptoss_error *err);

const char *call_names_find(const call_names *c, const char *id); /* NULL when there is none */

void call_names_free(call_names *c);

#endif
