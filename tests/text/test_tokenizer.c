/* The tokenizer against the golden ids, against a slow and simple one, on hostile texts and on damaged vocabularies. */
#include "text/tokenizer.h"

#include <pthread.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "gguf/vocab_map.h"
#include "random.h"
#include "text/vocabulary.h"

static tokenizer *real, *small;

static int open_both(void **state) {
    (void)state;
    real = vocabulary_open_o200k();
    small = vocabulary_open_small();
    return 0;
}

static int close_both(void **state) {
    (void)state;
    tokenizer_close(real);
    tokenizer_close(small);
    return 0;
}

static void check_golden(const cJSON *line, void *context) {
    (void)context;
    const char *text = cJSON_GetStringValue(cJSON_GetObjectItem(line, "text"));
    const cJSON *expected = cJSON_GetObjectItem(line, "ids"), *id;
    tokens ids = {0};
    buffer back = {0};
    assert_ok(tokenizer_encode(real, text, strlen(text), &ids, err));
    assert_int_equal(ids.count, cJSON_GetArraySize(expected));
    size_t i = 0;
    cJSON_ArrayForEach(id, expected) {
        if ((int)ids.ids[i] != id->valueint) fail_msg("token %zu is %u, not %d: %s", i, ids.ids[i], id->valueint, text);
        i++;
    }
    assert_ok(buffer_append_text(&back, "", err));
    assert_ok(tokenizer_decode(real, ids.ids, ids.count, &back, err));
    assert_string_equal(back.data, text);
    tokens_free(&ids);
    buffer_free(&back);
}

static void test_golden_ids(void **state) {
    (void)state;
    assert_int_equal(vocabulary_each_line("tokenizer.jsonl", check_golden, NULL), 271);
}

/* What one thread encodes again and again, and what must come out each time. */
typedef struct work {
    const char *text;
    tokens expected;
    bool differed;
} work;

static void *encode_often(void *argument) {
    work *w = argument;
    for (int i = 0; i < 300; i++) {
        tokens ids = {0};
        gptoss_status status = tokenizer_encode(real, w->text, strlen(w->text), &ids, NULL);
        if (status != GPTOSS_OK || ids.count != w->expected.count ||
            memcmp(ids.ids, w->expected.ids, ids.count * sizeof *ids.ids) != 0)
            w->differed = true; /* only the main thread may fail the test */
        tokens_free(&ids);
    }
    return NULL;
}

static void test_threads_may_share_a_tokenizer(void **state) {
    (void)state;
    work works[] = {{.text = "Each with a text of its own: 12345, aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab."},
                    {.text = "Zwölf Boxkämpfer jagen Viktor quer über den großen Sylter Deich.\n\n\n   1.000.000"},
                    {.text = "いろはにほへと ちりぬるを わかよたれそ つねならむ qzxwvqzxwvqzxwv"}};
    pthread_t threads[3];
    for (size_t i = 0; i < 3; i++) {
        assert_ok(tokenizer_encode(real, works[i].text, strlen(works[i].text), &works[i].expected, err));
        assert_int_equal(pthread_create(&threads[i], NULL, encode_often, &works[i]), 0);
    }
    for (size_t i = 0; i < 3; i++) {
        pthread_join(threads[i], NULL);
        assert_false(works[i].differed);
        tokens_free(&works[i].expected);
    }
}

static void test_the_real_vocabulary(void **state) {
    (void)state;
    static const struct {
        const char *name;
        uint32_t id;
    } specials[] = {{"<|startoftext|>", 199998}, {"<|endoftext|>", 199999},      {"<|return|>", 200002},
                    {"<|constrain|>", 200003},   {"<|channel|>", 200005},        {"<|start|>", 200006},
                    {"<|end|>", 200007},         {"<|message|>", 200008},        {"<|call|>", 200012},
                    {"<|endofprompt|>", 200018}, {"<|reserved_201087|>", 201087}};
    assert_int_equal(tokenizer_count(real), 201088);
    for (size_t i = 0; i < sizeof specials / sizeof *specials; i++) {
        uint32_t id;
        size_t size;
        assert_true(tokenizer_special(real, specials[i].name, &id));
        assert_int_equal(id, specials[i].id);
        assert_true(tokenizer_is_special(real, id));
        const char *name = tokenizer_bytes(real, id, &size);
        assert_int_equal(size, strlen(specials[i].name));
        assert_memory_equal(name, specials[i].name, size);
    }
    assert_false(tokenizer_is_special(real, 199997));
    assert_true(tokenizer_ends_text(real, 199999));
    assert_true(tokenizer_ends_text(real, 200002));
    assert_true(tokenizer_ends_text(real, 200012));
    assert_false(tokenizer_ends_text(real, 200007));
}

