/* source.h: reading the tensor data of an open GGUF file piece by piece, where mapping it would be too much. */
#ifndef GGUF_SOURCE_H
#define GGUF_SOURCE_H

#include "gguf/gguf.h"

typedef struct gguf_source gguf_source;

/* `file` stays the caller's and must outlive the source. GPTOSS_BAD_INPUT when a part was replaced meanwhile. */
gptoss_status gguf_source_open(const gguf_file *file, gguf_source **out, gptoss_error *err);
void gguf_source_close(gguf_source *s); /* NULL is fine */

/* bytes[size] = what stands at `offset` of `part`. GPTOSS_BAD_INPUT when the part ends before. */
gptoss_status gguf_source_read(const gguf_source *s, uint32_t part, uint64_t offset, void *bytes, size_t size,
                               gptoss_error *err);

#endif
