/* validator.h: JSON Schema as plainly as can be, to check what the real thing lets through. */
#ifndef TESTS_TEXT_VALIDATOR_H
#define TESTS_TEXT_VALIDATOR_H

#include <cjson/cJSON.h>
#include <stdbool.h>

/* Whether `value` satisfies `schema`, which is in `root`. */
bool validator_accepts(const cJSON *root, const cJSON *schema, const cJSON *value);

/* Whether a whole text matches a regular expression somewhere, by PCRE2. */
bool validator_matches(const char *pattern, const char *text);

#endif
