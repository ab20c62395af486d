/* extent.h: how much of a model a file holds: all of it, or what a slice file says of itself.
 *
 * A slice file is a valid GGUF with the metadata of the whole model (the tokenizer only where the embedding begins) and
 * some of its tensors: of those that are split between ranks, what belongs to some KV heads, experts or rows. Keys that
 * begin with gptoss-dist.slice. tell of it; ranges are the first and the one behind the last:
 *
 *   version         u32     2
 *   layers          u32[2]
 *   kv_heads        u32[2]  their rows of attn_q, attn_k and attn_v, biases, sinks, and columns of attn_output
 *   experts         u32[2]  may be none
 *   embedding_rows  u32[2]  may be none; the tokenizer comes with row 0
 *   output_rows     u32[2]  may be none; output_norm comes with any
 *   vocabulary      u32     rows of a whole token_embd
 *   source          u64     gguf_fingerprint of the whole file
 *   layer_bytes     u64[]   of each layer of the model: its tensors without the experts'
 *   expert_bytes    u64[]   of each layer of the model: one of its experts
 *   outer_bytes     u64[2]  of the embedding, of the output
 *   kv_head_step    u32     see model_sizes
 *
 * Slices of version 1 hold all KV heads and do not know their step; instead of ranges of rows they have
 *
 *   embedding       bool    with all of token_embd
 *   output          bool    with all of output */
#ifndef MODEL_EXTENT_H
#define MODEL_EXTENT_H

#include "model/slice.h"

#define SLICE_KEYS "gptoss-dist.slice."
enum { SLICE_VERSION = 2 };

/* Ranges as in a slice. */
typedef struct extent {
    uint32_t layer_begin, layer_end;
    uint32_t kv_head_begin, kv_head_end;
    uint32_t expert_begin, expert_end;
    uint32_t embedding_begin, embedding_end;
    uint32_t output_begin, output_end;
    bool is_slice;
    uint64_t source; /* gguf_fingerprint of the whole model's file; slices of one file have the same */
} extent;

extent extent_whole(const hparams *hp);

/* What a file must hold for a rank's slice. */
extent extent_of_slice(const slice *s);

/* Whether a file that holds `held` has all of `needed`. */
bool extent_includes(const extent *held, const extent *needed);

/* GPTOSS_BAD_INPUT when a slice's keys are missing or contradict the model. */
gptoss_status extent_read(const gguf_file *file, const hparams *hp, extent *out, gptoss_error *err);

/* Whether the tokenizer goes with it. */
bool extent_has_tokenizer(const extent *e);

/* "layers 8 to 15 of 24, experts 0 to 3 of 32, the output". */
enum { EXTENT_TEXT = 256 };
void extent_describe(const extent *e, const hparams *hp, char text[EXTENT_TEXT]);

/* Bytes of a whole model, whether or not they are in the file at hand. */
typedef struct model_sizes {
    uint64_t embedding, output; /* output: with its norm */
    uint64_t *layers, *experts; /* [n_layers], as the keys layer_bytes and expert_bytes; owned */
    uint32_t n_layers, n_experts, n_experts_used;
    /* KV heads are cut from each other in multiples of this only, which divides their number: blocks of the model's
     * attn_output may have columns of several. */
    uint32_t kv_head_step;
} model_sizes;

/* Of a file that weights_check accepted. Layers that are neither in the file nor told by it count 0. */
gptoss_status model_sizes_read(const gguf_file *file, const hparams *hp, model_sizes *out, gptoss_error *err);
void model_sizes_free(model_sizes *s); /* and empties it */

/* All that a rank with the layer must hold; of the experts all, or one. */
uint64_t model_sizes_layer(const model_sizes *s, uint32_t layer, bool expert_0_only);
/* What one token makes it read of that. */
uint64_t model_sizes_layer_read(const model_sizes *s, uint32_t layer, bool expert_0_only);

#endif
