/* slice_file.h: part of a model as a GGUF file of its own (see extent.h for what marks it). The same part of the same
 * file always becomes the same bytes, wherever it is written. */
#ifndef MODEL_SLICE_FILE_H
#define MODEL_SLICE_FILE_H

#include "gguf/source.h"
#include "gguf/write.h"
#include "model/tensors.h"

typedef struct slice_file {
    gguf_writer *writer;  /* owned; metadata and tensors are declared, nothing is open */
    tensor_place *places; /* [count], owned: where the bytes of its tensors, in order, are in the source */
    size_t count;
} slice_file;

/* `what`: the ranges; its other fields are not used. `source` was accepted by weights_check
 * and may be a slice itself; GPTOSS_MISUSE tells what it lacks. */
gptoss_status slice_file_plan(const gguf_file *source, const hparams *hp, const extent *what, slice_file *out,
                              gptoss_error *err);
void slice_file_free(slice_file *f); /* and empties it */

/* bytes[size] = what stands at `at` in the data of a tensor, all within it. `from` reads the source. */
gptoss_status slice_file_read(const slice_file *f, const gguf_source *from, size_t tensor, uint64_t at, void *bytes,
                              size_t size, gptoss_error *err);

/* Called after each few megabytes; the work ends with GPTOSS_CANCELLED when it returns false. */
typedef bool slice_file_report(void *context, uint64_t done, uint64_t all);

/* Copies piece by piece into PATH.partial, which becomes `path` at the end and is removed after a failure.
 * GPTOSS_MISUSE when `path` exists, unless `replace`. `report` may be NULL. */
gptoss_status slice_file_write(const slice_file *f, const gguf_file *source, const char *path, bool replace,
                               slice_file_report *report, void *context, gptoss_error *err);

#endif
