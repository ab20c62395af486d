#include "text/vocabulary.h"

#include <unistd.h>

#include "gguf/write.h"

static const char *const words[] = {"th", "the", "in", "er", "Ġthe", "aa", "aaa"};
static const char *const merges[] = {"t h", "th e", "i n", "e r", "Ġ the", "a a", "aa a", "a aa"};
static const char *const specials[] = {"<|startoftext|>", "<|endoftext|>", "<|return|>",  "<|constrain|>",
                                       "<|channel|>",     "<|start|>",     "<|end|>",     "<|message|>",
                                       "<|call|>",        "<|reserved|>",  "<|unwanted|>"};

static gguf_text text_of(const char *text) { return (gguf_text){text, strlen(text)}; }

void vocabulary_add(vocabulary *v, const char *token, vocab_type type) {
    assert_true(v->token_count < VOCABULARY_TOKENS);
    v->tokens[v->token_count] = text_of(token);
    v->types[v->token_count++] = type;
    v->type_count = v->token_count;
}

void vocabulary_remove(vocabulary *v, const char *token) {
    size_t i = 0;
    while (v->tokens[i].size != strlen(token) || memcmp(v->tokens[i].bytes, token, strlen(token)) != 0)
        assert_true(++i < v->token_count);
    v->type_count = --v->token_count;
    memmove(&v->tokens[i], &v->tokens[i + 1], (v->token_count - i) * sizeof v->tokens[0]);
    memmove(&v->types[i], &v->types[i + 1], (v->token_count - i) * sizeof v->types[0]);
}

void vocabulary_small(vocabulary *out) {
    static char spelled[256][3];
    *out = (vocabulary){.model = "gpt2", .pre = "gpt-4o", .eos = -1};
    for (unsigned i = 0; i < 256; i++) {
        spelled[i][vocab_spell(&(uint8_t){(uint8_t)i}, 1, spelled[i])] = '\0';
        vocabulary_add(out, spelled[i], VOCAB_NORMAL);
    }
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) vocabulary_add(out, words[i], VOCAB_NORMAL);
    for (size_t i = 0; i < sizeof specials / sizeof *specials; i++) vocabulary_add(out, specials[i], VOCAB_CONTROL);
    for (size_t i = 0; i < sizeof merges / sizeof *merges; i++) out->merges[out->merge_count++] = text_of(merges[i]);
}

/* Whether `key` is to be written as it should be. */
static bool wanted(gguf_writer *w, const vocabulary *v, const char *key) {
    if (v->missing && strcmp(v->missing, key) == 0) return false;
    if (!v->number || strcmp(v->number, key) != 0) return true;
    assert_ok(gguf_write_u32(w, key, 7, err));
    return false;
}

static void write_text(gguf_writer *w, const vocabulary *v, const char *key, const char *text) {
    if (wanted(w, v, key) && text) assert_ok(gguf_write_text(w, key, text, err));
}

static void save(gguf_writer *w, char *path) {
    int file = mkstemp(path);
    assert_true(file >= 0);
    close(file);
    assert_ok(gguf_write_open(w, path, (gguf_write_options){.replace = true}, err));
    assert_ok(gguf_write_close(w, err));
    gguf_write_free(w);
}

static gptoss_status open_and_remove(const char *path, tokenizer **out, gptoss_error *error) {
    gguf_file *file;
    assert_ok(gguf_open(path, &file, err));
    gptoss_status status = tokenizer_open(file, out, error);
    gguf_close(file);
    unlink(path);
    return status;
}

