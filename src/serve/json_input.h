/* json_input.h: request bodies: JSON from strangers, read strictly, and its fields by name and type.
 *
 * `path` is where an object stands, for error messages: "" for the body, "messages[2]" for a part of it. A field that
 * is missing or null leaves *out as it was. A field of the wrong type or out of range is a failure that names it. */
#ifndef SERVE_JSON_INPUT_H
#define SERVE_JSON_INPUT_H

#include <stdbool.h>
#include <stdint.h>

#include <cjson/cJSON.h>

#include "base/buffer.h"
#include "serve/failure.h"

enum {
    JSON_INPUT_DEPTH = 64,      /* objects and arrays within each other */
    JSON_INPUT_VALUES = 1 << 19 /* of all kinds: as a tree they take 42 MB */
};

/* The object that a body holds. It must be valid UTF-8 and JSON with nothing behind it, no deeper than
 * JSON_INPUT_DEPTH, of no more than JSON_INPUT_VALUES values, and without infinite numbers, "\u0000" and names given
 * twice in an object of up to 64 fields. *out is the caller's to delete. */
gptoss_status json_input_parse(const buffer *body, cJSON **out, failure *why);

/* "path.name", or "name" where path is "". */
typedef struct json_path {
    char text[160];
} json_path;
json_path json_path_field(const char *path, const char *name);
json_path json_path_item(const char *path, size_t index);

/* The field, or NULL when it is missing or null. */
const cJSON *json_input_get(const cJSON *object, const char *name);

gptoss_status json_input_bool(const cJSON *object, const char *path, const char *name, bool *out, failure *why);
gptoss_status json_input_number(const cJSON *object, const char *path, const char *name, double low, double high,
                                double *out, failure *why);
/* A whole number; low and high are exact in a double. */
gptoss_status json_input_integer(const cJSON *object, const char *path, const char *name, int64_t low, int64_t high,
                                 int64_t *out, failure *why);
/* Borrowed from the object. */
gptoss_status json_input_string(const cJSON *object, const char *path, const char *name, const char **out,
                                failure *why);
gptoss_status json_input_object(const cJSON *object, const char *path, const char *name, const cJSON **out,
                                failure *why);
gptoss_status json_input_array(const cJSON *object, const char *path, const char *name, const cJSON **out,
                               failure *why);

#endif
