#include "cli/launcher.h"

#include <stdlib.h>
#include <string.h>

/* This process's number as text, or NULL. */
static const char *rank_text(void) {
    static const char *const names[] = {"OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK"};
    const char *rank = NULL;
    for (size_t i = 0; i < sizeof names / sizeof *names && !rank; i++) rank = getenv(names[i]);
    return rank;
}

bool launcher_started_us(void) { return rank_text() != NULL; }

bool launcher_rank_above_0(void) {
    const char *rank = rank_text();
    return rank && strcmp(rank, "0") != 0;
}
