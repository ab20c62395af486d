/* Vocabularies: the spelling of bytes, .tiktoken files right and wrong, and the index of tokens. */
#include "gguf/vocab.h"

#include "base/mem.h"
#include "gguf/vocab_map.h"
#include "random.h"
#include "support.h"

static void test_spelling(void **state) {
    (void)state;
    char spelled[512];
    uint8_t all[256], back[512];
    size_t size;
    static const struct {
        uint8_t byte;
        const char *spelling;
    } known[] = {{0, "Ā"},    {'\n', "Ċ"}, {' ', "Ġ"},  {'!', "!"},  {'~', "~"},  {0x7F, "ġ"},
                 {0xA0, "ł"}, {0xA1, "¡"}, {0xAC, "¬"}, {0xAD, "Ń"}, {0xAE, "®"}, {0xFF, "ÿ"}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        size = vocab_spell(&known[i].byte, 1, spelled);
        assert_int_equal(size, strlen(known[i].spelling));
        assert_memory_equal(spelled, known[i].spelling, size);
    }
    for (unsigned i = 0; i < 256; i++) all[i] = (uint8_t)i;
    size_t spelled_size = vocab_spell(all, 256, spelled);
    assert_true(vocab_unspell(spelled, spelled_size, back, &size));
    assert_int_equal(size, 256);
    assert_memory_equal(back, all, 256);
    assert_true(vocab_unspell(spelled, spelled_size, (uint8_t *)spelled, &size)); /* in place */
    assert_memory_equal(spelled, all, 256);
}

static void test_what_spells_nothing(void **state) {
    (void)state;
    static const char *const wrong[] = {
        " ",  "a b",  "\n",    "\x7F", "\xC2\xA0", "\xC2\xAD",         "\xC5\x84", /* U+0144: one too far */
        "日", "\xC4", "\xC4:", "\x80", "\xC0\xA1", "\xF0\x9F\x99\x82", "\xFF"};
    uint8_t out[16];
    size_t size = 77;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        assert_false(vocab_unspell(wrong[i], strlen(wrong[i]), out, &size));
    assert_int_equal(size, 77);
}

static void check_text(const vocab_texts *texts, size_t index, const char *expected) {
    gguf_text text = vocab_text(texts, index);
    assert_true(index < texts->count);
    assert_int_equal(text.size, strlen(expected));
    assert_memory_equal(text.bytes, expected, text.size);
}

/* "a", "b", " ", "ab", " a", " ab" */
static const char little[] = "YQ== 0\nYg== 1\nIA== 2\r\nYWI= 3\n\nIGE= 4\nIGFi 5";

static void test_a_little_file(void **state) {
    (void)state;
    vocab v;
    assert_ok(vocab_from_tiktoken(little, strlen(little), &v, err));
    assert_int_equal(v.tokens.count, 6 + VOCAB_SPECIALS);
    check_text(&v.tokens, 0, "a");
    check_text(&v.tokens, 2, "Ġ");
    check_text(&v.tokens, 5, "Ġab");
    assert_int_equal(v.types[5], VOCAB_NORMAL);
    check_text(&v.tokens, 6, "<|startoftext|>");
    check_text(&v.tokens, 8, "<|reserved_8|>");
    check_text(&v.tokens, 10, "<|return|>");
    check_text(&v.tokens, 6 + VOCAB_SPECIALS - 1, "<|reserved_1095|>");
    assert_int_equal(v.types[6], VOCAB_CONTROL);
    assert_int_equal(v.types[6 + VOCAB_SPECIALS - 1], VOCAB_CONTROL);
    assert_int_equal(v.merges.count, 4); /* every cut of every token, by rank, then by rank of the left part */
    check_text(&v.merges, 0, "a b");
    check_text(&v.merges, 1, "Ġ a");
    check_text(&v.merges, 2, "Ġ ab");
    check_text(&v.merges, 3, "Ġa b");
    vocab_free(&v);
}

