#include "model/extent.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "model/tensors.h"

/* So large that sums over all layers and experts that a file may claim stay below 2^63. */
static const uint64_t LARGEST_TENSORS = UINT64_C(1) << 38;

/* ---- the keys of a slice ---- */

static gptoss_status refuse_key(const gguf_file *file, const char *key, const char *wanted, gptoss_error *err) {
    return error_set(err, GPTOSS_BAD_INPUT, "%s: this is a slice, but its metadata " SLICE_KEYS "%s is %s",
                     gguf_part_path(file, 0), key, wanted);
}

static const gguf_value *find_key(const gguf_file *file, const char *key) {
    char full[64];
    snprintf(full, sizeof full, SLICE_KEYS "%s", key);
    return gguf_find_value(file, full);
}

static gptoss_status read_number(const gguf_file *file, const char *key, uint64_t max, uint64_t *out,
                                 gptoss_error *err) {
    uint64_t n = 0;
    if (!gguf_as_u64(find_key(file, key), &n) || n > max)
        return refuse_key(file, key, "missing or no number in range", err);
    *out = n;
    return GPTOSS_OK;
}

static gptoss_status read_flag(const gguf_file *file, const char *key, bool *out, gptoss_error *err) {
    return gguf_as_bool(find_key(file, key), out) ? GPTOSS_OK : refuse_key(file, key, "missing or no truth value", err);
}

static gptoss_status read_numbers(const gguf_file *file, const char *key, uint64_t max, size_t count, uint64_t *out,
                                  gptoss_error *err) {
    const gguf_value *value = find_key(file, key);
    if (!value || value->kind != GGUF_ARRAY || value->count != count)
        return refuse_key(file, key, "missing or has the wrong length", err);
    gguf_iterator it = gguf_elements(value);
    for (size_t i = 0; i < count; i++)
        if (!gguf_next_u64(&it, &out[i]) || out[i] > max)
            return refuse_key(file, key, "no list of numbers in range", err);
    return GPTOSS_OK;
}

/* A range within [0, end). */
static gptoss_status read_range(const gguf_file *file, const char *key, uint32_t end, bool may_be_empty,
                                uint32_t *first, uint32_t *behind, gptoss_error *err) {
    uint64_t range[2];
    TRY(read_numbers(file, key, end, 2, range, err));
    if (range[0] > range[1] || (range[0] == range[1] && !may_be_empty))
        return refuse_key(file, key, "an empty range", err);
    *first = (uint32_t)range[0];
    *behind = (uint32_t)range[1];
    return GPTOSS_OK;
}

static gptoss_status read_version_1(const gguf_file *file, const hparams *hp, extent *e, gptoss_error *err) {
    bool embedding = false, output = false;
    TRY(read_range(file, "experts", hp->n_experts, false, &e->expert_begin, &e->expert_end, err));
    TRY(read_flag(file, "embedding", &embedding, err));
    TRY(read_flag(file, "output", &output, err));
    e->embedding_end = embedding ? hp->n_vocab : 0;
    e->output_end = output ? hp->n_vocab : 0;
    return GPTOSS_OK;
}

static gptoss_status read_version_2(const gguf_file *file, const hparams *hp, extent *e, gptoss_error *err) {
    TRY(read_range(file, "kv_heads", hp->n_kv_heads, false, &e->kv_head_begin, &e->kv_head_end, err));
    TRY(read_range(file, "experts", hp->n_experts, true, &e->expert_begin, &e->expert_end, err));
    TRY(read_range(file, "embedding_rows", hp->n_vocab, true, &e->embedding_begin, &e->embedding_end, err));
    return read_range(file, "output_rows", hp->n_vocab, true, &e->output_begin, &e->output_end, err);
}

static gptoss_status read_keys(const gguf_file *file, const hparams *hp, extent *e, gptoss_error *err) {
    uint64_t version = 0;
    e->is_slice = true;
    TRY(read_number(file, "version", UINT32_MAX, &version, err));
    if (version < 1 || version > SLICE_VERSION)
        return error_set(err, GPTOSS_BAD_INPUT, "%s: a slice in version %llu of its format; this program knows 1 to %d",
                         gguf_part_path(file, 0), (unsigned long long)version, SLICE_VERSION);
    TRY(read_range(file, "layers", hp->n_layers, false, &e->layer_begin, &e->layer_end, err));
    TRY(read_number(file, "source", UINT64_MAX, &e->source, err));
    return version == 1 ? read_version_1(file, hp, e, err) : read_version_2(file, hp, e, err);
}

