#include "cli/places.h"

#include <stdlib.h>

#include "cli/cache_dir.h"
#include "cli/rank_path.h"

gptoss_status places_find(const char *gguf, const char *cache, int rank, places *out, gptoss_error *err) {
    *out = (places){0};
    if (gguf) TRY(rank_path_expand(gguf, rank, &out->gguf, err));
    return cache_dir_choose(cache, &out->cache, err);
}

void places_close(places *p) {
    free(p->gguf);
    free(p->cache);
    *p = (places){0};
}
