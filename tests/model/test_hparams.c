/* Metadata that is well-formed but wrong: refused with a text that names the key, or read as it should be. */
#include <unistd.h>

#include "base/buffer.h"
#include "model/weights.h"
#include "support.h"

typedef struct edit {
    const char *key, *new_key; /* of the same length */
    uint32_t value;            /* put in place of a 32-bit value; KEEP: leave it */
} edit;

enum { KEEP = 0xfffffffe };

/* Where the value of `key` stands: behind the key's bytes and the value's kind. */
static size_t find_key(const buffer *file, const char *key) {
    char *at = memmem(file->data, file->size, key, strlen(key));
    assert_non_null(at);
    return (size_t)(at - file->data);
}

/* Opens golden/f32.gguf with one key edited and reads its hyper-parameters and tensors. */
static gptoss_status read_edited(edit e, hparams *hp, gptoss_error *error) {
    char path[] = "/tmp/gptoss-hparams-XXXXXX";
    buffer bytes = {0};
    assert_ok(buffer_read_file(&bytes, TEST_DATA "/golden/f32.gguf", 1 << 24, err));
    size_t at = find_key(&bytes, e.key);
    memcpy(bytes.data + at, e.new_key ? e.new_key : e.key, strlen(e.key));
    if (e.value != KEEP) memcpy(bytes.data + at + strlen(e.key) + 4, &e.value, 4);
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, bytes.data, bytes.size), bytes.size);
    close(fd);
    buffer_free(&bytes);
    gguf_file *file;
    assert_ok(gguf_open(path, &file, err));
    unlink(path);
    gptoss_status status = hparams_read(file, hp, error);
    if (status == GPTOSS_OK) status = weights_check(file, hp, hp->n_layers, error);
    gguf_close(file);
    return status;
}

static void impossible_values_are_refused_by_name(void **state) {
    (void)state;
    const struct {
        edit edit;
        const char *names;
    } cases[] = {
        {{"gpt-oss.block_count", NULL, 3}, "tensors of layer 3"},
        {{"gpt-oss.block_count", NULL, 5}, "blk.4.attn_norm.weight is missing"},
        {{"gpt-oss.block_count", NULL, 0}, "block_count"},
        {{"gpt-oss.block_count", "gpt-oss.block_xount", KEEP}, "block_count is missing"},
        {{"gpt-oss.embedding_length", NULL, 64}, "token_embd.weight"},
        {{"gpt-oss.attention.head_count", NULL, 0}, "head_count"},
        {{"gpt-oss.attention.head_count", NULL, 3}, "3 heads"},
        {{"gpt-oss.attention.head_count_kv", NULL, 4}, "attn_k"},
        {{"gpt-oss.attention.key_length", NULL, 63}, "head size 63"},
        {{"gpt-oss.attention.value_length", NULL, 32}, "values of 32"},
        {{"gpt-oss.expert_count", NULL, 7}, "ffn_gate_inp"},
        {{"gpt-oss.expert_used_count", NULL, 9}, "expert_used_count"},
        {{"gpt-oss.expert_used_count", NULL, 0}, "expert_used_count"},
        {{"gpt-oss.expert_feed_forward_length", NULL, 32}, "ffn_gate_exps"},
        {{"gpt-oss.attention.sliding_window", NULL, 0}, "sliding_window"},
        {{"gpt-oss.context_length", NULL, 0}, "context_length"},
        {{"gpt-oss.rope.freq_base", NULL, 0x7fc00000}, "freq_base"},           /* NaN */
        {{"gpt-oss.rope.freq_base", NULL, 0x3f800000}, "freq_base"},           /* 1 */
        {{"gpt-oss.rope.scaling.factor", NULL, 0x7f800000}, "scaling.factor"}, /* infinity */
        {{"gpt-oss.rope.scaling.factor", "gpt-oss.rope.scaling.fXctor", KEEP}, "scaling.factor"},
        {{"gpt-oss.attention.layer_norm_rms_epsilon", NULL, 0xbf800000}, "layer_norm_rms_epsilon"}, /* -1 */
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        hparams hp;
        gptoss_error err = {0};
        gptoss_status status = read_edited(cases[i].edit, &hp, &err);
        if (status != GPTOSS_BAD_INPUT || !strstr(err.text, cases[i].names))
            fail_msg("case %zu (%s): %s: %s", i, cases[i].edit.key, gptoss_status_name(status), err.text);
    }
}

static void scaling_without_a_type_is_yarn(void **state) {
    (void)state;
    hparams hp;
    assert_ok(read_edited((edit){"gpt-oss.rope.scaling.type", "gpt-oss.rope.scaling.tXpe", KEEP}, &hp, err));
    assert_true(hp.rope_factor == 32);
    assert_int_equal(hp.n_layers, 4);
    assert_int_equal(hp.d_model, 96);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(impossible_values_are_refused_by_name),
        cmocka_unit_test(scaling_without_a_type_is_yarn),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