gptoss_status extent_read(const gguf_file *file, const hparams *hp, extent *out, gptoss_error *err) {
    extent e = extent_whole(hp);
    e.source = gguf_fingerprint(file);
    if (find_key(file, "version")) TRY(read_keys(file, hp, &e, err));
    *out = e;
    return GPTOSS_OK;
}

/* ---- parts of a model ---- */

extent extent_whole(const hparams *hp) {
    return (extent){.layer_end = hp->n_layers,
                    .kv_head_end = hp->n_kv_heads,
                    .expert_end = hp->n_experts,
                    .embedding_end = hp->n_vocab,
                    .output_end = hp->n_vocab};
}

extent extent_of_slice(const slice *s) {
    return (extent){.layer_begin = s->layer_begin,
                    .layer_end = s->layer_end,
                    .kv_head_begin = s->kv_head_begin,
                    .kv_head_end = s->kv_head_end,
                    .expert_begin = s->expert_begin,
                    .expert_end = s->expert_end,
                    .embedding_begin = s->embedding_begin,
                    .embedding_end = s->embedding_end,
                    .output_begin = s->output_begin,
                    .output_end = s->output_end};
}

static bool within(uint32_t begin, uint32_t end, uint32_t held_begin, uint32_t held_end) {
    return begin >= end || (begin >= held_begin && end <= held_end);
}

bool extent_includes(const extent *held, const extent *needed) {
    const extent *h = held, *n = needed;
    return within(n->layer_begin, n->layer_end, h->layer_begin, h->layer_end) &&
           within(n->kv_head_begin, n->kv_head_end, h->kv_head_begin, h->kv_head_end) &&
           within(n->expert_begin, n->expert_end, h->expert_begin, h->expert_end) &&
           within(n->embedding_begin, n->embedding_end, h->embedding_begin, h->embedding_end) &&
           within(n->output_begin, n->output_end, h->output_begin, h->output_end);
}

bool extent_has_tokenizer(const extent *e) { return e->embedding_begin == 0 && e->embedding_end > 0; }

/* ", KV head 3 of 8" and the like, behind what is in text[EXTENT_TEXT]. */
static void add_range(const char *what, uint32_t begin, uint32_t end, uint32_t all, char *text) {
    size_t used = strlen(text), room = EXTENT_TEXT - used;
    const char *comma = used ? ", " : "";
    if (end <= begin)
        snprintf(text + used, room, "%sno %ss", comma, what);
    else if (end - begin == 1)
        snprintf(text + used, room, "%s%s %u of %u", comma, what, begin, all);
    else
        snprintf(text + used, room, "%s%ss %u to %u of %u", comma, what, begin, end - 1, all);
}

static void add(const char *what, char *text) { snprintf(text + strlen(text), EXTENT_TEXT - strlen(text), "%s", what); }

static bool is_all_or_nothing(uint32_t begin, uint32_t end, uint32_t all) { return end == begin || end - begin == all; }

void extent_describe(const extent *e, const hparams *hp, char text[EXTENT_TEXT]) {
    text[0] = '\0';
    add_range("layer", e->layer_begin, e->layer_end, hp->n_layers, text);
    if (e->kv_head_end - e->kv_head_begin < hp->n_kv_heads)
        add_range("KV head", e->kv_head_begin, e->kv_head_end, hp->n_kv_heads, text);
    if (e->expert_end - e->expert_begin == hp->n_experts)
        add(", all experts", text);
    else
        add_range("expert", e->expert_begin, e->expert_end, hp->n_experts, text);
    if (is_all_or_nothing(e->embedding_begin, e->embedding_end, hp->n_vocab) &&
        is_all_or_nothing(e->output_begin, e->output_end, hp->n_vocab)) {
        const char *ends[] = {", neither embedding nor output", ", the output", ", embedding and tokenizer",
                              ", embedding, tokenizer and output"};
        add(ends[2 * (e->embedding_end > e->embedding_begin) + (e->output_end > e->output_begin)], text);
        return;
    }
    add_range("embedding row", e->embedding_begin, e->embedding_end, hp->n_vocab, text);
    if (extent_has_tokenizer(e)) add(" with the tokenizer", text);
    add_range("output row", e->output_begin, e->output_end, hp->n_vocab, text);
}

/* ---- sizes ---- */

