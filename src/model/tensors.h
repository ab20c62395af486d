/* tensors.h: the tensors of a gpt-oss model by name, shape and place; each is found in a file and checked here. */
#ifndef MODEL_TENSORS_H
#define MODEL_TENSORS_H

#include "model/extent.h"

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

/* What a rank must have some of to need something of a tensor. */
typedef enum tensor_scope {
    SCOPE_LAYER,     /* its layer, nothing else */
    SCOPE_KV_HEADS,  /* KV heads of its layer */
    SCOPE_EXPERTS,   /* experts of its layer */
    SCOPE_EMBEDDING, /* rows of the embedding */
    SCOPE_OUTPUT     /* rows of the output */
} tensor_scope;
enum { WHOLE = 3 }; /* in place of a dimension */

typedef struct tensor_spec {
    const char *suffix;   /* after "blk.N.", or the whole name */
    const char *old_name; /* what early files called it, or NULL */
    bool is_vector;       /* used as it is, so it must be F32; otherwise any type that has a kernel */
    uint64_t dims[3];     /* as in the file of a whole model: row length first; 1 where unused */
    tensor_scope scope;
    uint32_t split; /* the dimension in which heads, experts or rows follow each other; WHOLE: it is not split */
} tensor_spec;

void tensors_of_layer(const hparams *hp, tensor_spec specs[LAYER_TENSORS]);
void tensors_outside(const hparams *hp, tensor_spec specs[OUTER_TENSORS]);

/* NULL when the file has no such tensor. */
const gguf_tensor *tensors_find(const gguf_file *file, const tensor_spec *spec, int64_t layer);

/* Whether a part of the model has anything of a tensor, its layer being one of the part's. */
bool tensors_needed(const tensor_spec *spec, const extent *what);

/* In a file that holds `held` of the model: presence, shape, and a type that can be computed with. */
gptoss_status tensors_check(const gguf_file *file, const hparams *hp, const tensor_spec *spec, int64_t layer,
                            const extent *held, gptoss_error *err);

/* Whether `what` of a tensor, which lies within `held`, is whole blocks of its type; GPTOSS_MISUSE tells why not. */
gptoss_status tensors_check_cut(const gguf_file *file, const hparams *hp, const tensor_spec *spec, int64_t layer,
                                const extent *held, const extent *what, gptoss_error *err);

/* Bytes of a file: `runs` runs of `bytes` each, each beginning `stride` bytes behind the one before. */
typedef struct tensor_place {
    uint32_t part;
    uint64_t offset, bytes, stride, runs;
    uint64_t dims[4]; /* of the tensor that they are */
} tensor_place;

/* Where `what` of a tensor is in a file that holds `held`; tensors_check_cut accepted it. */
tensor_place tensors_place(const gguf_tensor *tensor, const hparams *hp, const tensor_spec *spec, const extent *held,
                           const extent *what);

/* The fewest KV heads whose part of a row is whole blocks of the tensor's type; 1 when they have rows of their own. */
uint32_t tensors_kv_head_step(const gguf_tensor *tensor, const hparams *hp, const tensor_spec *spec);

#endif
