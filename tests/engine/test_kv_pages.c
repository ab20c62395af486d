/* Pages of the KV pool: who has them, how many there are, what they cost. */
#include <stdio.h>
#include <unistd.h>

#include "engine/kv_pool.h"
#include "engine/kv_sizing.h"
#include "engine/prefix_cache.h"
#include "random.h"
#include "support.h"

/* ---- the pool's books ---- */

static void check(const kv_pool *pool) {
    gptoss_error why = {0};
    if (!kv_pool_check(pool, &why)) fail_msg("%s", why.text);
}

static void pages_go_round(void **state) {
    (void)state;
    const kv_paging paging = {16, {4, 4}, {3, 2}};
    kv_pool *pool;
    uint32_t a = 0, b = 0, c = 0, d = 99;
    assert_ok(kv_pool_open(&paging, &pool, err));
    assert_true(kv_pool_take(pool, KV_FULL, &a) && kv_pool_take(pool, KV_FULL, &b) && kv_pool_take(pool, KV_FULL, &c));
    assert_true(a != b && b != c && a != c);
    assert_false(kv_pool_take(pool, KV_FULL, &d));
    assert_int_equal(d, 99);
    assert_int_equal(kv_pool_free(pool, KV_WINDOW), 2); /* the kinds have nothing to do with each other */
    kv_pool_share(pool, KV_FULL, b, KV_CACHED);
    kv_pool_share(pool, KV_FULL, b, KV_RUNNING);
    check(pool);
    kv_pool_release(pool, KV_FULL, b, KV_RUNNING);
    kv_pool_release(pool, KV_FULL, b, KV_RUNNING);
    assert_int_equal(kv_pool_running(pool, KV_FULL), 2);
    assert_int_equal(kv_pool_free(pool, KV_FULL), 0); /* cached yet */
    kv_pool_release(pool, KV_FULL, b, KV_CACHED);
    assert_int_equal(kv_pool_free(pool, KV_FULL), 1);
    check(pool);
    assert_true(kv_pool_take(pool, KV_FULL, &d));
    assert_int_equal(d, b);
    check(pool);
    kv_pool_close(pool);
}

static const wave_limits limits = {
    .chunk = 24, .n_vocab = 50, .runs = 4, .positions = 200, .paging = {16, {5, 4}, {30, 40}}};

/* Lets a sequence go on for `count` tokens, as waves do. */
static void go_on(sequence *s, kv_pool *pool, prefix_cache *cache, uint32_t count) {
    while (count > 0) {
        uint32_t n = count < limits.chunk ? count : limits.chunk;
        assert_true(sequence_extend(s, &limits, pool, n, (kv_reclaim){prefix_cache_reclaim, cache}));
        for (kv_kind kind = 0; kind < KV_KINDS; kind++) {
            kv_span seen = kv_paging_seen(&limits.paging, kind, s->position, n);
            assert_true(s->first[kind] <= seen.begin && s->first[kind] + s->count[kind] == seen.end);
            assert_true(s->count[kind] <= kv_paging_most(&limits.paging, kind, limits.positions, limits.chunk));
        }
        sequence_advance(s, &limits, pool, n);
        check(pool);
        count -= n;
    }
}

/* Sequences that begin, resume, are remembered and end at random never lose or share out a page wrongly. */
static void random_lives_leak_nothing(void **state) {
    (void)state;
    uint64_t seed = 4;
    uint32_t tokens[200];
    kv_pool *pool;
    prefix_cache *cache;
    sequence all[3];
    assert_ok(kv_pool_open(&limits.paging, &pool, err));
    assert_ok(prefix_cache_open(&limits, pool, 5, &cache, err));
    for (int i = 0; i < 3; i++) assert_ok(sequence_open(&limits, &all[i], err));
    for (int i = 0; i < 200; i++) tokens[i] = (uint32_t)i % 50;
    for (int round = 0; round < 2000; round++) {
        sequence *s = &all[random_below(&seed, 3)];
        uint32_t left = limits.positions - s->position, count = (uint32_t)random_below(&seed, 60);
        tokens[0] = (uint32_t)random_below(&seed, 3);
        prefix_match match = {0};
        switch (random_below(&seed, 4)) {
        case 0: sequence_clear(s, pool); break;
        case 1:
            sequence_clear(s, pool);
            match = prefix_cache_find(cache, tokens, 1 + (uint32_t)random_below(&seed, 200));
            if (match.positions > 0) assert_true(prefix_cache_resume(cache, match, s));
            if (match.positions > 0) assert_int_equal(s->position, match.positions);
            break;
        case 2:
            if (s->position > 0 && !s->copies[KV_FULL] && !s->copies[KV_WINDOW])
                prefix_cache_add(cache, tokens, s->position, s);
            break;
        default: go_on(s, pool, cache, count < left ? count : left);
        }
        check(pool);
    }
    for (int i = 0; i < 3; i++) {
        sequence_clear(&all[i], pool);
        sequence_close(&all[i]);
    }
    prefix_cache_close(cache);
    for (kv_kind kind = 0; kind < KV_KINDS; kind++)
        assert_int_equal(kv_pool_free(pool, kind), limits.paging.pages[kind]);
    check(pool);
    kv_pool_close(pool);
}

