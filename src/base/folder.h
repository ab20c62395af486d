/* folder.h: folders that are made when they are needed. */
#ifndef BASE_FOLDER_H
#define BASE_FOLDER_H

#include "base/error.h"

/* Makes `path` and what is missing above it; one that is there already is fine. GPTOSS_IO names what cannot be made. */
gptoss_status folder_make(const char *path, gptoss_error *err);

#endif
