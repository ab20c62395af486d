/* synth_vocab.h: a vocabulary for models with random weights, made without any file. */
#ifndef GGUF_SYNTH_VOCAB_H
#define GGUF_SYNTH_VOCAB_H

#include "gguf/vocab.h"

/* `ordinary` >= 256 tokens followed by the first `specials` of those of gpt-oss: the 256 bytes, then frequent pieces of
 * English words, then numbered fillers (" n0", " n1" ...) as far as they are needed. The caller frees it. */
gptoss_status synth_vocab(size_t ordinary, size_t specials, vocab *out, gptoss_error *err);

#endif
