/* rate.h: how fast a team goes through weights. */
#ifndef MODEL_RATE_H
#define MODEL_RATE_H

#include "base/team.h"

/* *out: bytes a second of weights multiplied with one token's activations, half of them MXFP4 and half Q8_0, about what
 * a token of gpt-oss reads. Takes about 0.2 s and 96 MB of memory, more than the caches of common processors. */
gptoss_status rate_measure(team *t, double *out, gptoss_error *err);

/* The instruction set that it is measured with: "avx2". */
const char *rate_isa(void);

#endif