static void measure_layer(const gguf_file *file, const tensor_spec specs[], uint32_t layer, model_sizes *s) {
    for (int i = 0; i < LAYER_TENSORS; i++) {
        const gguf_tensor *tensor = tensors_find(file, &specs[i], layer);
        if (!tensor) continue;
        if (specs[i].scope == SCOPE_EXPERTS)
            s->experts[layer] += tensor->bytes / s->n_experts;
        else
            s->layers[layer] += tensor->bytes;
    }
}

static uint64_t outer_bytes(const gguf_file *file, const tensor_spec *spec) {
    const gguf_tensor *tensor = tensors_find(file, spec, OUTSIDE_LAYERS);
    return tensor ? tensor->bytes : 0;
}

/* As far as the file has the layers. */
static uint32_t measure_step(const gguf_file *file, const hparams *hp) {
    tensor_spec specs[LAYER_TENSORS];
    uint32_t step = 1;
    tensors_of_layer(hp, specs);
    for (uint32_t layer = 0; layer < hp->n_layers; layer++) {
        const gguf_tensor *o = tensors_find(file, &specs[ATTN_OUTPUT], layer);
        uint32_t least = o ? tensors_kv_head_step(o, hp, &specs[ATTN_OUTPUT]) : 1;
        while (step < hp->n_kv_heads && (step % least || hp->n_kv_heads % step)) step++;
    }
    return step;
}

/* Of a file that holds all. */
static void measure(const gguf_file *file, const hparams *hp, model_sizes *s) {
    tensor_spec specs[LAYER_TENSORS], outer[OUTER_TENSORS];
    tensors_of_layer(hp, specs);
    tensors_outside(hp, outer);
    for (uint32_t layer = 0; layer < hp->n_layers; layer++) measure_layer(file, specs, layer, s);
    s->embedding = outer_bytes(file, &outer[EMBEDDING]);
    s->output = outer_bytes(file, &outer[OUTPUT_NORM]) + outer_bytes(file, &outer[OUTPUT]);
    s->kv_head_step = measure_step(file, hp);
}

static gptoss_status read_told(const gguf_file *file, const hparams *hp, model_sizes *s, gptoss_error *err) {
    uint64_t outer[2], step = measure_step(file, hp);
    if (find_key(file, "kv_head_step")) TRY(read_number(file, "kv_head_step", hp->n_kv_heads, &step, err));
    if (step == 0 || hp->n_kv_heads % step) return refuse_key(file, "kv_head_step", "no divisor of the KV heads", err);
    s->kv_head_step = (uint32_t)step;
    TRY(read_numbers(file, "layer_bytes", LARGEST_TENSORS, s->n_layers, s->layers, err));
    TRY(read_numbers(file, "expert_bytes", LARGEST_TENSORS, s->n_layers, s->experts, err));
    TRY(read_numbers(file, "outer_bytes", LARGEST_TENSORS, 2, outer, err));
    s->embedding = outer[0];
    s->output = outer[1];
    return GPTOSS_OK;
}

gptoss_status model_sizes_read(const gguf_file *file, const hparams *hp, model_sizes *out, gptoss_error *err) {
    extent e;
    TRY(extent_read(file, hp, &e, err));
    model_sizes s = {.n_layers = hp->n_layers, .n_experts = hp->n_experts, .n_experts_used = hp->n_experts_used};
    gptoss_status status = mem_array(hp->n_layers, sizeof *s.layers, "sizes of layers", &s.layers, err);
    if (status == GPTOSS_OK) status = mem_array(hp->n_layers, sizeof *s.experts, "sizes of experts", &s.experts, err);
    if (status == GPTOSS_OK) {
        if (e.is_slice)
            status = read_told(file, hp, &s, err);
        else
            measure(file, hp, &s);
    }
    if (status != GPTOSS_OK) {
        model_sizes_free(&s);
        return status;
    }
    *out = s;
    return GPTOSS_OK;
}

void model_sizes_free(model_sizes *s) {
    free(s->layers);
    free(s->experts);
    *s = (model_sizes){0};
}

uint64_t model_sizes_layer(const model_sizes *s, uint32_t layer, bool expert_0_only) {
    return s->layers[layer] + s->experts[layer] * (expert_0_only ? 1 : s->n_experts);
}

uint64_t model_sizes_layer_read(const model_sizes *s, uint32_t layer, bool expert_0_only) {
    return s->layers[layer] + s->experts[layer] * (expert_0_only ? 1 : s->n_experts_used);
}
