/* synth.h: gpt-oss model files with random weights: the names, shapes, types and metadata of real ones, for tests and
 * for trying out machines before a large download. */
#ifndef GGUF_SYNTH_H
#define GGUF_SYNTH_H

#include "gguf/vocab.h"

/* The numbers that make up a model; names as in the metadata of GGUF files. */
typedef struct synth_shape {
    const char *name;
    uint32_t layers, hidden, heads, kv_heads, head_size, experts, experts_used, feed_forward, window;
    uint32_t ordinary_tokens, special_tokens;
} synth_shape;

/* By name: nano (that of the golden test models), tiny (rows long enough for every type), 20b, 120b; NULL otherwise. */
const synth_shape *synth_find_shape(const char *name);

typedef struct synth_options {
    synth_shape shape;       /* a found one; `layers` may be changed to any number from 1 to 4096 */
    gguf_type type_attn;     /* of attention, embedding and output matrices */
    gguf_type type_experts;  /* where rows are no whole blocks of a type, the type that real files then have */
    uint64_t seed;           /* equal options and seed give equal bytes; more layers leave the first ones as they are */
    const vocab *vocabulary; /* NULL for a made-up one */
    uint64_t split_bytes;    /* as in gguf_write_options */
    bool replace;            /* existing files */
    int threads;             /* >= 1 */
    void (*progress)(void *context, uint64_t done, uint64_t total); /* bytes; may be NULL; called by this thread */
    void *progress_context;
} synth_options;

typedef struct synth_report {
    size_t tensors;
    uint64_t bytes; /* of all tensors */
    uint32_t parts;
} synth_report;

/* Writes the file or its parts (see write.h for their names and for what happens to unfinished ones). Weights are
 * scaled so that activations stay of the order of 1 to 10 and logits of the order of 3. */
gptoss_status synth_write(const char *path, const synth_options *options, synth_report *out, gptoss_error *err);

#endif
