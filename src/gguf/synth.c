#include "gguf/synth.h"

#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cancel.h"
#include "base/mem.h"
#include "base/team.h"
#include "gguf/random_blocks.h"
#include "gguf/synth_vocab.h"
#include "gguf/write.h"

static const synth_shape shapes[] = {
    {"nano", 4, 96, 4, 2, 64, 8, 4, 64, 16, 266, 22},
    {"tiny", 8, 512, 8, 4, 64, 12, 4, 256, 64, 490, 22},
    {"20b", 24, 2880, 64, 8, 64, 32, 4, 2880, 128, 199998, VOCAB_SPECIALS},
    {"120b", 36, 2880, 64, 8, 64, 128, 4, 2880, 128, 199998, VOCAB_SPECIALS},
};

const synth_shape *synth_find_shape(const char *name) {
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++)
        if (strcmp(shapes[i].name, name) == 0) return &shapes[i];
    return NULL;
}

/* --- what is to be written --- */

/* What kind of random weights; few, as most tensors are like those of other layers. */
typedef struct recipe {
    double center, deviation;
    random_blocks blocks;
} recipe;

typedef struct planned_tensor {
    uint64_t seed;
    const random_blocks *blocks; /* in one of the plan's recipes */
    uint64_t bytes;
    size_t piece_bytes; /* what is made and written at a time */
    uint64_t pieces;
} planned_tensor;

typedef struct plan {
    const synth_options *options;
    gguf_writer *writer;
    planned_tensor *tensors;
    size_t count, capacity;
    recipe *recipes[32];
    size_t recipe_count;
} plan;

static void plan_free(plan *p) {
    for (size_t i = 0; i < p->recipe_count; i++) free(p->recipes[i]);
    free(p->tensors);
    gguf_write_free(p->writer);
}

/* The type that quantizers fall back to when the rows are no whole blocks. */
static gguf_type fitting_type(gguf_type type, uint64_t row) {
    if (row % gguf_type_traits(type)->block_elements == 0) return type;
    switch (type) {
    case TYPE_Q4_K: return TYPE_Q5_0;
    case TYPE_Q5_K: return TYPE_Q5_1;
    case TYPE_Q6_K: return TYPE_Q8_0;
    default: return TYPE_IQ4_NL;
    }
}

static uint64_t hash_text(const char *text) { /* FNV-1a */
    uint64_t hash = 0xCBF29CE484222325u;
    for (; *text; text++) hash = (hash ^ (uint8_t)*text) * 0x100000001B3u;
    return hash;
}

static gptoss_status find_recipe(plan *p, gguf_type type, double center, double deviation, const random_blocks **out,
                                 gptoss_error *err) {
    for (size_t i = 0; i < p->recipe_count; i++) {
        const recipe *r = p->recipes[i];
        if (r->blocks.type != type || r->center != center || r->deviation != deviation) continue;
        *out = &r->blocks;
        return GPTOSS_OK;
    }
    if (p->recipe_count == sizeof p->recipes / sizeof p->recipes[0])
        return error_set(err, GPTOSS_INTERNAL, "too many kinds of random weights");
    recipe *r;
    TRY(mem_array(1, sizeof *r, "random weights", &r, err));
    r->center = center;
    r->deviation = deviation;
    random_blocks_init(&r->blocks, type, center, deviation);
    p->recipes[p->recipe_count++] = r;
    *out = &r->blocks;
    return GPTOSS_OK;
}

/* Declares a tensor of random weights. A tensor's bytes follow from its name and the seed alone, so that models that
 * differ in their number of layers agree in those that they have in common. */
