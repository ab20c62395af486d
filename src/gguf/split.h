/* split.h: the names of a split GGUF file's parts: NAME-00002-of-00003.gguf. */
#ifndef GGUF_SPLIT_H
#define GGUF_SPLIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

typedef struct split_name {
    size_t stem;     /* bytes of the path before "-00002-of-00003.gguf" */
    uint32_t number; /* 1-based; 1 <= number <= count */
    uint32_t count;
} split_name;

/* False, and *out untouched, when `path` does not end like the name of a part. */
bool split_parse(const char *path, split_name *out);

/* The path of part `number` (1-based) of `count` <= 99999; the caller frees it. `stem` need not end at stem_size. */
gptoss_status split_path(const char *stem, size_t stem_size, uint32_t number, uint32_t count, char **out,
                         gptoss_error *err);

#endif
