/* write.h: writing GGUF v3 files, whole or split into parts. Works for any GGUF; knows nothing of a model.
 *
 * Declare metadata and tensors, then gguf_write_open, then hand over the tensors' bytes in any order and any pieces,
 * then gguf_write_close. Until then everything stands in files named PATH.partial, which become PATH at the very end; a
 * writer that is freed without having been closed removes them, so a damaged or half-written PATH never exists. */
#ifndef GGUF_WRITE_H
#define GGUF_WRITE_H

#include "base/buffer.h"
#include "gguf/gguf.h"

typedef struct gguf_writer gguf_writer;

gptoss_status gguf_write_new(gguf_writer **out, gptoss_error *err);
void gguf_write_free(gguf_writer *w); /* NULL is fine */

/* Metadata, written in the order of these calls. Keys are 1 to 65535 bytes and unique; GPTOSS_MISUSE otherwise, and for
 * "general.alignment" and "split.*", which the writer adds itself when they are needed. All bytes are copied. */
gptoss_status gguf_write_u32(gguf_writer *w, const char *key, uint32_t value, gptoss_error *err);
gptoss_status gguf_write_f32(gguf_writer *w, const char *key, float value, gptoss_error *err);
gptoss_status gguf_write_text(gguf_writer *w, const char *key, const char *text, gptoss_error *err);

/* One number of any kind; `value` points at it: a uint16_t for GGUF_U16, a uint8_t of 0 or 1 for GGUF_BOOL ... */
gptoss_status gguf_write_number(gguf_writer *w, const char *key, gguf_kind kind, const void *value, gptoss_error *err);
/* An array of `count` of them. */
gptoss_status gguf_write_numbers(gguf_writer *w, const char *key, gguf_kind element, const void *values, uint64_t count,
                                 gptoss_error *err);
gptoss_status gguf_write_texts(gguf_writer *w, const char *key, const gguf_text *texts, uint64_t count,
                               gptoss_error *err);

/* A value as it stands in another file. Keys that the writer adds itself are passed over without an error. */
gptoss_status gguf_write_copy(gguf_writer *w, const gguf_value *value, gptoss_error *err);

/* Declares the next tensor, numbered 0, 1, 2 ...: dims[0] is the row length. Names are 1 to 63 bytes; two equal ones
 * make gguf_write_open fail. */
gptoss_status gguf_write_tensor(gguf_writer *w, const char *name, uint32_t n_dims, const uint64_t *dims, gguf_type type,
                                gptoss_error *err);
uint64_t gguf_write_tensor_bytes(const gguf_writer *w, size_t tensor); /* tensor < number of declared ones */
uint64_t gguf_write_total_bytes(const gguf_writer *w);                 /* data of all of them, without padding */

typedef struct gguf_write_options {
    uint64_t alignment;   /* of each tensor's data: a multiple of 8 that is a power of two; 0 for the usual 32 */
    uint64_t split_bytes; /* begin a new part rather than let one grow past this (one tensor always fits); 0: never */
    bool replace;         /* an existing file */
} gguf_write_options;

/* Plans the parts, makes sure that the disk has room for them, and writes the headers. If one part is enough the file
 * is `path`; otherwise the parts are NAME-00001-of-0000N.gguf, where `path` is NAME.gguf or NAME; all metadata is in
 * the first. GPTOSS_MISUSE when a file exists (unless options.replace), GPTOSS_IO when the disk is too small or
 * refuses. */
gptoss_status gguf_write_open(gguf_writer *w, const char *path, gguf_write_options options, gptoss_error *err);

/* Instead of gguf_write_open, for a file that is to come into being elsewhere, with the usual alignment and in one
 * part: puts into `header`, which is empty, all that gguf_write_open would write in front of the tensors' data, and
 * gives that file's size. The data of a tensor then begins at header's size + gguf_write_tensor_offset; what is between
 * tensors is zero. */
gptoss_status gguf_write_layout(gguf_writer *w, buffer *header, uint64_t *file_bytes, gptoss_error *err);
uint64_t gguf_write_tensor_offset(const gguf_writer *w, size_t tensor);

/* Puts `size` bytes at `offset` of a tensor's data. Safe from several threads at once. The caller covers every byte of
 * every tensor exactly once. */
gptoss_status gguf_write_data(gguf_writer *w, size_t tensor, uint64_t offset, const void *bytes, size_t size,
                              gptoss_error *err);

/* Gives the files their names; GPTOSS_MISUSE when bytes are missing, naming the tensor. `w` stays to be freed. */
gptoss_status gguf_write_close(gguf_writer *w, gptoss_error *err);

/* After gguf_write_open: the parts and their final paths (borrowed). */
uint32_t gguf_write_part_count(const gguf_writer *w);
const char *gguf_write_part_path(const gguf_writer *w, uint32_t part);

#endif
