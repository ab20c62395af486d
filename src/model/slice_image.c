#include "model/slice_image.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/mem.h"
#include "model/slice_file.h"

struct slice_image {
    const gguf_file *file;
    gguf_source *source;
    slice_file slice;
    buffer header;
    uint64_t bytes;
};

gptoss_status slice_image_open(const gguf_file *source, const hparams *hp, const extent *what, slice_image **out,
                               gptoss_error *err) {
    slice_image *s;
    TRY(mem_array(1, sizeof *s, "slice", &s, err));
    s->file = source;
    gptoss_status status = slice_file_plan(source, hp, what, &s->slice, err);
    if (status == GPTOSS_OK) status = gguf_write_layout(s->slice.writer, &s->header, &s->bytes, err);
    if (status == GPTOSS_OK) status = gguf_source_open(source, &s->source, err);
    if (status != GPTOSS_OK) {
        slice_image_close(s);
        return status;
    }
    *out = s;
    return GPTOSS_OK;
}

void slice_image_close(slice_image *s) {
    if (!s) return;
    gguf_source_close(s->source);
    slice_file_free(&s->slice);
    buffer_free(&s->header);
    free(s);
}

uint64_t slice_image_bytes(const slice_image *s) { return s->bytes; }

static uint64_t tensor_begin(const slice_image *s, size_t tensor) {
    return s->header.size + gguf_write_tensor_offset(s->slice.writer, tensor);
}

/* The last tensor that begins at or before `offset`, which lies behind the header. */
static size_t tensor_at(const slice_image *s, uint64_t offset) {
    size_t low = 0, high = s->slice.count;
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        if (tensor_begin(s, middle) <= offset)
            low = middle;
        else
            high = middle;
    }
    return low;
}

/* Gives as much as one header, tensor or gap has from `offset` on; *got is how much. */
static gptoss_status read_run(const slice_image *s, uint64_t offset, uint8_t *bytes, size_t size, size_t *got,
                              gptoss_error *err) {
    if (offset < s->header.size) {
        *got = s->header.size - offset < size ? (size_t)(s->header.size - offset) : size;
        memcpy(bytes, s->header.data + offset, *got);
        return GPTOSS_OK;
    }
    size_t tensor = tensor_at(s, offset);
    uint64_t past = offset - tensor_begin(s, tensor), whole = gguf_write_tensor_bytes(s->slice.writer, tensor);
    if (past < whole) {
        *got = whole - past < size ? (size_t)(whole - past) : size;
        return slice_file_read(&s->slice, s->source, tensor, past, bytes, *got, err);
    }
    uint64_t next = tensor + 1 < s->slice.count ? tensor_begin(s, tensor + 1) : s->bytes;
    *got = next - offset < size ? (size_t)(next - offset) : size;
    memset(bytes, 0, *got);
    return GPTOSS_OK;
}

gptoss_status slice_image_read(const slice_image *s, uint64_t offset, void *bytes, size_t size, gptoss_error *err) {
    uint8_t *to = bytes;
    if (offset > s->bytes || size > s->bytes - offset)
        return error_set(err, GPTOSS_INTERNAL, "bytes beyond the end of a slice");
    for (size_t got; size > 0; to += got, offset += got, size -= got) TRY(read_run(s, offset, to, size, &got, err));
    return GPTOSS_OK;
}

gptoss_status slice_image_identity(const slice_image *s, digest *out, gptoss_error *err) {
    buffer text = {0};
    gptoss_status status = buffer_append(&text, s->header.data, s->header.size, err); /* tells what is in the slice */
    for (uint32_t i = 0; status == GPTOSS_OK && i < gguf_part_count(s->file); i++) {
        struct stat info;
        const char *path = gguf_part_path(s->file, i);
        if (stat(path, &info) != 0)
            status = error_set(err, GPTOSS_IO, "%s has gone", path);
        else
            /* with the time of its change, which no tool sets back as some do that of its writing */
            status = buffer_printf(&text, err, "|%llu %llu %llu %lld.%09ld %lld.%09ld", (unsigned long long)info.st_dev,
                                   (unsigned long long)info.st_ino, (unsigned long long)info.st_size,
                                   (long long)info.st_mtim.tv_sec, info.st_mtim.tv_nsec, (long long)info.st_ctim.tv_sec,
                                   info.st_ctim.tv_nsec);
    }
    if (status == GPTOSS_OK) *out = digest_of(text.data, text.size);
    buffer_free(&text);
    return status;
}
