/* Stages split between shards, each a thread of this process, held to the same stages in one piece. */
#include <pthread.h>
#include <unistd.h>

#include "base/cancel.h"
#include "gguf/craft.h"
#include "gguf/synth.h"
#include "kernels/isa.h"
#include "model/stage.h"
#include "runs.h"
#include "support.h"

enum { MOST_SHARDS = 4, MOST_TOKENS = 100, LIMIT = 100 };

/* Where the shards' ranges of heads and experts end. */
typedef struct split {
    uint32_t shards;
    uint32_t heads[MOST_SHARDS], experts[MOST_SHARDS];
} split;

/* All layers of a model at work on the same tokens, in all shards. */
typedef struct job {
    const gguf_file *file;
    hparams hp;
    split split;
    bool expert_0_only;
    kv_type kv;
    uint32_t chunk;
    int threads; /* of each shard */
    const uint32_t *tokens;
    uint32_t count;
    pthread_barrier_t barrier;
    const float *parts[MOST_SHARDS]; /* while they are summed */
    float *logits;                   /* [count][n_vocab], of all shards */
    float *stream[MOST_SHARDS];      /* [count][d_model], behind the last layer */
} job;

typedef struct member {
    job *job;
    uint32_t shard;
    weights *weights;
    team *team;
    stage *stage;
    float *sum; /* [chunk][d_model] */
} member;

static void sum_parts(void *context, float *x, size_t count) {
    member *m = context;
    job *j = m->job;
    j->parts[m->shard] = x;
    pthread_barrier_wait(&j->barrier);
    for (size_t i = 0; i < count; i++) {
        m->sum[i] = j->parts[0][i];
        for (uint32_t s = 1; s < j->split.shards; s++) m->sum[i] += j->parts[s][i];
    }
    pthread_barrier_wait(&j->barrier);
    memcpy(x, m->sum, count * sizeof *x);
}

static slice slice_of(const job *j, uint32_t shard) {
    const split *p = &j->split;
    uint32_t n = p->shards, all = j->hp.n_vocab;
    slice s = slice_of_layers(&j->hp, 0, j->hp.n_layers, j->hp.n_layers, j->expert_0_only);
    s.kv_head_begin = shard ? p->heads[shard - 1] : 0;
    s.kv_head_end = p->heads[shard];
    s.expert_begin = shard ? p->experts[shard - 1] : 0;
    s.expert_end = p->experts[shard];
    s.embedding_begin = all * shard / n;
    s.embedding_end = all * (shard + 1) / n;
    s.output_begin = all * shard / n / MATMUL_GRAIN * MATMUL_GRAIN;
    s.output_end = shard + 1 == n ? all : all * (shard + 1) / n / MATMUL_GRAIN * MATMUL_GRAIN;
    return s;
}

static void member_open(job *j, uint32_t shard, member *m) {
    const kv_room room = {.sequences = 1, .positions = MOST_TOKENS, .chunk = j->chunk, .type = j->kv};
    const stage_peers peers = {shard, j->split.shards, sum_parts, m};
    *m = (member){.job = j, .shard = shard, .sum = malloc(j->chunk * j->hp.d_model * sizeof(float))};
    assert_ok(weights_open(j->file, &j->hp, slice_of(j, shard), &m->weights, err));
    assert_ok(team_open(j->threads, &m->team, err));
    assert_ok(stage_open(&j->hp, m->weights, m->team, &room, j->split.shards > 1 ? &peers : NULL, &m->stage, err));
}

static void member_close(member *m) {
    stage_close(m->stage);
    team_close(m->team);
    weights_close(m->weights);
    free(m->sum);
}

/* No assertions here: they would leave the other shards waiting. */
static void *member_run(void *context) {
    member *m = context;
    job *j = m->job;
    const slice *s = &m->weights->slice;
    size_t width = j->hp.d_model, rows = s->output_end - s->output_begin;
    float *own = malloc(j->chunk * rows * sizeof *own);
    const wave_limits limits = stage_limits(m->stage);
    runs waves;
    runs_open(&limits, &waves);
    for (uint32_t at = 0; at < j->count; at += j->chunk) {
        uint32_t n = j->count - at < j->chunk ? j->count - at : j->chunk;
        const wave *w = runs_one(&waves, j->tokens + at, n, at, n);
        float *x = j->stream[m->shard] + at * width;
        stage_embed(m->stage, w->tokens, n, x);
        stage_forward(m->stage, w, x);
        stage_logits(m->stage, x, n, own);
        for (size_t t = 0; t < n; t++)
            memcpy(j->logits + (at + t) * j->hp.n_vocab + s->output_begin, own + t * rows, rows * sizeof *own);
    }
    runs_close(&waves);
    free(own);
    return NULL;
}

