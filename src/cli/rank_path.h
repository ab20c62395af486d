/* rank_path.h: file names that differ from rank to rank. */
#ifndef CLI_RANK_PATH_H
#define CLI_RANK_PATH_H

#include <stdbool.h>

#include "base/error.h"

/* `pattern` with each "%r" replaced by the rank; all else stands for itself. The caller frees *out. */
gptoss_status rank_path_expand(const char *pattern, int rank, char **out, gptoss_error *err);

bool rank_path_is_pattern(const char *pattern); /* there is a "%r" in it */

#endif
