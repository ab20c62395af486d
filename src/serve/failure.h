/* failure.h: why a request is not answered, in the shape that OpenAI's API gives errors:
 * {"error": {"message", "type", "param", "code"}}. */
#ifndef SERVE_FAILURE_H
#define SERVE_FAILURE_H

#include "base/error.h"

typedef struct failure {
    gptoss_error error; /* its text is the message */
    int http;           /* 0: what the status of the error stands for */
    char param[160];    /* the field that is wrong, as "messages[2].role"; "" for none */
    const char *code;   /* static, or NULL */
    int retry_after;    /* seconds, for the header Retry-After; 0: none */
} failure;

/* Describes a failure with an HTTP status, and returns the status that goes with it. param and code may be NULL. */
gptoss_status failure_set(failure *f, int http, const char *param, const char *code, const char *format, ...)
    __attribute__((format(printf, 5, 6)));

/* The request's field `param` is wrong: 400. */
gptoss_status failure_field(failure *f, const char *param, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

int failure_http(const failure *f);         /* 400 to 503 */
const char *failure_type(const failure *f); /* "invalid_request_error", ... */

struct cJSON;
struct cJSON *failure_json(const failure *f); /* owned by the caller; NULL when memory runs out */

#endif
