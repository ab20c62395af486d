#include "text/token_trie.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

typedef struct word {
    const char *bytes;
    uint32_t size, token;
} word;

static int in_order(const void *a, const void *b) {
    const word *x = a, *y = b;
    int order = memcmp(x->bytes, y->bytes, x->size < y->size ? x->size : y->size);
    return order ? order : (x->size > y->size) - (x->size < y->size);
}

static size_t common_bytes(const word *a, const word *b) {
    size_t same = 0, limit = a->size < b->size ? a->size : b->size;
    while (same < limit && a->bytes[same] == b->bytes[same]) same++;
    return same;
}

static gptoss_status allocate(token_trie *t, gptoss_error *err) {
    TRY(mem_array(t->count, sizeof *t->byte, "token trie", &t->byte, err));
    TRY(mem_array(t->count, sizeof *t->depth, "token trie", &t->depth, err));
    TRY(mem_array(t->count, sizeof *t->skip, "token trie", &t->skip, err));
    return mem_array(t->count, sizeof *t->token, "token trie", &t->token, err);
}

/* Lays the sorted words out. open[d] is the node of depth d + 1 whose children are being written. */
static void fill(token_trie *t, const word *words, size_t count, uint32_t *open) {
    uint32_t at = 0;
    size_t depth = 0;
    for (size_t i = 0; i < count; i++) {
        size_t same = i ? common_bytes(&words[i - 1], &words[i]) : 0;
        for (; depth > same; depth--) t->skip[open[depth - 1]] = at;
        for (; depth < words[i].size; depth++, at++) {
            open[depth] = at;
            t->byte[at] = (uint8_t)words[i].bytes[depth];
            t->depth[at] = (uint16_t)(depth + 1);
            t->token[at] = TOKEN_TRIE_NONE;
        }
        t->token[at - 1] = words[i].token;
    }
    for (; depth > 0; depth--) t->skip[open[depth - 1]] = at;
}

static gptoss_status build(token_trie *t, const word *words, size_t count, gptoss_error *err) {
    size_t nodes = 0;
    for (size_t i = 0; i < count; i++) {
        nodes += words[i].size - (i ? common_bytes(&words[i - 1], &words[i]) : 0);
        if (words[i].size > t->deepest) t->deepest = (uint16_t)words[i].size;
    }
    uint32_t *open;
    t->count = (uint32_t)nodes;
    TRY(allocate(t, err));
    TRY(mem_array(t->deepest, sizeof *open, "token trie", &open, err));
    fill(t, words, count, open);
    free(open);
    return GPTOSS_OK;
}

gptoss_status token_trie_open(const tokenizer *t, const uint32_t *ids, size_t count, token_trie *out,
                              gptoss_error *err) {
    word *words;
    TRY(mem_array(count, sizeof *words, "token trie", &words, err));
    size_t kept = 0;
    for (size_t i = 0; i < count; i++) {
        size_t size;
        const char *bytes = tokenizer_bytes(t, ids[i], &size);
        if (size > 0 && size <= UINT16_MAX) words[kept++] = (word){bytes, (uint32_t)size, ids[i]};
    }
    qsort(words, kept, sizeof *words, in_order);
    token_trie trie = {0};
    gptoss_status status = build(&trie, words, kept, err);
    free(words);
    if (status != GPTOSS_OK) {
        token_trie_close(&trie);
        return status;
    }
    *out = trie;
    return GPTOSS_OK;
}

void token_trie_close(token_trie *trie) {
    free(trie->byte);
    free(trie->depth);
    free(trie->skip);
    free(trie->token);
    *trie = (token_trie){0};
}
