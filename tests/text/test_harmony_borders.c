/* Where prompts are likely to part: against conversations spelled out, and prompts that are none. */
#include "text/harmony_borders.h"

#include "random.h"
#include "text/vocabulary.h"

static tokenizer *text; /* a small one: roles are several tokens */

static int open_small(void **state) {
    (void)state;
    text = vocabulary_open_small();
    return 0;
}

static int close_small(void **state) {
    (void)state;
    tokenizer_close(text);
    return 0;
}

/* "^" in a prompt is where a border is expected; it is not part of it. */
static void expect_borders(const char *marked) {
    tokens ids = {0};
    uint32_t want[8], n = 0;
    char part[500];
    for (const char *rest = marked; *rest;) {
        size_t size = strcspn(rest, "^");
        snprintf(part, sizeof part, "%.*s", (int)size, rest);
        vocabulary_encode(text, part, &ids);
        rest += size;
        if (*rest != '^') continue;
        want[n++] = (uint32_t)ids.count;
        rest++;
    }
    harmony_borders b = harmony_borders_find(text, ids.ids, (uint32_t)ids.count);
    if (b.count != n || memcmp(b.positions, want, n * sizeof *want) != 0) fail_msg("%s: %u borders", marked, b.count);
    tokens_free(&ids);
}

#define M(role, content) "<|start|>" role "<|message|>" content "<|end|>"
#define NEXT(role, content) role "<|message|>" content "<|end|>"

static void borders_lie_between_messages(void **state) {
    (void)state;
    expect_borders(M("system", "a") M("developer", "b") "<|start|>^" NEXT("user", "c") "<|start|>^assistant");
    expect_borders(M("system", "a") "<|start|>^" NEXT("user", "c") "<|start|>^assistant");
    expect_borders("<|start|>^" NEXT("user", "c") "<|start|>^assistant");
    /* a chat */
    expect_borders(M("system", "a") "<|start|>^" NEXT("user", "c")
                       M("assistant<|channel|>final", "d") "<|start|>^" NEXT("user", "e") "<|start|>^assistant");
    /* thoughts and calls since the last question */
    expect_borders(M("system", "a") M("developer", "b") "<|start|>^" NEXT("user", "c") "<|start|>^" NEXT(
        "assistant<|channel|>analysis", "d") M("assistant to=functions.f<|channel|>commentary", "{}")
                       M("functions.f to=assistant<|channel|>commentary", "1") "<|start|>assistant");
    /* instructions in the middle are part of the conversation; two questions in a row */
    expect_borders(M("system", "a") "<|start|>^" NEXT("user", "c")
                       M("developer", "b") "<|start|>^" NEXT("user", "e") "<|start|>^assistant");
}

static void what_is_no_conversation_has_none_or_few(void **state) {
    (void)state;
    expect_borders("user system plain text");
    expect_borders("<|end|><|message|>");
    expect_borders(M("system", "a"));
    expect_borders(M("system", "a") "<|start|>"); /* nothing comes behind it */
    expect_borders(M("system", "a") "<|start|>^users");
    expect_borders(M("system", "a") "<|start|>^" NEXT("use", "r"));
    harmony_borders b = harmony_borders_find(text, NULL, 0);
    assert_int_equal(b.count, 0);
}

static void any_tokens_will_do(void **state) {
    (void)state;
    uint64_t seed = 9;
    uint32_t ids[60], special[8], count = 0;
    for (uint32_t i = 0; i < tokenizer_count(text) && count < 8; i++)
        if (tokenizer_is_special(text, i)) special[count++] = i;
    for (int round = 0; round < 2000; round++) {
        uint32_t n = (uint32_t)random_below(&seed, 60);
        for (uint32_t i = 0; i < n; i++)
            ids[i] = random_below(&seed, 3) ? special[random_below(&seed, count)] : (uint32_t)random_bits(&seed);
        harmony_borders b = harmony_borders_find(text, ids, n);
        assert_true(b.count <= HARMONY_BORDERS);
        for (uint32_t i = 0; i < b.count; i++) {
            assert_true(b.positions[i] >= 1 && b.positions[i] < n && (i == 0 || b.positions[i] > b.positions[i - 1]));
            assert_int_equal(ids[b.positions[i] - 1], b.start);
        }
    }
}

static void a_vocabulary_without_starts_has_no_borders(void **state) {
    (void)state;
    vocabulary v;
    tokenizer *other;
    const uint32_t ids[] = {1, 2, 3};
    vocabulary_small(&v);
    vocabulary_remove(&v, "<|start|>");
    assert_ok(vocabulary_open(&v, &other, err));
    harmony_borders b = harmony_borders_find(other, ids, 3);
    assert_true(b.count == 0 && b.start == 0);
    tokenizer_close(other);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(borders_lie_between_messages),
        cmocka_unit_test(what_is_no_conversation_has_none_or_few),
        cmocka_unit_test(any_tokens_will_do),
        cmocka_unit_test(a_vocabulary_without_starts_has_no_borders),
    };
    return cmocka_run_group_tests(tests, open_small, close_small);
}
