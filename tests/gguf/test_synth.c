#include "gguf/synth.h"

#include <fcntl.h>
#include <math.h>
#include <unistd.h>

#include "base/cancel.h"
#include "craft.h"
#include "gguf/random_blocks.h"
#include "kernels/dequant.h"
#include "model/runs.h"
#include "model/stage.h"

static const gguf_type all_types[] = {TYPE_F32,  TYPE_F16,  TYPE_BF16,   TYPE_Q8_0,  TYPE_MXFP4, TYPE_Q4_0,
                                      TYPE_Q4_1, TYPE_Q5_0, TYPE_Q5_1,   TYPE_Q2_K,  TYPE_Q3_K,  TYPE_Q4_K,
                                      TYPE_Q5_K, TYPE_Q6_K, TYPE_IQ4_NL, TYPE_IQ4_XS};
enum { ALL_TYPES = sizeof all_types / sizeof all_types[0] };

static void path_in(void **state, const char *name, char path[512]) {
    snprintf(path, 512, "%s/%s", (const char *)*state, name);
}

static synth_options options_for(const char *shape) {
    const synth_shape *s = synth_find_shape(shape);
    assert_non_null(s);
    return (synth_options){
        .shape = *s, .type_attn = TYPE_Q8_0, .type_experts = TYPE_MXFP4, .replace = true, .threads = 2};
}

/* Writes a model and opens it. */
static gguf_file *make(void **state, const char *name, const synth_options *o) {
    char path[512];
    path_in(state, name, path);
    synth_report report = {0};
    assert_ok(synth_write(path, o, &report, err));
    if (report.parts > 1) {
        snprintf(strrchr(path, '.'), 32, "-00001-of-%05u.gguf", report.parts);
    }
    gguf_file *file = NULL;
    assert_ok(gguf_open(path, &file, err));
    assert_int_equal(gguf_part_count(file), report.parts);
    assert_int_equal(gguf_tensor_count(file), report.tensors);
    return file;
}

/* A tensor's bytes; the caller frees them. */
static uint8_t *data_of(const gguf_file *file, const gguf_tensor *t) {
    int fd = open(gguf_part_path(file, t->part), O_RDONLY);
    uint8_t *bytes = malloc(t->bytes);
    assert_int_equal(pread(fd, bytes, t->bytes, (off_t)t->offset), t->bytes);
    close(fd);
    return bytes;
}

static bool equal_data(const gguf_file *a, const gguf_file *b, const char *name) {
    const gguf_tensor *x = gguf_find_tensor(a, name), *y = gguf_find_tensor(b, name);
    assert_non_null(x);
    assert_non_null(y);
    if (x->bytes != y->bytes) return false;
    uint8_t *p = data_of(a, x), *q = data_of(b, y);
    bool equal = memcmp(p, q, x->bytes) == 0;
    free(p);
    free(q);
    return equal;
}

static uint64_t number(const gguf_file *file, const char *key) {
    uint64_t n = UINT64_MAX;
    assert_true(gguf_as_u64(gguf_find_value(file, key), &n));
    return n;
}

/* A file of the golden models' shape has their tensors, shapes, types and keys, in their order. */
static void nano_looks_like_the_golden_models(void **state) {
    synth_options o = options_for("nano");
    gguf_file *ours = make(state, "nano.gguf", &o), *theirs = NULL;
    assert_ok(gguf_open(TEST_DATA "/golden/q8_0-mxfp4.gguf", &theirs, err));
    assert_int_equal(gguf_tensor_count(ours), gguf_tensor_count(theirs));
    for (size_t i = 0; i < gguf_tensor_count(theirs); i++) {
        const gguf_tensor *x = gguf_tensor_at(ours, i), *y = gguf_tensor_at(theirs, i);
        assert_string_equal(x->name, y->name);
        assert_int_equal(x->type, y->type);
        assert_int_equal(x->n_dims, y->n_dims);
        assert_memory_equal(x->dims, y->dims, sizeof x->dims);
    }
    assert_int_equal(gguf_value_count(ours), gguf_value_count(theirs));
    for (size_t i = 0; i < gguf_value_count(theirs); i++) {
        const gguf_value *x = gguf_value_at(ours, i), *y = gguf_value_at(theirs, i);
        assert_int_equal(x->key.size, y->key.size);
        assert_memory_equal(x->key.bytes, y->key.bytes, x->key.size);
        assert_int_equal(x->kind, y->kind);
        bool is_number = x->kind != GGUF_STRING && x->kind != GGUF_ARRAY;
        bool is_token = x->key.size > 9 && memcmp(x->key.bytes + x->key.size - 9, "_token_id", 9) == 0;
        if (is_number && !is_token) assert_memory_equal(x->data, y->data, x->size);
    }
    gguf_close(ours);
    gguf_close(theirs);
}

