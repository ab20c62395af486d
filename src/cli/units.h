/* units.h: times and rates as people write them. */
#ifndef CLI_UNITS_H
#define CLI_UNITS_H

#include <stddef.h>

#include "base/error.h"

/* One part of a flag's value: NAME=QUANTITY. */
typedef struct units_setting {
    const char *name;
    enum { UNITS_SECONDS, UNITS_BYTES_PER_SECOND } unit;
    double *target; /* keeps its value when the name is not given */
} units_setting;

/* Reads "latency=200us,bandwidth=1Gbit": each name at most once. Times end in ns, us, ms or s, and are at most an hour;
 * rates end in bit, Kbit, Mbit, Gbit (powers of 1000), or B, KB, MB, GB, with or without /s. GPTOSS_MISUSE names `flag`
 * and the part that is wrong. */
gptoss_status units_read_settings(const char *flag, const char *text, const units_setting *settings, size_t count,
                                  gptoss_error *err);

#endif
