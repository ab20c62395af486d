/* error.h: filling in a gptoss_error where a failure is detected. */
#ifndef BASE_ERROR_H
#define BASE_ERROR_H

#include <gptoss.h>

/* Writes a formatted description into *err (err may be NULL) and returns `status`, so that a failing function can end
 * with `return error_set(err, GPTOSS_BAD_INPUT, "...", ...)`. Control characters and bytes that are no UTF-8 become
 * '?', as the text may quote hostile files. Longer text is cut at the end of a whole character. The arguments must not
 * point into *err. */
gptoss_status error_set(gptoss_error *err, gptoss_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* As error_set with ": " and the text of `errno_value` appended. */
gptoss_status error_set_errno(gptoss_error *err, gptoss_status status, int errno_value, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* Puts "<formatted>: " in front of the text already in *err and returns its status. */
gptoss_status error_prefix(gptoss_error *err, gptoss_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Returns from the calling function when `call` fails; for places that have nothing to release. */
#define TRY(call)                                       \
    do {                                                \
        gptoss_status try_status = (call);              \
        if (try_status != GPTOSS_OK) return try_status; \
    } while (0)

#endif
