/* bandwidth.h: how fast memory can be read: the ceiling of all work that reads each byte once. */
#ifndef BASE_BANDWIDTH_H
#define BASE_BANDWIDTH_H

#include <stddef.h>

#include "base/team.h"

typedef struct bandwidth_run {
    const void *data;
    size_t bytes;
} bandwidth_run;

/* Reads all runs once, each divided between the members of the team, and returns the bytes read a second. */
double bandwidth_read(team *t, const bandwidth_run *runs, size_t count);

#endif
