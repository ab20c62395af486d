#include "text/tokenizer.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/utf8.h"
#include "gguf/quote.h"
#include "gguf/vocab.h"
#include "gguf/vocab_map.h"
#include "text/merges.h"
#include "text/pieces.h"

#define KEY_MODEL "tokenizer.ggml.model"
#define KEY_PRE "tokenizer.ggml.pre"
#define KEY_TOKENS "tokenizer.ggml.tokens"
#define KEY_TYPES "tokenizer.ggml.token_type"
#define KEY_MERGES "tokenizer.ggml.merges"
#define KEY_EOS "tokenizer.ggml.eos_token_id"

struct tokenizer {
    uint32_t count;
    char *bytes;     /* of all tokens, decoded, one after another */
    uint32_t *ends;  /* [count] where in `bytes` each one ends */
    uint8_t *types;  /* [count], a vocab_type each */
    vocab_map words; /* normal tokens by their bytes */
    vocab_map names; /* special tokens by name */
    merge_table merges;
    piece_pattern *pattern;
    uint32_t byte_ids[256];
    uint32_t stops[4]; /* ids that end a text */
    size_t stop_count;
};

void tokenizer_close(tokenizer *t) {
    if (!t) return;
    pieces_close(t->pattern);
    merges_close(&t->merges);
    vocab_map_close(&t->names);
    vocab_map_close(&t->words);
    free(t->types);
    free(t->ends);
    free(t->bytes);
    free(t);
}

/* Metadata `key`, which must be an array whose elements are texts or, with `numbers`, integers. */
static gptoss_status find_array(const gguf_file *file, const char *key, bool numbers, const gguf_value **out,
                                gptoss_error *err) {
    const gguf_value *value = gguf_find_value(file, key);
    if (!value) return error_set(err, GPTOSS_BAD_INPUT, "the file has no tokenizer: %s is missing", key);
    bool right = value->kind == GGUF_ARRAY && (numbers ? value->element != GGUF_STRING : value->element == GGUF_STRING);
    if (!right) return error_set(err, GPTOSS_BAD_INPUT, "%s is not an array of %s", key, numbers ? "numbers" : "texts");
    if (value->count >= UINT32_MAX || value->size >= UINT32_MAX)
        return error_set(err, GPTOSS_BAD_INPUT, "%s has %llu elements, which cannot be", key,
                         (unsigned long long)value->count);
    *out = value;
    return GPTOSS_OK;
}

static gptoss_status check_text(const gguf_file *file, const char *key, const char *expected, gptoss_error *err) {
    gguf_text text;
    char shown[QUOTE_NAME];
    if (!gguf_as_text(gguf_find_value(file, key), &text))
        return error_set(err, GPTOSS_BAD_INPUT, "the file has no usable tokenizer: %s is missing or no text", key);
    if (text.size != strlen(expected) || memcmp(text.bytes, expected, text.size) != 0)
        return error_set(err, GPTOSS_BAD_INPUT, "%s is \"%s\"; only \"%s\", which gpt-oss models use, is supported",
                         key, quote_text(text.bytes, text.size, shown, sizeof shown), expected);
    return GPTOSS_OK;
}

static gptoss_status read_types(tokenizer *t, const gguf_value *types, gptoss_error *err) {
    gguf_iterator it = gguf_elements(types);
    for (uint32_t id = 0; id < t->count; id++) {
        uint64_t type;
        if (!gguf_next_u64(&it, &type) || type < VOCAB_NORMAL || type > VOCAB_BYTE)
            return error_set(err, GPTOSS_BAD_INPUT, "%s: token %u has an unknown type", KEY_TYPES, id);
        t->types[id] = (uint8_t)type;
    }
    return GPTOSS_OK;
}

/* Puts token `id` into the index of words or of names. */
static gptoss_status index_token(tokenizer *t, uint32_t id, const char *bytes, uint32_t size, gptoss_error *err) {
    uint8_t type = t->types[id];
    uint32_t first;
    char shown[QUOTE_NAME];
    if (type == VOCAB_UNUSED || type == VOCAB_BYTE) return GPTOSS_OK;
    vocab_map *index = type == VOCAB_NORMAL ? &t->words : &t->names;
    if (!vocab_map_add(index, bytes, size, id, &first))
        return error_set(err, GPTOSS_BAD_INPUT, "%s: tokens %u and %u are both \"%s\"", KEY_TOKENS, first, id,
                         quote_text(bytes, size, shown, sizeof shown));
    if (type == VOCAB_NORMAL && size == 1) t->byte_ids[(uint8_t)bytes[0]] = id;
    return GPTOSS_OK;
}

