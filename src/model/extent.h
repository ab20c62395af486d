/* extent.h: how much of a model a file holds: all of it, or what a slice file says of itself.
 *
 * A slice file is a valid GGUF with the metadata of the whole model (the tokenizer only where the embedding is) and
 * some of its tensors; of expert banks it may hold a range of the experts. It is told by these keys:
 *
 *   gptoss-dist.slice.version       u32       1
 *   gptoss-dist.slice.layers        u32[2]    the first layer and the one behind the last
 *   gptoss-dist.slice.experts       u32[2]    the same of experts
 *   gptoss-dist.slice.embedding     bool      with token_embd and the tokenizer, as the first rank needs
 *   gptoss-dist.slice.output        bool      with output_norm and output, as the last rank needs
 *   gptoss-dist.slice.vocabulary    u32       rows of token_embd, which may be elsewhere
 *   gptoss-dist.slice.source        u64       gguf_fingerprint of the whole file
 *   gptoss-dist.slice.layer_bytes   u64[]     of each layer of the model: its tensors without the experts'
 *   gptoss-dist.slice.expert_bytes  u64[]     of each layer of the model: one of its experts
 *   gptoss-dist.slice.outer_bytes   u64[2]    of the embedding, of the output */
#ifndef MODEL_EXTENT_H
#define MODEL_EXTENT_H

#include "model/hparams.h"

#define SLICE_KEYS "gptoss-dist.slice."
enum { SLICE_VERSION = 1 };

typedef struct extent {
    uint32_t layer_begin, layer_end;
    uint32_t expert_begin, expert_end;
    bool embedding, output;
    bool is_slice;
    uint64_t source; /* gguf_fingerprint of the whole model's file; slices of one file have the same */
} extent;

/* GPTOSS_BAD_INPUT when a slice's keys are missing or contradict the model. */
gptoss_status extent_read(const gguf_file *file, const hparams *hp, extent *out, gptoss_error *err);

/* "layers 8 to 15 of 24, experts 0 to 3 of 32, with the output" into text[size]. */
void extent_describe(const extent *e, const hparams *hp, char *text, size_t size);

/* Bytes of a whole model, whether or not they are in the file at hand. */
typedef struct model_sizes {
    uint64_t embedding, output; /* output: with its norm */
    uint64_t *layers, *experts; /* [n_layers], as the keys layer_bytes and expert_bytes; owned */
    uint32_t n_layers, n_experts, n_experts_used;
} model_sizes;

/* Of a file that weights_check accepted. Layers that are neither in the file nor told by it count 0. */
gptoss_status model_sizes_read(const gguf_file *file, const hparams *hp, model_sizes *out, gptoss_error *err);
void model_sizes_free(model_sizes *s); /* and empties it */

/* All that a rank with the layer must hold; of the experts all, or one. */
uint64_t model_sizes_layer(const model_sizes *s, uint32_t layer, bool expert_0_only);
/* What one token makes it read of that. */
uint64_t model_sizes_layer_read(const model_sizes *s, uint32_t layer, bool expert_0_only);

#endif