static void large_shapes_have_the_numbers_of_the_released_models(void **state) {
    (void)state;
    static const struct {
        const char *name;
        uint32_t layers, experts;
    } want[] = {{"20b", 24, 32}, {"120b", 36, 128}};
    for (int i = 0; i < 2; i++) {
        const synth_shape *s = synth_find_shape(want[i].name);
        assert_non_null(s);
        assert_int_equal(s->layers, want[i].layers);
        assert_int_equal(s->experts, want[i].experts);
        assert_int_equal(s->hidden, 2880);
        assert_int_equal(s->feed_forward, 2880);
        assert_int_equal(s->heads, 64);
        assert_int_equal(s->kv_heads, 8);
        assert_int_equal(s->head_size, 64);
        assert_int_equal(s->experts_used, 4);
        assert_int_equal(s->window, 128);
        assert_int_equal(s->ordinary_tokens + s->special_tokens, 201088);
    }
    assert_null(synth_find_shape("7b"));
}

/* Root mean square and mean of all weights of a tensor, all of which must be finite. */
static void measure(const gguf_file *file, const char *name, double *rms, double *mean) {
    const gguf_tensor *t = gguf_find_tensor(file, name);
    assert_non_null(t);
    size_t count = (size_t)(t->dims[0] * t->dims[1] * t->dims[2]);
    uint8_t *bytes = data_of(file, t);
    float *values = malloc(count * sizeof *values);
    dequant_row *dequant = dequant_for(t->type);
    assert_non_null(dequant);
    dequant(bytes, count, values);
    double sum = 0, squares = 0;
    for (size_t i = 0; i < count; i++) {
        if (!isfinite(values[i])) fail_msg("%s[%zu] is %g", name, i, (double)values[i]);
        sum += (double)values[i];
        squares += (double)values[i] * (double)values[i];
    }
    *mean = sum / (double)count;
    *rms = sqrt(squares / (double)count);
    free(values);
    free(bytes);
}

static void every_type_gives_weights_of_the_wanted_size(void **state) {
    for (int i = 0; i < ALL_TYPES; i++) {
        synth_options o = options_for("tiny");
        o.shape.layers = 1;
        o.type_attn = all_types[i];
        o.type_experts = all_types[ALL_TYPES - 1 - i];
        o.seed = (uint64_t)i;
        gguf_file *file = make(state, "types.gguf", &o);
        static const struct {
            const char *name;
            double size;
            bool is_expert;
        } tensors[] = {{"token_embd.weight", 1, false},
                       {"output.weight", 3 / 22.627, false},
                       {"blk.0.attn_output.weight", 1 / 22.627, false},
                       {"blk.0.ffn_down_exps.weight", 1 / 16.0, true}};
        for (int k = 0; k < 4; k++) {
            double rms, mean;
            measure(file, tensors[k].name, &rms, &mean);
            gguf_type type = gguf_find_tensor(file, tensors[k].name)->type;
            assert_int_equal(type, tensors[k].is_expert ? o.type_experts : o.type_attn);
            if (!(fabs(rms / tensors[k].size - 1) < 0.04) || !(fabs(mean / rms) < 0.05))
                fail_msg("%s as %s: rms %g, mean %g, wanted %g", tensors[k].name, gguf_type_traits(type)->name, rms,
                         mean, tensors[k].size);
        }
        double rms, mean;
        measure(file, "blk.0.attn_norm.weight", &rms, &mean);
        assert_true(fabs(mean - 1) < 0.02 && rms < 1.02);
        gguf_close(file);
    }
}

