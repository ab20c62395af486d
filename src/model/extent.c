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

static gptoss_status read_range(const gguf_file *file, const char *key, uint32_t end, uint32_t *first, uint32_t *behind,
                                gptoss_error *err) {
    uint64_t range[2];
    TRY(read_numbers(file, key, end, 2, range, err));
    if (range[0] >= range[1]) return refuse_key(file, key, "an empty range", err);
    *first = (uint32_t)range[0];
    *behind = (uint32_t)range[1];
    return GPTOSS_OK;
}

static bool is_slice(const gguf_file *file) { return find_key(file, "version") != NULL; }

gptoss_status extent_read(const gguf_file *file, const hparams *hp, extent *out, gptoss_error *err) {
    extent e = {0, hp->n_layers, 0, hp->n_experts, true, true, false, gguf_fingerprint(file)};
    if (is_slice(file)) {
        uint64_t version = 0;
        e.is_slice = true;
        TRY(read_number(file, "version", UINT32_MAX, &version, err));
        if (version != SLICE_VERSION)
            return error_set(err, GPTOSS_BAD_INPUT, "%s: a slice in version %llu of its format; this program knows %d",
                             gguf_part_path(file, 0), (unsigned long long)version, SLICE_VERSION);
        TRY(read_range(file, "layers", hp->n_layers, &e.layer_begin, &e.layer_end, err));
        TRY(read_range(file, "experts", hp->n_experts, &e.expert_begin, &e.expert_end, err));
        TRY(read_flag(file, "embedding", &e.embedding, err));
        TRY(read_flag(file, "output", &e.output, err));
        TRY(read_number(file, "source", UINT64_MAX, &e.source, err));
    }
    *out = e;
    return GPTOSS_OK;
}

void extent_describe(const extent *e, const hparams *hp, char *text, size_t size) {
    char layers[48], experts[64];
    if (e->layer_end - e->layer_begin == 1)
        snprintf(layers, sizeof layers, "layer %u of %u", e->layer_begin, hp->n_layers);
    else
        snprintf(layers, sizeof layers, "layers %u to %u of %u", e->layer_begin, e->layer_end - 1, hp->n_layers);
    if (e->expert_end - e->expert_begin == hp->n_experts)
        snprintf(experts, sizeof experts, "all experts");
    else if (e->expert_end - e->expert_begin == 1)
        snprintf(experts, sizeof experts, "expert %u of %u", e->expert_begin, hp->n_experts);
    else
        snprintf(experts, sizeof experts, "experts %u to %u of %u", e->expert_begin, e->expert_end - 1, hp->n_experts);
    const char *ends[] = {"neither embedding nor output", "the output", "embedding and tokenizer",
                          "embedding, tokenizer and output"};
    snprintf(text, size, "%s, %s, %s", layers, experts, ends[2 * e->embedding + e->output]);
}

/* ---- sizes ---- */

static void measure_layer(const gguf_file *file, const tensor_spec specs[], const extent *e, uint32_t layer,
                          model_sizes *s) {
    for (int i = 0; i < LAYER_TENSORS; i++) {
        const gguf_tensor *tensor = tensors_find(file, &specs[i], layer);
        if (!tensor) continue;
        if (specs[i].expert_dim)
            s->experts[layer] += tensor->bytes / (e->expert_end - e->expert_begin);
        else
            s->layers[layer] += tensor->bytes;
    }
}

static uint64_t outer_bytes(const gguf_file *file, const tensor_spec *spec) {
    const gguf_tensor *tensor = tensors_find(file, spec, OUTSIDE_LAYERS);
    return tensor ? tensor->bytes : 0;
}

static void measure(const gguf_file *file, const hparams *hp, const extent *e, model_sizes *s) {
    tensor_spec specs[LAYER_TENSORS], outer[OUTER_TENSORS];
    tensors_of_layer(hp, e->expert_end - e->expert_begin, specs);
    tensors_outside(hp, outer);
    for (uint32_t layer = 0; layer < hp->n_layers; layer++) measure_layer(file, specs, e, layer, s);
    s->embedding = outer_bytes(file, &outer[EMBEDDING]);
    s->output = outer_bytes(file, &outer[OUTPUT_NORM]) + outer_bytes(file, &outer[OUTPUT]);
}

static gptoss_status read_told(const gguf_file *file, model_sizes *s, gptoss_error *err) {
    uint64_t outer[2];
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
            status = read_told(file, &s, err);
        else
            measure(file, hp, &e, &s);
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
