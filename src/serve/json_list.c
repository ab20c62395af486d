#include "serve/json_list.h"

#include <inttypes.h>

gptoss_status json_list_add(json_list *l, cJSON *item, gptoss_error *err) {
    char *text = item ? cJSON_PrintUnformatted(item) : NULL;
    size_t before = l->text.size;
    cJSON_Delete(item);
    if (!text) return error_set(err, GPTOSS_NO_MEMORY, "out of memory for a part of the answer");
    gptoss_status status = buffer_append(&l->text, before ? "," : "[", 1, err);
    if (status == GPTOSS_OK) status = buffer_append_text(&l->text, text, err);
    if (status != GPTOSS_OK) l->text.size = before;
    cJSON_free(text);
    return status;
}

cJSON *json_list_copy(const json_list *l) {
    json_list whole = {0};
    if (json_list_is_empty(l)) return cJSON_CreateArray();
    gptoss_status status = buffer_append(&whole.text, l->text.data, l->text.size, NULL);
    cJSON *copy = status == GPTOSS_OK ? json_list_take(&whole) : NULL;
    json_list_free(&whole);
    return copy;
}

cJSON *json_list_take(json_list *l) {
    if (json_list_is_empty(l)) return cJSON_CreateArray();
    cJSON *whole = buffer_append(&l->text, "]", 1, NULL) == GPTOSS_OK ? cJSON_CreateRaw(l->text.data) : NULL;
    json_list_free(l);
    return whole;
}

void json_list_free(json_list *l) { buffer_free(&l->text); }

gptoss_status json_list_of_numbers(const uint32_t *numbers, size_t count, cJSON **out, gptoss_error *err) {
    json_list l = {0};
    gptoss_status status = GPTOSS_OK;
    for (size_t i = 0; i < count && status == GPTOSS_OK; i++)
        status = buffer_printf(&l.text, err, "%c%" PRIu32, i ? ',' : '[', numbers[i]);
    if (status == GPTOSS_OK && !(*out = json_list_take(&l)))
        status = error_set(err, GPTOSS_NO_MEMORY, "out of memory for a part of the answer");
    json_list_free(&l);
    return status;
}
