#include "pairs.h"

#include <cjson/cJSON.h>

#include "base/buffer.h"
#include "support.h"

cJSON *read_json(const char *path) {
    buffer text = {0};
    assert_ok(buffer_read_file(&text, path, 64 << 20, err));
    cJSON *json = cJSON_ParseWithLength(text.data, text.size);
    assert_non_null(json);
    buffer_free(&text);
    return json;
}

static char *text_of(const cJSON *object, const char *key) {
    const char *text = cJSON_GetStringValue(cJSON_GetObjectItem(object, key));
    assert_non_null(text);
    return strdup(text);
}

void pairs_load(pairs *out) {
    cJSON *json = read_json(DEMO_FOLDER "/pairs.json");
    const cJSON *item;
    out->count = 0;
    out->items = calloc((size_t)cJSON_GetArraySize(json), sizeof *out->items);
    cJSON_ArrayForEach(item, json) {
        out->items[out->count++] =
            (pair){text_of(item, "prompt"), text_of(item, "answer"), cJSON_IsTrue(cJSON_GetObjectItem(item, "named"))};
    }
    cJSON_Delete(json);
}

void pairs_free(pairs *p) {
    for (size_t i = 0; i < p->count; i++) {
        free(p->items[i].prompt);
        free(p->items[i].answer);
    }
    free(p->items);
}
