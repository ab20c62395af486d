/* weights.h: which tensors a rank needs, and those tensors mapped and bound to names once. */
#ifndef MODEL_WEIGHTS_H
#define MODEL_WEIGHTS_H

#include "base/digest.h"
#include "gguf/map.h"
#include "kernels/matmul.h"
#include "model/extent.h"
#include "model/slice.h"

/* The same matrix of each of the slice's experts, which lie expert_bytes apart. */
typedef struct expert_bank {
    matrix first;      /* that of expert first_expert; its data is NULL on a slice without experts */
    const float *bias; /* [experts][rows] */
    uint64_t expert_bytes;
    uint32_t first_expert;
} expert_bank;

/* Of an expert that the slice has. The bias is [rows]. */
matrix expert_matrix(const expert_bank *bank, uint32_t expert);
const float *expert_bias(const expert_bank *bank, uint32_t expert);

/* heads are those of the slice: its KV heads, or the query heads that share them. */
typedef struct layer_weights {
    const float *attn_norm; /* [d_model] */
    matrix q, k, v, o;      /* [heads * head_dim][d_model] thrice, [d_model][heads * head_dim] */
    const float *q_bias, *k_bias, *v_bias, *o_bias;
    const float *sinks;         /* [heads] */
    const float *ffn_norm;      /* [d_model] */
    matrix router;              /* [experts][d_model] */
    const float *router_bias;   /* [experts] */
    expert_bank gate, up, down; /* [d_ff][d_model] twice, [d_model][d_ff] */
} layer_weights;

typedef struct weights {
    slice slice;
    layer_weights *layers;    /* [layer_end - layer_begin] */
    matrix embedding;         /* [embedding rows][d_model]; data is NULL on a slice without */
    const float *output_norm; /* [d_model]; NULL on a slice without output rows */
    matrix output;            /* [output rows][d_model] */
    gguf_map *map;            /* owned; all data above points into it */
} weights;

/* Checks the tensors of layers [0, n_layers), embedding and output, as far as the file has them (a slice lacks what it
 * says that it lacks): presence, shapes, types that can be computed with. */
gptoss_status weights_check(const gguf_file *file, const hparams *hp, uint32_t n_layers, gptoss_error *err);

/* Maps and binds one slice of a file that weights_check accepted, and nothing else of it but, in attn_output, columns
 * of heads between those of the slice. GPTOSS_BAD_INPUT tells what the file lacks of it, GPTOSS_MISUSE why there can be
 * no such slice. The file may be closed afterwards. */
gptoss_status weights_open(const gguf_file *file, const hparams *hp, slice what, weights **out, gptoss_error *err);
void weights_close(weights *w); /* NULL is fine */

/* A fingerprint of the norms and of some rows of each matrix of the slice, of experts of the first one: enough to tell
 * a model that was trained further from what it was, and read in a moment. */
gptoss_status weights_sample(const weights *w, const hparams *hp, digest *out, gptoss_error *err);

#endif
