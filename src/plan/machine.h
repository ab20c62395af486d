/* machine.h: how much memory a process may use here. */
#ifndef PLAN_MACHINE_H
#define PLAN_MACHINE_H

#include <stdint.h>

/* Bytes of memory that this process may use at most: the machine's, or less where its control group (version 1 or 2) or
 * one above it says so. `root`: "" for this system; another folder in tests. */
uint64_t machine_memory(const char *root);

/* What of `memory` a model may take when the operating system shall still breathe. */
uint64_t machine_usable(uint64_t memory);

#endif
