#include "serve/mutation.h"

#include "random.h"
#include "support.h"
#include "text/vocabulary.h"

static void mutate(buffer *b, uint64_t *noise) {
    static const char *const values[] = {
        "null", "1e999", "-1", "\"\"", "[]", "{}", "true", "[[[[", "\\u0000", "\xFF", "99999999999999999999"};
    for (uint64_t changes = 1 + random_below(noise, 4); changes > 0 && b->size > 2; changes--) {
        size_t at = random_below(noise, b->size), other = random_below(noise, b->size);
        buffer whole = {0};
        const char *value = values[random_below(noise, sizeof values / sizeof *values)];
        switch (random_below(noise, 5)) {
        case 0: b->data[at] = (char)random_below(noise, 256); break;
        case 1: b->data[at] = b->data[other]; break;
        case 2: b->data[b->size = at] = '\0'; break;
        default:
            assert_ok(buffer_append(&whole, b->data, at, err));
            assert_ok(buffer_append_text(&whole, value, err));
            if (other < at) other = at;
            assert_ok(buffer_append(&whole, b->data + other, b->size - other, err));
            buffer_free(b);
            *b = whole;
        }
    }
}

static bool try_one(const char *text, uint64_t *noise, const harmony *h, mutation_reader *read) {
    buffer body = {0};
    cJSON *whole;
    tokens prompt = {0};
    failure why = {0};
    assert_ok(buffer_append_text(&body, text, err));
    mutate(&body, noise);
    gptoss_status status = json_input_parse(&body, &whole, &why);
    if (status == GPTOSS_OK) status = read(whole, h, &prompt, &why);
    if (status != GPTOSS_OK && (failure_http(&why) != 400 || !why.error.text[0]))
        fail_msg("%d: %s", failure_http(&why), body.data);
    tokens_free(&prompt);
    buffer_free(&body);
    return status == GPTOSS_OK;
}

void mutation_run(const char *const *bodies, size_t body_count, int count, mutation_reader *read) {
    uint64_t noise = 99;
    harmony h;
    int accepted = 0;
    tokenizer *t = vocabulary_open_small();
    assert_ok(harmony_open(t, &h, err));
    for (int i = 0; i < count; i++) accepted += try_one(bodies[(size_t)i % body_count], &noise, &h, read);
    assert_true(accepted > count / 100);
    tokenizer_close(t);
}