/* Nothing is copied that can be shared, and what is shared costs nothing. */
static void points_share_pages(void **state) {
    (void)state;
    uint32_t tokens[200] = {0};
    kv_pool *pool;
    prefix_cache *cache;
    sequence first, second;
    assert_ok(kv_pool_open(&limits.paging, &pool, err));
    assert_ok(prefix_cache_open(&limits, pool, 5, &cache, err));
    assert_ok(sequence_open(&limits, &first, err));
    assert_ok(sequence_open(&limits, &second, err));
    go_on(&first, pool, cache, 128); /* a multiple of both page sizes */
    uint32_t full = kv_pool_free(pool, KV_FULL), window = kv_pool_free(pool, KV_WINDOW);
    prefix_cache_add(cache, tokens, 128, &first);
    prefix_cache_add(cache, tokens, 128, &first); /* is there already */
    assert_int_equal(prefix_cache_points(cache), 1);
    assert_true(prefix_cache_resume(cache, prefix_cache_find(cache, tokens, 150), &second));
    assert_false(second.copies[KV_FULL] || second.copies[KV_WINDOW]);
    assert_int_equal(kv_pool_free(pool, KV_FULL), full);
    assert_int_equal(kv_pool_free(pool, KV_WINDOW), window);
    assert_int_equal(prefix_cache_find(cache, tokens, 128).positions, 0); /* one token must be left to run */
    assert_int_equal(prefix_cache_find(cache, tokens, 128).shared, 127);
    assert_int_equal(prefix_cache_find(cache, tokens, 129).positions, 128);
    sequence_clear(&second, pool);
    go_on(&first, pool, cache, 3);
    prefix_cache_add(cache, tokens, 131, &first); /* within a page: that one is copied */
    full = kv_pool_free(pool, KV_FULL), window = kv_pool_free(pool, KV_WINDOW);
    assert_true(prefix_cache_resume(cache, prefix_cache_find(cache, tokens, 150), &second));
    assert_true(second.copies[KV_FULL] && second.copies[KV_WINDOW]);
    assert_int_equal(kv_pool_free(pool, KV_FULL), full - 1);
    assert_int_equal(kv_pool_free(pool, KV_WINDOW), window - 1);
    sequence_clear(&first, pool);
    sequence_clear(&second, pool);
    sequence_close(&first);
    sequence_close(&second);
    prefix_cache_close(cache);
    check(pool);
    kv_pool_close(pool);
}

/* ---- sizes ---- */

static const hparams shape_20b = {.n_layers = 24, .n_kv_heads = 8, .head_dim = 64, .window = 128};

static void memory_buys_pages(void **state) {
    (void)state;
    kv_demand d = {.room = {.sequences = 4, .positions = 8192, .chunk = 128, .type = KV_F16}};
    uint32_t pages[KV_KINDS];
    gptoss_error why = {0};
    assert_ok(kv_sizing(&shape_20b, 0, 24, &d, pages, err));
    assert_int_equal(pages[KV_FULL], 4 * 32);  /* of 256 positions */
    assert_int_equal(pages[KV_WINDOW], 4 * 5); /* of 64: 255 positions at the worst phase */
    d.room.pages[KV_FULL] = pages[KV_FULL];
    d.room.pages[KV_WINDOW] = pages[KV_WINDOW];
    /* 12 layers each, keys and values of 8 heads of 64 numbers of 2 bytes */
    assert_int_equal(kv_cache_bytes(&shape_20b, 0, 24, &d.room), 12ull * 2 * 8 * 64 * 2 * (4 * 8192 + 4 * 5 * 64));
    assert_int_equal(kv_cache_bytes(&shape_20b, 1, 2, &d.room), 2ull * 8 * 64 * 2 * 4 * 8192);
    d.room.pages[KV_FULL] = d.room.pages[KV_WINDOW] = 0;
    d.resume_points = 10;
    assert_ok(kv_sizing(&shape_20b, 0, 24, &d, pages, err));
    assert_int_equal(pages[KV_WINDOW], 4 * 6 + 10 * 3);
    d.memory = 500000000;
    assert_ok(kv_sizing(&shape_20b, 0, 24, &d, pages, err));
    d.room.pages[KV_FULL] = pages[KV_FULL];
    d.room.pages[KV_WINDOW] = pages[KV_WINDOW];
    uint64_t bytes = kv_cache_bytes(&shape_20b, 0, 24, &d.room);
    assert_true(bytes <= d.memory && bytes > d.memory - 12ull * 2 * 8 * 64 * 2 * 256);
    d.room.pages[KV_FULL] = d.room.pages[KV_WINDOW] = 0;
    d.memory = 50000000;
    assert_int_equal(kv_sizing(&shape_20b, 0, 24, &d, pages, &why), GPTOSS_MISUSE);
    assert_non_null(strstr(why.text, "--kv-memory"));
    d.memory = UINT64_MAX;
    assert_int_equal(kv_sizing(&shape_20b, 0, 24, &d, pages, &why), GPTOSS_MISUSE);
}

static size_t resident_bytes(void) {
    size_t all = 0, resident = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    if (!f) return 0;
    if (fscanf(f, "%zu %zu", &all, &resident) != 2) resident = 0;
    fclose(f);
    return resident * (size_t)sysconf(_SC_PAGESIZE);
}

/* What is reserved is used only when something is stored in it. */
static void memory_stays_untouched(void **state) {
    (void)state;
    const kv_room room = {.sequences = 1, .positions = 131072, .chunk = 128, .type = KV_F16};
    kv_cache cache;
    size_t before = resident_bytes();
    uint64_t bytes = kv_cache_bytes(&shape_20b, 0, 4, &room);
    assert_true(bytes > 500000000);
    assert_ok(kv_cache_open(&shape_20b, 0, 4, &room, &cache, err));
    assert_true(resident_bytes() - before < bytes / 5);
    kv_cache_close(&cache);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pages_go_round),         cmocka_unit_test(random_lives_leak_nothing),
        cmocka_unit_test(points_share_pages),     cmocka_unit_test(memory_buys_pages),
        cmocka_unit_test(memory_stays_untouched),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