static void q8_0_never_holds_minus_128(void **state) {
    (void)state;
    random_blocks r;
    random_blocks_init(&r, TYPE_Q8_0, 0, 1);
    static uint8_t bytes[34 * 4000];
    random_blocks_fill(&r, 1, bytes, sizeof bytes);
    bool extremes[2] = {false, false};
    for (size_t i = 0; i < sizeof bytes; i++) {
        if (i % 34 < 2) continue;
        assert_int_not_equal(bytes[i], 0x80);
        extremes[0] |= bytes[i] == 0x81;
        extremes[1] |= bytes[i] == 0x7F;
    }
    assert_true(extremes[0] && extremes[1]);
}

static void types_that_do_not_fit_the_rows_fall_back(void **state) {
    static const struct {
        gguf_type asked, given;
    } cases[] = {{TYPE_Q4_K, TYPE_Q5_0},   {TYPE_Q5_K, TYPE_Q5_1},   {TYPE_Q6_K, TYPE_Q8_0},
                 {TYPE_Q2_K, TYPE_IQ4_NL}, {TYPE_Q3_K, TYPE_IQ4_NL}, {TYPE_IQ4_XS, TYPE_IQ4_NL},
                 {TYPE_MXFP4, TYPE_MXFP4}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        synth_options o = options_for("nano");
        o.type_attn = o.type_experts = cases[i].asked;
        gguf_file *file = make(state, "fall-back.gguf", &o);
        /* Rows of 96 and 64 elements, but of 256 in attn_output. */
        assert_int_equal(gguf_find_tensor(file, "blk.0.attn_q.weight")->type, cases[i].given);
        assert_int_equal(gguf_find_tensor(file, "blk.3.ffn_down_exps.weight")->type, cases[i].given);
        assert_int_equal(gguf_find_tensor(file, "token_embd.weight")->type, cases[i].given);
        assert_int_equal(gguf_find_tensor(file, "blk.0.attn_output.weight")->type, cases[i].asked);
        assert_int_equal(gguf_find_tensor(file, "blk.0.ffn_gate_inp.weight")->type, TYPE_F32);
        gguf_close(file);
    }
}

static void equal_seeds_give_equal_bytes(void **state) {
    char path[2][512];
    buffer b[2] = {{0}, {0}};
    synth_report report;
    for (int i = 0; i < 2; i++) {
        synth_options o = options_for("tiny");
        o.threads = i ? 3 : 1;
        o.shape.layers = 2;
        path_in(state, i ? "same-b.gguf" : "same-a.gguf", path[i]);
        assert_ok(synth_write(path[i], &o, &report, err));
        assert_ok(buffer_read_file(&b[i], path[i], 1 << 30, err));
    }
    assert_int_equal(b[0].size, b[1].size);
    assert_memory_equal(b[0].data, b[1].data, b[0].size);
    buffer_free(&b[0]);
    buffer_free(&b[1]);
}

static void more_layers_leave_the_first_ones_as_they_are(void **state) {
    synth_options o = options_for("nano");
    gguf_file *four = make(state, "four.gguf", &o);
    o.shape.layers = 2;
    gguf_file *two = make(state, "two.gguf", &o);
    o.seed = 1;
    gguf_file *other = make(state, "other.gguf", &o);
    assert_int_equal(number(two, "gpt-oss.block_count"), 2);
    assert_int_equal(gguf_tensor_count(two), 3 + 2 * 19);
    for (size_t i = 0; i < gguf_tensor_count(two); i++) {
        const char *name = gguf_tensor_at(two, i)->name;
        assert_true(equal_data(four, two, name));
        assert_false(equal_data(other, two, name));
    }
    gguf_tensor a = *gguf_find_tensor(two, "blk.0.attn_q.weight"), b = *gguf_find_tensor(two, "blk.1.attn_q.weight");
    uint8_t *x = data_of(two, &a), *y = data_of(two, &b);
    assert_memory_not_equal(x, y, a.bytes);
    free(x);
    free(y);
    gguf_close(four);
    gguf_close(two);
    gguf_close(other);
}

