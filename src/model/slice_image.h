/* slice_image.h: a slice file that exists only as a stream of bytes, the same that slice_file_write would write. */
#ifndef MODEL_SLICE_IMAGE_H
#define MODEL_SLICE_IMAGE_H

#include "base/digest.h"
#include "model/extent.h"

typedef struct slice_image slice_image;

/* As slice_file_plan. `source` must outlive the image. */
gptoss_status slice_image_open(const gguf_file *source, const hparams *hp, const extent *what, slice_image **out,
                               gptoss_error *err);
void slice_image_close(slice_image *s); /* NULL is fine */

uint64_t slice_image_bytes(const slice_image *s);

/* bytes[size] = what stands at `offset`, all within the image. */
gptoss_status slice_image_read(const slice_image *s, uint64_t offset, void *bytes, size_t size, gptoss_error *err);

/* Tells images apart without reading them, as far as files that have the same place, size and time of change have the
 * same contents. */
gptoss_status slice_image_identity(const slice_image *s, digest *out, gptoss_error *err);

#endif
