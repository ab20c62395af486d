/* link_option.h: --link-model latency=TIME,bandwidth=RATE. */
#ifndef CLI_LINK_OPTION_H
#define CLI_LINK_OPTION_H

#include "cluster/link_model.h"

#define LINK_OPTION_HELP "delay hops: latency=200us,bandwidth=1Gbit, or one of them"

typedef struct link_option {
    const char *text; /* of the flag; NULL: not given */
    link_model model;
} link_option;

/* Reads o->text. */
gptoss_status link_option_read(link_option *o, gptoss_error *err);

/* Collective. Delays messages if the flag was given. */
gptoss_status link_option_apply(const cluster *c, const link_option *o, gptoss_error *err);

#endif
