/* options.h: command-line flags, described by a table, parsed strictly. `--name value`, `--name=value`, `--switch`. */
#ifndef CLI_OPTIONS_H
#define CLI_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

enum { OPTION_COUNTS_MAX = 32 }; /* numbers in a list */

typedef enum option_kind {
    OPTION_SWITCH, /* target: bool, set to true */
    OPTION_TEXT,   /* target: const char *, borrowed from argv, or from a file's text */
    OPTION_PATH,   /* the same, for the name of a file or folder: not empty */
    OPTION_COUNT,  /* target: uint64_t within [min, max]; the suffixes K, M, G multiply by powers of 1024 */
    OPTION_COUNTS, /* target: option_counts, from "1,2,4K": each as OPTION_COUNT */
    OPTION_NUMBER, /* target: double within [min, max]; NaN is refused */
    OPTION_LIST    /* target: option_texts; the flag may be given several times */
} option_kind;

typedef struct option_texts {
    const char **items; /* owned array of borrowed texts; free() it */
    size_t count;
} option_texts;

typedef struct option_counts {
    uint64_t items[OPTION_COUNTS_MAX];
    size_t count;
} option_counts;

typedef struct option {
    const char *name; /* without the dashes */
    option_kind kind;
    void *target;      /* keeps its value, the default, when the flag is not given */
    double min, max;   /* for OPTION_COUNT, OPTION_COUNTS and OPTION_NUMBER */
    const char *value; /* what to call the value in the help text: "FILE" */
    const char *help;
} option;

/* Parses argv[1..argc). `positional` (may be NULL when none are allowed) receives what is not a flag; after "--"
 * nothing is a flag. GPTOSS_MISUSE names the flag: unknown (with the nearest known name), value missing, not a number,
 * out of range, switch with a value, given twice. */
gptoss_status options_parse(const option *options, size_t count, int argc, char **argv, option_texts *positional,
                            gptoss_error *err);

/* The same; given[count], all false at first, tells which flags were given. */
gptoss_status options_parse_given(const option *options, size_t count, int argc, char **argv, option_texts *positional,
                                  bool *given, gptoss_error *err);

/* The option with this name of `length` bytes; GPTOSS_MISUSE names the nearest known one. */
gptoss_status options_find(const option *options, size_t count, const char *name, size_t length, const option **out,
                           gptoss_error *err);

/* Gives an option a value, a switch true. GPTOSS_MISUSE: see options_parse. */
gptoss_status option_set(const option *o, const char *text, gptoss_error *err);

/* Prints a line a flag to stdout. */
void options_print_help(const option *options, size_t count);

#endif
