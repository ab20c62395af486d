/* model_option.h: what `plan` has in common with the commands that run a model: --gguf, --max-kv, --kv-type,
 * --layers and --threads. */
#ifndef CLI_MODEL_OPTION_H
#define CLI_MODEL_OPTION_H

#include "model/kv_cache.h"

enum { LAYERS_OPTION_MAX = 4096, THREADS_OPTION_MAX = 1024 };
#define THREADS_OPTION_HELP "of each rank; by default one per core of its share"

/* GPTOSS_MISUSE: no model is named, by the flag or by the environment. */
gptoss_status model_option_check(const char *gguf, gptoss_error *err);

/* text NULL: *out stays. */
gptoss_status kv_type_option_read(const char *text, kv_type *out, gptoss_error *err);

/* GPTOSS_MISUSE: more than the model was made for. */
gptoss_status max_kv_option_check(uint64_t max_kv, const hparams *hp, gptoss_error *err);

#endif
