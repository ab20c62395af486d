/* folder.h: folders that are made when they are needed. */
#ifndef BASE_FOLDER_H
#define BASE_FOLDER_H

#include <stdbool.h>

#include "base/error.h"

/* Makes `path` and what is missing above it; one that is there already is fine. GPTOSS_IO names what cannot be made. */
gptoss_status folder_make(const char *path, gptoss_error *err);

/* Whether `path` still names the open file fd. One that was opened to be written, and then locked, may meanwhile have
 * been finished and renamed by the process that held the lock. */
bool folder_still_has(int fd, const char *path);

#endif
