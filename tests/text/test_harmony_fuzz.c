/* Whatever ids come, the parser keeps its promises and loses no text. */
#include "random.h"
#include "text/answers.h"

static tokenizer *small;

static int open_small(void **state) {
    (void)state;
    small = vocabulary_open_small();
    return 0;
}

static int close_small(void **state) {
    (void)state;
    tokenizer_close(small);
    return 0;
}

/* Any ids at all: the sink checks the events, and no text between <|message|> and the next special token is lost. */
static void test_random_ids(void **state) {
    (void)state;
    static const char *const pieces[] = {
        "<|start|>",       "<|end|>",      "<|message|>", "<|channel|>", "<|constrain|>", "<|call|>",
        "<|return|>",      "<|reserved|>", "assistant",   "analysis",    "commentary",    "final",
        " to=functions.f", "to=",          "user",        " ",           "json",          "?",
        "Some text. ",     "\xC3",         "\xA9",        "\xF0\x9F"};
    const size_t piece_count = sizeof pieces / sizeof *pieces;
    uint64_t seed = 3;
    for (int round = 0; round < 100000; round++) {
        outcome o;
        tokens ids = {0};
        size_t length = random_below(&seed, 40);
        for (size_t i = 0; i < length; i++) {
            if (random_below(&seed, 4) == 0) { /* also ids that do not exist */
                uint32_t id = (uint32_t)random_below(&seed, tokenizer_count(small) + 5);
                assert_ok(tokens_add(&ids, id, err));
            } else {
                vocabulary_encode(small, pieces[random_below(&seed, piece_count)], &ids);
            }
        }
        answers_parse(small, ids.ids, ids.count, &o);
        assert_int_equal(o.finish == HARMONY_FINISH_TOOL_CALLS,
                         o.finish != HARMONY_FINISH_LENGTH && o.seen.answer.call_count > 0);
        harmony_answer_free(&o.seen.answer);
        tokens_free(&ids);
    }
}

/* Everything the answer says, to search in. */
static void whole_text(const harmony_answer *a, buffer *out) {
    assert_ok(buffer_append(out, a->reasoning.data, a->reasoning.size, err));
    assert_ok(buffer_append(out, a->content.data, a->content.size, err));
    for (size_t i = 0; i < a->call_count; i++)
        assert_ok(buffer_append(out, a->calls[i].arguments.data, a->calls[i].arguments.size, err));
}

static void fail_lost(const tokens *ids, const char *lost, const char *answer) {
    buffer written = {0};
    assert_ok(tokenizer_decode(small, ids->ids, ids->count, &written, err));
    fail_msg("\"%s\" in \"%s\" is not in \"%s\"", lost, written.data, answer);
}

/* Whatever stands between a <|message|> and the next special token is in the answer, unless the turn was over. */
static void check_nothing_lost(const tokens *ids, uint32_t message) {
    outcome o;
    buffer text = {0}, run = {0};
    answers_parse(small, ids->ids, ids->count, &o);
    whole_text(&o.seen.answer, &text);
    for (size_t i = 0; i < ids->count; i++) {
        outcome before;
        if (ids->ids[i] != message) continue;
        answers_parse(small, ids->ids, i + 1, &before);
        harmony_answer_free(&before.seen.answer);
        if (before.done) break;
        buffer_clear(&run);
        for (size_t j = i + 1; j < ids->count && !tokenizer_is_special(small, ids->ids[j]); j++) {
            size_t size;
            const char *bytes = tokenizer_bytes(small, ids->ids[j], &size);
            assert_ok(buffer_append(&run, bytes, size, err));
        }
        if (run.size && utf8_valid(run.data, run.size) && !memmem(text.data, text.size, run.data, run.size))
            fail_lost(ids, run.data, text.data);
    }
    harmony_answer_free(&o.seen.answer);
    buffer_free(&text);
    buffer_free(&run);
}

static void mutate(tokens *ids, uint64_t *seed) {
    uint32_t id = (uint32_t)random_below(seed, tokenizer_count(small));
    size_t at = ids->count ? random_below(seed, ids->count) : 0;
    switch (random_below(seed, 4)) {
    case 0: /* drop */
        if (ids->count) memmove(ids->ids + at, ids->ids + at + 1, (--ids->count - at) * sizeof id);
        break;
    case 1: /* change */
        if (ids->count) ids->ids[at] = id;
        break;
    case 2: /* repeat */
        if (ids->count) assert_ok(tokens_add(ids, ids->ids[at], err));
        break;
    default: /* insert */
        assert_ok(tokens_add(ids, id, err));
        memmove(ids->ids + at + 1, ids->ids + at, (ids->count - 1 - at) * sizeof id);
        ids->ids[at] = id;
    }
}

/* Every sample with a few tokens dropped, changed, repeated or inserted, special ones more often than others. */
static void test_mutated_samples(void **state) {
    (void)state;
    uint64_t seed = 11;
    uint32_t message;
    assert_true(tokenizer_special(small, "<|message|>", &message));
    for (int round = 0; round < 5000; round++) {
        tokens ids = {0};
        vocabulary_encode(small, answers_samples[random_below(&seed, answers_sample_count)].text, &ids);
        for (uint64_t n = 1 + random_below(&seed, 4); n > 0; n--) mutate(&ids, &seed);
        check_nothing_lost(&ids, message);
        tokens_free(&ids);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random_ids),
        cmocka_unit_test(test_mutated_samples),
    };
    return cmocka_run_group_tests(tests, open_small, close_small);
}
