/* Which waves are well-formed: one edit away from a good one, each kind of fault is found. */
#include <math.h>

#include "model/wave.h"
#include "support.h"

enum { PAGES = 20 };

/* Full pages of 32 positions, windowed ones of 16; a window of 20 positions. */
static const wave_limits limits = {
    .chunk = 6, .n_vocab = 100, .runs = 4, .positions = 60, .paging = {20, {5, 4}, {PAGES, PAGES}}};

static uint32_t marks[2 * PAGES];

static bool valid(const wave *w) {
    bool is = wave_is_valid(w, &limits, marks);
    for (int i = 0; i < 2 * PAGES; i++) assert_int_equal(marks[i], 0);
    return is;
}

/* Three runs: position 59, which sees from 40 on; positions 30 to 33; position 0. */
static wave good_wave(void) {
    wave w;
    assert_ok(wave_open(&limits, &w, err));
    const uint32_t ids[] = {99, 0, 1, 2};
    const uint32_t full[] = {3, 4}, window[] = {8, 9};
    const uint32_t full_2[] = {5, 6}, window_2[] = {11, 12, 13};
    const uint32_t full_3[] = {3 + 4}, window_3[] = {14};
    wave_add_run(&w, &limits, ids, 1, 59, 1, (logits_wish){LOGITS_LISTED, 1, 0.5},
                 &(wave_place){{full, window}, {0, 2}});
    wave_add_run(&w, &limits, ids, 4, 30, 2, (logits_wish){.kind = LOGITS_ALL},
                 &(wave_place){{full_2, window_2}, {0, 0}});
    wave_add_run(&w, &limits, ids, 1, 0, 0, (logits_wish){LOGITS_LISTED, 1, 1},
                 &(wave_place){{full_3, window_3}, {0, 0}});
    wave_add_copy(&w, KV_WINDOW, 1, 14);
    wave_add_copy(&w, KV_FULL, 3, 7);
    return w;
}

static void runs_become_waves(void **state) {
    (void)state;
    wave w = good_wave();
    assert_true(valid(&w));
    assert_int_equal(w.n_tokens, 6);
    assert_int_equal(w.n_runs, 3);
    assert_int_equal(wave_logits_rows(&w), 3);
    const wave_token want[] = {{99, 0, 59, 0, {LOGITS_LISTED, 1, 0.5}},
                               {99, 1, 30, 0, {0}},
                               {0, 1, 31, 0, {0}},
                               {1, 1, 32, 0, {.kind = LOGITS_ALL}},
                               {2, 1, 33, 0, {.kind = LOGITS_ALL}},
                               {99, 2, 0, 0, {0}}};
    assert_memory_equal(w.tokens, want, sizeof want);
    const uint32_t pages[] = {3, 4, 8, 9, 5, 6, 11, 12, 13, 7, 14};
    assert_int_equal(w.n_pages, sizeof pages / sizeof *pages);
    assert_memory_equal(w.pages, pages, sizeof pages);
    assert_int_equal(w.runs[0].window_first, 2);
    assert_int_equal(w.runs[1].window_first, 0);
    wave_clear(&w);
    assert_false(valid(&w)); /* nothing in it */
    wave_close(&w);
}

static void expect_fault(size_t number, uint32_t *place_in(wave *w), uint32_t value) {
    wave w = good_wave();
    *place_in(&w) = value;
    if (valid(&w)) fail_msg("fault %zu was not found", number);
    wave_close(&w);
}

#define PLACE(name, expression) \
    static uint32_t *name(wave *w) { return &(expression); }
PLACE(n_tokens, w->n_tokens)
PLACE(n_runs, w->n_runs)
PLACE(n_copies, w->n_copies)
PLACE(n_pages, w->n_pages)
PLACE(id, w->tokens[5].id)
PLACE(run_of_token, w->tokens[3].run)
PLACE(first_position, w->tokens[0].position)
PLACE(later_position, w->tokens[3].position)
PLACE(last_position, w->tokens[5].position)
PLACE(logits, w->tokens[4].logits.kind)
PLACE(kind, w->tokens[0].logits.kind)
PLACE(sums, w->tokens[0].logits.sums)
PLACE(sums_of_all, w->tokens[4].logits.sums)
PLACE(token_reserved, w->tokens[4].reserved)
PLACE(count, w->runs[1].count)
PLACE(full_at, w->runs[1].pages[KV_FULL])
PLACE(window_at, w->runs[1].pages[KV_WINDOW])
PLACE(window_first, w->runs[0].window_first)
PLACE(full_seen, w->pages[0])
PLACE(full_stored, w->pages[1])
PLACE(window_seen, w->pages[2])
PLACE(window_stored, w->pages[3])
PLACE(stored_second, w->pages[5])
PLACE(copy_kind, w->copies[0].kind)
PLACE(copy_from, w->copies[0].from)
PLACE(copy_to, w->copies[0].to)
PLACE(copy_reserved, w->copies[0].reserved)
PLACE(other_copy_kind, w->copies[1].kind)