static void test_text_never_becomes_special(void **state) {
    (void)state;
    const tokenizer *both[] = {real, small};
    for (size_t which = 0; which < 2; which++) {
        const tokenizer *t = both[which];
        for (uint32_t id = 0; id < tokenizer_count(t); id++) {
            if (!tokenizer_is_special(t, id)) continue;
            tokens ids = {0};
            buffer back = {0};
            size_t size;
            const char *name = tokenizer_bytes(t, id, &size);
            assert_ok(tokenizer_encode(t, name, size, &ids, err));
            assert_true(ids.count > 1);
            for (size_t i = 0; i < ids.count; i++) assert_false(tokenizer_is_special(t, ids.ids[i]));
            assert_ok(tokenizer_decode(t, ids.ids, ids.count, &back, err));
            assert_memory_equal(back.data, name, size);
            tokens_free(&ids);
            buffer_free(&back);
        }
    }
}

/* The ids stand for the text, repaired. */
static void check_meaning(const tokenizer *t, const tokens *ids, const char *text, size_t size) {
    buffer expected = {0}, back = {0};
    assert_ok(utf8_repair(text, size, &expected, err));
    assert_ok(tokenizer_decode(t, ids->ids, ids->count, &back, err));
    assert_int_equal(back.size, expected.size);
    if (back.size) assert_memory_equal(back.data, expected.data, back.size);
    buffer_free(&expected);
    buffer_free(&back);
}

static void check_round_trip(const tokenizer *t, const char *text, size_t size) {
    tokens ids = {0};
    assert_ok(tokenizer_encode(t, text, size, &ids, err));
    check_meaning(t, &ids, text, size);
    tokens_free(&ids);
}

static void test_random_bytes(void **state) {
    (void)state;
    uint64_t seed = 11;
    for (int round = 0; round < 3000; round++) {
        char text[200];
        size_t size = random_below(&seed, sizeof text + 1);
        for (size_t i = 0; i < size; i++) text[i] = (char)random_bits(&seed);
        check_round_trip(real, text, size);
        check_round_trip(small, text, size);
    }
    check_round_trip(real, NULL, 0);
    check_round_trip(real, "\0\0a\0", 4);
}

static void append_character(buffer *out, uint32_t c) {
    char bytes[4];
    int size = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    bytes[0] = (char)(size == 1 ? c : (0xF00u >> size & 0xFF) | c >> 6 * (size - 1));
    for (int i = 1; i < size; i++) bytes[i] = (char)(0x80 | (c >> 6 * (size - 1 - i) & 0x3F));
    assert_ok(buffer_append(out, bytes, (size_t)size, err));
}

/* Every character there can be, in order and then shuffled. */
static void test_all_characters(void **state) {
    (void)state;
    uint64_t seed = 5;
    buffer text = {0};
    for (uint32_t c = 0; c < 0x110000; c++)
        if (c < 0xD800 || c > 0xDFFF) append_character(&text, c);
    assert_true(utf8_valid(text.data, text.size));
    check_round_trip(real, text.data, text.size);
    buffer_clear(&text);
    for (int i = 0; i < 300000; i++) {
        uint32_t c = (uint32_t)random_below(&seed, random_below(&seed, 2) ? 0x110000 : 0x3000);
        if (c < 0xD800 || c > 0xDFFF) append_character(&text, c);
    }
    check_round_trip(real, text.data, text.size);
    buffer_free(&text);
}

/* Merging by rank the slow way: of all neighbours whose bytes together are a token, join those of the lowest id, of
 * equals the leftmost, as tiktoken defines it. */
static void merge_slowly(const vocab_map *ranks, const char *text, size_t size, tokens *out) {
    size_t ends[64], count = size;
    for (size_t i = 0; i < size; i++) ends[i] = i + 1;
    for (;;) {
        uint32_t best = UINT32_MAX, id;
        size_t at = 0;
        for (size_t i = 0; i + 1 < count; i++) {
            size_t start = i ? ends[i - 1] : 0;
            if (vocab_map_find(ranks, text + start, ends[i + 1] - start, &id) && id < best) {
                best = id;
                at = i;
            }
        }
        if (best == UINT32_MAX) break;
        memmove(&ends[at], &ends[at + 1], (count - at - 1) * sizeof *ends);
        count--;
    }
    for (size_t i = 0; i < count; i++) {
        size_t start = i ? ends[i - 1] : 0;
        uint32_t id;
        assert_true(vocab_map_find(ranks, text + start, ends[i] - start, &id));
        assert_ok(tokens_add(out, id, err));
    }
}