/* logits[count][n_vocab], which the caller frees; all shards come to the same x. */
static float *job_run(job *j) {
    member members[MOST_SHARDS];
    pthread_t threads[MOST_SHARDS];
    uint32_t n = j->split.shards;
    size_t stream_bytes = j->count * j->hp.d_model * sizeof(float);
    j->logits = malloc(j->count * j->hp.n_vocab * sizeof *j->logits);
    pthread_barrier_init(&j->barrier, NULL, n);
    for (uint32_t i = 0; i < n; i++) {
        j->stream[i] = malloc(stream_bytes);
        member_open(j, i, &members[i]);
    }
    for (uint32_t i = 0; i < n; i++) pthread_create(&threads[i], NULL, member_run, &members[i]);
    for (uint32_t i = 0; i < n; i++) pthread_join(threads[i], NULL);
    for (uint32_t i = 0; i < n; i++) {
        assert_memory_equal(j->stream[i], j->stream[0], stream_bytes);
        member_close(&members[i]);
    }
    for (uint32_t i = 0; i < n; i++) free(j->stream[i]);
    pthread_barrier_destroy(&j->barrier);
    return j->logits;
}

static size_t greedy(const float *logits, size_t n) {
    size_t best = 0;
    for (size_t i = 1; i < n; i++)
        if (logits[i] > logits[best]) best = i;
    return best;
}

static split whole_of(const hparams *hp, bool expert_0_only) {
    return (split){1, {hp->n_kv_heads}, {expert_0_only ? 1 : hp->n_experts}};
}

/* In prefill and in decode, with one thread a shard and with two. */
static double compare_with(const char *what, job j, split parts, double most) {
    const struct {
        uint32_t chunk;
        int threads;
    } ways[] = {{MOST_TOKENS, 1}, {MOST_TOKENS, 2}, {7, 1}, {1, 1}};
    size_t width = j.hp.n_vocab;
    double error = 0;
    j.chunk = MOST_TOKENS;
    j.threads = 1;
    j.split = whole_of(&j.hp, j.expert_0_only);
    float *want = job_run(&j), *first = NULL;
    j.split = parts;
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        j.chunk = ways[i].chunk;
        j.threads = ways[i].threads;
        float *got = job_run(&j);
        if (first)
            assert_memory_equal(got, first, j.count * width * sizeof *got); /* chunks and threads change no bit */
        error = relative_error(got, want, j.count * width);
        if (!(error < most)) fail_msg("%s, %u shards: relative error %g", what, parts.shards, error);
        for (size_t t = 0; t < j.count; t++)
            assert_int_equal(greedy(got + t * width, width), greedy(want + t * width, width));
        if (!first)
            first = got;
        else
            free(got);
    }
    free(first);
    free(want);
    return error;
}

/* In float32 shards differ by the order of additions alone. Where activations and caches are rounded to 16 bits, each
 * difference, however small, rounds some of them to the next number: results then differ as much as rounding does. */
static void compare(const char *what, job j, split parts) {
    isa_use(ISA_REFERENCE);
    j.kv = KV_F32;
    double exact = compare_with(what, j, parts, 1e-5);
    isa_use(isa_best());
    j.kv = KV_DEFAULT;
    double rounded = compare_with(what, j, parts, 2e-4);
    print_message("%s, %u shards: relative error %.2g in float32, %.2g rounded\n", what, parts.shards, exact, rounded);
}

static job open_job(const char *path, const uint32_t *tokens, uint32_t count, gguf_file **file) {
    job j = {.tokens = tokens, .count = count < LIMIT ? count : LIMIT};
    assert_ok(gguf_open(path, file, err));
    assert_ok(hparams_read(*file, &j.hp, err));
    assert_ok(weights_check(*file, &j.hp, j.hp.n_layers, err));
    j.file = *file;
    return j;
}

static bool has_k_quants(const char *name) { return strstr(name, "k_m") != NULL; }

