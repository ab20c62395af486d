/* --kv-memory on as many ranks as started: each keeps to it, and all have pages for the same sequences. */
#include "engine/engine.h"
#include "engine/generate.h"
#include "support.h"

enum { POSITIONS = 400, PROMPT = 40, TOKENS = 30 };

static cluster world;

typedef struct outcome {
    gptoss_status status;
    uint64_t bytes[8];   /* of each rank's cache, known to rank 0 */
    uint64_t page;       /* bytes of a page of its full layers, on this rank */
    uint32_t full_pages; /* of each rank */
    uint32_t tokens[TOKENS];
} outcome;

static bool keep_token(void *context, uint32_t step, uint32_t token, const sampler_report *report) {
    outcome *out = context;
    (void)report;
    out->tokens[step] = token;
    return step + 1 < TOKENS;
}

static void generate_some(const engine *e, outcome *out) {
    uint32_t prompt[PROMPT];
    for (uint32_t i = 0; i < PROMPT; i++) prompt[i] = 5 + i;
    const generate_request request = {.prompt = prompt,
                                      .n_prompt = PROMPT,
                                      .max_tokens = TOKENS,
                                      .chunk = 8,
                                      .sampling = sampler_defaults(),
                                      .on_token = keep_token,
                                      .context = out};
    generate_result ignored;
    assert_ok(generate(e->pipeline, &request, &ignored, err));
}

static outcome run_with(uint64_t kv_memory) {
    outcome out = {0};
    gptoss_error why = {0};
    const engine_config config = {.path = TEST_DATA "/golden/f32.gguf",
                                  .threads = 1,
                                  .sequences = 2,
                                  .chunk = 8,
                                  .logits_rows = 1,
                                  .kv_memory = kv_memory};
    engine e;
    assert_ok(engine_open(&world, &config, &e, err));
    out.status = engine_start(&e, POSITIONS, &why);
    if (out.status != GPTOSS_OK) {
        engine_close(&e);
        return out;
    }
    const slice *s = &e.weights->slice;
    out.page = kv_cache_page_bytes(&e.hp, s->layer_begin, s->layer_end, &e.room, KV_FULL);
    out.full_pages = e.room.pages[KV_FULL];
    if (world.rank == 0) {
        for (int r = 0; r < world.size; r++) out.bytes[r] = e.facts[r].kv_bytes;
        generate_some(&e, &out);
        pipeline_stop(e.pipeline);
    } else {
        assert_ok(pipeline_work(e.pipeline, err));
    }
    engine_close(&e);
    return out;
}

/* Rank 0's figures for all. */
static uint64_t most_bytes(const outcome *o) {
    uint64_t most = 0;
    for (int r = 0; r < world.size; r++)
        if (o->bytes[r] > most) most = o->bytes[r];
    cluster_broadcast(&world, &most, sizeof most);
    return most;
}

static void every_rank_keeps_to_it(void **state) {
    (void)state;
    outcome all = run_with(0);
    uint64_t unlimited = most_bytes(&all), pages[8];
    assert_int_equal(all.status, GPTOSS_OK);
    for (uint64_t memory = unlimited - 1; memory >= unlimited * 3 / 4; memory -= unlimited / 10) {
        outcome o = run_with(memory);
        uint64_t used = most_bytes(&o), mine[] = {o.page}, largest = 0, full = o.full_pages;
        assert_int_equal(o.status, GPTOSS_OK);
        cluster_gather(&world, mine, 1, pages);
        for (int r = 0; r < world.size; r++)
            if (world.rank == 0 && pages[r] > largest) largest = pages[r];
        if (world.rank == 0)
            assert_true(used <= memory && used + largest > memory); /* and no page less than it could */
        cluster_broadcast(&world, &full, sizeof full);
        assert_int_equal(o.full_pages, full);
        assert_true(o.full_pages < all.full_pages);
        assert_memory_equal(o.tokens, all.tokens, sizeof o.tokens);
    }
}

/* All ranks give up together, also those that it would have been enough for. */
static void too_little_is_told(void **state) {
    (void)state;
    assert_int_equal(run_with(1).status, GPTOSS_MISUSE);
    assert_int_equal(run_with(4000).status, GPTOSS_MISUSE);
    assert_int_equal(run_with(0).status, GPTOSS_OK);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_rank_keeps_to_it), cmocka_unit_test(too_little_is_told)};
    gptoss_error err;
    if (cluster_open(getenv("OMPI_COMM_WORLD_SIZE") != NULL, &world, &err) != GPTOSS_OK) return 1;
    int failures = cmocka_run_group_tests(tests, NULL, NULL);
    cluster_close(&world);
    return failures;
}