static gptoss_status add_tensor(plan *p, const char *name, gguf_type type, double center, double deviation,
                                uint32_t n_dims, const uint64_t *dims, gptoss_error *err) {
    const size_t piece_about = 1 << 20;
    type = fitting_type(type, dims[0]);
    TRY(gguf_write_tensor(p->writer, name, n_dims, dims, type, err));
    size_t block_bytes = gguf_type_traits(type)->block_bytes;
    planned_tensor t = {.seed = random_blocks_mix(p->options->seed) ^ hash_text(name),
                        .bytes = gguf_write_tensor_bytes(p->writer, p->count),
                        .piece_bytes = piece_about / block_bytes * block_bytes};
    t.pieces = (t.bytes + t.piece_bytes - 1) / t.piece_bytes;
    TRY(find_recipe(p, type, center, deviation, &t.blocks, err));
    if (p->count == p->capacity) {
        size_t capacity = p->capacity ? 2 * p->capacity : 64;
        TRY(mem_resize(&p->tensors, capacity, sizeof *p->tensors, "list of tensors", err));
        p->capacity = capacity;
    }
    p->tensors[p->count++] = t;
    return GPTOSS_OK;
}

/* Weights that keep the size of what they multiply: the deviation is 1 / sqrt(row length), times `gain`. */
static gptoss_status add_matrix(plan *p, const char *name, gguf_type type, double gain, uint64_t row, uint64_t rows,
                                uint64_t experts, gptoss_error *err) {
    return add_tensor(p, name, type, 0, gain / sqrt((double)row), experts ? 3 : 2, (uint64_t[]){row, rows, experts},
                      err);
}

static gptoss_status add_vector(plan *p, const char *name, double center, double deviation, uint64_t size,
                                uint64_t experts, gptoss_error *err) {
    return add_tensor(p, name, TYPE_F32, center, deviation, experts ? 2 : 1, (uint64_t[]){size, experts}, err);
}

/* One row of this table a tensor of a layer. */
typedef struct layer_tensor {
    const char *name;
    enum { NORM, BIAS, SINK, ROUTER, ATTENTION, EXPERTS, EXPERTS_BIAS } role;
    uint64_t row, rows; /* a vector has `row` elements */
} layer_tensor;

static gptoss_status add_layer_tensor(plan *p, uint32_t layer, const layer_tensor *t, gptoss_error *err) {
    const synth_options *o = p->options;
    char name[64];
    snprintf(name, sizeof name, "blk.%u.%s", layer, t->name);
    switch (t->role) {
    case NORM: return add_vector(p, name, 1, 0.1, t->row, 0, err);
    case BIAS: return add_vector(p, name, 0, 0.1, t->row, 0, err);
    case SINK: return add_vector(p, name, 0, 1, t->row, 0, err);
    case EXPERTS_BIAS: return add_vector(p, name, 0, 0.1, t->row, o->shape.experts, err);
    case ROUTER: return add_matrix(p, name, TYPE_F32, 1, t->row, t->rows, 0, err);
    case ATTENTION: return add_matrix(p, name, o->type_attn, 1, t->row, t->rows, 0, err);
    case EXPERTS: return add_matrix(p, name, o->type_experts, 1, t->row, t->rows, o->shape.experts, err);
    }
    return error_set(err, GPTOSS_INTERNAL, "tensor %s has no role", name);
}

static gptoss_status add_layer(plan *p, uint32_t layer, gptoss_error *err) {
    const synth_shape *s = &p->options->shape;
    uint64_t hidden = s->hidden, q = (uint64_t)s->heads * s->head_size, kv = (uint64_t)s->kv_heads * s->head_size;
    const layer_tensor tensors[] = {
        {"attn_norm.weight", NORM, hidden, 0},
        {"attn_q.weight", ATTENTION, hidden, q},
        {"attn_q.bias", BIAS, q, 0},
        {"attn_k.weight", ATTENTION, hidden, kv},
        {"attn_k.bias", BIAS, kv, 0},
        {"attn_v.weight", ATTENTION, hidden, kv},
        {"attn_v.bias", BIAS, kv, 0},
        {"attn_sinks.weight", SINK, s->heads, 0},
        {"attn_output.weight", ATTENTION, q, hidden},
        {"attn_output.bias", BIAS, hidden, 0},
        {"post_attention_norm.weight", NORM, hidden, 0},
        {"ffn_gate_inp.weight", ROUTER, hidden, s->experts},
        {"ffn_gate_inp.bias", BIAS, s->experts, 0},
        {"ffn_gate_exps.weight", EXPERTS, hidden, s->feed_forward},
        {"ffn_gate_exps.bias", EXPERTS_BIAS, s->feed_forward, 0},
        {"ffn_up_exps.weight", EXPERTS, hidden, s->feed_forward},
        {"ffn_up_exps.bias", EXPERTS_BIAS, s->feed_forward, 0},
        {"ffn_down_exps.weight", EXPERTS, s->feed_forward, hidden},
        {"ffn_down_exps.bias", EXPERTS_BIAS, hidden, 0},
    };
    for (size_t i = 0; i < sizeof tensors / sizeof tensors[0]; i++) TRY(add_layer_tensor(p, layer, &tensors[i], err));
    return GPTOSS_OK;
}

