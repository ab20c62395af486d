/* A rank that may not even map the whole model runs on its slice of it, on as many ranks as started. */
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/engine.h"
#include "engine/generate.h"
#include "gguf/synth.h"
#include "model/slice_file.h"
#include "plan/model_needs.h"
#include "support.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { CAN_LIMIT = 0 }; /* sanitizers reserve terabytes */
#else
enum { CAN_LIMIT = 1 };
#endif
enum { BESIDES = 40 << 20 }; /* room for buffers, messages and all that is no weights */

static cluster world;

static uint64_t status_kib(const char *name) {
    char line[256];
    unsigned long long kib = 0;
    FILE *f = fopen("/proc/self/status", "r");
    assert_non_null(f);
    while (fgets(line, sizeof line, f))
        if (strncmp(line, name, strlen(name)) == 0) sscanf(line + strlen(name), ": %llu", &kib);
    fclose(f);
    return kib;
}

static uint64_t size_of(const char *path) {
    struct stat s;
    assert_int_equal(stat(path, &s), 0);
    return (uint64_t)s.st_size;
}

static void write_slices(const char *whole, const char *const *paths) {
    synth_options o = {.shape = *synth_find_shape("tiny"),
                       .type_attn = TYPE_Q8_0,
                       .type_experts = TYPE_MXFP4,
                       .threads = 1,
                       .replace = true};
    synth_report report;
    o.shape.layers = 24;
    assert_ok(synth_write(whole, &o, &report, err));
    gguf_file *file;
    hparams hp;
    model_sizes sizes;
    placement p;
    assert_ok(gguf_open(whole, &file, err));
    assert_ok(hparams_read(file, &hp, err));
    assert_ok(model_sizes_read(file, &hp, &sizes, err));
    assert_ok(placement_among_equals(&sizes, &hp, hp.n_layers, false, (uint32_t)world.size, 1, &p, err));
    for (int i = 0; i < world.size; i++) {
        const plan_rank *r = &p.rank[i];
        const slice of_rank = slice_of_layers(&hp, r->layer_begin, r->layer_end, hp.n_layers, false);
        const extent what = extent_of_slice(&of_rank);
        slice_file f;
        assert_ok(slice_file_plan(file, &hp, &what, &f, err));
        assert_ok(slice_file_write(&f, file, paths[i], true, NULL, NULL, err));
        slice_file_free(&f);
    }
    placement_free(&p);
    model_sizes_free(&sizes);
    gguf_close(file);
}

typedef struct account {
    uint32_t *tokens, count;
} account;

static bool note_token(void *context, uint32_t step, uint32_t token, const sampler_report *report) {
    account *a = context;
    assert_null(report);
    assert_int_equal(step, a->count);
    a->tokens[a->count++] = token;
    return true;
}

/* Writes up to 8 tokens to out; returns how many. */
static uint32_t generate_with(const char *path, uint32_t *out) {
    const engine_config config = {.path = path, .threads = 1, .chunk = 8, .logits_rows = 1};
    uint64_t before = status_kib("RssFile") << 10;
    account a = {out, 0};
    engine e;
    assert_ok(engine_open(&world, &config, &e, err));
    assert_ok(engine_start(&e, 64, err));
    if (world.rank == 0) {
        const uint32_t prompt[] = {1, 2, 3, 4, 5};
        const generate_request request = {.prompt = prompt,
                                          .n_prompt = 5,
                                          .max_tokens = 8,
                                          .chunk = 8,
                                          .sampling = sampler_defaults(),
                                          .context = &a,
                                          .on_token = note_token};
        generate_result result;
        assert_ok(generate(e.pipeline, &request, &result, err));
        pipeline_stop(e.pipeline);
    } else {
        assert_ok(pipeline_work(e.pipeline, err));
    }
    assert_true(status_kib("RssFile") << 10 < before + gguf_map_bytes(e.weights->map) + (8 << 20));
    engine_close(&e);
    return a.count;
}

static void a_slice_runs_where_the_whole_does_not_fit(void **state) {
    (void)state;
    char whole[64], paths[8][64];
    const char *names[8];
    int number = (int)getpid();
    cluster_broadcast(&world, &number, sizeof number);
    snprintf(whole, sizeof whole, P_tmpdir "/gptoss-limit-%d.gguf", number);
    for (int i = 0; i < world.size; i++) {
        snprintf(paths[i], sizeof paths[i], P_tmpdir "/gptoss-limit-%d-%d.gguf", number, i);
        names[i] = paths[i];
    }
    if (world.rank == 0) write_slices(whole, names);
    assert_int_equal(cluster_agree(&world, GPTOSS_OK, NULL), GPTOSS_OK);
    uint64_t mine = size_of(paths[world.rank]), limit = (status_kib("VmSize") << 10) + mine + BESIDES;
    assert_true(mine + BESIDES < size_of(whole)); /* so that the limit means something */

    struct rlimit before, now;
    assert_int_equal(getrlimit(RLIMIT_AS, &before), 0);
    now = (struct rlimit){limit, before.rlim_max};
    if (CAN_LIMIT) assert_int_equal(setrlimit(RLIMIT_AS, &now), 0);
    uint32_t from_slice[8], from_whole[8];
    uint32_t count = generate_with(paths[world.rank], from_slice);
    setrlimit(RLIMIT_AS, &before);

    assert_int_equal(generate_with(whole, from_whole), count);
    if (world.rank == 0) {
        assert_int_equal(count, 8);
        assert_memory_equal(from_slice, from_whole, sizeof from_slice);
        unlink(whole);
        for (int i = 0; i < world.size; i++) unlink(paths[i]);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_slice_runs_where_the_whole_does_not_fit)};
    gptoss_error err;
    if (cluster_open(getenv("OMPI_COMM_WORLD_SIZE") != NULL, &world, &err) != GPTOSS_OK) return 1;
    int failures = cmocka_run_group_tests(tests, NULL, NULL);
    cluster_close(&world);
    return failures;
}
