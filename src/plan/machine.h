/* machine.h: how much of a machine a process may use. */
#ifndef PLAN_MACHINE_H
#define PLAN_MACHINE_H

#include <stdint.h>

/* Bytes of memory that this process may use at most: the machine's, or less where its control group (version 1 or 2) or
 * one above it says so. `root`: "" for this system; another folder in tests. */
uint64_t machine_memory(const char *root);

/* Processors that work may keep busy on the average, rounded up, as control groups limit it; UINT64_MAX: they do not.
 * More threads would be stopped for a part of each period, and all others would wait for them. */
uint64_t machine_processors(const char *root);

/* What of `memory` a model may take when the operating system shall still breathe. */
uint64_t machine_usable(uint64_t memory);

#endif
