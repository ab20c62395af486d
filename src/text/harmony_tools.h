/* harmony_tools.h: functions and JSON Schemas in the TypeScript-like form that gpt-oss models were trained on. */
#ifndef TEXT_HARMONY_TOOLS_H
#define TEXT_HARMONY_TOOLS_H

#include "base/buffer.h"
#include "text/harmony.h"

/* The sections of the system message that describe the built-in tools, each followed by an empty line. Models were
 * trained on exactly these texts. */
extern const char harmony_tools_browser[], harmony_tools_python[];

/* Appends "# Tools", the namespace "functions" and a type for each function. */
gptoss_status harmony_tools_write(const harmony_function *functions, size_t count, buffer *out, gptoss_error *err);

/* Appends `value` as compact JSON. */
gptoss_status harmony_tools_write_json(const struct cJSON *value, buffer *out, gptoss_error *err);

/* Appends a text of one or more lines, each made a comment. */
gptoss_status harmony_tools_write_comment(const char *text, const char *indent, buffer *out, gptoss_error *err);

#endif
