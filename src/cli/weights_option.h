/* weights_option.h: --weights auto|local|stream. */
#ifndef CLI_WEIGHTS_OPTION_H
#define CLI_WEIGHTS_OPTION_H

#include "engine/engine.h"

/* text NULL: auto. */
gptoss_status weights_option_read(const char *text, weights_origin *out, gptoss_error *err);

#endif
