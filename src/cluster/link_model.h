/* link_model.h: links of a network that is not there, to study it on one machine. */
#ifndef CLUSTER_LINK_MODEL_H
#define CLUSTER_LINK_MODEL_H

#include "cluster/cluster.h"

typedef struct link_model {
    double latency;   /* seconds */
    double bandwidth; /* bytes a second, in each direction between each two ranks; 0: no limit */
} link_model;

/* Collective, while no message is under way. From now on all messages between ranks, but not what they agree on
 * together, take as long as the model says, if real ones do not take longer, and link_spent() tells transfers from
 * waiting. A zeroed model delays nothing. GPTOSS_BAD_INPUT: ranks were given different models. */
gptoss_status link_model_use(const cluster *c, const link_model *model, gptoss_error *err);

#endif
