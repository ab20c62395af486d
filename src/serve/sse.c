#include "serve/sse.h"

gptoss_status sse_data(cJSON *data, buffer *out, gptoss_error *err) {
    char *text = data ? cJSON_PrintUnformatted(data) : NULL;
    cJSON_Delete(data);
    if (!text) return error_set(err, GPTOSS_NO_MEMORY, "out of memory for a part of the answer");
    gptoss_status status = buffer_printf(out, err, "data: %s\n\n", text);
    cJSON_free(text);
    return status;
}

gptoss_status sse_event(cJSON *data, buffer *out, gptoss_error *err) {
    const char *type = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(data, "type"));
    size_t before = out->size;
    gptoss_status status = buffer_printf(out, err, "event: %s\n", type ? type : "error");
    if (status != GPTOSS_OK) {
        cJSON_Delete(data);
        return status;
    }
    status = sse_data(data, out, err);
    if (status != GPTOSS_OK) out->size = before;
    return status;
}

gptoss_status sse_done(buffer *out, gptoss_error *err) { return buffer_append_text(out, "data: [DONE]\n\n", err); }

gptoss_status sse_comment(buffer *out, gptoss_error *err) {
    return buffer_append_text(out, ": still at work\n\n", err);
}
