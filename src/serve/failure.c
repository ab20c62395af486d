#include "serve/failure.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cjson/cJSON.h>

#include "base/utf8.h"

static gptoss_status describe(failure *f, int http, const char *param, const char *code, const char *format,
                              va_list arguments) {
    char text[sizeof f->error.text], clean[sizeof f->param];
    vsnprintf(text, sizeof text, format, arguments);
    snprintf(clean, sizeof clean, "%s", param ? param : "");
    size_t size = strlen(clean);
    while (!utf8_valid(clean, size)) clean[--size] = '\0'; /* the cut went through a character */
    *f = (failure){.http = http, .code = code};
    memcpy(f->param, clean, sizeof clean);
    gptoss_status status = http == 429 || http == 503 ? GPTOSS_BUSY : http >= 500 ? GPTOSS_INTERNAL : GPTOSS_BAD_INPUT;
    return error_set(&f->error, status, "%s", text);
}

gptoss_status failure_set(failure *f, int http, const char *param, const char *code, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    gptoss_status status = describe(f, http, param, code, format, arguments);
    va_end(arguments);
    return status;
}

gptoss_status failure_field(failure *f, const char *param, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    gptoss_status status = describe(f, 400, param, "invalid_value", format, arguments);
    va_end(arguments);
    return status;
}

int failure_http(const failure *f) {
    if (f->http) return f->http;
    switch (f->error.status) {
    case GPTOSS_MISUSE:
    case GPTOSS_BAD_INPUT: return 400;
    case GPTOSS_BUSY: return 429;
    case GPTOSS_NO_MEMORY:
    case GPTOSS_PEER:
    case GPTOSS_CANCELLED: return 503;
    default: return 500;
    }
}

const char *failure_type(const failure *f) {
    int http = failure_http(f);
    if (http == 401) return "authentication_error";
    if (http == 429) return "rate_limit_error";
    return http < 500 ? "invalid_request_error" : "server_error";
}

cJSON *failure_json(const failure *f) {
    cJSON *whole = cJSON_CreateObject(), *error = cJSON_AddObjectToObject(whole, "error");
    cJSON_AddStringToObject(error, "message", f->error.text);
    cJSON_AddStringToObject(error, "type", failure_type(f));
    cJSON_AddItemToObject(error, "param", f->param[0] ? cJSON_CreateString(f->param) : cJSON_CreateNull());
    cJSON_AddItemToObject(error, "code", f->code ? cJSON_CreateString(f->code) : cJSON_CreateNull());
    return whole;
}
