/* tokenizer.h: text to token ids and back, with the byte-level BPE vocabulary that a gpt-oss GGUF file carries.
 *
 * A tokenizer is read-only after tokenizer_open; any number of threads may use it at once. */
#ifndef TEXT_TOKENIZER_H
#define TEXT_TOKENIZER_H

#include <stdbool.h>

#include "base/buffer.h"
#include "gguf/gguf.h"
#include "text/tokens.h"

typedef struct tokenizer tokenizer;

/* Reads tokenizer.ggml.{model, pre, tokens, token_type, merges} and, when there, eos_token_id. The file may be closed
 * afterwards. GPTOSS_BAD_INPUT names the key, and the token or merge, that is missing or wrong:
 * - the model must be gpt2 with the pre-tokenizer gpt-4o;
 * - each normal token must be spelled as gguf/vocab.h says, no two alike, and all 256 single bytes must be there;
 * - each merge must join two normal tokens to a third;
 * - the tokens of all other types (control, user-defined, unknown) are *special*: names that text never turns into.
 *   No two are alike. Tokens of type unused and byte are special and have no name to find them by.
 * Merges that give the same token and stand next to each other in the list share one priority, that of the first, so
 * that encoding equals tiktoken's also where a token can be cut in several ways. */
gptoss_status tokenizer_open(const gguf_file *file, tokenizer **out, gptoss_error *err);
void tokenizer_close(tokenizer *t); /* NULL is fine */

uint32_t tokenizer_count(const tokenizer *t); /* tokens in the vocabulary; ids are below it */

/* Appends the ids of a text (any bytes; what is not UTF-8 counts as U+FFFD). None is special, whatever the text spells.
 * On failure *out is unchanged. Takes O(size log size) time and, for a word of n bytes, about 40 n bytes of memory. */
gptoss_status tokenizer_encode(const tokenizer *t, const char *text, size_t size, tokens *out, gptoss_error *err);

/* The bytes of a token, borrowed from t and not NUL-terminated: of a normal token those it stands for, maybe a part of
 * a character; of a special one its name. NULL, with *size 0, when id is out of range. */
const char *tokenizer_bytes(const tokenizer *t, uint32_t id, size_t *size);

/* Appends the bytes of all ids. An id out of range is GPTOSS_BAD_INPUT, and *out is unchanged. */
gptoss_status tokenizer_decode(const tokenizer *t, const uint32_t *ids, size_t count, buffer *out, gptoss_error *err);

bool tokenizer_is_special(const tokenizer *t, uint32_t id); /* false when out of range */

/* Finds a special token by its name ("<|start|>"); false, and *id untouched, when there is none. */
bool tokenizer_special(const tokenizer *t, const char *name, uint32_t *id);

/* Whether a model that writes this token has nothing more to say: the file's eos_token_id, <|return|>, <|call|> and
 * <|endoftext|>. */
bool tokenizer_ends_text(const tokenizer *t, uint32_t id);

#endif
