/* hparams.h: the numbers that define a gpt-oss model, read from a file's metadata and checked against its tensors. */
#ifndef MODEL_HPARAMS_H
#define MODEL_HPARAMS_H

#include "gguf/gguf.h"

typedef struct hparams {
    uint32_t n_layers;
    uint32_t d_model; /* width of the residual stream */
    uint32_t n_heads, n_kv_heads, head_dim;
    uint32_t n_experts, n_experts_used;
    uint32_t d_ff;    /* width inside an expert */
    uint32_t window;  /* positions an even layer attends to, the current one included */
    uint32_t context; /* positions the model was made for */
    uint32_t n_vocab;
    float norm_eps;
    double rope_base, rope_factor, rope_original_context;
} hparams;

/* GPTOSS_BAD_INPUT when the file holds no gpt-oss model or a number is missing or impossible. */
gptoss_status hparams_read(const gguf_file *file, hparams *out, gptoss_error *err);

/* Whether a layer attends to the window only: the even ones do. */
bool hparams_is_windowed(uint32_t layer);

#endif