static void index_tokens(const tokenizer *t, vocab_map *out) {
    assert_ok(vocab_map_open(out, tokenizer_count(t), err));
    for (uint32_t id = 0; id < tokenizer_count(t); id++) {
        size_t size;
        const char *bytes = tokenizer_bytes(t, id, &size);
        if (!tokenizer_is_special(t, id)) vocab_map_add(out, bytes, (uint32_t)size, id, NULL);
    }
}

/* Words of few different letters, where many merges compete. */
static void test_merging_equals_the_slow_way(void **state) {
    (void)state;
    static const char *const alphabets[] = {"a",   "ab", "aeh", "abcdefghijklmnopqrstuvwxyz", "0", "=-",
                                            "nio", "\n", "xzq"};
    uint64_t seed = 17;
    vocab_map ranks;
    index_tokens(real, &ranks);
    for (int round = 0; round < 20000; round++) {
        const char *alphabet = alphabets[random_below(&seed, sizeof alphabets / sizeof *alphabets)];
        char word[64];
        size_t size = 1 + random_below(&seed, alphabet[0] == '0' ? 3 : sizeof word);
        for (size_t i = 0; i < size; i++) word[i] = alphabet[random_below(&seed, strlen(alphabet))];
        tokens ids = {0}, expected = {0};
        assert_ok(tokenizer_encode(real, word, size, &ids, err));
        merge_slowly(&ranks, word, size, &expected);
        assert_int_equal(ids.count, expected.count);
        assert_memory_equal(ids.ids, expected.ids, ids.count * sizeof *ids.ids);
        tokens_free(&ids);
        tokens_free(&expected);
    }
    vocab_map_close(&ranks);
}

/* One million of the same, and mixtures that make splitters and mergers go back and forth. */
static void test_monotonous_texts(void **state) {
    (void)state;
    static const char *const units[] = {"a",
                                        "A",
                                        " ",
                                        "\n",
                                        "7",
                                        "!",
                                        "=",
                                        "ab",
                                        "aA",
                                        "\t",
                                        "\r\n",
                                        "' ",
                                        "'s",
                                        "'S",
                                        "\xF0\x9F\x99\x82",
                                        "\xCC\x81",
                                        "\xE4\xBD\xA0",
                                        "\xD8\xA7",
                                        "A\xCC\x81",
                                        "\n ",
                                        " \xCC\x81Z",
                                        "\xFF",
                                        "\xE4",
                                        "It was a dark and stormy night. "};
    for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
        buffer text = {0};
        size_t unit = strlen(units[i]);
        while (text.size < 1000000) assert_ok(buffer_append(&text, units[i], unit, err));
        tokens ids = {0};
        double started = clock_seconds();
        assert_ok(tokenizer_encode(real, text.data, text.size, &ids, err));
        double seconds = clock_seconds() - started;
        print_message("1 MB of 0x%02X...: %zu tokens in %.3f s\n", (unsigned char)units[i][0], ids.count, seconds);
        check_meaning(real, &ids, text.data, text.size);
        tokens_free(&ids);
        buffer_free(&text);
    }
}

static double seconds_for(const char *unit, size_t size) {
    buffer text = {0};
    while (text.size < size) assert_ok(buffer_append_text(&text, unit, err));
    double best = 1e9;
    for (int i = 0; i < 2; i++) {
        tokens ids = {0};
        double started = clock_seconds();
        assert_ok(tokenizer_encode(real, text.data, text.size, &ids, err));
        double seconds = clock_seconds() - started;
        if (seconds < best) best = seconds;
        tokens_free(&ids);
    }
    buffer_free(&text);
    return best;
}

/* Sixteen times the text would take 256 times as long; linear-ish time, on a busy machine, a quarter of that at most.
 */
/* For people to see that time grows with length and not with its square; a square would also run into the time limit.
 */
static void print_growth_of_time(void **state) {
    (void)state;
    static const char *const units[] = {"a", "A", " ", "!", "ab", "\xCC\x81", "\n "};
    for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
        double little = seconds_for(units[i], 20000), much = seconds_for(units[i], 320000);
        print_message("20,000 and 320,000 of 0x%02X...: %.4f s and %.4f s\n", (unsigned)(unsigned char)units[i][0],
                      little, much);
    }
}

