/* Parts of models as files: the same bytes as in the whole, marked as what they are, and nothing half done. */
#include <sys/stat.h>
#include <unistd.h>

#include "gguf/craft.h"
#include "gguf/source.h"
#include "model/slice_file.h"
#include "model/weights.h"

#define WHOLE TEST_DATA "/golden/q8_0-mxfp4.gguf"

typedef struct model {
    gguf_file *file;
    hparams hp;
    extent held;
} model;

static model open_model(const char *path) {
    model m;
    assert_ok(gguf_open(path, &m.file, err));
    assert_ok(hparams_read(m.file, &m.hp, err));
    assert_ok(weights_check(m.file, &m.hp, m.hp.n_layers, err));
    assert_ok(extent_read(m.file, &m.hp, &m.held, err));
    return m;
}

static gptoss_status write_part(const model *m, const extent *what, const char *path, slice_file_report *report,
                                gptoss_error *err) {
    slice_file f;
    TRY(slice_file_plan(m->file, &m->hp, what, &f, err));
    gptoss_status status = slice_file_write(&f, m->file, path, false, report, NULL, err);
    slice_file_free(&f);
    return status;
}

static void *bytes_of(const gguf_file *file, const gguf_tensor *t, uint64_t offset, uint64_t size) {
    gguf_source *s;
    void *bytes = malloc(size);
    assert_ok(gguf_source_open(file, &s, err));
    assert_ok(gguf_source_read(s, t->part, t->offset + offset, bytes, size, err));
    gguf_source_close(s);
    return bytes;
}

/* Of a tensor's elements, told from its name alone: those of one of `all` heads, experts or rows, of which the slice
 * has [begin, end). *within_rows: they are beside those of others in every row. */
static void share_of(const char *name, const extent *e, uint32_t *begin, uint32_t *end, uint32_t *all,
                     bool *within_rows) {
    *begin = 0, *end = *all = 1;
    *within_rows = strstr(name, "attn_output.weight") != NULL;
    if (strstr(name, "_exps."))
        *begin = e->expert_begin, *end = e->expert_end, *all = 8;
    else if (strstr(name, "attn_q") || strstr(name, "attn_k") || strstr(name, "attn_v") || strstr(name, "sinks") ||
             *within_rows)
        *begin = e->kv_head_begin, *end = e->kv_head_end, *all = 2;
    else if (strcmp(name, "token_embd.weight") == 0)
        *begin = e->embedding_begin, *end = e->embedding_end, *all = 288;
    else if (strcmp(name, "output.weight") == 0)
        *begin = e->output_begin, *end = e->output_end, *all = 288;
}

/* Each tensor of the slice is that of the whole, or its share of it. */
static void expect_same_tensors(const model *whole, const model *part) {
    assert_true(gguf_tensor_count(part->file) > 0);
    for (size_t i = 0; i < gguf_tensor_count(part->file); i++) {
        const gguf_tensor *t = gguf_tensor_at(part->file, i), *from = gguf_find_tensor(whole->file, t->name);
        uint32_t begin, end, all;
        bool within_rows;
        assert_non_null(from);
        assert_int_equal(t->type, from->type);
        share_of(t->name, &part->held, &begin, &end, &all, &within_rows);
        uint64_t runs = within_rows ? t->dims[1] : 1, one = from->bytes / runs / all, size = one * (end - begin);
        assert_int_equal(t->bytes, runs * size);
        for (uint64_t r = 0; r < runs; r++) {
            void *a = bytes_of(part->file, t, r * size, size);
            void *b = bytes_of(whole->file, from, r * one * all + one * begin, size);
            assert_memory_equal(a, b, size);
            free(a);
            free(b);
        }
    }
}