gptoss_status vocabulary_open(const vocabulary *v, tokenizer **out, gptoss_error *error) {
    gguf_writer *w;
    char path[] = P_tmpdir "/gptoss-vocabulary-XXXXXX";
    assert_ok(gguf_write_new(&w, err));
    write_text(w, v, "tokenizer.ggml.model", v->model);
    write_text(w, v, "tokenizer.ggml.pre", v->pre);
    if (wanted(w, v, "tokenizer.ggml.tokens"))
        assert_ok(gguf_write_texts(w, "tokenizer.ggml.tokens", v->tokens, v->token_count, err));
    if (wanted(w, v, "tokenizer.ggml.token_type"))
        assert_ok(gguf_write_numbers(w, "tokenizer.ggml.token_type", GGUF_I32, v->types, v->type_count, err));
    if (wanted(w, v, "tokenizer.ggml.merges"))
        assert_ok(gguf_write_texts(w, "tokenizer.ggml.merges", v->merges, v->merge_count, err));
    if (v->eos >= 0) assert_ok(gguf_write_u32(w, "tokenizer.ggml.eos_token_id", (uint32_t)v->eos, err));
    save(w, path);
    return open_and_remove(path, out, error);
}

tokenizer *vocabulary_open_small(void) {
    static vocabulary v;
    tokenizer *t;
    vocabulary_small(&v);
    assert_ok(vocabulary_open(&v, &t, err));
    return t;
}

static void write_texts(gguf_writer *w, const char *key, const vocab_texts *texts) {
    gguf_text *list = malloc(texts->count * sizeof *list);
    assert_non_null(list);
    for (size_t i = 0; i < texts->count; i++) list[i] = vocab_text(texts, i);
    assert_ok(gguf_write_texts(w, key, list, texts->count, err));
    free(list);
}

tokenizer *vocabulary_open_o200k(void) {
    buffer ranks = {0};
    vocab v;
    gguf_writer *w;
    tokenizer *t;
    char path[] = P_tmpdir "/gptoss-o200k-XXXXXX";
    assert_ok(buffer_read_file(&ranks, TEST_O200K, 1 << 24, err));
    assert_ok(vocab_from_tiktoken(ranks.data, ranks.size, &v, err));
    assert_ok(gguf_write_new(&w, err));
    assert_ok(gguf_write_text(w, "tokenizer.ggml.model", "gpt2", err));
    assert_ok(gguf_write_text(w, "tokenizer.ggml.pre", "gpt-4o", err));
    write_texts(w, "tokenizer.ggml.tokens", &v.tokens);
    write_texts(w, "tokenizer.ggml.merges", &v.merges);
    assert_ok(gguf_write_numbers(w, "tokenizer.ggml.token_type", GGUF_I32, v.types, v.tokens.count, err));
    vocab_free(&v);
    buffer_free(&ranks);
    save(w, path);
    assert_ok(open_and_remove(path, &t, err));
    return t;
}

void vocabulary_encode(const tokenizer *t, const char *text, tokens *out) {
    while (*text) {
        uint32_t id;
        char name[32];
        const char *bar = strstr(text, "<|"), *close = bar ? strstr(bar, "|>") : NULL;
        size_t plain = bar ? (size_t)(bar - text) : strlen(text);
        assert_ok(tokenizer_encode(t, text, plain, out, err));
        text += plain;
        if (!bar) return;
        assert_non_null(close);
        snprintf(name, sizeof name, "%.*s", (int)(close + 2 - bar), bar);
        if (!tokenizer_special(t, name, &id)) fail_msg("no special token %s", name);
        assert_ok(tokens_add(out, id, err));
        text = close + 2;
    }
}

size_t vocabulary_each_line(const char *name, void (*check)(const cJSON *line, void *context), void *context) {
    char path[600];
    buffer text = {0};
    size_t count = 0;
    snprintf(path, sizeof path, "%s/text/%s", TEST_DATA, name);
    assert_ok(buffer_read_file(&text, path, 1 << 24, err));
    for (char *line = strtok(text.data, "\n"); line; line = strtok(NULL, "\n"), count++) {
        cJSON *json = cJSON_Parse(line);
        assert_non_null(json);
        check(json, context);
        cJSON_Delete(json);
    }
    buffer_free(&text);
    return count;
}
