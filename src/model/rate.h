/* rate.h: how fast a team goes through weights. */
#ifndef MODEL_RATE_H
#define MODEL_RATE_H

#include "base/team.h"

typedef struct rate_figures {
    double bytes;         /* of weights a second */
    double layer_seconds; /* what a layer takes beside reading: the team's steps, each with a little to compute */
} rate_figures;

/* With one token's activations; of the weights half are MXFP4 and half Q8_0, about what a token of gpt-oss reads. Takes
 * about 0.2 s and 96 MB of memory, more than the caches of common processors. */
gptoss_status rate_measure(team *t, rate_figures *out, gptoss_error *err);

/* The instruction set that it is measured with: "avx2". */
const char *rate_isa(void);

#endif