static void two_shards_of_the_golden_models_equal_one(void **state) {
    (void)state;
    static const split splits[] = {{2, {1, 2}, {4, 8}}, {2, {1, 2}, {7, 8}}, {2, {1, 2}, {1, 8}}};
    for (const char *const *name = golden_names; *name; name++) {
        golden g;
        gguf_file *file;
        if (has_k_quants(*name)) continue;
        golden_load(*name, &g);
        job j = open_job(g.path, g.tokens, (uint32_t)g.positions, &file);
        assert_int_equal(j.hp.n_kv_heads, 2);
        for (size_t i = 0; i < sizeof splits / sizeof *splits; i++) compare(*name, j, splits[i]);
        gguf_close(file);
        golden_free(&g);
    }
}

/* A model of 4 KV heads and 12 experts. */
static void make_model(void **state, gguf_type attention, gguf_type experts, char path[512]) {
    synth_options o = {.shape = *synth_find_shape("tiny"),
                       .type_attn = attention,
                       .type_experts = experts,
                       .replace = true,
                       .threads = 2};
    synth_report report;
    o.shape.layers = 4;
    snprintf(path, 512, "%s/model.gguf", (const char *)*state);
    assert_ok(synth_write(path, &o, &report, err));
}

static void uneven_shards_equal_one(void **state) {
    static const gguf_type types[][2] = {{TYPE_Q8_0, TYPE_MXFP4}, {TYPE_BF16, TYPE_F16}, {TYPE_Q4_0, TYPE_Q8_0}};
    static const split splits[] = {{2, {3, 4}, {1, 12}},
                                   {3, {1, 3, 4}, {1, 9, 12}},
                                   {3, {2, 3, 4}, {4, 8, 12}},
                                   {4, {1, 2, 3, 4}, {5, 6, 11, 12}}};
    uint32_t tokens[70];
    for (uint32_t i = 0; i < 70; i++) tokens[i] = (i * 97 + 5) % 490;
    for (size_t t = 0; t < sizeof types / sizeof *types; t++) {
        char path[512];
        gguf_file *file;
        make_model(state, types[t][0], types[t][1], path);
        job j = open_job(path, tokens, 70, &file);
        assert_true(j.hp.n_kv_heads == 4 && j.hp.n_experts == 12);
        for (size_t i = 0; i < sizeof splits / sizeof *splits; i++)
            if (t == 0 || i % 3 == t % 3) compare(gguf_type_traits(types[t][0])->name, j, splits[i]);
        gguf_close(file);
        unlink(path);
    }
}

static void expert_0_is_the_first_shards_alone(void **state) {
    (void)state;
    golden g;
    gguf_file *file;
    golden_load("q8_0-mxfp4", &g);
    job j = open_job(g.path, g.tokens, (uint32_t)g.positions, &file);
    j.expert_0_only = true;
    compare("expert 0", j, (split){2, {1, 2}, {1, 1}});
    gguf_close(file);
    golden_free(&g);
}

/* What shards hold of a layer they hold between them once: bytes of keys and values, and of weights but for small ones
 * and for the columns of attn_output that lie between those of a shard. */
static void shards_hold_no_more_than_their_part(void **state) {
    char path[512];
    gguf_file *file;
    const uint32_t token = 1;
    make_model(state, TYPE_Q8_0, TYPE_MXFP4, path);
    job j = open_job(path, &token, 1, &file);
    const kv_room room = {.sequences = 1, .positions = 1000, .chunk = 8};
    uint64_t kv = 0, bytes = 0;
    j.split = (split){3, {1, 3, 4}, {1, 9, 12}};
    for (uint32_t i = 0; i < 3; i++) {
        const slice s = slice_of(&j, i);
        weights *w;
        kv_room own = room;
        own.kv_heads = s.kv_head_end - s.kv_head_begin;
        kv += kv_cache_bytes(&j.hp, 0, j.hp.n_layers, &own);
        assert_ok(weights_open(file, &j.hp, s, &w, err));
        bytes += gguf_map_bytes(w->map);
        assert_int_equal(w->layers[0].q.rows, own.kv_heads * 2 * j.hp.head_dim);
        assert_int_equal(w->layers[0].o.cols, own.kv_heads * 2 * j.hp.head_dim);
        assert_int_equal(w->output.rows, s.output_end - s.output_begin);
        weights_close(w);
    }
    assert_int_equal(kv, kv_cache_bytes(&j.hp, 0, j.hp.n_layers, &room));
    uint64_t whole = gguf_part_size(file, 0), output_matrices = 4 * 512 * 8 * 64 * 34 / 32;
    assert_true(bytes < whole + whole / 10 + 2 * output_matrices);
    gguf_close(file);
    unlink(path);
}