static gptoss_status add_tensors(plan *p, uint64_t tokens, gptoss_error *err) {
    const synth_options *o = p->options;
    uint64_t hidden = o->shape.hidden;
    TRY(add_tensor(p, "token_embd.weight", o->type_attn, 0, 1, 2, (uint64_t[]){hidden, tokens}, err));
    for (uint32_t layer = 0; layer < o->shape.layers; layer++) TRY(add_layer(p, layer, err));
    TRY(add_vector(p, "output_norm.weight", 1, 0.1, hidden, 0, err));
    return add_matrix(p, "output.weight", o->type_attn, 3, hidden, tokens, 0, err);
}

/* --- metadata --- */

/* llama.cpp's number for "mostly of this type". */
static uint32_t file_type(gguf_type experts) {
    static const struct {
        gguf_type type;
        uint32_t number;
    } known[] = {{TYPE_F32, 0},     {TYPE_F16, 1},     {TYPE_Q4_0, 2},  {TYPE_Q4_1, 3},
                 {TYPE_Q8_0, 7},    {TYPE_Q5_0, 8},    {TYPE_Q5_1, 9},  {TYPE_Q2_K, 10},
                 {TYPE_Q3_K, 12},   {TYPE_Q4_K, 15},   {TYPE_Q5_K, 17}, {TYPE_Q6_K, 18},
                 {TYPE_IQ4_NL, 25}, {TYPE_IQ4_XS, 30}, {TYPE_BF16, 32}, {TYPE_MXFP4, 38}};
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (known[i].type == experts) return known[i].number;
    return 38;
}

static gptoss_status add_hyper_parameters(gguf_writer *w, const synth_options *o, gptoss_error *err) {
    const synth_shape *s = &o->shape;
    char name[64];
    snprintf(name, sizeof name, "gpt-oss-%s with random weights", s->name);
    TRY(gguf_write_text(w, "general.architecture", "gpt-oss", err));
    TRY(gguf_write_text(w, "general.type", "model", err));
    TRY(gguf_write_text(w, "general.name", name, err));
    TRY(gguf_write_text(w, "general.size_label", s->name, err));
    TRY(gguf_write_u32(w, "gpt-oss.block_count", s->layers, err));
    TRY(gguf_write_u32(w, "gpt-oss.context_length", 131072, err));
    TRY(gguf_write_u32(w, "gpt-oss.embedding_length", s->hidden, err));
    TRY(gguf_write_u32(w, "gpt-oss.feed_forward_length", s->feed_forward, err));
    TRY(gguf_write_u32(w, "gpt-oss.attention.head_count", s->heads, err));
    TRY(gguf_write_u32(w, "gpt-oss.attention.head_count_kv", s->kv_heads, err));
    TRY(gguf_write_f32(w, "gpt-oss.rope.freq_base", 150000, err));
    TRY(gguf_write_f32(w, "gpt-oss.attention.layer_norm_rms_epsilon", 1e-5f, err));
    TRY(gguf_write_u32(w, "gpt-oss.expert_count", s->experts, err));
    TRY(gguf_write_u32(w, "gpt-oss.expert_used_count", s->experts_used, err));
    TRY(gguf_write_u32(w, "gpt-oss.attention.key_length", s->head_size, err));
    TRY(gguf_write_u32(w, "gpt-oss.attention.value_length", s->head_size, err));
    TRY(gguf_write_u32(w, "general.file_type", file_type(o->type_experts), err));
    TRY(gguf_write_u32(w, "gpt-oss.attention.sliding_window", s->window, err));
    TRY(gguf_write_u32(w, "gpt-oss.expert_feed_forward_length", s->feed_forward, err));
    TRY(gguf_write_text(w, "gpt-oss.rope.scaling.type", "yarn", err));
    TRY(gguf_write_f32(w, "gpt-oss.rope.scaling.factor", 32, err));
    TRY(gguf_write_u32(w, "gpt-oss.rope.scaling.original_context_length", 4096, err));
    return gguf_write_u32(w, "general.quantization_version", 2, err);
}

