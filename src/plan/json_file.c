#include "plan/json_file.h"

#include <stdbool.h>

gptoss_status json_file_parse(const char *text, size_t size, cJSON **out, gptoss_error *err) {
    const char *end = text;
    size_t line = 1;
    cJSON *root = cJSON_ParseWithLengthOpts(text, size, &end, false);
    if (root) {
        *out = root;
        return GPTOSS_OK;
    }
    for (const char *c = text; c < end && c < text + size; c++) line += *c == '\n';
    return error_set(err, GPTOSS_BAD_INPUT, "line %zu: this is no JSON", line);
}