static void heads_are_not_cut_within_blocks(void **state) {
    (void)state;
    for (const char *const *name = golden_names; *name; name++) {
        golden g;
        gguf_file *file;
        gptoss_error err = {0};
        weights *w;
        model_sizes sizes;
        golden_load(*name, &g);
        job j = open_job(g.path, g.tokens, (uint32_t)g.positions, &file);
        j.split = (split){2, {1, 2}, {4, 8}};
        assert_int_equal(model_sizes_read(file, &j.hp, &sizes, &err), GPTOSS_OK);
        assert_int_equal(sizes.kv_head_step, has_k_quants(*name) ? 2 : 1);
        if (has_k_quants(*name)) {
            assert_int_equal(weights_open(file, &j.hp, slice_of(&j, 1), &w, &err), GPTOSS_MISUSE);
            assert_non_null(strstr(err.text, "whose blocks have columns of 2 KV heads each; KV heads 1 to 1 cannot"));
        }
        model_sizes_free(&sizes);
        gguf_close(file);
        golden_free(&g);
    }
}

/* Nor are there slices without heads, or with more than there is. */
static void impossible_slices_are_refused(void **state) {
    (void)state;
    golden g;
    gguf_file *file;
    golden_load("f32", &g);
    job j = open_job(g.path, g.tokens, (uint32_t)g.positions, &file);
    for (int i = 0; i < 5; i++) {
        slice s = slice_of_layers(&j.hp, 0, 4, 4, false);
        weights *w;
        uint32_t *const ends[] = {&s.layer_end, &s.kv_head_end, &s.expert_end, &s.embedding_end, &s.output_end};
        ++*ends[i];
        assert_int_equal(weights_open(file, &j.hp, s, &w, NULL), GPTOSS_BAD_INPUT);
        s = slice_of_layers(&j.hp, 0, 4, 4, false);
        s.kv_head_begin = 2;
        assert_int_equal(weights_open(file, &j.hp, s, &w, NULL), GPTOSS_INTERNAL);
    }
    gguf_close(file);
    golden_free(&g);
}

static void count_sum(void *context, float *x, size_t count) {
    uint32_t *sums = context;
    assert_true(x != NULL && count > 0);
    ++*sums;
}

/* Otherwise a shard that gave up on a wave would wait for ever for one that has gone through with it. The last test:
 * nothing takes a cancellation back. */
static void simulated_shards_meet_behind_each_wave(void **state) {
    (void)state;
    golden g;
    gguf_file *file;
    weights *w;
    team *t;
    stage *s;
    runs waves;
    uint32_t sums = 0;
    const kv_room room = {.sequences = 1, .positions = 4, .chunk = 4};
    const stage_times pace = {.attention = 1e-6, .experts = 1e-6};
    const stage_peers peers = {1, 2, count_sum, &sums};
    golden_load("f32", &g);
    job j = open_job(g.path, g.tokens, 4, &file);
    j.split = (split){2, {1, 2}, {4, 8}};
    assert_ok(weights_open(file, &j.hp, slice_of(&j, 1), &w, err));
    assert_ok(team_open(1, &t, err));
    assert_ok(stage_open(&j.hp, w, t, &room, &peers, &s, err));
    float *x = calloc(room.chunk * j.hp.d_model, sizeof *x);
    const wave_limits limits = stage_limits(s);
    runs_open(&limits, &waves);
    stage_simulate(s, &pace);
    assert_ok(stage_forward(s, runs_one(&waves, j.tokens, 4, 0, 0), x));
    assert_int_equal(sums, 1);
    cancel_request();
    assert_int_equal(stage_forward(s, runs_one(&waves, j.tokens, 4, 0, 0), x), GPTOSS_CANCELLED);
    assert_int_equal(sums, 1);
    runs_close(&waves);
    free(x);
    stage_close(s);
    team_close(t);
    weights_close(w);
    gguf_close(file);
    golden_free(&g);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(two_shards_of_the_golden_models_equal_one),
        cmocka_unit_test(uneven_shards_equal_one),
        cmocka_unit_test(expert_0_is_the_first_shards_alone),
        cmocka_unit_test(shards_hold_no_more_than_their_part),
        cmocka_unit_test(heads_are_not_cut_within_blocks),
        cmocka_unit_test(impossible_slices_are_refused),
        cmocka_unit_test(simulated_shards_meet_behind_each_wave),
    };
    return cmocka_run_group_tests(tests, craft_folder_make, craft_folder_remove);
}