static gptoss_status add_texts(gguf_writer *w, const char *key, const vocab_texts *texts, gptoss_error *err) {
    gguf_text *list;
    TRY(mem_array(texts->count, sizeof *list, key, &list, err));
    for (size_t i = 0; i < texts->count; i++) list[i] = vocab_text(texts, i);
    gptoss_status status = gguf_write_texts(w, key, list, texts->count, err);
    free(list);
    return status;
}

static gptoss_status add_token_id(gguf_writer *w, const char *key, const vocab *v, const char *name,
                                  gptoss_error *err) {
    for (size_t i = v->tokens.count; i-- > 0;) {
        gguf_text token = vocab_text(&v->tokens, i);
        if (token.size == strlen(name) && memcmp(token.bytes, name, token.size) == 0)
            return gguf_write_u32(w, key, (uint32_t)i, err);
    }
    return error_set(err, GPTOSS_BAD_INPUT, "the vocabulary has no token %s", name);
}

static gptoss_status add_vocabulary(gguf_writer *w, const vocab *v, gptoss_error *err) {
    TRY(gguf_write_text(w, "tokenizer.ggml.model", "gpt2", err));
    TRY(gguf_write_text(w, "tokenizer.ggml.pre", "gpt-4o", err));
    TRY(add_texts(w, "tokenizer.ggml.tokens", &v->tokens, err));
    TRY(gguf_write_numbers(w, "tokenizer.ggml.token_type", GGUF_I32, v->types, v->tokens.count, err));
    TRY(add_texts(w, "tokenizer.ggml.merges", &v->merges, err));
    TRY(add_token_id(w, "tokenizer.ggml.bos_token_id", v, "<|startoftext|>", err));
    TRY(add_token_id(w, "tokenizer.ggml.eos_token_id", v, "<|return|>", err));
    return add_token_id(w, "tokenizer.ggml.padding_token_id", v, "<|endoftext|>", err);
}

/* --- writing --- */

/* The threads take pieces in turn, all tensors' pieces counted through. */
typedef struct job {
    const plan *plan;
    uint64_t total;
    atomic_uint_fast64_t done; /* bytes */
    pthread_mutex_t lock;      /* of what follows */
    size_t tensor;
    uint64_t piece;
    gptoss_status status; /* the first failure ends the work of all */
    gptoss_error error;
} job;

static bool take_piece(job *j, size_t *tensor, uint64_t *piece) {
    pthread_mutex_lock(&j->lock);
    const plan *p = j->plan;
    if (j->tensor < p->count && j->piece == p->tensors[j->tensor].pieces) {
        j->tensor++;
        j->piece = 0;
    }
    if (j->status == GPTOSS_OK && cancel_requested())
        j->status = error_set(&j->error, GPTOSS_CANCELLED, "cancelled; nothing is left behind");
    bool is_more = j->status == GPTOSS_OK && j->tensor < p->count;
    if (is_more) {
        *tensor = j->tensor;
        *piece = j->piece++;
    }
    pthread_mutex_unlock(&j->lock);
    return is_more;
}

