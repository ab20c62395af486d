/* gptoss.h: what every caller of libgptoss sees: status codes and error text.
 *
 * One polarity for every fallible function: GPTOSS_OK (0) on success, one of the codes below otherwise. Outputs are
 * written only on success. The function that detects a failure describes it in the gptoss_error it was handed; callers
 * pass it on unchanged or put the larger task in front of it.
 */
#ifndef GPTOSS_H
#define GPTOSS_H

#ifdef __cplusplus
extern "C" {
#endif

typedef enum gptoss_status {
    GPTOSS_OK = 0,
    GPTOSS_MISUSE,    /* the caller or the command line asked for something impossible; exit status 2 */
    GPTOSS_BAD_INPUT, /* a file, prompt or message is damaged or of the wrong kind; exit status 2 */
    GPTOSS_NO_MEMORY, /* an allocation or mapping failed */
    GPTOSS_IO,        /* the operating system refused a read, write or map of something valid */
    GPTOSS_PEER,      /* another rank failed or went away */
    GPTOSS_CANCELLED, /* a signal or a client ended the work early */
    GPTOSS_INTERNAL,  /* a broken invariant of this program */
    GPTOSS_BUSY       /* all places are taken for now; the same request may do later */
} gptoss_status;

/* Text for people: what was being done, on what, what is wrong, what to do. One line, UTF-8, NUL-terminated. */
typedef struct gptoss_error {
    gptoss_status status;
    char text[768];
} gptoss_error;

/* The short name of a status ("bad input"); never NULL. */
const char *gptoss_status_name(gptoss_status status);

#ifdef __cplusplus
}
#endif
#endif
