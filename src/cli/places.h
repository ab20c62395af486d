/* places.h: where a rank finds its model and what need not be measured or fetched again. */
#ifndef CLI_PLACES_H
#define CLI_PLACES_H

#include "base/error.h"

typedef struct places {
    char *gguf, *cache; /* owned; cache may be NULL */
} places;

/* gguf: see rank_path_expand; NULL is fine. cache: see cache_dir_choose. *out is to be closed even after a failure. */
gptoss_status places_find(const char *gguf, const char *cache, int rank, places *out, gptoss_error *err);
void places_close(places *p);

#endif
