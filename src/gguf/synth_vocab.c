/* The tokens are listed as the lines of a .tiktoken file, from which vocab.c derives spelling, merges and specials. */
#include "gguf/synth_vocab.h"

#include <stdio.h>
#include <string.h>

#include "base/buffer.h"

static const char *const pieces[] = {"th", "the", "in", "er", "an", " the", "on", " a", "re", " s"};

/* Every beginning of these words becomes a token, so that each word can be built by merging from the left. */
static const char *const words[] = {
    " of",    " and",  " to",   " in",   " is",    " that", " for",  " it",    " was",   " with",  " as",    " be",
    " on",    " not",  " this", " are",  " by",    " from", " at",   " have",  " or",    " which", " one",   " you",
    " had",   " but",  " were", " all",  " there", " when", " what", " who",   " will",  " more",  " can",   " time",
    " about", " said", " out",  " into", " some",  " them", " only", " other", " could", " these", " two",   " may",
    " first", " then", " do",   " any",  " like",  " our",  " over", " such",  " where", " after", " people"};

/* The list under construction. */
typedef struct listing {
    buffer lines;
    size_t count, limit;
    char taken[512][12]; /* tokens of more than one byte, but no fillers */
    size_t taken_count;
} listing;

static gptoss_status add_line(listing *l, const char *bytes, size_t size, gptoss_error *err) {
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t at = 0; at < size; at += 3) {
        uint32_t bits = 0;
        for (size_t i = at; i < at + 3; i++) bits = bits << 8 | (i < size ? (uint8_t)bytes[i] : 0);
        char text[4] = {digits[bits >> 18], digits[bits >> 12 & 63], digits[bits >> 6 & 63], digits[bits & 63]};
        if (at + 1 >= size) text[2] = '=';
        if (at + 2 >= size) text[3] = '=';
        TRY(buffer_append(&l->lines, text, sizeof text, err));
    }
    return buffer_printf(&l->lines, err, " %zu\n", l->count++);
}

/* Adds a token unless it is there or the list is full. */
static gptoss_status add_piece(listing *l, const char *bytes, size_t size, gptoss_error *err) {
    const size_t capacity = sizeof l->taken / sizeof l->taken[0];
    if (l->count == l->limit || l->taken_count == capacity || size >= sizeof l->taken[0]) return GPTOSS_OK;
    for (size_t i = 0; i < l->taken_count; i++)
        if (strlen(l->taken[i]) == size && memcmp(l->taken[i], bytes, size) == 0) return GPTOSS_OK;
    memcpy(l->taken[l->taken_count++], bytes, size);
    return add_line(l, bytes, size, err);
}

static gptoss_status list_tokens(listing *l, gptoss_error *err) {
    for (int byte = 0; byte < 256; byte++) TRY(add_line(l, &(char){(char)byte}, 1, err));
    for (size_t i = 0; i < sizeof pieces / sizeof pieces[0]; i++) TRY(add_piece(l, pieces[i], strlen(pieces[i]), err));
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        for (size_t size = 2; size <= strlen(words[i]); size++) TRY(add_piece(l, words[i], size, err));
    if (l->count < l->limit) TRY(add_piece(l, " n", 2, err));
    for (size_t i = 0; l->count < l->limit; i++) {
        char filler[24];
        int size = snprintf(filler, sizeof filler, " n%zu", i);
        TRY(add_line(l, filler, (size_t)size, err));
    }
    return GPTOSS_OK;
}

gptoss_status synth_vocab(size_t ordinary, size_t specials, vocab *out, gptoss_error *err) {
    if (ordinary < 256 || specials > VOCAB_SPECIALS)
        return error_set(err, GPTOSS_INTERNAL, "no vocabulary of %zu and %zu tokens", ordinary, specials);
    listing l = {.limit = ordinary};
    vocab v = {0};
    gptoss_status status = list_tokens(&l, err);
    if (status == GPTOSS_OK) status = vocab_from_tiktoken(l.lines.data, l.lines.size, &v, err);
    buffer_free(&l.lines);
    if (status != GPTOSS_OK) return status;
    v.tokens.count = ordinary + specials;
    *out = v;
    return GPTOSS_OK;
}
