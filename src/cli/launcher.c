#include "cli/launcher.h"

#include <stdlib.h>
#include <string.h>

/* The first of names[n] that is set, or NULL. */
static const char *first_of(const char *const *names, size_t n) {
    const char *text = NULL;
    for (size_t i = 0; i < n && !text; i++) text = getenv(names[i]);
    return text;
}

bool launcher_started_us(void) {
    static const char *const names[] = {"OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK"};
    return first_of(names, sizeof names / sizeof *names) != NULL;
}

bool launcher_started_only_us(void) {
    static const char *const names[] = {"OMPI_COMM_WORLD_SIZE", "PMI_SIZE"};
    const char *size = first_of(names, sizeof names / sizeof *names);
    return size && strcmp(size, "1") == 0;
}
