/* isa_option.h: --isa NAME and the environment's GPTOSS_ISA. */
#ifndef CLI_ISA_OPTION_H
#define CLI_ISA_OPTION_H

#include "base/error.h"

#define ISA_OPTION_HELP \
    "instructions of the kernels: reference (exact, slow), portable, avx2, avx512, amx, neon; by default each rank's best"

/* Makes this rank's kernels use the instruction set that the flag names or, without a flag (NULL), the environment
 * (NULL or empty: the best one stays). GPTOSS_MISUSE when there is no such one, here or at all. */
gptoss_status isa_option_apply(const char *flag, const char *environment, gptoss_error *err);

#endif
