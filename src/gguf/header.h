/* header.h: the metadata and the tensor directory at the beginning of one GGUF file. Private to src/gguf. */
#ifndef GGUF_HEADER_H
#define GGUF_HEADER_H

#include "gguf/gguf.h"

typedef struct gguf_header {
    uint32_t version;
    uint8_t *bytes; /* the file's first `size` bytes, through the end of the tensor directory */
    size_t size;
    gguf_value *values; /* in the order of the file, pointing into `bytes` */
    size_t value_count;
    gguf_tensor *tensors; /* in the order of the file; offsets count from the start of the data section */
    size_t tensor_count;
    char *names; /* of the tensors, each with a NUL */
} gguf_header;

/* Reads and checks the header of the regular file `fd` of `file_size` bytes: lengths, counts, kinds, types, dimensions
 * and sizes, but not whether names are unique and where tensors lie. Tensors of unlisted types have bytes = 0. Released
 * with header_free. Errors tell the place in the file; the caller puts the file's name in front. */
gptoss_status header_read(int fd, uint64_t file_size, gguf_header *out, gptoss_error *err);
void header_free(gguf_header *h);

#endif
