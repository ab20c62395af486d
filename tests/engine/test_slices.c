/* Every rank maps the pages of its own slice and touches no others: read back from the kernel, on as many ranks as
 * started. */
#include <unistd.h>

#include "engine/engine.h"
#include "support.h"

enum { MOST_RUNS = 512 };

typedef struct run { /* bytes [begin, end) of the file */
    uint64_t begin, end;
} run;

static cluster world;

static uint64_t page_size(void) { return (uint64_t)sysconf(_SC_PAGESIZE); }

/* The parts of the file `path` that this process has mapped now. */
static size_t mapped_runs(const char *path, run runs[MOST_RUNS]) {
    char line[1024], name[768];
    size_t count = 0;
    FILE *maps = fopen("/proc/self/maps", "r");
    assert_non_null(maps);
    while (fgets(line, sizeof line, maps)) {
        unsigned long long begin, end, offset;
        if (sscanf(line, "%llx-%llx %*s %llx %*s %*s %767[^\n]", &begin, &end, &offset, name) != 4) continue;
        if (strcmp(name, path) != 0) continue;
        assert_true(count < MOST_RUNS);
        runs[count++] = (run){offset, offset + (end - begin)};
    }
    fclose(maps);
    return count;
}

/* The rows [begin, end) of a tensor of n rows. */
static run rows_of(const gguf_tensor *t, uint64_t begin, uint64_t end, uint64_t n) {
    return (run){t->offset + t->bytes / n * begin, t->offset + t->bytes / n * end};
}

/* What a slice needs of a tensor, told from its name alone; empty: nothing. */
static run bytes_needed(const gguf_tensor *t, const hparams *hp, const slice *s) {
    unsigned layer;
    if (sscanf(t->name, "blk.%u.", &layer) == 1) {
        if (layer < s->layer_begin || layer >= s->layer_end) return (run){0};
        return rows_of(t, 0, 1, s->expert_0_only && strstr(t->name, "_exps.") ? hp->n_experts : 1);
    }
    if (strncmp(t->name, "token_embd", 10) == 0) return rows_of(t, s->embedding_begin, s->embedding_end, hp->n_vocab);
    if (strncmp(t->name, "output_norm", 11) == 0) return rows_of(t, 0, s->output_end > s->output_begin, 1);
    return rows_of(t, s->output_begin, s->output_end, hp->n_vocab);
}

static bool covered(uint64_t begin, uint64_t end, const run *runs, size_t count) {
    for (size_t i = 0; i < count; i++)
        if (runs[i].begin <= begin && end <= runs[i].end) return true;
    return false;
}

static void expect_exactly_the_slice(const char *path, const engine *e) {
    gguf_file *file;
    run runs[MOST_RUNS];
    size_t count = mapped_runs(path, runs);
    assert_ok(gguf_open(path, &file, err));
    const slice *s = &e->weights->slice;
    for (size_t i = 0; i < gguf_tensor_count(file); i++) {
        run need = bytes_needed(gguf_tensor_at(file, i), &e->hp, s);
        if (need.end > need.begin) assert_true(covered(need.begin, need.end, runs, count));
    }
    /* Each mapped page holds a byte of a tensor of the slice. */
    for (size_t i = 0; i < count; i++) {
        for (uint64_t page = runs[i].begin; page < runs[i].end; page += page_size()) {
            bool wanted = false;
            for (size_t j = 0; j < gguf_tensor_count(file) && !wanted; j++) {
                run need = bytes_needed(gguf_tensor_at(file, j), &e->hp, s);
                wanted = need.begin < need.end && need.begin < page + page_size() && page < need.end;
            }
            assert_true(wanted);
        }
    }
    gguf_close(file);
}

/* No byte is mapped by two ranks, but for pages at the borders of slices, and that of the output's norm. */
static void expect_no_overlap(const char *path) {
    run runs[MOST_RUNS] = {0}, *all = calloc((size_t)world.size * MOST_RUNS, sizeof *all);
    mapped_runs(path, runs);
    cluster_gather(&world, (uint64_t *)runs, 2 * MOST_RUNS, (uint64_t *)all);
    if (world.rank == 0) {
        for (size_t i = 0; i < (size_t)world.size * MOST_RUNS; i++) {
            for (size_t j = (i / MOST_RUNS + 1) * MOST_RUNS; j < (size_t)world.size * MOST_RUNS; j++) {
                uint64_t begin = all[i].begin > all[j].begin ? all[i].begin : all[j].begin;
                uint64_t end = all[i].end < all[j].end ? all[i].end : all[j].end;
                if (begin < end) assert_true(end - begin <= page_size());
            }
        }
    }
    free(all);
}

static void run_with(uint32_t n_layers, bool expert_0_only) {
    char path[600];
    golden g;
    golden_load("f32", &g);
    assert_non_null(realpath(g.path, path));
    const engine_config config = {
        .path = path, .n_layers = n_layers, .expert_0_only = expert_0_only, .threads = 1, .chunk = 8, .logits_rows = 1};
    engine e;
    assert_ok(engine_open(&world, &config, &e, err));
    run none[MOST_RUNS];
    assert_int_equal(mapped_runs(path, none), 0); /* headers were read, not mapped */
    assert_ok(engine_start(&e, 64, err));
    expect_exactly_the_slice(path, &e);
    expect_no_overlap(path);
    engine_close(&e);
    assert_int_equal(mapped_runs(path, none), 0);
    golden_free(&g);
}

static void whole_models_are_shared_out(void **state) {
    (void)state;
    run_with(0, false);
}

static void layers_beyond_a_partial_model_are_not_mapped(void **state) {
    (void)state;
    if (world.size <= 3) run_with(3, false);
}

static void the_fallback_maps_expert_0_alone(void **state) {
    (void)state;
    run_with(0, true);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whole_models_are_shared_out),
        cmocka_unit_test(layers_beyond_a_partial_model_are_not_mapped),
        cmocka_unit_test(the_fallback_maps_expert_0_alone),
    };
    gptoss_error err;
    if (cluster_open(getenv("OMPI_COMM_WORLD_SIZE") != NULL, &world, &err) != GPTOSS_OK) return 1;
    int failures = cmocka_run_group_tests(tests, NULL, NULL);
    cluster_close(&world);
    return failures;
}
