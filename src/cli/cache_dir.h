/* cache_dir.h: the folder for what need not be measured or fetched again. */
#ifndef CLI_CACHE_DIR_H
#define CLI_CACHE_DIR_H

#include "base/error.h"

/* `flag` if it is given, else gptoss-dist in $XDG_CACHE_HOME or in $HOME/.cache; NULL where none of these is set. The
 * folder need not exist. The caller frees *out. */
gptoss_status cache_dir_choose(const char *flag, char **out, gptoss_error *err);

#endif
