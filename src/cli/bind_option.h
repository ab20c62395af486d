/* bind_option.h: --cpu-bind core|numa|none. */
#ifndef CLI_BIND_OPTION_H
#define CLI_BIND_OPTION_H

#include "plan/topology.h"

/* text NULL: core. */
gptoss_status bind_option_read(const char *text, topology_bind *out, gptoss_error *err);

const char *bind_option_name(topology_bind bind); /* "core", "numa", "none" */

#endif
