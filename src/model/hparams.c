#include "model/hparams.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* The architecture's name and its key prefix have changed over time; early files say gptoss, or llama in their keys. */
static const char *const key_prefixes[] = {"gpt-oss", "gptoss", "llama"};

typedef struct reader {
    const gguf_file *file;
    const char *path;
} reader;

static const gguf_value *find(const reader *r, const char *key) {
    for (size_t i = 0; i < sizeof key_prefixes / sizeof *key_prefixes; i++) {
        char full[128];
        snprintf(full, sizeof full, "%s.%s", key_prefixes[i], key);
        const gguf_value *value = gguf_find_value(r->file, full);
        if (value) return value;
    }
    return NULL;
}

static gptoss_status read_count(const reader *r, const char *key, uint64_t min, uint64_t max, uint32_t *out,
                                gptoss_error *err) {
    const gguf_value *value = find(r, key);
    uint64_t n;
    if (!value) return error_set(err, GPTOSS_BAD_INPUT, "%s: metadata gpt-oss.%s is missing", r->path, key);
    if (!gguf_as_u64(value, &n))
        return error_set(err, GPTOSS_BAD_INPUT, "%s: metadata gpt-oss.%s is not a whole number", r->path, key);
    if (n < min || n > max)
        return error_set(err, GPTOSS_BAD_INPUT, "%s: metadata gpt-oss.%s is %llu, expected %llu to %llu", r->path, key,
                         (unsigned long long)n, (unsigned long long)min, (unsigned long long)max);
    *out = (uint32_t)n;
    return GPTOSS_OK;
}

static gptoss_status read_number(const reader *r, const char *key, double fallback, double min, double max, double *out,
                                 gptoss_error *err) {
    const gguf_value *value = find(r, key);
    double n = fallback;
    if (value && !gguf_as_f64(value, &n))
        return error_set(err, GPTOSS_BAD_INPUT, "%s: metadata gpt-oss.%s is not a number", r->path, key);
    if (!(n >= min && n <= max))
        return error_set(err, GPTOSS_BAD_INPUT, "%s: metadata gpt-oss.%s is %g, expected %g to %g", r->path, key, n,
                         min, max);
    *out = n;
    return GPTOSS_OK;
}

static gptoss_status check_architecture(const reader *r, gptoss_error *err) {
    gguf_text name;
    if (!gguf_as_text(gguf_find_value(r->file, "general.architecture"), &name))
        return error_set(err, GPTOSS_BAD_INPUT, "%s: metadata general.architecture is missing; not a model file?",
                         r->path);
    if ((name.size == 7 && memcmp(name.bytes, "gpt-oss", 7) == 0) ||
        (name.size == 6 && memcmp(name.bytes, "gptoss", 6) == 0))
        return GPTOSS_OK;
    return error_set(err, GPTOSS_BAD_INPUT,
                     "%s: this is a model of architecture \"%.*s\"; only gpt-oss models run here", r->path,
                     name.size > 40 ? 40 : (int)name.size, name.bytes);
}

static gptoss_status read_rope(const reader *r, hparams *hp, gptoss_error *err) {
    TRY(read_number(r, "rope.freq_base", 150000, 2, 1e12, &hp->rope_base, err));
    TRY(read_number(r, "rope.scaling.factor", 1, 1, 1e6, &hp->rope_factor, err));
    TRY(read_number(r, "rope.scaling.original_context_length", 4096, 512, 1e9, &hp->rope_original_context, err));
    gguf_text type;
    if (gguf_as_text(find(r, "rope.scaling.type"), &type)) {
        if (type.size == 4 && memcmp(type.bytes, "none", 4) == 0)
            hp->rope_factor = 1;
        else if (!find(r, "rope.scaling.factor") || !find(r, "rope.scaling.original_context_length"))
            return error_set(err, GPTOSS_BAD_INPUT,
                             "%s: the rope is scaled, but metadata gpt-oss.rope.scaling.factor or "
                             "gpt-oss.rope.scaling.original_context_length is missing",
                             r->path);
        else if (!(type.size == 4 && memcmp(type.bytes, "yarn", 4) == 0))
            return error_set(err, GPTOSS_BAD_INPUT,
                             "%s: rope scaling of type \"%.*s\" is not known, only yarn and none", r->path,
                             type.size > 40 ? 40 : (int)type.size, type.bytes);
    }
    const gguf_value *dims = find(r, "rope.dimension_count");
    uint64_t n;
    if (dims && !(gguf_as_u64(dims, &n) && n == hp->head_dim))
        return error_set(err, GPTOSS_BAD_INPUT,
                         "%s: metadata gpt-oss.rope.dimension_count differs from the head size %u", r->path,
                         hp->head_dim);
    return GPTOSS_OK;
}

