/* sse.h: events of a stream (text/event-stream). */
#ifndef SERVE_SSE_H
#define SERVE_SSE_H

#include <cjson/cJSON.h>

#include "base/buffer.h"

/* Appends "data: JSON"; takes `data`, which may be NULL when memory ran out. */
gptoss_status sse_data(cJSON *data, buffer *out, gptoss_error *err);

/* The same after "event: TYPE", TYPE being the "type" of `data`. */
gptoss_status sse_event(cJSON *data, buffer *out, gptoss_error *err);

gptoss_status sse_done(buffer *out, gptoss_error *err);    /* "data: [DONE]" */
gptoss_status sse_comment(buffer *out, gptoss_error *err); /* keeps a silent connection alive */

#endif