static void temperatures_are_numbers(void **state) {
    (void)state;
    static const double wrong[] = {-1, -1e-300, NAN, INFINITY};
    wave w = good_wave();
    for (int i = 0; i < 4; i++) {
        w.tokens[0].logits.temperature = wrong[i];
        assert_false(valid(&w));
    }
    w.tokens[0].logits.temperature = 1e-300;
    assert_true(valid(&w));
    wave_close(&w);
}

static void faults_are_found(void **state) {
    (void)state;
    const struct {
        uint32_t *(*place)(wave *w);
        uint32_t value;
    } faults[] = {
        {n_tokens, 0},
        {n_tokens, 5},
        {n_tokens, 7}, /* longer than a chunk */
        {n_tokens, UINT32_MAX},
        {n_runs, 0},
        {n_runs, 2},
        {n_runs, 5},
        {n_copies, 9},
        {n_pages, 10},
        {n_pages, UINT32_MAX},
        {id, 100},
        {run_of_token, 0},
        {run_of_token, 2},
        {first_position, 60},
        {first_position, 15}, /* which has other pages */
        {later_position, 31},
        {later_position, 34},
        {last_position, UINT32_MAX},
        {logits, 3},
        {kind, 0},
        {kind, 2},
        {sums, 2},
        {sums_of_all, 1},
        {token_reserved, 1},
        {count, 0},
        {count, 3},
        {count, 5},
        {count, UINT32_MAX},
        {full_at, 3},
        {window_at, 7},
        {window_first, 1},
        {full_seen, PAGES},
        {full_seen, UINT32_MAX},
        {full_seen, 4},   /* twice in a run */
        {full_seen, 6},   /* another run stores there */
        {full_stored, 5}, /* another run does too */
        {full_stored, 7},
        {window_seen, 9},
        {window_seen, 13},
        {window_stored, PAGES},
        {window_stored, 14},
        {stored_second, 7},
        {copy_kind, 2},
        {copy_from, PAGES},
        {copy_from, 14}, /* itself */
        {copy_to, PAGES},
        {copy_to, 8}, /* where nothing is stored */
        {copy_to, 15},
        {copy_reserved, 1},
        {other_copy_kind, KV_WINDOW}, /* page 7 of that kind is nobody's */
    };
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) expect_fault(i, faults[i].place, faults[i].value);
}

static void a_page_is_copied_to_once(void **state) {
    (void)state;
    wave w = good_wave();
    wave_add_copy(&w, KV_FULL, 2, 7);
    assert_false(valid(&w));
    wave_close(&w);
}

static void spans_hold_what_is_seen(void **state) {
    (void)state;
    const kv_paging *p = &limits.paging;
    uint32_t most[KV_KINDS] = {0};
    for (kv_kind kind = 0; kind < KV_KINDS; kind++) {
        uint32_t size = 1u << p->page_bits[kind];
        for (uint32_t position = 0; position < 60; position++)
            for (uint32_t count = 1; count <= 6 && position + count <= 60; count++) {
                kv_span seen = kv_paging_seen(p, kind, position, count),
                        stored = kv_paging_stored(p, kind, position, count);
                uint32_t first = kind == KV_WINDOW && position > 19 ? position - 19 : 0;
                assert_int_equal(seen.begin, first / size);
                assert_int_equal(stored.begin, position / size);
                assert_int_equal(seen.end, (position + count - 1) / size + 1);
                assert_int_equal(seen.end, stored.end);
                if (seen.end - seen.begin > most[kind]) most[kind] = seen.end - seen.begin;
            }
        assert_int_equal(kv_paging_most(p, kind, 60, 6), most[kind]);
    }
    assert_int_equal(kv_paging_most(p, KV_WINDOW, 10, 6), 1); /* no more than there are */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(runs_become_waves),       cmocka_unit_test(temperatures_are_numbers),
        cmocka_unit_test(faults_are_found),        cmocka_unit_test(a_page_is_copied_to_once),
        cmocka_unit_test(spans_hold_what_is_seen),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