/* Of the golden model: layers, KV heads, experts, rows of the embedding and of the output. */
static const extent parts[] = {
    {0, 2, 0, 2, 0, 8, 0, 288, 0, 0, false, 0},   {1, 3, 0, 2, 2, 5, 0, 0, 0, 0, false, 0},
    {3, 4, 0, 2, 7, 8, 0, 0, 0, 288, false, 0},   {0, 4, 0, 2, 0, 1, 0, 288, 0, 288, false, 0},
    {0, 2, 0, 1, 0, 3, 0, 144, 0, 80, false, 0},  {0, 2, 1, 2, 3, 8, 144, 288, 80, 160, false, 0},
    {2, 4, 1, 2, 0, 0, 0, 0, 160, 288, false, 0},
};
enum { PARTS = sizeof parts / sizeof *parts };

static void slices_hold_the_same_bytes_and_say_what_they_hold(void **state) {
    model whole = open_model(WHOLE);
    assert_int_equal(whole.hp.n_experts, 8);
    model_sizes all, told;
    assert_ok(model_sizes_read(whole.file, &whole.hp, &all, err));
    for (size_t i = 0; i < PARTS; i++) {
        const char *path = craft_path(state, "part.gguf");
        assert_ok(write_part(&whole, &parts[i], path, NULL, err));
        model part = open_model(path);
        extent want = parts[i];
        want.is_slice = true;
        want.source = gguf_fingerprint(whole.file);
        assert_memory_equal(&part.held.layer_begin, &want.layer_begin, 10 * sizeof(uint32_t));
        assert_true(part.held.is_slice && part.held.source == want.source);
        assert_memory_equal(&part.hp, &whole.hp, sizeof part.hp);
        uint32_t layers = want.layer_end - want.layer_begin, of_layer = want.expert_end ? 19 : 13;
        bool embedding = want.embedding_end > 0, output = want.output_end > 0;
        assert_int_equal(gguf_tensor_count(part.file), of_layer * layers + embedding + 2 * output);
        assert_true((gguf_find_value(part.file, "tokenizer.ggml.tokens") != NULL) ==
                    (embedding && want.embedding_begin == 0));
        expect_same_tensors(&whole, &part);
        assert_ok(model_sizes_read(part.file, &part.hp, &told, err));
        assert_true(told.embedding == all.embedding && told.output == all.output);
        assert_int_equal(told.kv_head_step, all.kv_head_step);
        assert_memory_equal(told.layers, all.layers, all.n_layers * sizeof *all.layers);
        assert_memory_equal(told.experts, all.experts, all.n_layers * sizeof *all.experts);
        model_sizes_free(&told);
        gguf_close(part.file);
        unlink(path);
    }
    model_sizes_free(&all);
    gguf_close(whole.file);
}

static void a_slice_of_a_slice_is_that_of_the_whole(void **state) {
    model whole = open_model(WHOLE);
    const extent large = {1, 4, 0, 2, 2, 8, 0, 0, 80, 288, false, 0},
                 small = {3, 4, 1, 2, 3, 5, 0, 0, 96, 280, false, 0};
    const char *between = craft_path(state, "between.gguf"), *twice = craft_path(state, "twice.gguf"),
               *once = craft_path(state, "once.gguf");
    assert_ok(write_part(&whole, &large, between, NULL, err));
    assert_ok(write_part(&whole, &small, once, NULL, err));
    model middle = open_model(between);
    assert_ok(write_part(&middle, &small, twice, NULL, err));
    craft_assert_same_file(once, twice);
    gptoss_error err = {0};
    for (size_t i = 0; i < PARTS; i++) {
        if (i == 1 || i == 6) continue; /* those it can give */
        assert_int_equal(write_part(&middle, &parts[i], craft_path(state, "no.gguf"), NULL, &err), GPTOSS_MISUSE);
        assert_non_null(strstr(
            err.text,
            "is a slice with layers 1 to 3 of 4, experts 2 to 7 of 8, no embedding rows, output rows 80 to 287 "));
    }
    assert_int_equal(access(craft_path(state, "no.gguf"), F_OK), -1);
    gguf_close(middle.file);
    gguf_close(whole.file);
}

