/* agreed_options.h: ranks that work together were told the same. */
#ifndef CLI_AGREED_OPTIONS_H
#define CLI_AGREED_OPTIONS_H

#include "base/buffer.h"
#include "cli/options.h"
#include "cluster/cluster.h"

/* Collective, once every rank's options are set. All must have the same command and the same options, but for those
 * that speak of one machine: --gguf, --cache, --config, --threads, --cpu-bind, --isa, and how the files and folders of
 * others are called.
 * GPTOSS_MISUSE names the first that differs, from a rank that has it otherwise than rank 0.
 *
 * A rank that was told no model gets rank 0's name for it, since launchers do not take GPT_OSS_GGUF_PATH to other
 * machines. *model, zeroed, owns that name; buffer_free it, also after a failure. */
gptoss_status agreed_options(const cluster *c, const option *options, size_t count, buffer *model, gptoss_error *err);

#endif
