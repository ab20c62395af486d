#include "text/tokens.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

void tokens_free(tokens *list) {
    free(list->ids);
    *list = (tokens){0};
}

gptoss_status tokens_append(tokens *list, const uint32_t *ids, size_t count, gptoss_error *err) {
    if (count > list->capacity - list->count) {
        if (count > SIZE_MAX / 4 - list->count)
            return error_set(err, GPTOSS_NO_MEMORY, "%zu tokens are too many", count);
        size_t capacity = list->capacity ? list->capacity : 64;
        while (capacity - list->count < count) capacity *= 2;
        TRY(mem_resize(&list->ids, capacity, sizeof *list->ids, "token ids", err));
        list->capacity = capacity;
    }
    if (count) memcpy(list->ids + list->count, ids, count * sizeof *ids);
    list->count += count;
    return GPTOSS_OK;
}
