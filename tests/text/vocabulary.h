/* vocabulary.h: tokenizers for tests: small ones to be damaged, and the real one; golden lines of JSON. */
#ifndef TESTS_TEXT_VOCABULARY_H
#define TESTS_TEXT_VOCABULARY_H

#include <cjson/cJSON.h>

#include "gguf/vocab.h"
#include "support.h"
#include "text/tokenizer.h"

enum { VOCABULARY_TOKENS = 300, VOCABULARY_MERGES = 16 };

/* What a GGUF file says of its tokenizer. */
typedef struct vocabulary {
    const char *model, *pre; /* NULL: the key is missing */
    gguf_text tokens[VOCABULARY_TOKENS];
    int32_t types[VOCABULARY_TOKENS];
    gguf_text merges[VOCABULARY_MERGES];
    size_t token_count, type_count, merge_count;
    const char *missing; /* a key to leave out */
    const char *number;  /* a key to write as a number */
    int64_t eos;         /* below 0: the key is missing */
} vocabulary;

/* The 256 bytes; "th", "the", "in", "er", " the", "aa", "aaa" with their merges; the special tokens of Harmony. */
void vocabulary_small(vocabulary *out);
void vocabulary_add(vocabulary *v, const char *token, vocab_type type);
void vocabulary_remove(vocabulary *v, const char *token); /* by its spelling */

/* Writes a GGUF file, opens its tokenizer and removes the file. */
gptoss_status vocabulary_open(const vocabulary *v, tokenizer **out, gptoss_error *err);

tokenizer *vocabulary_open_small(void);
tokenizer *vocabulary_open_o200k(void); /* all of it; takes about a second */

/* The ids of a text in which special tokens are spelled out. */
void vocabulary_encode(const tokenizer *t, const char *text, tokens *out);

/* Calls `check` with each line of TEST_DATA/text/NAME; returns their number. */
size_t vocabulary_each_line(const char *name, void (*check)(const cJSON *line, void *context), void *context);

#endif
