#include "support.h"

#include <math.h>

#include <cjson/cJSON.h>

#include "base/buffer.h"

double relative_error(const float *got, const float *want, size_t count) {
    double difference = 0, norm = 0;
    for (size_t i = 0; i < count; i++) {
        double d = (double)got[i] - want[i];
        difference += d * d;
        norm += (double)want[i] * want[i];
    }
    double error = sqrt(difference / norm);
    return isfinite(error) ? error : INFINITY;
}

const char *const golden_names[] = {"f32", "bf16", "q8_0-mxfp4", "like-q4_k_m", "like-q5_k_m", "like-q2_k", NULL};

void golden_load(const char *name, golden *out) {
    char path[600];
    buffer json = {0}, logits = {0};
    snprintf(out->path, sizeof out->path, "%s/golden/%s.gguf", TEST_DATA, name);
    snprintf(path, sizeof path, "%s/golden/%s.json", TEST_DATA, name);
    assert_ok(buffer_read_file(&json, path, 1 << 20, err));
    snprintf(path, sizeof path, "%s/golden/%s.logits.f32", TEST_DATA, name);
    assert_ok(buffer_read_file(&logits, path, 1 << 24, err));

    cJSON *root = cJSON_Parse(json.data);
    cJSON *tokens = cJSON_GetObjectItem(root, "tokens"), *shape = cJSON_GetObjectItem(root, "shape");
    assert_non_null(tokens);
    out->positions = (size_t)cJSON_GetArrayItem(shape, 0)->valueint;
    out->n_vocab = (size_t)cJSON_GetArrayItem(shape, 1)->valueint;
    assert_int_equal(logits.size, out->positions * out->n_vocab * sizeof(float));
    assert_int_equal(cJSON_GetArraySize(tokens), out->positions);
    out->tokens = malloc(out->positions * sizeof *out->tokens);
    size_t at = 0;
    const cJSON *token;
    cJSON_ArrayForEach(token, tokens) out->tokens[at++] = (uint32_t)token->valueint;
    out->logits = (float *)(void *)logits.data; /* malloc'd, so aligned */
    cJSON_Delete(root);
    buffer_free(&json);
}

void golden_free(golden *g) {
    free(g->tokens);
    free(g->logits);
}
