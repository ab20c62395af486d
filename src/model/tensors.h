/* tensors.h: the tensors of a gpt-oss model by name, shape and place; each is found in a file and checked here. */
#ifndef MODEL_TENSORS_H
#define MODEL_TENSORS_H

#include "model/hparams.h"

/* The tensors of a layer, and those outside the layers. */
enum {
    ATTN_NORM,
    ATTN_Q,
    ATTN_Q_BIAS,
    ATTN_K,
    ATTN_K_BIAS,
    ATTN_V,
    ATTN_V_BIAS,
    ATTN_SINKS,
    ATTN_OUTPUT,
    ATTN_OUTPUT_BIAS,
    FFN_NORM,
    ROUTER,
    ROUTER_BIAS,
    GATE,
    GATE_BIAS,
    UP,
    UP_BIAS,
    DOWN,
    DOWN_BIAS,
    LAYER_TENSORS
};
enum { EMBEDDING, OUTPUT_NORM, OUTPUT, OUTER_TENSORS };
enum { OUTSIDE_LAYERS = -1 }; /* in place of a layer's number */

typedef struct tensor_spec {
    const char *suffix;   /* after "blk.N.", or the whole name */
    const char *old_name; /* what early files called it, or NULL */
    bool is_vector;       /* used as it is, so it must be F32; otherwise any type that has a kernel */
    uint64_t dims[3];     /* as in the file: row length first; 1 where unused */
    uint32_t expert_dim;  /* the dimension that counts experts, expert 0 first; 0: there is none */
} tensor_spec;

/* In a file whose expert banks hold `held` experts. */
void tensors_of_layer(const hparams *hp, uint32_t held, tensor_spec specs[LAYER_TENSORS]);
void tensors_outside(const hparams *hp, tensor_spec specs[OUTER_TENSORS]);

/* NULL when the file has no such tensor. */
const gguf_tensor *tensors_find(const gguf_file *file, const tensor_spec *spec, int64_t layer);

/* Presence, shape, and a type that can be computed with. */
gptoss_status tensors_check(const gguf_file *file, const tensor_spec *spec, int64_t layer, gptoss_error *err);

#endif