/* Copies the tokens' bytes and indexes them; *longest becomes the size of the longest spelling. */
static gptoss_status read_tokens(tokenizer *t, const gguf_value *texts, size_t *longest, gptoss_error *err) {
    gguf_iterator it = gguf_elements(texts);
    uint32_t at = 0;
    char shown[QUOTE_NAME];
    *longest = 0;
    for (uint32_t id = 0; id < t->count; id++) {
        gguf_text text;
        if (!gguf_next_text(&it, &text) || text.size == 0)
            return error_set(err, GPTOSS_BAD_INPUT, "%s: token %u is empty", KEY_TOKENS, id);
        size_t size = text.size;
        if (t->types[id] != VOCAB_NORMAL)
            memcpy(t->bytes + at, text.bytes, size);
        else if (!vocab_unspell(text.bytes, text.size, (uint8_t *)t->bytes + at, &size))
            return error_set(err, GPTOSS_BAD_INPUT, "%s: token %u (\"%s\") is not spelled as byte-level text",
                             KEY_TOKENS, id, quote_text(text.bytes, text.size, shown, sizeof shown));
        TRY(index_token(t, id, t->bytes + at, (uint32_t)size, err));
        at += (uint32_t)size;
        t->ends[id] = at;
        if (text.size > *longest) *longest = text.size;
    }
    for (unsigned byte = 0; byte < 256; byte++)
        if (t->byte_ids[byte] == UINT32_MAX)
            return error_set(err, GPTOSS_BAD_INPUT, "%s: no token stands for the byte 0x%02X alone", KEY_TOKENS, byte);
    return GPTOSS_OK;
}

/* One merge "A B": the ids of A, B and AB; scratch[text.size]. */
static bool parse_merge(const tokenizer *t, gguf_text text, uint8_t *scratch, uint32_t ids[3]) {
    const char *space = memchr(text.bytes, ' ', text.size);
    if (!space) return false;
    size_t left = (size_t)(space - text.bytes), right = text.size - left - 1;
    return vocab_unspell(text.bytes, left, scratch, &left) && vocab_unspell(space + 1, right, scratch + left, &right) &&
           vocab_map_find(&t->words, scratch, left, &ids[0]) &&
           vocab_map_find(&t->words, scratch + left, right, &ids[1]) &&
           vocab_map_find(&t->words, scratch, left + right, &ids[2]);
}

static gptoss_status read_merges(tokenizer *t, const gguf_value *merges, size_t longest, gptoss_error *err) {
    gguf_iterator it = gguf_elements(merges);
    uint8_t *scratch;
    char shown[QUOTE_NAME];
    TRY(merges_open(&t->merges, (size_t)merges->count, err));
    TRY(mem_array(2 * longest + 1, 1, "a merge", &scratch, err));
    gptoss_status status = GPTOSS_OK;
    uint32_t priority = 0, previous = UINT32_MAX;
    for (uint32_t i = 0; status == GPTOSS_OK && i < merges->count; i++) {
        gguf_text text = {"", 0};
        uint32_t ids[3];
        if (!gguf_next_text(&it, &text) || text.size > 2 * longest + 1 || !parse_merge(t, text, scratch, ids)) {
            status = error_set(err, GPTOSS_BAD_INPUT, "%s: merge %u (\"%s\") does not join two tokens to a third",
                               KEY_MERGES, i, quote_text(text.bytes, text.size, shown, sizeof shown));
            break;
        }
        if (ids[2] != previous) priority = i;
        previous = ids[2];
        merges_add(&t->merges, ids[0], ids[1], ids[2], priority);
    }
    free(scratch);
    return status;
}