static void parts_hold_what_the_whole_file_holds(void **state) {
    synth_options o = options_for("nano");
    gguf_file *whole = make(state, "whole.gguf", &o);
    o.split_bytes = 200000;
    gguf_file *split = make(state, "split.gguf", &o);
    assert_true(gguf_part_count(split) >= 4);
    assert_int_equal(gguf_tensor_count(split), gguf_tensor_count(whole));
    for (size_t i = 0; i < gguf_tensor_count(whole); i++)
        assert_true(equal_data(whole, split, gguf_tensor_at(whole, i)->name));
    gguf_close(whole);
    gguf_close(split);
}

static size_t id_of(const gguf_file *file, const char *name) {
    gguf_iterator it = gguf_elements(gguf_find_value(file, "tokenizer.ggml.tokens"));
    gguf_text token;
    for (size_t i = 0; gguf_next_text(&it, &token); i++)
        if (token.size == strlen(name) && memcmp(token.bytes, name, token.size) == 0) return i;
    fail_msg("no token %s", name);
    return 0;
}

static void vocabularies_are_whole(void **state) {
    synth_options o = options_for("tiny");
    o.shape.layers = 1;
    gguf_file *file = make(state, "vocab.gguf", &o);
    uint64_t tokens = o.shape.ordinary_tokens + o.shape.special_tokens;
    assert_int_equal(gguf_find_value(file, "tokenizer.ggml.tokens")->count, tokens);
    assert_int_equal(gguf_find_value(file, "tokenizer.ggml.token_type")->count, tokens);
    assert_int_equal(gguf_find_tensor(file, "token_embd.weight")->dims[1], tokens);
    assert_int_equal(gguf_find_tensor(file, "output.weight")->dims[1], tokens);
    assert_true(gguf_find_value(file, "tokenizer.ggml.merges")->count >= o.shape.ordinary_tokens - 256);
    assert_int_equal(number(file, "tokenizer.ggml.bos_token_id"), id_of(file, "<|startoftext|>"));
    assert_int_equal(number(file, "tokenizer.ggml.eos_token_id"), id_of(file, "<|return|>"));
    static const char *const needed[] = {"<|start|>",     "<|end|>",  "<|message|>", "<|channel|>",
                                         "<|constrain|>", "<|call|>", "\xC4\xA0the", "\xC4\xA0people"};
    for (size_t i = 0; i < sizeof needed / sizeof needed[0]; i++) id_of(file, needed[i]);
    gguf_close(file);

    vocab large = {0};
    assert_ok(vocab_from_tiktoken("YQ== 0\nYg== 1\nYWI= 2\n", 21, &large, err));
    o.vocabulary = &large;
    file = make(state, "given.gguf", &o);
    assert_int_equal(gguf_find_tensor(file, "output.weight")->dims[1], 3 + VOCAB_SPECIALS);
    assert_int_equal(gguf_find_value(file, "tokenizer.ggml.merges")->count, 1);
    assert_int_equal(id_of(file, "ab"), 2);
    gguf_close(file);
    vocab_free(&large);
}

/* Runs 40 tokens through a whole model and returns the root mean squares of residual stream and logits. */
static void run(const gguf_file *file, double *residual, double *logit) {
    enum { COUNT = 40 };
    hparams hp;
    weights *w = NULL;
    team *t = NULL;
    stage *s = NULL;
    assert_ok(hparams_read(file, &hp, err));
    assert_ok(weights_check(file, &hp, hp.n_layers, err));
    const slice all = slice_of_layers(&hp, 0, hp.n_layers, hp.n_layers, false);
    assert_ok(weights_open(file, &hp, all, &w, err));
    assert_ok(team_open(1, &t, err));
    assert_ok(stage_open(&hp, w, t, &(kv_room){.sequences = 1, .positions = COUNT, .chunk = COUNT}, NULL, &s, err));
    const wave_limits limits = stage_limits(s);
    runs waves;
    uint32_t tokens[COUNT];
    for (uint32_t i = 0; i < COUNT; i++) tokens[i] = i * 7919 % hp.n_vocab;
    runs_open(&limits, &waves);
    const wave *together = runs_one(&waves, tokens, COUNT, 0, COUNT);
    float *x = calloc(COUNT * hp.d_model, sizeof *x), *logits = calloc(COUNT * hp.n_vocab, sizeof *logits);
    stage_embed(s, together->tokens, COUNT, x);
    assert_int_equal(stage_forward(s, together, x), GPTOSS_OK);
    stage_logits(s, x, COUNT, logits);
    double sum = 0;
    for (size_t i = 0; i < COUNT * hp.d_model; i++) sum += (double)x[i] * (double)x[i];
    *residual = sqrt(sum / (COUNT * hp.d_model));
    sum = 0;
    for (size_t i = 0; i < COUNT * hp.n_vocab; i++) sum += (double)logits[i] * (double)logits[i];
    *logit = sqrt(sum / (COUNT * hp.n_vocab));
    free(x);
    free(logits);
    runs_close(&waves);
    stage_close(s);
    team_close(t);
    weights_close(w);
}

