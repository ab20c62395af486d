/* slice.h: which part of a model one rank holds. */
#ifndef MODEL_SLICE_H
#define MODEL_SLICE_H

#include "model/hparams.h"

/* Ranges are from begin up to, but without, end; equal: nothing. A stage's layers may be split between shards: each
 * then has some of their KV heads and experts, and all of what is left, which is small. */
typedef struct slice {
    uint32_t layer_begin, layer_end;
    uint32_t kv_head_begin, kv_head_end;     /* of each of these layers, with the query heads that share them */
    uint32_t expert_begin, expert_end;       /* of each of these layers */
    uint32_t embedding_begin, embedding_end; /* rows of token_embd: tokens that it can embed */
    uint32_t output_begin, output_end;       /* rows of output: tokens whose logits it computes */
    bool last;                               /* its layers end the model */
    bool expert_0_only; /* the fallback for small memories: expert 0 is used for every token, and no other one */
} slice;

/* The first n_layers layers as a model of their own: all of layers [begin, end), the embedding with the first of them,
 * the output with the last. */
slice slice_of_layers(const hparams *hp, uint32_t begin, uint32_t end, uint32_t n_layers, bool expert_0_only);

#endif