static gptoss_status read_heads(const reader *r, hparams *hp, gptoss_error *err) {
    TRY(read_count(r, "attention.head_count", 1, 4096, &hp->n_heads, err));
    TRY(read_count(r, "attention.head_count_kv", 1, 4096, &hp->n_kv_heads, err));
    if (find(r, "attention.key_length"))
        TRY(read_count(r, "attention.key_length", 2, 1024, &hp->head_dim, err));
    else
        hp->head_dim = hp->d_model / hp->n_heads;
    if (hp->head_dim < 2 || hp->head_dim % 2)
        return error_set(err, GPTOSS_BAD_INPUT, "%s: the head size %u is not even", r->path, hp->head_dim);
    if (hp->n_heads % hp->n_kv_heads)
        return error_set(err, GPTOSS_BAD_INPUT, "%s: %u heads cannot share %u KV heads evenly", r->path, hp->n_heads,
                         hp->n_kv_heads);
    uint64_t value_length;
    if (gguf_as_u64(find(r, "attention.value_length"), &value_length) && value_length != hp->head_dim)
        return error_set(err, GPTOSS_BAD_INPUT, "%s: keys of %u and values of %llu elements differ; that is no gpt-oss",
                         r->path, hp->head_dim, (unsigned long long)value_length);
    return GPTOSS_OK;
}

/* Rows of the embedding, of which a slice (model/extent.h) only tells when it lacks any of them. */
static gptoss_status read_vocabulary(const reader *r, uint32_t *out, gptoss_error *err) {
    const gguf_tensor *embedding = gguf_find_tensor(r->file, "token_embd.weight");
    uint64_t n;
    if (!gguf_as_u64(gguf_find_value(r->file, "gptoss-dist.slice.vocabulary"), &n)) {
        if (!embedding) return error_set(err, GPTOSS_BAD_INPUT, "%s: tensor token_embd.weight is missing", r->path);
        n = embedding->dims[1];
    }
    if (n < 1 || n > 1 << 24)
        return error_set(err, GPTOSS_BAD_INPUT, "%s: a vocabulary of %llu tokens is impossible", r->path,
                         (unsigned long long)n);
    *out = (uint32_t)n;
    return GPTOSS_OK;
}

gptoss_status hparams_read(const gguf_file *file, hparams *out, gptoss_error *err) {
    reader r = {file, gguf_part_path(file, 0)};
    hparams hp = {0};
    double eps;
    TRY(check_architecture(&r, err));
    TRY(read_count(&r, "block_count", 1, 4096, &hp.n_layers, err));
    TRY(read_count(&r, "embedding_length", 1, 1 << 20, &hp.d_model, err));
    TRY(read_heads(&r, &hp, err));
    TRY(read_count(&r, "expert_count", 1, 4096, &hp.n_experts, err));
    /* More than any model uses: buffers for activations grow with it. */
    uint32_t most_used = hp.n_experts < 64 ? hp.n_experts : 64;
    TRY(read_count(&r, "expert_used_count", 1, most_used, &hp.n_experts_used, err));
    const char *d_ff_key =
        find(&r, "expert_feed_forward_length") ? "expert_feed_forward_length" : "feed_forward_length";
    TRY(read_count(&r, d_ff_key, 1, 1 << 20, &hp.d_ff, err));
    TRY(read_count(&r, "attention.sliding_window", 1, 1 << 30, &hp.window, err));
    TRY(read_count(&r, "context_length", 1, 1 << 30, &hp.context, err));
    TRY(read_number(&r, "attention.layer_norm_rms_epsilon", 1e-5, 0, 1, &eps, err));
    hp.norm_eps = (float)eps;
    TRY(read_rope(&r, &hp, err));

    TRY(read_vocabulary(&r, &hp.n_vocab, err));
    *out = hp;
    return GPTOSS_OK;
}

bool hparams_is_windowed(uint32_t layer) { return layer % 2 == 0; }