static void fail(job *j, gptoss_status status, const gptoss_error *error) {
    pthread_mutex_lock(&j->lock);
    if (j->status == GPTOSS_OK) {
        j->status = status;
        j->error = *error;
    }
    pthread_mutex_unlock(&j->lock);
}

static void make_pieces(void *context, int worker, int workers) {
    (void)workers;
    job *j = context;
    const synth_options *o = j->plan->options;
    gptoss_error error = {0};
    uint8_t *bytes;
    gptoss_status status = mem_array_aligned(1 << 20, 1, "tensor data", &bytes, &error);
    if (status != GPTOSS_OK) {
        fail(j, status, &error);
        return;
    }
    size_t tensor;
    uint64_t piece;
    while (take_piece(j, &tensor, &piece)) {
        const planned_tensor *t = &j->plan->tensors[tensor];
        uint64_t offset = piece * t->piece_bytes, left = t->bytes - offset;
        size_t size = left < t->piece_bytes ? (size_t)left : t->piece_bytes;
        random_blocks_fill(t->blocks, random_blocks_mix(t->seed + piece), bytes, size);
        status = gguf_write_data(j->plan->writer, tensor, offset, bytes, size, &error);
        if (status != GPTOSS_OK) fail(j, status, &error);
        uint64_t done = atomic_fetch_add(&j->done, size) + size;
        if (worker == 0 && o->progress) o->progress(o->progress_context, done, j->total);
    }
    free(bytes);
}

static gptoss_status write_tensors(const plan *p, gptoss_error *err) {
    job j = {.plan = p, .total = gguf_write_total_bytes(p->writer)};
    team *t;
    TRY(team_open(p->options->threads, &t, err));
    pthread_mutex_init(&j.lock, NULL);
    team_run(t, make_pieces, &j);
    pthread_mutex_destroy(&j.lock);
    team_close(t);
    if (j.status != GPTOSS_OK && err) *err = j.error;
    return j.status;
}

static gptoss_status write_model(plan *p, const char *path, const vocab *v, synth_report *out, gptoss_error *err) {
    const synth_options *o = p->options;
    TRY(gguf_write_new(&p->writer, err));
    TRY(add_hyper_parameters(p->writer, o, err));
    TRY(add_vocabulary(p->writer, v, err));
    TRY(add_tensors(p, v->tokens.count, err));
    TRY(gguf_write_open(p->writer, path, (gguf_write_options){.split_bytes = o->split_bytes, .replace = o->replace},
                        err));
    TRY(write_tensors(p, err));
    TRY(gguf_write_close(p->writer, err));
    *out = (synth_report){p->count, gguf_write_total_bytes(p->writer), gguf_write_part_count(p->writer)};
    return GPTOSS_OK;
}

gptoss_status synth_write(const char *path, const synth_options *options, synth_report *out, gptoss_error *err) {
    const synth_shape *s = &options->shape;
    if (s->layers < 1 || s->layers > 4096)
        return error_set(err, GPTOSS_MISUSE, "%u layers; 1 to 4096 are possible", s->layers);
    const gguf_type types[] = {options->type_attn, options->type_experts};
    for (int i = 0; i < 2; i++) {
        const type_traits *traits = gguf_type_traits(types[i]);
        if (!random_blocks_supports(types[i]))
            return error_set(err, GPTOSS_MISUSE, "random weights of type %s cannot be made",
                             traits ? traits->name : "(unknown)");
    }
    vocab made_up = {0};
    if (!options->vocabulary) TRY(synth_vocab(s->ordinary_tokens, s->special_tokens, &made_up, err));
    plan p = {.options = options};
    gptoss_status status = write_model(&p, path, options->vocabulary ? options->vocabulary : &made_up, out, err);
    plan_free(&p);
    vocab_free(&made_up);
    return status;
}
