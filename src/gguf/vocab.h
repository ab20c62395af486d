/* vocab.h: byte-level BPE vocabularies as GGUF files hold them: tokens spelled in printable characters, and merges.
 *
 * The spelling is GPT-2's: each byte stands for one character. The printable Latin-1 bytes 33-126, 161-172 and 174-255
 * are themselves, the other 68 are U+0100 and up in byte order (so a space is U+0120).
 *
 * A merge "A B" joins two neighbouring tokens; earlier merges have priority. Published gpt-oss files list, for each
 * token in order of rank, every way to cut it into two tokens, which makes merging by the list equal to merging by
 * rank. */
#ifndef GGUF_VOCAB_H
#define GGUF_VOCAB_H

#include "gguf/gguf.h"

typedef struct vocab_texts { /* many strings in one run of bytes; text i ends, and text i+1 begins, at ends[i] */
    char *bytes;
    uint32_t *ends;
    size_t count;
} vocab_texts;

typedef struct vocab {
    vocab_texts tokens; /* by id, in GPT-2 spelling; special tokens by name */
    int32_t *types;     /* [tokens.count]: a vocab_type each, as in tokenizer.ggml.token_type */
    vocab_texts merges; /* "A B", in order of priority */
} vocab;

typedef enum vocab_type { /* the numbers in tokenizer.ggml.token_type */
                          VOCAB_NORMAL = 1,
                          VOCAB_UNKNOWN = 2,
                          VOCAB_CONTROL = 3,
                          VOCAB_USER_DEFINED = 4,
                          VOCAB_UNUSED = 5,
                          VOCAB_BYTE = 6
} vocab_type;

enum { VOCAB_SPECIALS = 1090 }; /* special tokens that vocab_from_tiktoken puts after the ranked ones */

/* Builds a vocabulary from the text of a .tiktoken file (a line "BASE64 RANK" per token, ranks 0, 1, 2 ...) and the
 * special tokens of gpt-oss after them: with o200k's 199,998 ranks <|startoftext|> is 199998, <|return|> 200002, up to
 * <|reserved_201087|>, all at their real ids. The caller frees it with vocab_free. GPTOSS_BAD_INPUT names the line. */
gptoss_status vocab_from_tiktoken(const char *text, size_t size, vocab *out, gptoss_error *err);
void vocab_free(vocab *v); /* a zeroed one is fine */

gguf_text vocab_text(const vocab_texts *texts, size_t index); /* borrowed from texts; index < count */

/* Spells `size` bytes; out[2 * size] at most. Returns the size of the spelling. */
size_t vocab_spell(const uint8_t *bytes, size_t size, char *out);

/* The bytes that a spelling stands for; out[size] at most (out may be equal to text). False when the text is no
 * spelling of anything. */
bool vocab_unspell(const char *text, size_t size, uint8_t *out, size_t *out_size);

#endif