static gptoss_status read_stops(tokenizer *t, const gguf_file *file, gptoss_error *err) {
    static const char *const names[] = {"<|return|>", "<|call|>", "<|endoftext|>"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (tokenizer_special(t, names[i], &t->stops[t->stop_count])) t->stop_count++;
    const gguf_value *eos = gguf_find_value(file, KEY_EOS);
    uint64_t id;
    if (!eos) return GPTOSS_OK;
    if (!gguf_as_u64(eos, &id) || id >= t->count)
        return error_set(err, GPTOSS_BAD_INPUT, "%s is not the id of one of the %u tokens", KEY_EOS, t->count);
    t->stops[t->stop_count++] = (uint32_t)id;
    return GPTOSS_OK;
}

/* Fills in a zeroed tokenizer; what was built when this fails is released by tokenizer_close. */
static gptoss_status load(tokenizer *t, const gguf_file *file, gptoss_error *err) {
    const gguf_value *texts, *types, *merges;
    TRY(check_text(file, KEY_MODEL, "gpt2", err));
    TRY(check_text(file, KEY_PRE, "gpt-4o", err));
    TRY(find_array(file, KEY_TOKENS, false, &texts, err));
    TRY(find_array(file, KEY_TYPES, true, &types, err));
    TRY(find_array(file, KEY_MERGES, false, &merges, err));
    if (types->count != texts->count)
        return error_set(err, GPTOSS_BAD_INPUT, "%s has %llu elements for the %llu tokens", KEY_TYPES,
                         (unsigned long long)types->count, (unsigned long long)texts->count);
    t->count = (uint32_t)texts->count;
    TRY(mem_array(t->count, sizeof *t->types, "token types", &t->types, err));
    TRY(mem_array(t->count, sizeof *t->ends, "tokens", &t->ends, err));
    TRY(mem_array(texts->size, 1, "tokens", &t->bytes, err));
    TRY(read_types(t, types, err));
    size_t words = 0, longest;
    for (uint32_t id = 0; id < t->count; id++) words += t->types[id] == VOCAB_NORMAL;
    TRY(vocab_map_open(&t->words, words, err));
    TRY(vocab_map_open(&t->names, t->count - words, err));
    for (size_t i = 0; i < 256; i++) t->byte_ids[i] = UINT32_MAX;
    TRY(read_tokens(t, texts, &longest, err));
    TRY(read_merges(t, merges, longest, err));
    TRY(read_stops(t, file, err));
    return pieces_open(&t->pattern, err);
}

gptoss_status tokenizer_open(const gguf_file *file, tokenizer **out, gptoss_error *err) {
    tokenizer *t;
    TRY(mem_array(1, sizeof *t, "tokenizer", &t, err));
    gptoss_status status = load(t, file, err);
    if (status != GPTOSS_OK) {
        tokenizer_close(t);
        return error_prefix(err, status, "%s", gguf_part_path(file, 0));
    }
    *out = t;
    return GPTOSS_OK;
}

uint32_t tokenizer_count(const tokenizer *t) { return t->count; }

/* Appends the tokens of one piece. */
static gptoss_status encode_piece(const tokenizer *t, const char *piece, size_t size, merge_scratch *scratch,
                                  tokens *out, gptoss_error *err) {
    uint32_t id;
    if (vocab_map_find(&t->words, piece, size, &id)) return tokens_add(out, id, err);
    return merges_apply(&t->merges, t->byte_ids, (const uint8_t *)piece, size, scratch, out, err);
}

/* Appends the tokens of text[size], which is valid UTF-8. */
static gptoss_status encode_valid(const tokenizer *t, const char *text, size_t size, tokens *out, gptoss_error *err) {
    merge_scratch scratch = {0};
    pieces walk;
    TRY(pieces_begin(t->pattern, text, size, &walk, err));
    size_t piece;
    gptoss_status status = pieces_next(&walk, &piece, err);
    while (status == GPTOSS_OK && piece > 0) {
        status = encode_piece(t, text + walk.at - piece, piece, &scratch, out, err);
        if (status == GPTOSS_OK) status = pieces_next(&walk, &piece, err);
    }
    pieces_end(&walk);
    merges_free_scratch(&scratch);
    return status;
}

gptoss_status tokenizer_encode(const tokenizer *t, const char *text, size_t size, tokens *out, gptoss_error *err) {
    if (size > UINT32_MAX / 4)
        return error_set(err, GPTOSS_BAD_INPUT, "a text of %zu bytes is too long; 1 GiB is the most", size);
    size_t before = out->count;
    buffer repaired = {0};
    gptoss_status status = GPTOSS_OK;
    if (!utf8_valid(text, size)) {
        status = utf8_repair(text, size, &repaired, err);
        text = repaired.data;
        size = repaired.size;
    }
    if (status == GPTOSS_OK) status = encode_valid(t, text, size, out, err);
    if (status != GPTOSS_OK) out->count = before;
    buffer_free(&repaired);
    return status;
}

const char *tokenizer_bytes(const tokenizer *t, uint32_t id, size_t *size) {
    *size = 0;
    if (id >= t->count) return NULL;
    uint32_t start = id ? t->ends[id - 1] : 0;
    *size = t->ends[id] - start;
    return t->bytes + start;
}

gptoss_status tokenizer_decode(const tokenizer *t, const uint32_t *ids, size_t count, buffer *out, gptoss_error *err) {
    for (size_t i = 0; i < count; i++)
        if (ids[i] >= t->count)
            return error_set(err, GPTOSS_BAD_INPUT, "token id %u is out of range: the vocabulary has %u tokens", ids[i],
                             t->count);
    size_t before = out->size;
    for (size_t i = 0; i < count; i++) {
        size_t size;
        const char *bytes = tokenizer_bytes(t, ids[i], &size);
        gptoss_status status = buffer_append(out, bytes, size, err);
        if (status != GPTOSS_OK) {
            out->size = before;
            if (out->data) out->data[before] = '\0';
            return status;
        }
    }
    return GPTOSS_OK;
}

bool tokenizer_is_special(const tokenizer *t, uint32_t id) { return id < t->count && t->types[id] != VOCAB_NORMAL; }

bool tokenizer_special(const tokenizer *t, const char *name, uint32_t *id) {
    return vocab_map_find(&t->names, name, strlen(name), id);
}

bool tokenizer_ends_text(const tokenizer *t, uint32_t id) {
    for (size_t i = 0; i < t->stop_count; i++)
        if (t->stops[i] == id) return true;
    return false;
}
