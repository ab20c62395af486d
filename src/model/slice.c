#include "model/slice.h"

slice slice_of_layers(const hparams *hp, uint32_t begin, uint32_t end, uint32_t n_layers, bool expert_0_only) {
    bool last = end == n_layers;
    return (slice){.layer_begin = begin,
                   .layer_end = end,
                   .kv_head_end = hp->n_kv_heads,
                   .expert_end = expert_0_only ? 1 : hp->n_experts,
                   .embedding_end = begin == 0 ? hp->n_vocab : 0,
                   .output_end = last ? hp->n_vocab : 0,
                   .last = last,
                   .expert_0_only = expert_0_only};
}