static void impossible_parts_are_misuse(void **state) {
    model whole = open_model(WHOLE);
    const extent wrong[] = {
        {2, 2, 0, 2, 0, 8, 0, 0, 0, 0, false, 0},   {0, 5, 0, 2, 0, 8, 0, 0, 0, 0, false, 0},
        {0, 1, 1, 1, 0, 8, 0, 0, 0, 0, false, 0},   {0, 1, 0, 3, 0, 8, 0, 0, 0, 0, false, 0},
        {0, 1, 0, 2, 3, 9, 0, 0, 0, 0, false, 0},   {0, 1, 0, 2, 5, 3, 0, 0, 0, 0, false, 0},
        {0, 1, 0, 2, 0, 8, 0, 289, 0, 0, false, 0}, {0, 1, 0, 2, 0, 8, 0, 0, 9, 3, false, 0},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        assert_int_equal(write_part(&whole, &wrong[i], craft_path(state, "no.gguf"), NULL, NULL), GPTOSS_MISUSE);
    gguf_close(whole.file);
}

static bool give_up(void *context, uint64_t done, uint64_t all) {
    (void)context;
    return done * 2 < all;
}

static void an_interruption_leaves_nothing(void **state) {
    model whole = open_model(WHOLE);
    const char *path = craft_path(state, "cut.gguf");
    assert_int_equal(write_part(&whole, &parts[3], path, give_up, NULL), GPTOSS_CANCELLED);
    assert_int_equal(access(path, F_OK), -1);
    assert_int_equal(access(craft_path(state, "cut.gguf.partial"), F_OK), -1);
    gguf_close(whole.file);
}

static void what_a_rank_needs_and_a_slice_lacks_is_named(void **state) {
    model whole = open_model(WHOLE);
    const struct {
        uint32_t begin, end; /* layers that are needed */
        bool embedding, output, expert_0_only;
        int part; /* of parts[] */
        const char *hint;
    } cases[] = {
        {0, 3, false, false, false, 0, "lacks layers: 0 to 2 are needed, it holds layers 0 to 1 of 4, all experts"},
        {1, 2, false, false, false, 1, "lacks experts: 0 to 7 are needed"},
        {1, 2, false, false, true, 1, "lacks experts: 0 to 0 are needed"},
        {0, 1, false, true, false, 0, "lacks output rows: 0 to 287 are needed"},
        {3, 4, true, true, true, 2, "lacks experts"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *path = craft_path(state, "part.gguf");
        gptoss_error err = {0};
        weights *w;
        slice needed = slice_of_layers(&whole.hp, cases[i].begin, cases[i].end, 4, cases[i].expert_0_only);
        needed.embedding_end = cases[i].embedding ? whole.hp.n_vocab : 0;
        needed.output_end = cases[i].output ? whole.hp.n_vocab : 0;
        assert_int_equal(write_part(&whole, &parts[cases[i].part], path, NULL, &err), GPTOSS_OK);
        model part = open_model(path);
        assert_int_equal(weights_open(part.file, &part.hp, needed, &w, &err), GPTOSS_BAD_INPUT);
        if (!strstr(err.text, cases[i].hint)) fail_msg("no \"%s\" in \"%s\"", cases[i].hint, err.text);
        gguf_close(part.file);
        unlink(path);
    }
    gguf_close(whole.file);
}

/* The keys of a slice of a version with one of them changed, on a file that has all tensors. */
static void write_with_keys(const model *whole, const char *path, uint32_t version, const char *changed,
                            const void *value, gguf_kind kind, uint64_t count) {
    gguf_writer *w;
    const uint32_t layers[] = {0, 4}, experts[] = {0, 8}, heads[] = {0, 2}, rows[] = {0, 288};
    const uint64_t sizes[] = {1, 2, 3, 4, 5};
    const struct {
        const char *key;
        gguf_kind kind;
        uint64_t count; /* 0: no array */
        const void *value;
        uint32_t version; /* that it belongs to; 0: to all */
    } keys[] = {
        {SLICE_KEYS "version", GGUF_U32, 0, &version, 0},       {SLICE_KEYS "layers", GGUF_U32, 2, layers, 0},
        {SLICE_KEYS "experts", GGUF_U32, 2, experts, 0},        {SLICE_KEYS "embedding", GGUF_BOOL, 0, "\1", 1},
        {SLICE_KEYS "output", GGUF_BOOL, 0, "\1", 1},           {SLICE_KEYS "kv_heads", GGUF_U32, 2, heads, 2},
        {SLICE_KEYS "embedding_rows", GGUF_U32, 2, rows, 2},    {SLICE_KEYS "output_rows", GGUF_U32, 2, rows, 2},
        {SLICE_KEYS "kv_head_step", GGUF_U32, 0, heads + 1, 2}, {SLICE_KEYS "source", GGUF_U64, 0, sizes, 0},
        {SLICE_KEYS "layer_bytes", GGUF_U64, 4, sizes, 0},      {SLICE_KEYS "expert_bytes", GGUF_U64, 4, sizes, 0},
        {SLICE_KEYS "outer_bytes", GGUF_U64, 2, sizes, 0},
    };
    assert_ok(gguf_write_new(&w, err));
    for (size_t i = 0; i < gguf_value_count(whole->file); i++)
        assert_ok(gguf_write_copy(w, gguf_value_at(whole->file, i), err));
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        bool is_it = strcmp(keys[i].key + strlen(SLICE_KEYS), changed) == 0;
        if ((is_it && !value) || (keys[i].version && keys[i].version != version)) continue;
        gguf_kind k = is_it ? kind : keys[i].kind;
        uint64_t n = is_it ? count : keys[i].count;
        const void *v = is_it ? value : keys[i].value;
        if (n)
            assert_ok(gguf_write_numbers(w, keys[i].key, k, v, n, err));
        else
            assert_ok(gguf_write_number(w, keys[i].key, k, v, err));
    }
    for (size_t i = 0; i < gguf_tensor_count(whole->file); i++) {
        const gguf_tensor *t = gguf_tensor_at(whole->file, i);
        assert_ok(gguf_write_tensor(w, t->name, t->n_dims, t->dims, t->type, err));
    }
    assert_ok(gguf_write_open(w, path, (gguf_write_options){.replace = true}, err));
    for (size_t i = 0; i < gguf_tensor_count(whole->file); i++) {
        const gguf_tensor *t = gguf_tensor_at(whole->file, i);
        void *bytes = bytes_of(whole->file, t, 0, t->bytes);
        assert_ok(gguf_write_data(w, i, 0, bytes, t->bytes, err));
        free(bytes);
    }
    assert_ok(gguf_write_close(w, err));
    gguf_write_free(w);
}

static gptoss_status read_all(const char *path, gptoss_error *err) {
    gguf_file *file;
    hparams hp;
    extent e;
    model_sizes sizes;
    TRY(gguf_open(path, &file, err));
    gptoss_status status = hparams_read(file, &hp, err);
    if (status == GPTOSS_OK) status = weights_check(file, &hp, hp.n_layers, err);
    if (status == GPTOSS_OK) status = extent_read(file, &hp, &e, err);
    if (status == GPTOSS_OK) status = model_sizes_read(file, &hp, &sizes, err);
    if (status == GPTOSS_OK) model_sizes_free(&sizes);
    gguf_close(file);
    return status;
}

static void keys_that_lie_are_refused(void **state) {
    model whole = open_model(WHOLE);
    const char *path = craft_path(state, "lies.gguf");
    static const uint32_t empty[] = {2, 2}, beyond[] = {0, 5}, backwards[] = {3, 1}, many[] = {0, 9}, few[] = {0, 3},
                          one[] = {0, 1}, outside[] = {0, 289};
    static const uint64_t huge[] = {1, 2, UINT64_MAX, 4};
    static const float fractions[] = {0, 4};
    static const uint32_t zero[] = {0}, three[] = {3};
    static const struct {
        uint32_t version;
        const char *key;
        const void *value;
        gguf_kind kind;
        uint64_t count;
    } cases[] = {
        {1, "version", three, GGUF_U32, 0},
        {1, "version", zero, GGUF_U32, 0},
        {2, "version", fractions, GGUF_F32, 0},
        {1, "layers", empty, GGUF_U32, 2},
        {2, "layers", beyond, GGUF_U32, 2},
        {1, "layers", backwards, GGUF_U32, 2},
        {1, "layers", empty, GGUF_U32, 1},
        {2, "layers", fractions, GGUF_F32, 2},
        {1, "layers", NULL, GGUF_U32, 0},
        {2, "layers", empty, GGUF_U32, 0},
        {1, "experts", many, GGUF_U32, 2},
        {1, "experts", few, GGUF_U32, 2}, /* but all are there */
        {2, "experts", few, GGUF_U32, 2},
        {1, "experts", empty, GGUF_U32, 2},
        {2, "experts", backwards, GGUF_U32, 2},
        {1, "embedding", empty, GGUF_U32, 0},
        {1, "output", NULL, GGUF_BOOL, 0},
        {2, "kv_heads", empty, GGUF_U32, 2},
        {2, "kv_heads", few, GGUF_U32, 2},
        {2, "kv_heads", one, GGUF_U32, 2}, /* the same */
        {2, "kv_heads", NULL, GGUF_U32, 0},
        {2, "embedding_rows", few, GGUF_U32, 2},
        {2, "embedding_rows", outside, GGUF_U32, 2},
        {2, "output_rows", few, GGUF_U32, 2},
        {2, "output_rows", backwards, GGUF_U32, 2},
        {2, "output_rows", NULL, GGUF_U32, 0},
        {2, "kv_head_step", zero, GGUF_U32, 0},
        {2, "kv_head_step", three, GGUF_U32, 0},
        {1, "source", fractions, GGUF_F32, 0},
        {1, "layer_bytes", huge, GGUF_U64, 4},
        {2, "layer_bytes", huge, GGUF_U64, 2},
        {1, "expert_bytes", huge, GGUF_U64, 4},
        {1, "outer_bytes", NULL, GGUF_U64, 0},
        {2, "outer_bytes", huge + 1, GGUF_U64, 2},
    };
    for (uint32_t version = 1; version <= 2; version++) {
        write_with_keys(&whole, path, version, "", NULL, GGUF_U32, 0);
        assert_ok(read_all(path, err));
    }
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        gptoss_error err = {0};
        write_with_keys(&whole, path, cases[i].version, cases[i].key, cases[i].value, cases[i].kind, cases[i].count);
        gptoss_status status = read_all(path, &err);
        if (status != GPTOSS_BAD_INPUT) fail_msg("case %zu: %s", i, gptoss_status_name(status));
        if (strncmp(err.text, path, strlen(path)) != 0) fail_msg("case %zu: %s", i, err.text);
    }
    gguf_close(whole.file);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(slices_hold_the_same_bytes_and_say_what_they_hold),
        cmocka_unit_test(a_slice_of_a_slice_is_that_of_the_whole),
        cmocka_unit_test(impossible_parts_are_misuse),
        cmocka_unit_test(an_interruption_leaves_nothing),
        cmocka_unit_test(what_a_rank_needs_and_a_slice_lacks_is_named),
        cmocka_unit_test(keys_that_lie_are_refused),
    };
    return cmocka_run_group_tests(tests, craft_folder_make, craft_folder_remove);
}