static void test_small_vocabulary(void **state) {
    (void)state;
    tokens ids = {0};
    buffer back = {0};
    assert_ok(tokenizer_encode(small, "the the", 7, &ids, err));
    assert_int_equal(ids.count, 2);
    assert_ok(tokenizer_encode(small, "aaaa!", 5, &ids, err)); /* appended: aa aa ! */
    assert_int_equal(ids.count, 5);
    assert_int_equal(ids.ids[2], ids.ids[3]);
    assert_ok(tokenizer_decode(small, ids.ids, ids.count, &back, err));
    assert_string_equal(back.data, "the theaaaa!");
    tokens_free(&ids);
    buffer_free(&back);
}

static void test_ids_out_of_range(void **state) {
    (void)state;
    const uint32_t ids[] = {1, 2, tokenizer_count(small)};
    size_t size = 1;
    buffer out = {0};
    gptoss_error error;
    assert_ok(buffer_append_text(&out, "kept", err));
    assert_int_equal(tokenizer_decode(small, ids, 3, &out, &error), GPTOSS_BAD_INPUT);
    assert_non_null(strstr(error.text, "274"));
    assert_string_equal(out.data, "kept");
    assert_null(tokenizer_bytes(small, UINT32_MAX, &size));
    assert_int_equal(size, 0);
    assert_false(tokenizer_is_special(small, tokenizer_count(small)));
    buffer_free(&out);
}

static void test_all_token_types(void **state) {
    (void)state;
    static vocabulary v;
    tokenizer *t;
    uint32_t id;
    size_t size;
    vocabulary_small(&v);
    vocabulary_add(&v, "<custom>", VOCAB_USER_DEFINED);
    vocabulary_add(&v, "[PAD]", VOCAB_UNUSED);
    vocabulary_add(&v, "[PAD]", VOCAB_UNUSED); /* may repeat */
    vocabulary_add(&v, "<0x41>", VOCAB_BYTE);
    vocabulary_add(&v, "naïve text", VOCAB_CONTROL); /* a name needs no spelling */
    v.eos = (int64_t)v.token_count - 1;
    assert_ok(vocabulary_open(&v, &t, err));
    assert_true(tokenizer_special(t, "<custom>", &id));
    assert_true(tokenizer_special(t, "naïve text", &id));
    assert_true(tokenizer_ends_text(t, id));
    assert_false(tokenizer_special(t, "[PAD]", &id));
    assert_false(tokenizer_special(t, "the", &id));
    assert_memory_equal(tokenizer_bytes(t, id, &size), "naïve text", strlen("naïve text"));
    for (id = (uint32_t)v.token_count - 5; id < v.token_count; id++) assert_true(tokenizer_is_special(t, id));
    tokenizer_close(t);
}

static void check_refused(const vocabulary *v, const char *hint) {
    tokenizer *t = NULL;
    gptoss_error error = {0};
    gptoss_status status = vocabulary_open(v, &t, &error);
    if (status != GPTOSS_BAD_INPUT) fail_msg("%s: %s", hint, gptoss_status_name(status));
    assert_null(t);
    assert_int_equal(error.status, status);
    if (!strstr(error.text, hint)) fail_msg("no '%s' in: %s", hint, error.text);
}

static void test_missing_and_misshapen_keys(void **state) {
    (void)state;
    static const char *const keys[] = {"tokenizer.ggml.model", "tokenizer.ggml.pre", "tokenizer.ggml.tokens",
                                       "tokenizer.ggml.token_type", "tokenizer.ggml.merges"};
    static vocabulary v;
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        vocabulary_small(&v);
        v.missing = keys[i];
        check_refused(&v, keys[i]);
        v.missing = NULL;
        v.number = keys[i];
        check_refused(&v, keys[i]);
    }
    vocabulary_small(&v);
    v.model = "llama";
    check_refused(&v, "\"llama\"");
    v.model = "gpt2";
    v.pre = "qwen2";
    check_refused(&v, "\"qwen2\"");
    v.pre = "gpt-4o\n";
    check_refused(&v, "tokenizer.ggml.pre");
}

