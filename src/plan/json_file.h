/* json_file.h: JSON that people write, with the line where it is wrong. */
#ifndef PLAN_JSON_FILE_H
#define PLAN_JSON_FILE_H

#include <cjson/cJSON.h>
#include <stddef.h>

#include "base/error.h"

/* `text` need not end in NUL. *out is the caller's, for cJSON_Delete. GPTOSS_BAD_INPUT names the line. */
gptoss_status json_file_parse(const char *text, size_t size, cJSON **out, gptoss_error *err);

#endif