static void test_damaged_files(void **state) {
    (void)state;
    static const struct {
        const char *text, *hint;
    } wrong[] = {
        {"", "no tokens"},
        {"\n\n", "no tokens"},
        {"YQ==", "line 1"},
        {"YQ== ", "line 1"},
        {"YQ== 0\nYg== 2", "line 2: rank 2 where 1 is next"},
        {"YQ== 0\nYg== 0", "line 2"},
        {"YQ== 0 \nYg== 1", "line 1"},
        {"YQ== -1", "line 1"},
        {"YQ== 00", "line 1"},
        {"YQ 0", "line 1"},
        {"Y=== 0", "line 1"},
        {"==== 0", "line 1"},
        {"Y*== 0", "line 1"},
        {" 0", "line 1"},
        {"YQ==\t0", "line 1"},
        {"YQ== 0\nYg== 1\nYQ== 2", "line 3: the same token as line 1"},
        {"YQ== 99999999999999999999999999999999999999999999", "line 1"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        vocab v = {.types = (int32_t *)&v}; /* must stay as it is */
        gptoss_error error;
        assert_int_equal(vocab_from_tiktoken(wrong[i].text, strlen(wrong[i].text), &v, &error), GPTOSS_BAD_INPUT);
        if (!strstr(error.text, wrong[i].hint)) fail_msg("no '%s' in: %s", wrong[i].hint, error.text);
        assert_ptr_equal(v.types, &v);
    }
    char *longest = malloc(100000);
    memset(longest, 'A', 100000);
    memcpy(longest + 99998, " 0", 2);
    vocab v;
    gptoss_error error;
    assert_int_equal(vocab_from_tiktoken(longest, 100000, &v, &error), GPTOSS_BAD_INPUT);
    free(longest);
}

static void test_lack_of_memory(void **state) {
    (void)state;
    bool failed = true;
    for (long n = 0; failed; n++) {
        vocab v;
        mem_fail_after(n);
        gptoss_status status = vocab_from_tiktoken(little, strlen(little), &v, NULL);
        mem_fail_after(-1);
        failed = status != GPTOSS_OK;
        if (failed) assert_int_equal(status, GPTOSS_NO_MEMORY);
        assert_true(failed ? n < 100 : n > 5);
        if (!failed) vocab_free(&v);
    }
}

static void test_map(void **state) {
    (void)state;
    enum { KEYS = 3000 };
    static char keys[KEYS][24];
    vocab_map map;
    uint32_t value = 5;
    assert_ok(vocab_map_open(&map, KEYS, err));
    assert_false(vocab_map_find(&map, "x", 1, &value));
    assert_int_equal(value, 5);
    for (uint32_t i = 0; i < KEYS; i++) {
        snprintf(keys[i], sizeof keys[i], "%.*s%u", (int)(i % 17), "a long beginning ", i);
        assert_true(vocab_map_add(&map, keys[i], (uint32_t)strlen(keys[i]), i, NULL));
    }
    for (uint32_t i = 0; i < KEYS; i++) {
        char copy[24];
        memcpy(copy, keys[i], sizeof copy);
        assert_true(vocab_map_find(&map, copy, strlen(copy), &value));
        assert_int_equal(value, i);
        assert_false(vocab_map_find(&map, copy, strlen(copy) + 1, &value)); /* its NUL is another byte */
        assert_false(vocab_map_add(&map, copy, (uint32_t)strlen(copy), 9999, &value));
        assert_int_equal(value, i);
    }
    assert_false(vocab_map_find(&map, "", 0, &value));
    assert_false(vocab_map_add(&map, "one more", 8, 1, NULL)); /* it is full */
    assert_false(vocab_map_find(&map, "one more", 8, &value));
    vocab_map_close(&map);

    assert_ok(vocab_map_open(&map, 0, err));
    assert_false(vocab_map_add(&map, "a", 1, 1, NULL));
    vocab_map_close(&map);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_spelling),       cmocka_unit_test(test_what_spells_nothing),
        cmocka_unit_test(test_a_little_file),  cmocka_unit_test(test_damaged_files),
        cmocka_unit_test(test_lack_of_memory), cmocka_unit_test(test_map),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