static void test_damaged_vocabularies(void **state) {
    (void)state;
    static vocabulary v;
    vocabulary_small(&v);
    v.type_count--;
    check_refused(&v, "tokenizer.ggml.token_type has");
    vocabulary_small(&v);
    v.types[3] = 9;
    check_refused(&v, "token 3 has an unknown type");
    v.types[3] = -1;
    check_refused(&v, "token 3 has an unknown type");

    vocabulary_small(&v);
    vocabulary_add(&v, "", VOCAB_NORMAL);
    check_refused(&v, "token 274 is empty");
    vocabulary_small(&v);
    vocabulary_add(&v, "a b", VOCAB_NORMAL);
    check_refused(&v, "token 274 (\"a b\") is not spelled");
    vocabulary_small(&v);
    vocabulary_add(&v, "日本", VOCAB_NORMAL);
    check_refused(&v, "token 274");
    vocabulary_small(&v);
    vocabulary_add(&v, "\xC4", VOCAB_NORMAL);
    check_refused(&v, "token 274");
    vocabulary_small(&v);
    vocabulary_add(&v, "the", VOCAB_NORMAL);
    check_refused(&v, "tokens 257 and 274 are both \"the\"");
    vocabulary_small(&v);
    vocabulary_add(&v, "<|start|>", VOCAB_CONTROL);
    check_refused(&v, "both \"<|start|>\"");
    vocabulary_small(&v);
    vocabulary_remove(&v, "Ġ");
    check_refused(&v, "byte 0x20");

    vocabulary_small(&v);
    v.eos = 274;
    check_refused(&v, "tokenizer.ggml.eos_token_id");
    v.eos = 273;
    tokenizer *t;
    assert_ok(vocabulary_open(&v, &t, err));
    tokenizer_close(t);
}

static void test_damaged_merges(void **state) {
    (void)state;
    static const char *const wrong[] = {"",
                                        " ",
                                        "th",
                                        "t ",
                                        " h",
                                        "q q",
                                        "zz a",
                                        "a zz",
                                        "t h e",
                                        "t  h",
                                        "日 本",
                                        "<|start|> a",
                                        "an_endless_merge_an_endless_merge an_endless_merge"};
    static vocabulary v;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        vocabulary_small(&v);
        v.merges[2] = (gguf_text){wrong[i], strlen(wrong[i])};
        check_refused(&v, "tokenizer.ggml.merges: merge 2 ");
    }
    vocabulary_small(&v); /* none at all, and one twice, are fine */
    v.merge_count = 0;
    tokenizer *t;
    tokens ids = {0};
    assert_ok(vocabulary_open(&v, &t, err));
    assert_ok(tokenizer_encode(t, "inn", 3, &ids, err));
    assert_int_equal(ids.count, 3);
    tokenizer_close(t);
    vocabulary_small(&v);
    v.merges[v.merge_count++] = v.merges[0];
    assert_ok(vocabulary_open(&v, &t, err));
    tokenizer_close(t);
    tokens_free(&ids);
}

/* Every allocation fails once: the failure is reported, nothing leaks and nothing is half done. */
static void test_lack_of_memory(void **state) {
    (void)state;
    static const char text[] = "There\xFF the other text 12345";
    tokens ids = {0};
    bool failed = true;
    for (long n = 0; failed; n++) {
        mem_fail_after(n);
        gptoss_status status = tokenizer_encode(small, text, strlen(text), &ids, NULL);
        mem_fail_after(-1);
        failed = status != GPTOSS_OK;
        assert_true(!failed || (status == GPTOSS_NO_MEMORY && ids.count == 0));
        assert_true(failed ? n < 20 : n > 2);
    }
    tokens_free(&ids);
}

static void test_lack_of_memory_when_opening(void **state) {
    (void)state;
    gguf_file *file;
    assert_ok(gguf_open(TEST_DATA "/golden/q8_0-mxfp4.gguf", &file, err));
    bool failed = true;
    for (long n = 0; failed; n++) {
        tokenizer *t = NULL;
        gptoss_error error = {0};
        mem_fail_after(n);
        gptoss_status status = tokenizer_open(file, &t, &error);
        mem_fail_after(-1);
        failed = status != GPTOSS_OK;
        assert_true(!failed || (status == GPTOSS_NO_MEMORY && !t && error.text[0]));
        assert_true(failed ? n < 20 : n > 5);
        tokenizer_close(t);
    }
    gguf_close(file);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_golden_ids),
        cmocka_unit_test(test_threads_may_share_a_tokenizer),
        cmocka_unit_test(test_the_real_vocabulary),
        cmocka_unit_test(test_text_never_becomes_special),
        cmocka_unit_test(test_random_bytes),
        cmocka_unit_test(test_all_characters),
        cmocka_unit_test(test_merging_equals_the_slow_way),
        cmocka_unit_test(test_monotonous_texts),
        cmocka_unit_test(print_growth_of_time),
        cmocka_unit_test(test_small_vocabulary),
        cmocka_unit_test(test_ids_out_of_range),
        cmocka_unit_test(test_all_token_types),
        cmocka_unit_test(test_missing_and_misshapen_keys),
        cmocka_unit_test(test_damaged_vocabularies),
        cmocka_unit_test(test_damaged_merges),
        cmocka_unit_test(test_lack_of_memory),
        cmocka_unit_test(test_lack_of_memory_when_opening),
    };
    return cmocka_run_group_tests(tests, open_both, close_both);
}