static void activations_stay_sane(void **state) {
    static const struct {
        const char *shape;
        uint32_t layers;
        gguf_type type;
    } cases[] = {{"nano", 4, TYPE_MXFP4}, {"tiny", 8, TYPE_MXFP4}, {"tiny", 8, TYPE_Q4_K}, {"nano", 36, TYPE_Q8_0}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        synth_options o = options_for(cases[i].shape);
        o.shape.layers = cases[i].layers;
        o.type_experts = cases[i].type;
        gguf_file *file = make(state, "run.gguf", &o);
        double residual, logit;
        run(file, &residual, &logit);
        printf("%s, %u layers, %s experts: residual %.2f, logits %.2f\n", cases[i].shape, cases[i].layers,
               gguf_type_traits(cases[i].type)->name, residual, logit);
        assert_true(residual > 1 && residual < 10);
        assert_true(logit > 1 && logit < 5);
        gguf_close(file);
    }
}

static void wrong_options_are_refused(void **state) {
    char path[512];
    path_in(state, "wrong.gguf", path);
    synth_report report;
    gptoss_error err = {0};
    synth_options o = options_for("nano");
    o.type_attn = TYPE_IQ2_XXS;
    assert_int_equal(synth_write(path, &o, &report, &err), GPTOSS_MISUSE);
    assert_non_null(strstr(err.text, "IQ2_XXS"));
    o = options_for("nano");
    o.type_experts = 4711;
    assert_int_equal(synth_write(path, &o, &report, &err), GPTOSS_MISUSE);
    o = options_for("nano");
    o.shape.layers = 0;
    assert_int_equal(synth_write(path, &o, &report, &err), GPTOSS_MISUSE);
    assert_int_equal(access(path, F_OK), -1);
}

static void count_progress(void *context, uint64_t done, uint64_t total) {
    uint64_t *largest = context;
    assert_true(done <= total);
    if (done > *largest) *largest = done;
}

/* The last test, as a wish to stop cannot be taken back. */
static void cancelling_leaves_nothing_behind(void **state) {
    char path[512];
    path_in(state, "cancelled.gguf", path);
    synth_options o = options_for("tiny");
    uint64_t done = 0;
    o.progress = count_progress;
    o.progress_context = &done;
    o.threads = 1;
    synth_report report = {0};
    assert_ok(synth_write(path, &o, &report, err));
    assert_int_equal(done, report.bytes);
    unlink(path);

    cancel_request();
    gptoss_error err = {0};
    assert_int_equal(synth_write(path, &o, &report, &err), GPTOSS_CANCELLED);
    assert_int_equal(access(path, F_OK), -1);
    path_in(state, "cancelled.gguf.partial", path);
    assert_int_equal(access(path, F_OK), -1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nano_looks_like_the_golden_models),
        cmocka_unit_test(large_shapes_have_the_numbers_of_the_released_models),
        cmocka_unit_test(every_type_gives_weights_of_the_wanted_size),
        cmocka_unit_test(q8_0_never_holds_minus_128),
        cmocka_unit_test(types_that_do_not_fit_the_rows_fall_back),
        cmocka_unit_test(equal_seeds_give_equal_bytes),
        cmocka_unit_test(more_layers_leave_the_first_ones_as_they_are),
        cmocka_unit_test(parts_hold_what_the_whole_file_holds),
        cmocka_unit_test(vocabularies_are_whole),
        cmocka_unit_test(activations_stay_sane),
        cmocka_unit_test(wrong_options_are_refused),
        cmocka_unit_test(cancelling_leaves_nothing_behind),
    };
    return cmocka_run_group_tests(tests, craft_folder_make, craft_folder_remove);
}
